// The pieces of batch_norm_cpu.cpp, shared by its instruction sets.
#pragma once

#include <cstdint>

namespace medfusion::kernels::batch_norm {

struct Rows {
  const float* data;
  int64_t stride;  // in elements
  int64_t count;
  const float* row(int64_t r) const { return data + r * stride; }
};

// Per channel; scale = weight inv_std.
struct Channels {
  const float *mean, *scale, *bias;
};

struct BackwardRows {
  Rows x, grad_y;
  float* grad_x;
  int64_t stride_grad_x;
};

}  // namespace medfusion::kernels::batch_norm
