// Element-wise passes over rows of pixels, f32, with per-channel coefficients: what the convolutions do while
// they copy a strip of an image into the cache. Highway vectors, the instruction set chosen at run time.
#pragma once

#include <cstdint>

namespace medfusion::kernels::gemm {

// to[p][c] = from[p][c]
void copy_rows(const float* from, int64_t from_stride, int64_t pixels, int64_t channels, float* to,
               int64_t to_stride);

// to[p][c] = max(scale[c] from[p][c] + shift[c], 0)
void affine_relu_rows(const float* from, int64_t from_stride, int64_t pixels, int64_t channels,
                      const float* scale, const float* shift, float* to, int64_t to_stride);

}  // namespace medfusion::kernels::gemm
