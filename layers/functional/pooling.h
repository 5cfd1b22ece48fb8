// Differentiable pooling of images [B, H, W, C]; see kernels/pooling/pooling.h. f32 or f64, on a device also
// bf16.
#pragma once

#include "core/autograd.h"

namespace medfusion::layers {

struct PoolOptions {
  int64_t kernel = 2;   // 1 to 16
  int64_t stride = 2;   // at least 1
  int64_t padding = 0;  // at most kernel / 2; never wins a maximum, never counts in a mean
};

// -> [B, (H + 2 padding - kernel) / stride + 1, likewise W, C]. The gradient of a maximum goes to the first
// one.
core::Variable max_pool(const core::Variable& x, const PoolOptions& options);
core::Variable average_pool(const core::Variable& x, const PoolOptions& options);

// -> [B, C], of bf16 in f32; at least one pixel.
core::Variable global_max_pool(const core::Variable& x);
core::Variable global_average_pool(const core::Variable& x);

}  // namespace medfusion::layers
