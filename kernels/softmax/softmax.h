// Softmax over the last dimension.
#pragma once

#include <array>

#include "core/view.h"

namespace medfusion::kernels {

// y[r, :] = exp(x[r, :] - max) / sum of the same. A row that is -inf throughout (all masked) gives zeros; a
// row with NaN or +inf gives NaN. x, y [..., N], f32 or f64, any strides in the reference, channel slices in
// f32. y may be x.
struct SoftmaxForward {
  static constexpr const char* kOperation = "softmax";
  static constexpr const char* kDirection = "forward";
  core::View x;
  core::View y;  // overwritten
  auto tensors() const { return std::array{&x, &y}; }
};

// grad_x = y (grad_y - sum over the row of y grad_y): zero where the row was masked throughout. grad_x may be
// grad_y.
struct SoftmaxBackward {
  static constexpr const char* kOperation = "softmax";
  static constexpr const char* kDirection = "backward";
  core::View y;  // of forward
  core::View grad_y;
  core::View grad_x;  // overwritten
  auto tensors() const { return std::array{&y, &grad_y, &grad_x}; }
};

}  // namespace medfusion::kernels
