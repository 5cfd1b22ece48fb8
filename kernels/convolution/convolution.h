// Two-dimensional convolution (cross-correlation, as in every deep-learning library) of NHWC images.
#pragma once

#include <array>

#include "core/view.h"
#include "kernels/takes.h"

namespace medfusion::kernels {

// Sizes in pixels; the same stride and zero padding for both directions.
inline int64_t convolution_size(int64_t size, int64_t kernel, int64_t stride, int64_t padding) {
  return (size + 2 * padding - kernel) / stride + 1;
}

// y[b, i, j, n] = bias[n] + sum over c, u, v of weight[n, c, u, v] x[b, i stride + u - padding, j stride + v
// - padding, c], x read as 0 outside the image. x [batch, height, width, in], weight [out, in, kernel height,
// kernel width] contiguous, bias [out] contiguous or undefined, y [batch, convolution_size(height),
// convolution_size(width), out]. One dtype (f32, f64); devices also take x, weight and y in bf16,
// with bias, and sums, in f32. x and y may be channel slices of larger buffers
// (channels adjacent in memory), also of the same one where they do not overlap.
// uniform_products(): the images on the other side of the product from x have pixels at one stride.
struct ConvolutionForward {
  static constexpr const char* kOperation = "convolution";
  static constexpr const char* kDirection = "forward";
  core::View x;
  core::View weight;
  core::View bias = {};
  core::View y;  // overwritten
  int64_t stride = 1;
  int64_t padding = 0;
  bool tf32 = false;  // a device may round f32 operands to 10 bits of mantissa (TF32)
  auto tensors() const { return std::array{&x, &y}; }
  bool uniform_products() const { return takes::uniform_pixels.holds(std::array{&y}); }
};

// Gradients of dot(grad_y, y). Those left undefined are not computed; the others are overwritten, grad_x is
// added to with accumulate_x. Layouts as in forward; grad_x overlaps no other argument. Where x, weight,
// grad_y and grad_x are bf16, grad_weight and grad_bias are f32 (cuDNN rounds the former to bf16 on the way).
struct ConvolutionBackward {
  static constexpr const char* kOperation = "convolution";
  static constexpr const char* kDirection = "backward";
  core::View x;       // read for grad_weight only
  core::View weight;  // read for grad_x only; its shape always counts
  core::View grad_y;
  core::View grad_x = {};
  core::View grad_weight = {};
  core::View grad_bias = {};
  int64_t stride = 1;
  int64_t padding = 0;
  bool accumulate_x = false;
  bool tf32 = false;
  auto tensors() const { return std::array{&x, &grad_y, &grad_x}; }
  bool uniform_products() const { return takes::uniform_pixels.holds(std::array{&grad_y, &grad_x}); }
};

}  // namespace medfusion::kernels
