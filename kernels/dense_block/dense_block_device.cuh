// What the dense blocks of a device share: the batch norms' numbers per channel, and the corrections that
// wait for a channel's gradient.
#pragma once

#include <vector>

#include "core/tensor.h"
#include "kernels/dense_block/dense_block.h"
#include "kernels/gpu/device.cuh"
#include "kernels/registry.h"

namespace medfusion::kernels::cuda::dense_block {
inline namespace MEDFUSION_GPU {

constexpr int kThreads = 128;

// A batch norm per channel: y = scale x + shift, normalized x = inv_std x + centre. Forward and backward read
// the same numbers, so that they agree on which ReLUs are open.
struct Norm {
  Global<const float> scale, shift, inv_std, centre;
};

// The channels' corrections that still wait: the gradient lacks -inv_std (d + xhat dx).
struct Pending {
  Global<double> d, dx;
  Global<const float> mean, inv_std;
};

struct StatisticsTarget {
  Global<float> mean, variance, inv_std, running_mean, running_var;  // null: not wanted
  double momentum, eps;
};

inline dim3 threads_grid(int64_t count) { return grid_of(ceil_div(count, kThreads)); }
inline dim3 warps_grid(int64_t channels) { return grid_of(ceil_div(channels, kThreads / kWarp)); }

inline Norm rows_of_norm(const core::Tensor& norm) {
  float* const n = norm.view().as<float>();
  const int64_t c = norm.size(1);
  return {n, n + c, n + 2 * c, n + 3 * c};
}

// The steps below are in dense_block_simt_norms.cu.

// From the moments of tiles, [tiles][2][channels] (means, then sums of squares about them), to statistics. A
// tile has tile_pixels pixels, the last one the rest.
void finish_statistics(core::Device device, const float* moments, int64_t pixels, int tile_pixels,
                       int64_t channels, const StatisticsTarget& to);

// The rows of Norm [4, c], from the parameters and the statistics of the batch (mean, inv_std) or, outside
// training, the running ones (mean, var).
core::Tensor make_norm(const core::View& weight, const core::View& bias, const core::View& mean,
                       const core::View& statistic, bool training, double eps);

void update_running1(const DenseBlockLayer& l, const core::View& mean, const core::View& variance,
                     double momentum, int64_t pixels);

// Gradients of a norm's parameters from `parts` partial sums of d and d xhat, [parts][2][channels]. What
// waits is added to with `more`, overwritten otherwise.
void finish_norm(const float* partial, int64_t parts, const core::View& weight, const core::View& grad_weight,
                 const core::View& grad_bias, const Pending& pending, bool more, int64_t pixels);

// What waits for the buffer's channels from `channel` on: `sums` [2, C] in f64. Nothing outside training.
Pending pending_of(const DenseBlockBackward& b, const core::Tensor& sums, int64_t channel);

// to = from and what waits for its channels. [pixels, channels], f32 or bf16; to may be from.
void correct(const core::View& from, const core::View& buffer, const Pending& pending, const core::View& to);

// The gradients of a block without pixels.
void clear_gradients(const std::vector<DenseBlockLayerGradient>& gradients);

// Channels [first, last) of a view whose last dimension they are.
inline core::View channels_of(core::View view, int64_t first, int64_t last) {
  view.data = static_cast<char*>(view.data) + first * core::size_of(view.dtype);
  view.shape[view.rank() - 1] = last - first;
  return view;
}

inline int64_t input_channels(const core::View& buffer, const std::vector<DenseBlockLayer>& layers) {
  int64_t channels = buffer.size(3);
  for (const DenseBlockLayer& l : layers) channels -= l.conv2.size(0);
  return channels;
}

}  // namespace MEDFUSION_GPU
}  // namespace medfusion::kernels::cuda::dense_block
