// The fused forward. Each convolution normalizes and rectifies its input while it copies a strip of it into
// the cache, and takes the moments of its output strip while that is still there; no normalized tensor
// exists.
#include <algorithm>

#include "core/threads.h"
#include "kernels/dense_block/dense_block_cpu.h"
#include "kernels/gemm/gemm.h"
#include "kernels/gemm/rows.h"
#include "kernels/registry.h"

namespace medfusion::kernels {
namespace {

using core::Tensor;
using core::View;
using dense_block::Norm;
using gemm::Packed;

constexpr int64_t kChannelSlab = 256;  // normalized at a time for a 1x1 convolution

// Mean and sum of squared differences per channel, gathered strip by strip and combined in the order of the
// strips (Chan, Golub and LeVeque 1979).
class Moments {
 public:
  // Strips begin at multiples of `grain` units of `unit` pixels each.
  Moments(int64_t units, int64_t grain, int64_t unit, int64_t channels)
      : units_(units), grain_(grain), unit_(unit), channels_(channels) {
    strips_ = (units + grain - 1) / grain;
    values_ = Tensor::empty({strips_, 2, channels});
  }

  void add(int64_t first, int64_t last, const float* x, int64_t stride) {
    float* mean = values_.data<float>() + first / grain_ * 2 * channels_;
    gemm::column_moments(x, stride, (last - first) * unit_, channels_, mean, mean + channels_);
  }

  // Writes mean and 1 / sqrt(var + eps), and keeps mean and the unbiased variance for running statistics.
  struct Result {
    std::vector<double> mean, unbiased;
  };
  Result finish(float* mean, float* inv_std, double eps) const {
    const auto size = static_cast<size_t>(channels_);
    const auto count = static_cast<double>(units_ * unit_);
    Result result{std::vector<double>(size, 0.0), std::vector<double>(size, 0.0)};
    core::parallel_for(0, channels_, 32, [&](int64_t first, int64_t last) {
      for (int64_t s = 0; s < strips_; ++s) {
        const float* means = values_.data<float>() + s * 2 * channels_;
        for (int64_t c = first; c < last; ++c)
          result.mean[size_t(c)] += pixels(s) * static_cast<double>(means[c]);
      }
      for (int64_t c = first; c < last; ++c) result.mean[size_t(c)] /= count;
      for (int64_t s = 0; s < strips_; ++s) {
        const float* means = values_.data<float>() + s * 2 * channels_;
        for (int64_t c = first; c < last; ++c) {
          const double difference = static_cast<double>(means[c]) - result.mean[size_t(c)];
          result.unbiased[size_t(c)] +=
              static_cast<double>(means[channels_ + c]) + pixels(s) * difference * difference;
        }
      }
      for (int64_t c = first; c < last; ++c) {
        const double squares = result.unbiased[size_t(c)];
        mean[c] = static_cast<float>(result.mean[size_t(c)]);
        inv_std[c] = static_cast<float>(1.0 / std::sqrt(squares / count + eps));
        result.unbiased[size_t(c)] = squares / std::max(1.0, count - 1.0);
      }
    });
    return result;
  }

 private:
  double pixels(int64_t strip) const {
    return static_cast<double>(unit_ * (std::min(units_, (strip + 1) * grain_) - strip * grain_));
  }

  int64_t units_, grain_, unit_, channels_, strips_;
  Tensor values_;  // [strips, mean and squares, channels]
};

class ForwardPass {
 public:
  explicit ForwardPass(const DenseBlockForward& block)
      : block_(block),
        stride_(block.buffer.row_stride()),
        pixels_(block.buffer.rows()),
        height_(block.buffer.size(1)),
        width_(block.buffer.size(2)) {}

  void run() {
    int64_t channels = block_.buffer.size(3);
    for (const DenseBlockLayer& layer : block_.layers) channels -= layer.conv2.size(0);
    if (block_.training) input_moments(channels);
    for (size_t i = 0; i < block_.layers.size(); ++i) {
      const DenseBlockLayer& layer = block_.layers[i];
      if (block_.training) update(layer.norm1_mean, layer.norm1_var, mean_, unbiased_);
      first_convolution(layer, channels);
      second_convolution(layer, channels, i + 1 == block_.layers.size());
      channels += layer.conv2.size(0);
    }
  }

 private:
  float* buffer(int64_t pixel, int64_t channel) const {
    return block_.buffer.as<float>() + pixel * stride_ + channel;
  }

  void input_moments(int64_t channels) {
    const int64_t grain = gemm::rows_per_strip(pixels_, 1);
    Moments moments(pixels_, grain, 1, channels);
    core::parallel_for(0, pixels_, grain, [&](int64_t first, int64_t last) {
      moments.add(first, last, buffer(first, 0), stride_);
    });
    keep(moments, 0);
  }

  // The statistics of the buffer's channels from `channel` on.
  void keep(const Moments& moments, int64_t channel) {
    const auto result =
        moments.finish(block_.mean.as<float>() + channel, block_.inv_std.as<float>() + channel, block_.eps);
    mean_.insert(mean_.end(), result.mean.begin(), result.mean.end());
    unbiased_.insert(unbiased_.end(), result.unbiased.begin(), result.unbiased.end());
  }

