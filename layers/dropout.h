// Dropout.
#pragma once

#include "layers/module.h"

namespace medfusion::layers {

// Drops activations with this probability in training, by the context's next stream; passes them on
// otherwise.
class Dropout : public Module {
 public:
  explicit Dropout(double probability) : probability_(probability) {}
  core::Variable forward(const core::Variable& x, Context& context);

 private:
  double probability_;
};

}  // namespace medfusion::layers
