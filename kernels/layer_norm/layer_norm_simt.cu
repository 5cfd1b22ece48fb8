// One warp per row. Column sums of the backward go by chunks of rows, combined in order.
#include "core/tensor.h"
#include "kernels/gpu/device.cuh"
#include "kernels/gpu/reduce.cuh"
#include "kernels/layer_norm/layer_norm.h"
#include "kernels/registry.h"

namespace medfusion::kernels {
namespace {

using namespace cuda;  // NOLINT(google-build-using-namespace): the vocabulary of device code

constexpr int kThreads = 128;
constexpr int kRowsPerBlock = kThreads / kWarp;
constexpr int64_t kChunk = 64;  // rows of one partial sum of the backward

// The sum over the row of term(i), i = lane, lane + 32, ...; all lanes get it.
template <class Term>
__device__ __forceinline__ float row_sum(int n, const Term& term) {
  float sum = 0.0F;
  for (int i = static_cast<int>(threadIdx.x) % kWarp; i < n; i += kWarp) sum += term(i);
  return warp_sum(sum);
}

// N elements per access: 4 where rows are aligned to 16 bytes, otherwise 1.
template <int N>
__global__ void __launch_bounds__(kThreads)
    layer_norm_forward(Global<const float> x, Global<const float> weight, Global<const float> bias,
                       Global<float> y, Global<float> mean_out, Global<float> inv_std_out, int64_t rows,
                       int n, int64_t x_stride, int64_t y_stride, float eps) {
  const int64_t row = int64_t{blockIdx.x} * kRowsPerBlock + threadIdx.x / kWarp;
  if (row >= rows) return;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  x += row * x_stride;
  y += row * y_stride;
  float sum = 0.0F;
  for (int i = lane * N; i < n; i += kWarp * N) {
    const auto v = load<N>(x, i);
#pragma unroll
    for (int k = 0; k < N; ++k) sum += v[k];
  }
  const float mean = warp_sum(sum) / static_cast<float>(n);
  float squares = 0.0F;
  for (int i = lane * N; i < n; i += kWarp * N) {
    const auto v = load<N>(x, i);
#pragma unroll
    for (int k = 0; k < N; ++k) squares += (v[k] - mean) * (v[k] - mean);
  }
  const float inv_std = 1.0F / sqrtf(warp_sum(squares) / static_cast<float>(n) + eps);
  for (int i = lane * N; i < n; i += kWarp * N) {
    auto v = load<N>(x, i);
    const auto w = load<N>(weight, i);
    const auto b = load<N>(bias, i);
#pragma unroll
    for (int k = 0; k < N; ++k) v[k] = (v[k] - mean) * inv_std * w[k] + b[k];
    store<N>(y, i, v);
  }
  if (lane == 0) {
    mean_out[row] = mean;
    inv_std_out[row] = inv_std;
  }
}

__global__ void __launch_bounds__(kThreads)
    layer_norm_backward_x(Global<const float> x, Global<const float> weight, Global<const float> mean,
                          Global<const float> inv_std, Global<const float> grad_y, Global<float> grad_x,
                          int64_t rows, int n, int64_t x_stride, int64_t grad_y_stride,
                          int64_t grad_x_stride) {
  const int64_t row = int64_t{blockIdx.x} * kRowsPerBlock + threadIdx.x / kWarp;
  if (row >= rows) return;
  x += row * x_stride;
  grad_y += row * grad_y_stride;
  grad_x += row * grad_x_stride;
  const float m = mean[row], s = inv_std[row];
  const float inv_n = 1.0F / static_cast<float>(n);
  const float mean_k = row_sum(n, [&](int i) { return grad_y[i] * weight[i]; }) * inv_n;
  const float mean_kh = row_sum(n, [&](int i) { return grad_y[i] * weight[i] * (x[i] - m) * s; }) * inv_n;
  for (int i = static_cast<int>(threadIdx.x) % kWarp; i < n; i += kWarp) {
    grad_x[i] = s * (grad_y[i] * weight[i] - mean_k - (x[i] - m) * s * mean_kh);
  }
}

// partial[chunk][0] = sum of grad_y h, partial[chunk][1] = sum of grad_y, over the rows of a chunk; one
// thread per column.
__global__ void __launch_bounds__(kThreads)
    layer_norm_backward_partial(Global<const float> x, Global<const float> mean, Global<const float> inv_std,
                                Global<const float> grad_y, Global<float> partial, int64_t rows, int n,
                                int64_t x_stride, int64_t grad_y_stride) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= n) return;
  const int64_t first = int64_t{blockIdx.y} * kChunk;
  const int64_t last = first + kChunk < rows ? first + kChunk : rows;
  float weight_sum = 0.0F, bias_sum = 0.0F;
  for (int64_t row = first; row < last; ++row) {
    const float g = grad_y[row * grad_y_stride + i];
    weight_sum += g * (x[row * x_stride + i] - mean[row]) * inv_std[row];
    bias_sum += g;
  }
  partial[int64_t{blockIdx.y} * 2 * n + i] = weight_sum;
  partial[(int64_t{blockIdx.y} * 2 + 1) * n + i] = bias_sum;
}