  void update(const View& running_mean, const View& running_var, const std::vector<double>& mean,
              const std::vector<double>& unbiased) const {
    const auto blend = [&](float& running, double value) {
      running = static_cast<float>((1.0 - block_.momentum) * static_cast<double>(running) +
                                   block_.momentum * value);
    };
    for (int64_t c = 0; c < running_mean.numel(); ++c) {
      blend(running_mean.as<float>()[c], mean[size_t(c)]);
      blend(running_var.as<float>()[c], unbiased[size_t(c)]);
    }
  }

  // z = conv1(max(norm1(prefix), 0)), a slab of channels at a time.
  void first_convolution(const DenseBlockLayer& layer, int64_t channels) {
    const Norm norm =
        dense_block::first_norm(layer, block_.mean, block_.inv_std, block_.training, block_.eps);
    const Packed weight = gemm::pack_weight(layer.conv1);
    const int64_t middle = layer.z.size(3);
    const int64_t slabs = (channels + kChannelSlab - 1) / kChannelSlab;
    const int64_t slab = ((channels + slabs - 1) / slabs + 7) / 8 * 8;
    const int64_t grain = gemm::rows_per_strip(pixels_, 1);
    Moments moments(pixels_, grain, 1, middle);
    core::parallel_for(0, pixels_, grain, [&](int64_t first, int64_t last) {
      const int64_t count = last - first;
      const Tensor strip = Tensor::empty({count, slab});
      const auto rows = dense_block::row_pointers(strip.data<float>(), count, slab);
      float* z = layer.z.as<float>() + first * middle;
      for (int64_t c = 0; c < channels; c += slab) {
        const int64_t depth = std::min(slab, channels - c);
        gemm::affine_relu_rows(buffer(first, c), stride_, count, depth, norm.scale.data() + c,
                               norm.shift.data() + c, strip.data<float>(), slab);
        gemm::multiply(gemm::Indirect{.a = rows.data(),
                                      .a_stride = count,
                                      .rows = count,
                                      .channels = depth,
                                      .b = &weight,
                                      .b_row = c,
                                      .c = z,
                                      .c_stride = middle,
                                      .accumulate = c > 0,
                                      .prefetch = {{next_slab(first, last, c + slab, slab, channels)}}});
      }
      if (block_.training) moments.add(first, last, z, middle);
    });
    if (!block_.training) return;
    const auto result = moments.finish(layer.z_mean.as<float>(), layer.z_inv_std.as<float>(), block_.eps);
    update(layer.norm2_mean, layer.norm2_var, result.mean, result.unbiased);
  }

  // What first_convolution reads next: the same pixels from `channel` on, or the pixels from `last` on.
  gemm::Prefetch next_slab(int64_t first, int64_t last, int64_t channel, int64_t slab,
                           int64_t channels) const {
    if (channel < channels) {
      return {buffer(first, channel), stride_, last - first, std::min(slab, channels - channel)};
    }
    return {buffer(last, 0), stride_, std::min(last - first, pixels_ - last), std::min(slab, channels)};
  }

  // New channels = conv2(max(norm2(z), 0)), written in place.
  void second_convolution(const DenseBlockLayer& layer, int64_t channels, bool last_layer) {
    const Norm norm = dense_block::second_norm(layer, block_.training, block_.eps);
    const Packed weight = gemm::pack_weight(layer.conv2);
    const int64_t middle = layer.z.size(3);
    gemm::Image image = gemm::image_of(layer.z);
    image.scale = norm.scale.data();
    image.shift = norm.shift.data();
    const gemm::Window window = dense_block::window3x3(layer.z);
    const int64_t rows = block_.buffer.size(0) * height_;
    const int64_t grain = gemm::rows_per_strip(rows, width_);
    Moments moments(rows, grain, width_, layer.conv2.size(0));
    const bool need_moments = block_.training && !last_layer;  // the last layer's channels are not read again
    core::parallel_for(0, rows, grain, [&](int64_t first, int64_t last) {
      gemm::Strip strip;
      strip.load(image, window, first, last, 0, middle, middle);
      const float* z = layer.z.as<float>();
      float* to = buffer(first * width_, channels);
      gemm::multiply(
          gemm::Indirect{.a = strip.pointers(window, middle),
                         .a_stride = strip.pixels(),
                         .rows = strip.pixels(),
                         .taps = 3,
                         .channels = 3 * middle,
                         .b = &weight,
                         .c = to,
                         .c_stride = stride_,
                         .prefetch = {{{z + (last + 1) * width_ * middle, middle,
                                        (std::min(rows, last + 1 + grain) - last - 1) * width_, middle}}}});
      if (need_moments) moments.add(first, last, to, stride_);
    });
    if (need_moments) keep(moments, channels);
  }

  const DenseBlockForward& block_;
  int64_t stride_, pixels_, height_, width_;
  std::vector<double> mean_, unbiased_;  // of the buffer's channels so far
};

void run(const DenseBlockForward& b) { ForwardPass(b).run(); }

const Register<DenseBlockForward> registered("cpu", kCpu, 10,
                                             {takes::f32, takes::uniform_pixels, takes::not_empty}, run);

}  // namespace
}  // namespace medfusion::kernels
