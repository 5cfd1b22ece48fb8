#include "layers/dropout.h"

#include "layers/functional/dropout.h"
#include "layers/functional/elementwise.h"

namespace medfusion::layers {

core::Variable Dropout::forward(const core::Variable& x, Context& context) {
  if (!context.training || probability_ == 0.0) return x;
  return dropout(x, probability_, context.seed, context.next_stream(), context.base);
}

core::Variable stochastic_depth(const core::Variable& x, double probability, Context& context) {
  if (!context.training || probability == 0.0) return x;
  core::Shape shape = x.shape();
  for (int i = 1; i < x.rank(); ++i) shape[i] = 1;
  const core::Variable ones(core::Tensor::full(shape, 1.0, x.dtype(), x.device()));
  return x * Dropout(probability).forward(ones, context);
}

}  // namespace medfusion::layers
