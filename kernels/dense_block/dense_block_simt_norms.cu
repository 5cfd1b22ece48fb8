// Kernels that f32 and bf16 share: the numbers of batch norms per channel, and the corrections that wait for
// a channel's gradient.
#include "kernels/dense_block/dense_block_device.cuh"
#include "kernels/gpu/columns.cuh"
#include "kernels/gpu/library_call.cuh"
#include "kernels/gpu/reduce.cuh"

namespace medfusion::kernels::cuda::dense_block {
namespace {

constexpr int64_t kCorrectBlocks = 528;  // about: four for every multiprocessor of a large GPU
constexpr int kCorrectRows = 4;          // of a thread in flight

// Each of weight, bias, mean, inv_std or var, and of the four rows of `norm`: [channels]. `statistic` is
// inv_std, or the variance where `variance` says so.
__global__ void __launch_bounds__(kThreads)
    dense_block_norm(Global<const float> weight, Global<const float> bias, Global<const float> mean,
                     Global<const float> statistic, bool variance, double eps, int channels,
                     Global<float> norm) {
  const int c = static_cast<int>(blockIdx.x * kThreads + threadIdx.x);
  if (c >= channels) return;
  float inv_std = statistic[c];
  if (variance) inv_std = static_cast<float>(1.0 / sqrt(static_cast<double>(inv_std) + eps));
  const double scale = static_cast<double>(weight[c]) * static_cast<double>(inv_std);
  const auto m = static_cast<double>(mean[c]);
  norm[c] = static_cast<float>(scale);
  norm[channels + c] = static_cast<float>(static_cast<double>(bias[c]) - m * scale);
  norm[2 * channels + c] = inv_std;
  norm[3 * channels + c] = static_cast<float>(-m * static_cast<double>(inv_std));
}

__device__ __forceinline__ float blended(float running, double value, double momentum) {
  return static_cast<float>((1.0 - momentum) * static_cast<double>(running) + momentum * value);
}

// running = (1 - momentum) running + momentum batch, where `variance` is biased.
__global__ void __launch_bounds__(kThreads)
    dense_block_update_running(Global<const float> mean, Global<const float> variance,
                               Global<float> running_mean, Global<float> running_var, double momentum,
                               double unbiased, int channels) {
  const int c = static_cast<int>(blockIdx.x * kThreads + threadIdx.x);
  if (c >= channels) return;
  running_mean[c] = blended(running_mean[c], static_cast<double>(mean[c]), momentum);
  running_var[c] = blended(running_var[c], static_cast<double>(variance[c]) * unbiased, momentum);
}

// A warp per channel combines the moments of its tiles, [tiles][2][channels] (means, then sums of squares
// about them), about the mean of all (Chan, Golub and LeVeque 1983). A tile has tile_pixels pixels, the last
// one the rest.
__global__ void __launch_bounds__(kThreads)
    dense_block_finish_statistics(Global<const float> partial, int64_t pixels, int tile_pixels, int channels,
                                  StatisticsTarget to) {
  const int c = static_cast<int>(blockIdx.x * (kThreads / kWarp) + threadIdx.x / kWarp);
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  if (c >= channels) return;
  const int64_t tiles = (pixels + tile_pixels - 1) / tile_pixels;
  const auto rows = [&](int64_t tile) {
    return static_cast<double>(tile + 1 < tiles ? tile_pixels : pixels - tile * tile_pixels);
  };
  const auto moment = [&](int64_t tile, int which) {
    return static_cast<double>(partial[(tile * 2 + which) * channels + c]);
  };
  double sum = 0.0, squares = 0.0;
  for (int64_t i = lane; i < tiles; i += kWarp) sum += rows(i) * moment(i, 0);
  const auto n = static_cast<double>(pixels);
  const double mean = warp_sum(sum) / n;
  for (int64_t i = lane; i < tiles; i += kWarp) {
    const double distance = moment(i, 0) - mean;
    squares += moment(i, 1) + rows(i) * distance * distance;
  }
  squares = warp_sum(squares);
  if (lane != 0) return;
  to.mean[c] = static_cast<float>(mean);
  to.inv_std[c] = static_cast<float>(1.0 / sqrt(squares / n + to.eps));
  if (to.variance != nullptr) to.variance[c] = static_cast<float>(squares / n);
  if (to.running_mean == nullptr) return;
  to.running_mean[c] = blended(to.running_mean[c], mean, to.momentum);
  to.running_var[c] = blended(to.running_var[c], squares / (n > 1.0 ? n - 1.0 : 1.0), to.momentum);
}

// A warp per channel adds up its partial sums of d and d xhat: [parts][2][channels]. What waits is added to
// with `more`, overwritten otherwise.
__global__ void __launch_bounds__(kThreads)
    dense_block_finish_norm(Global<const float> partial, int64_t parts, Global<const float> weight,
                            Global<float> grad_weight, Global<float> grad_bias, Pending pending, bool more,
                            int channels, int64_t pixels) {
  const int c = static_cast<int>(blockIdx.x * (kThreads / kWarp) + threadIdx.x / kWarp);
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  if (c >= channels) return;
  double d = 0.0, dx = 0.0;
  for (int64_t i = lane; i < parts; i += kWarp) {
    d += static_cast<double>(partial[i * 2 * channels + c]);
    dx += static_cast<double>(partial[(i * 2 + 1) * channels + c]);
  }
  d = warp_sum(d);
  dx = warp_sum(dx);
  if (lane != 0) return;
  grad_weight[c] = static_cast<float>(dx);
  grad_bias[c] = static_cast<float>(d);
  if (pending.d == nullptr) return;
  const double share = static_cast<double>(weight[c]) / static_cast<double>(pixels);
  pending.d[c] = (more ? pending.d[c] : 0.0) + share * d;
  pending.dx[c] = (more ? pending.dx[c] : 0.0) + share * dx;
}

// to = from and what waits for its channels; pending.d is null where nothing does. to may be from.
template <int N, class T>
__global__ void __launch_bounds__(kColumnThreads)
    dense_block_correct(Global<const T> from, int64_t from_stride, Global<const T> buffer,
                        int64_t buffer_stride, Pending pending, Global<T> to, int64_t to_stride,
                        Columns columns) {
  const ColumnPart part(columns, N);
  if (!part.active) return;
  float slope[N] = {}, offset[N] = {};
#pragma unroll
  for (int k = 0; k < N; ++k) {
    if (pending.d == nullptr) break;
    const int c = part.channel + k;
    const double d = pending.d[c], dx = pending.dx[c];
    if (d == 0.0 && dx == 0.0) continue;  // the last channels have no statistics
    const auto inverse = static_cast<double>(pending.inv_std[c]);
    const double second = -inverse * inverse * dx;
    slope[k] = static_cast<float>(second);
    offset[k] = static_cast<float>(-inverse * d - second * static_cast<double>(pending.mean[c]));
  }
  for_column_rows<kCorrectRows>(part, [&](int count, int64_t row) {
    Pack<T, N> g[kCorrectRows], x[kCorrectRows];
    load_rows(g, from, from_stride, part, count, row);
    if (pending.d != nullptr) load_rows(x, buffer, buffer_stride, part, count, row);
#pragma unroll
    for (int k = 0; k < kCorrectRows; ++k) {
      if (k >= count) break;
      Vector<float, N> sum;
#pragma unroll
      for (int c = 0; c < N; ++c) {
        sum[c] = g[k][c];
        if (pending.d != nullptr) sum[c] += fmaf(slope[c], x[k][c], offset[c]);
      }
      store_floats<N>(to, (row + int64_t{k} * part.groups) * to_stride + part.channel, sum);
    }
  });
}

// For [pixels, channels], N channels at a time.
template <int N, class T>
void start_correct(const core::View& from, const core::View& buffer, const Pending& pending,
                   const core::View& to) {
  const Columns columns(from.rows(), from.size(-1), N, kCorrectBlocks);
  launch({"dense_block_correct", from.device, columns.grid, dim3(kColumnThreads)}, dense_block_correct<N, T>,
         from.as<T>(), from.row_stride(), buffer.as<T>(), buffer.row_stride(), pending, to.as<T>(),
         to.row_stride(), columns);
}

}  // namespace

inline namespace MEDFUSION_GPU {

void finish_statistics(core::Device device, const float* moments, int64_t pixels, int tile_pixels,
                       int64_t channels, const StatisticsTarget& to) {
  launch({"dense_block_finish_statistics", device, warps_grid(channels), dim3(kThreads)},
         dense_block_finish_statistics, moments, pixels, tile_pixels, static_cast<int>(channels), to);
}

core::Tensor make_norm(const core::View& weight, const core::View& bias, const core::View& mean,
                       const core::View& statistic, bool training, double eps) {
  const int64_t c = weight.numel();
  core::Tensor norm = core::Tensor::empty({4, c}, core::DType::f32, weight.device);
  launch({"dense_block_norm", weight.device, threads_grid(c), dim3(kThreads)}, dense_block_norm,
         weight.as<float>(), bias.as<float>(), mean.as<float>(), statistic.as<float>(), !training, eps,
         static_cast<int>(c), norm.view().as<float>());
  return norm;
}
void update_running1(const DenseBlockLayer& l, const core::View& mean, const core::View& variance,
                     double momentum, int64_t pixels) {
  const int64_t c = l.norm1_mean.numel();
  const auto n = static_cast<double>(pixels);
  launch({"dense_block_update_running", mean.device, threads_grid(c), dim3(kThreads)},
         dense_block_update_running, mean.as<float>(), variance.as<float>(), l.norm1_mean.as<float>(),
         l.norm1_var.as<float>(), momentum, n / (n > 1.0 ? n - 1.0 : 1.0), static_cast<int>(c));
}

void finish_norm(const float* partial, int64_t parts, const core::View& weight, const core::View& grad_weight,
                 const core::View& grad_bias, const Pending& pending, bool more, int64_t pixels) {
  const int64_t channels = weight.numel();
  launch({"dense_block_finish_norm", weight.device, warps_grid(channels), dim3(kThreads)},
         dense_block_finish_norm, partial, parts, weight.as<float>(), grad_weight.as<float>(),
         grad_bias.as<float>(), pending, more, static_cast<int>(channels), pixels);
}

Pending pending_of(const DenseBlockBackward& b, const core::Tensor& sums, int64_t channel) {
  if (!b.training) return {nullptr, nullptr, nullptr, nullptr};
  double* const first = sums.view().as<double>();
  return {first + channel, first + b.buffer.size(3) + channel, b.mean.as<float>() + channel,
          b.inv_std.as<float>() + channel};
}

void correct(const core::View& from, const core::View& buffer, const Pending& pending, const core::View& to) {
  if (from.dtype == core::DType::bf16) return start_correct<8, BFloat16>(from, buffer, pending, to);
  const auto by_fours = [](const core::View& v) { return v.size(-1) % 4 == 0 && aligned_rows<16>(v); };
  const bool wide = by_fours(from) && by_fours(buffer) && by_fours(to);
  const auto start = wide ? start_correct<4, float> : start_correct<1, float>;
  start(from, buffer, pending, to);
}

void clear_gradients(const std::vector<DenseBlockLayerGradient>& gradients) {
  for (const DenseBlockLayerGradient& g : gradients) {
    for (const core::View* v :
         {&g.norm1_weight, &g.norm1_bias, &g.conv1, &g.norm2_weight, &g.norm2_bias, &g.conv2})
      set_bias(flat(*v), {}, false);
  }
}

}  // namespace MEDFUSION_GPU
}  // namespace medfusion::kernels::cuda::dense_block
