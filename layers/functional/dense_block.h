// A dense block: every layer reads what all layers before it gave (Huang et al. 2017).
#pragma once

#include <vector>

#include "core/autograd.h"

namespace medfusion::layers {

// One layer: BN, ReLU, 1x1 convolution, BN, ReLU, 3x3 convolution with padding 1.
struct DenseLayer {
  core::Variable norm1_weight, norm1_bias;  // [c], c channels read
  core::Tensor norm1_mean, norm1_var;       // [c], running statistics: updated in training, read otherwise
  core::Variable conv1;                     // [m, c, 1, 1]
  core::Variable norm2_weight, norm2_bias;  // [m]
  core::Tensor norm2_mean, norm2_var;       // [m]
  core::Variable conv2;                     // [k, m, 3, 3]
};

// x [B, H, W, c0] -> [B, H, W, c0 + layers * k]: the input's channels followed by those of each layer. Batch
// norms use eps 1e-5 and momentum 0.1 (running variance unbiased). f32 runs on one buffer without
// concatenation. x may be bf16, parameters and statistics being f32: a device that has no kernels for that
// runs the block in f32 and rounds its result. With tf32 a device may round f32 operands of
// convolutions to 10 bits of mantissa, in both passes.
core::Variable dense_block(const core::Variable& x, const std::vector<DenseLayer>& layers, bool training,
                           bool tf32 = false);

// The same as the textbook has it, from concat, batch_norm, relu and convolution: the oracle of the above.
core::Variable dense_block_composed(const core::Variable& x, const std::vector<DenseLayer>& layers,
                                    bool training);

}  // namespace medfusion::layers
