// Differentiable convolution; see kernels/convolution/convolution.h for the formula.
#pragma once

#include "core/autograd.h"

namespace medfusion::layers {

// x [batch, height, width, in], weight [out, in, kernel height, kernel width], bias [out] or undefined. The
// same stride and zero padding (pixels) for both directions. f32 or f64, or on a device x in bf16 with
// weight and bias, and their gradients, in f32: the weight is rounded to bf16 for it. x may be a channel
// slice. With tf32 a device may round f32 operands to 10 bits of mantissa, in both passes.
core::Variable convolution(const core::Variable& x, const core::Variable& weight,
                           const core::Variable& bias = {}, int64_t stride = 1, int64_t padding = 0,
                           bool tf32 = false);

}  // namespace medfusion::layers
