// Batch normalization over the last dimension (Ioffe and Szegedy 2015), with ReLU fused on request. f32 or
// f64; devices also take x, y and their gradients in bf16, all else, and every sum, being f32 or wider.
#pragma once

#include <array>

#include "core/view.h"

namespace medfusion::kernels {

// mean and biased variance of every channel of x [..., C]; mean, variance [C] contiguous. Every value is read
// once; sums of squares are taken about a mean of their own chunk, so a large mean costs no digits. No rows
// give NaN.
struct BatchNormStatistics {
  static constexpr const char* kOperation = "batch_norm";
  static constexpr const char* kDirection = "statistics";
  core::View x;
  core::View mean, variance;  // overwritten
  auto tensors() const { return std::array{&x}; }
};

// y = (x - mean) inv_std weight + bias, then max(y, 0) where relu; inv_std = 1 / sqrt(variance + eps).
// Training: mean and variance are those of the batch, and the running ones move towards them in place by
// `momentum`: running += momentum (batch - running), with the unbiased variance (over n - 1, n for a single
// row). Otherwise they are the running ones, which stay as they are. x, y [..., C], any channel slice;
// everything else [C] contiguous. y may be x.
struct BatchNormForward {
  static constexpr const char* kOperation = "batch_norm";
  static constexpr const char* kDirection = "forward";
  core::View x, weight, bias;
  core::View running_mean, running_var;  // read, and in training updated
  core::View y;                          // overwritten
  core::View mean, inv_std;              // overwritten: what backward needs
  bool training = false;
  bool relu = false;
  double momentum = 0.1;
  double eps = 1e-5;
  auto tensors() const { return std::array{&x, &y}; }
};

// With g = grad_y, zeroed where relu cut y off, h = (x - mean) inv_std and n rows:
//   grad_bias = sum g, grad_weight = sum g h,
//   grad_x = weight inv_std (g - grad_bias / n - h grad_weight / n) in training, weight inv_std g otherwise.
// grad_x may be grad_y. Where one of the three gradients is left undefined it is not computed.
struct BatchNormBackward {
  static constexpr const char* kOperation = "batch_norm";
  static constexpr const char* kDirection = "backward";
  core::View x, weight, bias;
  core::View mean, inv_std;  // of forward
  core::View grad_y;
  core::View grad_x, grad_weight, grad_bias;  // overwritten
  bool training = false;
  bool relu = false;
  auto tensors() const { return std::array{&x, &grad_y, &grad_x}; }
};

}  // namespace medfusion::kernels
