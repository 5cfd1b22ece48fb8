// Fully connected layers.
#pragma once

#include "layers/module.h"

namespace medfusion::layers {

// x [..., in] -> [..., out].
class Linear : public Module {
 public:
  Linear(int64_t in, int64_t out, Init init, const TensorOptions& options);
  core::Variable forward(const core::Variable& x, const Context& context);

  core::Variable weight, bias;  // [out, in], [out]
};

// Two linear layers with GELU between them: x [..., dim] -> [..., dim].
class Mlp : public Module {
 public:
  Mlp(int64_t dim, int64_t hidden, const TensorOptions& options);
  core::Variable forward(const core::Variable& x, const Context& context);

 private:
  Linear fc1_, fc2_;
};

}  // namespace medfusion::layers
