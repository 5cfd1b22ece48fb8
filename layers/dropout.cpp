#include "layers/dropout.h"

#include "layers/functional/dropout.h"

namespace medfusion::layers {

core::Variable Dropout::forward(const core::Variable& x, Context& context) {
  if (!context.training || probability_ == 0.0) return x;
  return dropout(x, probability_, context.seed, context.next_stream(), context.base);
}

}  // namespace medfusion::layers
