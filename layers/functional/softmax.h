// Differentiable softmax; see kernels/softmax/softmax.h.
#pragma once

#include "core/autograd.h"

namespace medfusion::layers {

// Over the last dimension of x [..., N], f32 or f64. A row of -inf alone gives zeros, and zero gradients.
core::Variable softmax(const core::Variable& x);

}  // namespace medfusion::layers
