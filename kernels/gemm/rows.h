// Element-wise passes over rows of pixels, f32, with per-channel coefficients: what the convolutions do while
// they copy a strip of an image into the cache. Highway vectors, the instruction set chosen at run time.
#pragma once

#include <cstdint>

namespace medfusion::kernels::gemm {

// to[p][c] = from[p][c]
void copy_rows(const float* from, int64_t from_stride, int64_t pixels, int64_t channels, float* to,
               int64_t to_stride);

// to[p][c] = max(scale[c] from[p][c] + shift[c], 0), NaN staying NaN
void affine_relu_rows(const float* from, int64_t from_stride, int64_t pixels, int64_t channels,
                      const float* scale, const float* shift, float* to, int64_t to_stride);

// to[p][c] = first[c] a[p][c] + second[c] b[p][c] + offset[c], a and b with strides a_stride and b_stride.
struct Combine {
  const float* a;
  int64_t a_stride;
  const float* b;
  int64_t b_stride;
  const float* first;
  const float* second;
  const float* offset;
};
void combine_rows(const Combine& source, int64_t pixels, int64_t channels, float* to, int64_t to_stride);

// mean[c] of x[p][c] over the pixels, and squares[c] = sum over p of (x[p][c] - mean[c])^2. pixels >= 1.
void column_moments(const float* x, int64_t x_stride, int64_t pixels, int64_t channels, float* mean,
                    float* squares);

// The backward of normalize + ReLU up to its two sums. With d[p][c] = grad[p][c] where active[p][c] > 0, else
// 0:
//   sum_d[c] += sum over p of d, sum_dx[c] += sum over p of d (x[p][c] scale[c] + shift[c])
// and to[p][c] = d, or to[p][c] += factor[c] d where `factor` is given. to may be grad.
struct MaskedGradient {
  const float* grad;
  int64_t grad_stride;
  const float* active;
  int64_t active_stride;
  const float* x;
  int64_t x_stride;
  const float* scale;
  const float* shift;
  const float* factor = nullptr;
  float* to;
  int64_t to_stride;
};
void masked_gradient_rows(const MaskedGradient& source, int64_t pixels, int64_t channels, double* sum_d,
                          double* sum_dx);

}  // namespace medfusion::kernels::gemm
