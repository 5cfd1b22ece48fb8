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

// Stochastic depth (Huang et al. 2016, "Deep networks with stochastic depth"): in training, zeroes all of a
// sample of x [B, ...] with this probability and divides the others by 1 - probability, as timm's DropPath.
core::Variable stochastic_depth(const core::Variable& x, double probability, Context& context);

}  // namespace medfusion::layers
