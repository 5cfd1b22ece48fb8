// Differentiable batch normalization; see kernels/batch_norm/batch_norm.h.
#pragma once

#include "core/autograd.h"
#include "layers/shard_exchange.h"

namespace medfusion::layers {

// x [..., C]; weight, bias, running_mean, running_var [C], all f32 or all f64, or on a
// device x in bf16 and the rest in f32. In training the running
// statistics are updated in place, and more than one value per channel is wanted. With fuse_relu the result
// is relu(batch_norm(x)).
core::Variable batch_norm(const core::Variable& x, const core::Variable& weight, const core::Variable& bias,
                          const core::Tensor& running_mean, const core::Tensor& running_var, bool training,
                          double momentum = 0.1, double eps = 1e-5, bool fuse_relu = false);

// The same in training, where x is a shard of a batch and the statistics are those of the whole batch; f32 or
// f64. The gradients of weight and bias are those of the shard.
core::Variable batch_norm_of_shard(const core::Variable& x, const core::Variable& weight,
                                   const core::Variable& bias, const core::Tensor& running_mean,
                                   const core::Tensor& running_var, ShardExchange& shards,
                                   double momentum = 0.1, double eps = 1e-5, bool fuse_relu = false);

}  // namespace medfusion::layers
