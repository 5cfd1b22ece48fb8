// Two-dimensional convolution of each channel on its own (Howard et al. 2017, "MobileNets").
#pragma once

#include <array>

#include "core/view.h"
#include "kernels/takes.h"

namespace medfusion::kernels {

// y[b, i, j, c] = bias[c] + sum over u, v of weight[c, 0, u, v] x[b, i stride + u - padding, j stride + v -
// padding, c], x read as 0 outside the image. x [batch, height, width, channels], weight [channels, 1, kernel
// height, kernel width] contiguous, bias [channels] contiguous or undefined, y [batch, rows, columns,
// channels]. `padding` is what comes before the image, in pixels, for both directions; what comes after it
// follows from the size of y, which may be any. One dtype, f32 or f64. x and y may be channel slices of
// larger buffers.
struct DepthwiseConvolutionForward {
  static constexpr const char* kOperation = "depthwise_convolution";
  static constexpr const char* kDirection = "forward";
  core::View x;
  core::View weight;
  core::View bias = {};
  core::View y;  // overwritten
  int64_t stride = 1;
  int64_t padding = 0;
  auto tensors() const { return std::array{&x, &y}; }
};

// Gradients of dot(grad_y, y). Those left undefined are not computed; the others are overwritten. grad_x
// overlaps no other argument.
struct DepthwiseConvolutionBackward {
  static constexpr const char* kOperation = "depthwise_convolution";
  static constexpr const char* kDirection = "backward";
  core::View x;       // read for grad_weight only
  core::View weight;  // read for grad_x only; its shape always counts
  core::View grad_y;
  core::View grad_x = {};
  core::View grad_weight = {};
  core::View grad_bias = {};
  int64_t stride = 1;
  int64_t padding = 0;
  auto tensors() const { return std::array{&x, &grad_y, &grad_x}; }
};

}  // namespace medfusion::kernels
