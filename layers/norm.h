// Normalization layers.
#pragma once

#include "layers/module.h"

namespace medfusion::layers {

// As in PyTorch: a variance is taken plus `eps`, and new statistics count with `momentum`.
struct BatchNormOptions {
  double eps = 1e-5, momentum = 0.1;
};

// Over the last dimension of x [B, H, W, channels], then ReLU where `relu`. A training pass updates the
// running statistics. Frozen (weight and bias are), it normalizes by them and leaves them as they are, in
// training too.
class BatchNorm : public Module {
 public:
  BatchNorm(int64_t channels, const TensorOptions& options, const BatchNormOptions& constants = {});
  core::Variable forward(const core::Variable& x, const Context& context, bool relu = false);
  bool frozen() const { return !weight.requires_grad() && !bias.requires_grad(); }

  core::Variable weight, bias;             // [channels]
  core::Tensor running_mean, running_var;  // [channels]

 private:
  BatchNormOptions constants_;
};

// Over the last dimension.
class LayerNorm : public Module {
 public:
  LayerNorm(int64_t width, const TensorOptions& options, double eps = 1e-5);
  core::Variable forward(const core::Variable& x);

  core::Variable weight, bias;  // [width]

 private:
  double eps_;
};

}  // namespace medfusion::layers
