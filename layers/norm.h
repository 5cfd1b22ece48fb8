// Normalization layers.
#pragma once

#include "layers/module.h"

namespace medfusion::layers {

// Over the last dimension of x [B, H, W, channels], then ReLU where `relu`. eps 1e-5, momentum 0.1. A
// training pass updates the running statistics. Frozen (weight and bias are), it normalizes by them and
// leaves them as they are, in training too.
class BatchNorm : public Module {
 public:
  BatchNorm(int64_t channels, const TensorOptions& options);
  core::Variable forward(const core::Variable& x, const Context& context, bool relu = false);
  bool frozen() const { return !weight.requires_grad() && !bias.requires_grad(); }

  core::Variable weight, bias;             // [channels]
  core::Tensor running_mean, running_var;  // [channels]
};

// Over the last dimension, eps 1e-5.
class LayerNorm : public Module {
 public:
  LayerNorm(int64_t width, const TensorOptions& options);
  core::Variable forward(const core::Variable& x);

  core::Variable weight, bias;  // [width]
};

}  // namespace medfusion::layers
