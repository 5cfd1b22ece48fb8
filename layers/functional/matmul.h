// Differentiable matrix products; see kernels/matmul/matmul.h.
#pragma once

#include "core/autograd.h"

namespace medfusion::layers {

// a [.., m, k] times b [.., k, n], the leading dimensions equal: [.., m, n]. f32 or f64.
core::Variable matmul(const core::Variable& a, const core::Variable& b);

// x [.., in] weight^T + bias: [.., out]. weight [out, in], bias [out] or undefined. f32 or f64.
core::Variable linear(const core::Variable& x, const core::Variable& weight, const core::Variable& bias = {});

}  // namespace medfusion::layers