// total[i] = the sum over chunks, in order.
__global__ void __launch_bounds__(kThreads)
    layer_norm_backward_combine(Global<const float> partial, Global<float> grad_weight,
                                Global<float> grad_bias, int64_t chunks, int n) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= n) return;
  float weight_sum = 0.0F, bias_sum = 0.0F;
  for (int64_t chunk = 0; chunk < chunks; ++chunk) {
    weight_sum += partial[chunk * 2 * n + i];
    bias_sum += partial[(chunk * 2 + 1) * n + i];
  }
  if (grad_weight != nullptr) grad_weight[i] = weight_sum;
  if (grad_bias != nullptr) grad_bias[i] = bias_sum;
}

void run_forward(const LayerNormForward& a) {
  const int64_t rows = a.x.rows();
  const auto n = static_cast<int>(a.x.size(-1));
  const bool wide = n % 4 == 0 && aligned_rows<16>(a.x) && aligned_rows<16>(a.y) &&
                    aligned_rows<16>(a.weight) && aligned_rows<16>(a.bias);
  launch({"layer_norm_forward", a.x.device, grid_of(ceil_div(rows, kRowsPerBlock)), dim3(kThreads)},
         wide ? layer_norm_forward<4> : layer_norm_forward<1>, a.x.as<float>(), a.weight.as<float>(),
         a.bias.as<float>(), a.y.as<float>(), a.mean.as<float>(), a.inv_std.as<float>(), rows, n,
         a.x.row_stride(), a.y.row_stride(), static_cast<float>(a.eps));
}

void run_backward(const LayerNormBackward& a) {
  const int64_t rows = a.x.rows();
  const auto n = static_cast<int>(a.x.size(-1));
  if (a.grad_weight.defined() || a.grad_bias.defined()) {
    const int64_t chunks = ceil_div(rows, kChunk);
    const core::Tensor partial = core::Tensor::empty({chunks * 2 * n}, core::DType::f32, a.x.device);
    const int64_t columns = ceil_div(n, kThreads);
    launch({"layer_norm_backward_partial", a.x.device, grid_of(columns, chunks), dim3(kThreads)},
           layer_norm_backward_partial, a.x.as<float>(), a.mean.as<float>(), a.inv_std.as<float>(),
           a.grad_y.as<float>(), partial.view().as<float>(), rows, n, a.x.row_stride(),
           a.grad_y.row_stride());
    launch({"layer_norm_backward_combine", a.x.device, grid_of(columns), dim3(kThreads)},
           layer_norm_backward_combine, partial.view().as<float>(),
           a.grad_weight.defined() ? a.grad_weight.as<float>() : nullptr,
           a.grad_bias.defined() ? a.grad_bias.as<float>() : nullptr, chunks, n);
  }
  if (!a.grad_x.defined()) return;
  // Last: grad_x may be grad_y.
  launch({"layer_norm_backward_x", a.x.device, grid_of(ceil_div(rows, kRowsPerBlock)), dim3(kThreads)},
         layer_norm_backward_x, a.x.as<float>(), a.weight.as<float>(), a.mean.as<float>(),
         a.inv_std.as<float>(), a.grad_y.as<float>(), a.grad_x.as<float>(), rows, n, a.x.row_stride(),
         a.grad_y.row_stride(), a.grad_x.row_stride());
}

const Register<LayerNormForward> forward("simt", kDevice, 10,
                                         {takes::f32, takes::uniform_rows, takes::short_rows}, run_forward);
const Register<LayerNormBackward> backward("simt", kDevice, 10,
                                           {takes::f32, takes::uniform_rows, takes::short_rows},
                                           run_backward);

}  // namespace
}  // namespace medfusion::kernels
