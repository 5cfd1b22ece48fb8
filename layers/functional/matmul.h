// Differentiable matrix products; see kernels/matmul/matmul.h.
#pragma once

#include "core/autograd.h"

namespace medfusion::layers {

// a [.., m, k] times b [.., k, n], the leading dimensions equal: [.., m, n]. f32 or f64.
core::Variable matmul(const core::Variable& a, const core::Variable& b);

// x [.., in] weight^T + bias: [.., out]. weight [out, in], bias [out] or undefined. f32 or f64. With tf32 a
// device may round f32 factors to 10 bits of mantissa, in both passes.
core::Variable linear(const core::Variable& x, const core::Variable& weight, const core::Variable& bias = {},
                      bool tf32 = false);

// The same on the tensor cores of a device: x (f32 or bf16) and weight (f32) are rounded to bf16, products
// are summed in f32, and the result is f32. Backward rounds the upstream gradient to bf16; the gradients of
// weight and bias are f32, that of x has its dtype. bf16 copies of x and weight are kept for backward.
core::Variable linear_bf16(const core::Variable& x, const core::Variable& weight,
                           const core::Variable& bias = {});

// x as another floating dtype; its gradient comes back in its own.
core::Variable cast(const core::Variable& x, core::DType dtype);

}  // namespace medfusion::layers
