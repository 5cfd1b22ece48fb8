// f32 or bf16 images. Two stages for every sum over rows: chunks of rows by blocks, then the chunks of a
// channel by one warp, in double. Statistics are merged about the means of their own rows (Chan, Golub and
// LeVeque 1983).
#include "kernels/batch_norm/batch_norm_simt.h"

#include <cmath>

#include "core/tensor.h"
#include "kernels/gpu/columns.cuh"
#include "kernels/registry.h"

namespace medfusion::kernels {
namespace {

using namespace cuda;  // NOLINT(google-build-using-namespace): the vocabulary of device code

constexpr int kThreads = 128;        // of a finishing block
constexpr int64_t kSumBlocks = 264;  // about: two for every multiprocessor of a large GPU
constexpr int64_t kMapBlocks = 1056;
constexpr int kPairRows = kColumnRows / 2;  // in flight where two matrices are read

// Forward and backward share it, so that both see the same sign.
__device__ __forceinline__ float affine(float x, float mean, float scale, float bias) {
  return fmaf(x - mean, scale, bias);
}

// The parameters of N channels.
template <int N>
struct Channels {
  Vector<float, N> mean, scale, bias;
};
struct Parameters {
  Global<const float> mean, inv_std, weight, bias;
  template <int N>
  __device__ __forceinline__ Channels<N> of(int channel) const {
    Channels<N> c{load_floats<N>(mean, channel), load_floats<N>(inv_std, channel),
                  load_floats<N>(bias, channel)};
    const auto w = load_floats<N>(weight, channel);
#pragma unroll
    for (int k = 0; k < N; ++k) c.scale[k] *= w[k];
    return c;
  }
};

// Mean and sum of squares about it, of `count` values.
struct Moments {
  float count, mean, squares;
  __device__ __forceinline__ void merge(float n, float m, float s) {
    if (n == 0.0F) return;
    const float total = count + n;
    const float distance = m - mean;
    mean += distance * (n / total);
    squares += s + distance * distance * (count * n / total);
    count = total;
  }
};

// partial[chunk] = the means, then the squares about them, of every channel.
template <int N, class T>
__global__ void __launch_bounds__(kColumnThreads)
    batch_norm_statistics(Global<const T> x, int64_t stride, Global<float> partial, Columns columns) {
  SharedMemory memory;
  Shared<float> counts = memory.take<float>(kColumnThreads);
  Shared<float> means = memory.take<float>(kColumnThreads * N);
  Shared<float> squares = memory.take<float>(kColumnThreads * N);
  const ColumnPart part(columns, N);
  Moments moments[N] = {};
  for_column_rows<kColumnRows>(part, [&](int count, int64_t row) {
    Pack<T, N> v[kColumnRows];
    load_rows(v, x, stride, part, count, row);
    const auto n = static_cast<float>(count);
#pragma unroll
    for (int c = 0; c < N; ++c) {
      float sum = 0.0F, square = 0.0F;
#pragma unroll
      for (int k = 0; k < kColumnRows; ++k) sum += v[k][c];
      const float mean = sum / n;
#pragma unroll
      for (int k = 0; k < kColumnRows; ++k) {
        const float distance = k < count ? v[k][c] - mean : 0.0F;
        square += distance * distance;
      }
      moments[c].merge(n, mean, square);
    }
  });
  counts[threadIdx.x] = moments[0].count;
#pragma unroll
  for (int c = 0; c < N; ++c) {
    means[c * kColumnThreads + threadIdx.x] = moments[c].mean;
    squares[c * kColumnThreads + threadIdx.x] = moments[c].squares;
  }
  __syncthreads();
  if (part.group != 0 || !part.active) return;
  const int64_t to = int64_t{blockIdx.y} * 2 * columns.channels + part.channel;
#pragma unroll
  for (int c = 0; c < N; ++c) {
    for (int g = 1; g < part.groups; ++g) {
      const int from = g * columns.lanes + part.lane;
      moments[c].merge(counts[from], means[c * kColumnThreads + from], squares[c * kColumnThreads + from]);
    }
    partial[to + c] = moments[c].mean;
    partial[to + columns.channels + c] = moments[c].squares;
  }
}

struct StatisticsTarget {
  Global<float> mean, variance, inv_std, running_mean, running_var;
  double momentum, eps;
};

__device__ __forceinline__ void move_towards(const Global<float>& running, int channel, double value,
                                             double momentum) {
  const auto before = static_cast<double>(running[channel]);
  running[channel] = static_cast<float>(before + momentum * (value - before));
}

// A warp per channel.
__global__ void __launch_bounds__(kThreads)
    batch_norm_finish_statistics(Global<const float> partial, Columns columns, int64_t chunks,
                                 StatisticsTarget to) {
  const int channel = static_cast<int>(blockIdx.x * (kThreads / kWarp) + threadIdx.x / kWarp);
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  if (channel >= columns.channels) return;
  const auto rows = static_cast<double>(columns.rows);
  const int64_t width = columns.channels;
  const auto rows_in = [&](int64_t chunk) {
    const int64_t left = columns.rows - chunk * columns.chunk;
    return static_cast<double>(left < columns.chunk ? left : columns.chunk);
  };
  double sum = 0.0;
  for (int64_t i = lane; i < chunks; i += kWarp) {
    sum += rows_in(i) * static_cast<double>(partial[i * 2 * width + channel]);
  }
  const double mean = warp_sum(sum) / rows;
  double squares = 0.0;
  for (int64_t i = lane; i < chunks; i += kWarp) {
    const double distance = static_cast<double>(partial[i * 2 * width + channel]) - mean;
    squares += static_cast<double>(partial[(i * 2 + 1) * width + channel]) + rows_in(i) * distance * distance;
  }
  squares = warp_sum(squares);
  if (lane != 0) return;
  const double variance = squares / rows;
  if (to.mean != nullptr) to.mean[channel] = static_cast<float>(mean);
  if (to.variance != nullptr) to.variance[channel] = static_cast<float>(variance);
  if (to.inv_std != nullptr) to.inv_std[channel] = static_cast<float>(1.0 / sqrt(variance + to.eps));
  if (to.running_mean != nullptr) {
    move_towards(to.running_mean, channel, mean, to.momentum);
    move_towards(to.running_var, channel, rows > 1.0 ? squares / (rows - 1.0) : variance, to.momentum);
  }
}

__global__ void __launch_bounds__(kThreads)
    batch_norm_from_running(Global<const float> running_mean, Global<const float> running_var,
                            Global<float> mean, Global<float> inv_std, int channels, double eps) {
  const int c = static_cast<int>(blockIdx.x * kThreads + threadIdx.x);
  if (c >= channels) return;
  if (mean != nullptr) mean[c] = running_mean[c];
  inv_std[c] = static_cast<float>(1.0 / sqrt(static_cast<double>(running_var[c]) + eps));
}

template <int N, class T>
__global__ void __launch_bounds__(kColumnThreads)
    batch_norm_normalize(Global<const T> x, int64_t x_stride, Parameters parameters, Global<T> y,
                         int64_t y_stride, bool relu, Columns columns) {
  const ColumnPart part(columns, N);
  if (!part.active) return;
  const Channels<N> p = parameters.of<N>(part.channel);
  for_column_rows<kColumnRows>(part, [&](int count, int64_t row) {
    Pack<T, N> v[kColumnRows];
    load_rows(v, x, x_stride, part, count, row);
#pragma unroll
    for (int k = 0; k < kColumnRows; ++k) {
      Vector<float, N> result;
#pragma unroll
      for (int c = 0; c < N; ++c) {
        const float value = affine(v[k][c], p.mean[c], p.scale[c], p.bias[c]);
        result[c] = relu && value < 0.0F ? 0.0F : value;
      }
      if (k < count) store_floats<N>(y, (row + int64_t{k} * part.groups) * y_stride + part.channel, result);
    }
  });
}

template <class T>
struct Gradients {
  Global<const T> x, grad_y;
  int64_t x_stride, grad_y_stride;
};

// grad_y, zeroed where relu cut.
__device__ __forceinline__ float upstream(float g, float x, float mean, float scale, float bias, bool relu) {
  return relu && affine(x, mean, scale, bias) <= 0.0F ? 0.0F : g;
}

// partial[chunk] = the sums of g, then of g (x - mean), of every channel.
template <int N, class T>
__global__ void __launch_bounds__(kColumnThreads)
    batch_norm_backward_sums(Gradients<T> in, Parameters parameters, bool relu, Global<float> partial,
                             Columns columns) {
  SharedMemory memory;
  Shared<float> scratch = memory.take<float>(kColumnThreads * 2 * N);
  const ColumnPart part(columns, N);
  float sums[2 * N] = {};
  Channels<N> p{};
  if (part.active) p = parameters.of<N>(part.channel);
  for_column_rows<kPairRows>(part, [&](int count, int64_t row) {
    Pack<T, N> x[kPairRows], g[kPairRows];
    load_rows(x, in.x, in.x_stride, part, count, row);
    load_rows(g, in.grad_y, in.grad_y_stride, part, count, row);
#pragma unroll
    for (int k = 0; k < kPairRows; ++k) {
      if (k >= count) break;
#pragma unroll
      for (int c = 0; c < N; ++c) {
        const float up = upstream(g[k][c], x[k][c], p.mean[c], p.scale[c], p.bias[c], relu);
        sums[c] += up;
        sums[N + c] += up * (x[k][c] - p.mean[c]);
      }
    }
  });
#pragma unroll
  for (int c = 0; c < 2 * N; ++c) scratch[c * kColumnThreads + threadIdx.x] = sums[c];
  __syncthreads();
  if (part.group != 0 || !part.active) return;
  const int64_t to = int64_t{blockIdx.y} * 2 * columns.channels + part.channel;
#pragma unroll
  for (int c = 0; c < 2 * N; ++c) {
    for (int g = 1; g < part.groups; ++g) {
      sums[c] += scratch[c * kColumnThreads + g * columns.lanes + part.lane];
    }
    partial[to + (c < N ? c : columns.channels + c - N)] = sums[c];
  }
}

// A warp per channel; offset and slope as batch_norm_backward_x wants them.
__global__ void __launch_bounds__(kThreads)
    batch_norm_finish_backward(Global<const float> partial, Global<const float> inv_std,
                               Global<float> grad_weight, Global<float> grad_bias, Global<float> offset,
                               Global<float> slope, int channels, int64_t chunks, int64_t rows) {
  const int channel = static_cast<int>(blockIdx.x * (kThreads / kWarp) + threadIdx.x / kWarp);
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  if (channel >= channels) return;
  double sum = 0.0, sum_x = 0.0;
  for (int64_t i = lane; i < chunks; i += kWarp) {
    sum += static_cast<double>(partial[i * 2 * channels + channel]);
    sum_x += static_cast<double>(partial[(i * 2 + 1) * channels + channel]);
  }
  sum = warp_sum(sum);
  sum_x = warp_sum(sum_x);
  if (lane != 0) return;
  const auto s = static_cast<double>(inv_std[channel]);
  if (grad_bias != nullptr) grad_bias[channel] = static_cast<float>(sum);
  if (grad_weight != nullptr) grad_weight[channel] = static_cast<float>(sum_x * s);
  if (offset != nullptr) {
    const auto n = static_cast<double>(rows > 0 ? rows : 1);
    offset[channel] = static_cast<float>(sum / n);
    slope[channel] = static_cast<float>(sum_x * s * s / n);
  }
}

// grad_x = scale (g - offset - slope (x - mean)); offset and slope are null where they are 0.
template <int N, class T>
__global__ void __launch_bounds__(kColumnThreads)
    batch_norm_backward_x(Gradients<T> in, Parameters parameters, bool relu, Global<const float> offset,
                          Global<const float> slope, Global<T> grad_x, int64_t grad_x_stride,
                          Columns columns) {
  const ColumnPart part(columns, N);
  if (!part.active) return;
  const Channels<N> p = parameters.of<N>(part.channel);
  Vector<float, N> shift{}, tilt{};
  if (offset != nullptr) {
    shift = load_floats<N>(offset, part.channel);
    tilt = load_floats<N>(slope, part.channel);
  }
  for_column_rows<kPairRows>(part, [&](int count, int64_t row) {
    Pack<T, N> x[kPairRows], g[kPairRows];
    load_rows(x, in.x, in.x_stride, part, count, row);
    load_rows(g, in.grad_y, in.grad_y_stride, part, count, row);
#pragma unroll
    for (int k = 0; k < kPairRows; ++k) {
      Vector<float, N> result;
#pragma unroll
      for (int c = 0; c < N; ++c) {
        const float up = upstream(g[k][c], x[k][c], p.mean[c], p.scale[c], p.bias[c], relu);
        result[c] = p.scale[c] * (up - shift[c] - tilt[c] * (x[k][c] - p.mean[c]));
      }
      if (k < count) {
        store_floats<N>(grad_x, (row + int64_t{k} * part.groups) * grad_x_stride + part.channel, result);
      }
    }
  });
}

float* data_of(const core::View& v) { return v.defined() ? v.as<float>() : nullptr; }

// Whether all can be moved, and parameters read, `count` channels at a time.
bool aligned(std::initializer_list<const core::View*> views, int64_t count) {
  return std::all_of(views.begin(), views.end(),
                     [=](const core::View* v) { return v->size(-1) % count == 0 && aligned_rows<16>(*v); });
}

dim3 warps_grid(int64_t channels) { return grid_of(ceil_div(channels, kThreads / kWarp)); }

Parameters parameters_of(const core::View& mean, const core::View& inv_std, const core::View& weight,
                         const core::View& bias) {
  return {mean.as<float>(), inv_std.as<float>(), weight.as<float>(), bias.as<float>()};
}

}  // namespace

namespace batch_norm {
inline namespace MEDFUSION_GPU {

void statistics(const core::View& x, const StatisticsOutputs& to) {
  const int64_t channels = x.size(-1);
  if (channels == 0) return;
  const auto run = [&]<class T>(T /*element*/) {
    const bool wide = aligned({&x}, kWide<T>);
    const int n = wide ? kWide<T> : 1;
    const Columns columns(x.rows(), channels, n, kSumBlocks);
    const core::Tensor partial =
        core::Tensor::empty({columns.chunks() * 2 * channels}, core::DType::f32, x.device);
    launch({"batch_norm_statistics", x.device, columns.grid, dim3(kColumnThreads),
            kColumnThreads * (2 * n + 1) * 4},
           wide ? batch_norm_statistics<kWide<T>, T> : batch_norm_statistics<1, T>, x.as<T>(), x.row_stride(),
           partial.view().as<float>(), columns);
    launch({"batch_norm_finish_statistics", x.device, warps_grid(channels), dim3(kThreads)},
           batch_norm_finish_statistics, partial.view().as<float>(), columns, columns.chunks(),
           StatisticsTarget{data_of(to.mean), data_of(to.variance), data_of(to.inv_std),
                            data_of(to.running_mean), data_of(to.running_var), to.momentum, to.eps});
  };
  visit_floats(x.dtype, run);
}

void normalize(const Normalization& a) {
  if (a.x.numel() == 0) return;
  visit_floats(a.x.dtype, [&]<class T>(T /*element*/) {
    const bool wide = aligned({&a.x, &a.y, &a.mean, &a.inv_std, &a.weight, &a.bias}, kWide<T>);
    const Columns columns(a.x.rows(), a.x.size(-1), wide ? kWide<T> : 1, kMapBlocks);
    launch({"batch_norm_normalize", a.x.device, columns.grid, dim3(kColumnThreads)},
           wide ? batch_norm_normalize<kWide<T>, T> : batch_norm_normalize<1, T>, a.x.as<T>(),
           a.x.row_stride(), parameters_of(a.mean, a.inv_std, a.weight, a.bias), a.y.as<T>(),
           a.y.row_stride(), a.relu, columns);
  });
}

void from_running(const core::View& running_mean, const core::View& running_var, double eps,
                  const core::View& mean, const core::View& inv_std) {
  const int64_t channels = inv_std.numel();
  if (channels == 0) return;
  launch({"batch_norm_from_running", inv_std.device, grid_of(ceil_div(channels, kThreads)), dim3(kThreads)},
         batch_norm_from_running, data_of(running_mean), running_var.as<float>(), data_of(mean),
         inv_std.as<float>(), static_cast<int>(channels), eps);
}

}  // namespace MEDFUSION_GPU
}  // namespace batch_norm

namespace {

void run_statistics(const BatchNormStatistics& a) {
  batch_norm::statistics(a.x, {.mean = a.mean, .variance = a.variance});
}

void run_forward(const BatchNormForward& a) {
  if (a.training) {
    batch_norm::statistics(a.x, {.mean = a.mean,
                                 .variance = {},
                                 .inv_std = a.inv_std,
                                 .running_mean = a.running_mean,
                                 .running_var = a.running_var,
                                 .momentum = a.momentum,
                                 .eps = a.eps});
  } else {
    batch_norm::from_running(a.running_mean, a.running_var, a.eps, a.mean, a.inv_std);
  }
  batch_norm::normalize({a.x, a.mean, a.inv_std, a.weight, a.bias, a.y, a.relu});
}

template <class T>
void backward(const BatchNormBackward& a) {
  const int64_t channels = a.x.size(-1);
  const int64_t rows = a.x.rows();
  const core::Device device = a.x.device;
  const bool wide = aligned({&a.x, &a.grad_y, &a.mean, &a.inv_std, &a.weight, &a.bias}, kWide<T>);
  const Gradients<T> in{a.x.as<T>(), a.grad_y.as<T>(), a.x.row_stride(), a.grad_y.row_stride()};
  const Parameters parameters = parameters_of(a.mean, a.inv_std, a.weight, a.bias);
  core::Tensor corrections;  // offset and slope
  if (a.training) corrections = core::Tensor::empty({2, channels}, core::DType::f32, device);
  float* const offset = a.training ? corrections.view().as<float>() : nullptr;
  float* const slope = a.training ? offset + channels : nullptr;
  if (a.training || a.grad_weight.defined() || a.grad_bias.defined()) {
    const int n = wide ? kWide<T> : 1;
    const Columns columns(rows, channels, n, kSumBlocks);
    const core::Tensor partial =
        core::Tensor::empty({columns.chunks() * 2 * channels}, core::DType::f32, device);
    launch(
        {"batch_norm_backward_sums", device, columns.grid, dim3(kColumnThreads), kColumnThreads * 2 * n * 4},
        wide ? batch_norm_backward_sums<kWide<T>, T> : batch_norm_backward_sums<1, T>, in, parameters, a.relu,
        partial.view().as<float>(), columns);
    launch({"batch_norm_finish_backward", device, warps_grid(channels), dim3(kThreads)},
           batch_norm_finish_backward, partial.view().as<float>(), a.inv_std.as<float>(),
           data_of(a.grad_weight), data_of(a.grad_bias), offset, slope, static_cast<int>(channels),
           columns.chunks(), rows);
  }
  if (!a.grad_x.defined() || rows == 0) return;
  const bool wide_x = wide && aligned({&a.grad_x}, kWide<T>);
  const Columns columns(rows, channels, wide_x ? kWide<T> : 1, kMapBlocks);
  launch({"batch_norm_backward_x", device, columns.grid, dim3(kColumnThreads)},
         wide_x ? batch_norm_backward_x<kWide<T>, T> : batch_norm_backward_x<1, T>, in, parameters, a.relu,
         offset, slope, a.grad_x.as<T>(), a.grad_x.row_stride(), columns);
}

void run_backward(const BatchNormBackward& a) {
  if (a.x.size(-1) == 0) return;
  visit_floats(a.x.dtype, [&]<class T>(T /*element*/) { backward<T>(a); });
}

const Register<BatchNormStatistics> statistics_variant(
    "simt", kDevice, 10, {takes::f32_or_bf16, takes::uniform_rows, takes::short_rows}, run_statistics);
const Register<BatchNormForward> forward("simt", kDevice, 10,
                                         {takes::f32_or_bf16, takes::uniform_rows, takes::short_rows},
                                         run_forward);
const Register<BatchNormBackward> backward_variant(
    "simt", kDevice, 10, {takes::f32_or_bf16, takes::uniform_rows, takes::short_rows}, run_backward);

}  // namespace
}  // namespace medfusion::kernels
