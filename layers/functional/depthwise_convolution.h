// Differentiable depthwise convolution; see kernels/depthwise_convolution/depthwise_convolution.h for the
// formula.
#pragma once

#include "core/autograd.h"

namespace medfusion::layers {

// Zero padding before and after an image, in pixels, for both directions.
struct Padding {
  int64_t before = 0, after = 0;
};

// What TensorFlow calls "same": ceil(size / stride) windows, the odd pixel of padding after the image.
Padding same_padding(int64_t size, int64_t kernel, int64_t stride);

// x [batch, height, width, channels], weight [channels, 1, kernel height, kernel width], bias [channels] or
// undefined; all f32 or all f64. x may be a channel slice. `rows` and `columns` may differ after the image
// only. Throws core::Error where the shapes do not fit.
core::Variable depthwise_convolution(const core::Variable& x, const core::Variable& weight,
                                     const core::Variable& bias, int64_t stride, const Padding& rows,
                                     const Padding& columns);

}  // namespace medfusion::layers
