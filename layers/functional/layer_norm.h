// Differentiable layer normalization; see kernels/layer_norm/layer_norm.h.
#pragma once

#include "core/autograd.h"

namespace medfusion::layers {

// Over the last dimension of x [..., N]; weight, bias [N]; all f32 or all f64.
core::Variable layer_norm(const core::Variable& x, const core::Variable& weight, const core::Variable& bias,
                          double eps = 1e-5);

}  // namespace medfusion::layers
