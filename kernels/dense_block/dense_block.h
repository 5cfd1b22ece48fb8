// A whole dense block (Huang et al., "Densely connected convolutional networks", CVPR 2017) on one buffer.
//
// buffer [B, H, W, C], C = c0 + L k: channels [0, c0) hold the block's input, layer l reads the prefix [0,
// c_l), c_l = c0 + l k, and writes channels [c_l, c_l + k):
//   a = max(norm1(prefix), 0),  z = conv1(a)  [m channels],  b = max(norm2(z), 0),  new = conv2(b)
// where conv1 is 1x1, conv2 3x3 with padding 1, and norm(x) = weight (x - mean) / sqrt(var + eps) + bias per
// channel. In training, mean and (biased) var are those of the batch and the running statistics are updated:
//   running = (1 - momentum) running + momentum batch, with the unbiased variance;
// otherwise mean and var are the running statistics.
//
// One dtype (f32, f64), or buffer, gradient and z in bf16 and all else in f32: weights of convolutions are
// then rounded to bf16 by the kernels, sums are f32, statistics are those of the stored values. A device may
// take only some shapes in bf16 (`mma`: channels in whole pieces of 16 bytes); for the others dispatch throws
// NoVariant. All views contiguous but for buffer and gradient, whose pixels may lie further apart.
#pragma once

#include <array>
#include <vector>

#include "core/view.h"

namespace medfusion::kernels {

struct DenseBlockLayer {
  core::View norm1_weight, norm1_bias;  // [c]
  core::View norm1_mean, norm1_var;     // [c], running
  core::View conv1;                     // [m, c, 1, 1]
  core::View norm2_weight, norm2_bias;  // [m]
  core::View norm2_mean, norm2_var;     // [m], running
  core::View conv2;                     // [k, m, 3, 3]
  core::View z;  // [B, H, W, m], written by forward; layers may share it where no backward follows
  core::View z_mean, z_inv_std;  // [m], written by forward in training
};

struct DenseBlockForward {
  static constexpr const char* kOperation = "dense_block";
  static constexpr const char* kDirection = "forward";
  core::View buffer;  // channels [c0, C) written
  core::View mean,
      inv_std;  // [C], of the batch, written in training but for the last k: mean and 1 / sqrt(var + eps)
  std::vector<DenseBlockLayer> layers;
  bool training = true;
  double eps = 1e-5;
  double momentum = 0.1;
  bool tf32 = false;  // a device may round f32 operands of convolutions to 10 bits of mantissa (TF32)
  auto tensors() const { return std::array{&buffer}; }
};

// All overwritten.
struct DenseBlockLayerGradient {
  core::View norm1_weight, norm1_bias, conv1, norm2_weight, norm2_bias, conv2;
};

// Gradients of dot(g, buffer).
struct DenseBlockBackward {
  static constexpr const char* kOperation = "dense_block";
  static constexpr const char* kDirection = "backward";
  core::View buffer, mean, inv_std;  // as forward left them
  std::vector<DenseBlockLayer> layers;
  core::View
      gradient;  // [B, H, W, C]: g; afterwards [0, c0) is the gradient of the input and the rest is of no use
  std::vector<DenseBlockLayerGradient> gradients;
  bool training = true;
  double eps = 1e-5;
  bool tf32 = false;
  auto tensors() const { return std::array{&buffer, &gradient}; }
};

}  // namespace medfusion::kernels
