// Differentiable element-wise activations; see kernels/activation/activation.h for the formulas.
#pragma once

#include "core/autograd.h"

namespace medfusion::layers {

// Any shape; f32 or f64, relu on a device also bf16.
core::Variable relu(const core::Variable& x);
core::Variable gelu(const core::Variable& x);
core::Variable sigmoid(const core::Variable& x);
core::Variable relu6(const core::Variable& x);

}  // namespace medfusion::layers
