// Layer normalization over the last dimension (Ba, Kiros and Hinton 2016).
#pragma once

#include <array>

#include "core/view.h"

namespace medfusion::kernels {

// y = (x - mean) inv_std weight + bias with the mean and the biased variance of each row, inv_std = 1 /
// sqrt(variance
// + eps). x, y [..., N], f32 or f64, channel slices; weight, bias [N] and mean, inv_std [rows] contiguous. y
// may be x. Deviations are taken from the mean, so a large mean costs no digits.
struct LayerNormForward {
  static constexpr const char* kOperation = "layer_norm";
  static constexpr const char* kDirection = "forward";
  core::View x, weight, bias;
  core::View y;              // overwritten
  core::View mean, inv_std;  // overwritten: what backward needs
  double eps = 1e-5;
  auto tensors() const { return std::array{&x, &y}; }
};

// With h = (x - mean) inv_std and k = grad_y weight, both of one row:
//   grad_x = inv_std (k - mean(k) - h mean(k h)), grad_weight = sum over rows of grad_y h, grad_bias = sum of
//   grad_y.
// grad_x may be grad_y. Where one of the three gradients is left undefined it is not computed.
struct LayerNormBackward {
  static constexpr const char* kOperation = "layer_norm";
  static constexpr const char* kDirection = "backward";
  core::View x, weight;
  core::View mean, inv_std;  // of forward
  core::View grad_y;
  core::View grad_x, grad_weight, grad_bias;  // overwritten
  auto tensors() const { return std::array{&x, &grad_y, &grad_x}; }
};

}  // namespace medfusion::kernels
