// The fused backward, from the last layer to the first, with one gradient buffer of the block's shape.
//
// With xhat the normalized channel and d_l the masked gradient that layer l sends back to it (1x1
// convolution, then ReLU), batch norm gives weight_l inv_std (d_l - mean(d_l) - xhat mean(d_l xhat)). Summed
// over the layers that read the channel, the corrections are inv_std (A + xhat B) with A = sum of weight_l
// mean(d_l), B = sum of weight_l mean(d_l xhat). The buffer gathers weight_l inv_std d_l; A and B wait until
// the channel's gradient is consumed, where they are one multiply-add on the read.
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

constexpr int64_t kChannelBlock = 128;  // of the prefix per task, at most
constexpr int64_t kChunkPixels = 192;   // per task, at least
constexpr int64_t kTasks = 16;

// x -> first gradient + second x + offset per channel.
struct Correction {
  std::vector<float> first, second, offset;
};

// The chunks of one reduction: partial sums that are added in order.
struct Chunks {
  int64_t total, grain, count;

  Chunks(int64_t units, int64_t pixels_per_unit, int64_t wanted) : total(units) {
    const int64_t most = std::max<int64_t>(1, units * pixels_per_unit / kChunkPixels);
    const int64_t chunks = std::clamp<int64_t>(wanted, 1, most);
    grain = (units + chunks - 1) / chunks;
    count = (units + grain - 1) / grain;
  }
  int64_t first(int64_t chunk) const { return chunk * grain; }
  int64_t last(int64_t chunk) const { return std::min(total, (chunk + 1) * grain); }
};

// sum_d and sum_dx per channel, in one row per chunk.
class Sums {
 public:
  Sums(int64_t chunks, int64_t channels)
      : channels_(channels), chunks_(chunks), values_(static_cast<size_t>(2 * chunks * channels), 0.0) {}

  double* d(int64_t chunk) { return values_.data() + 2 * chunk * channels_; }
  double* dx(int64_t chunk) { return d(chunk) + channels_; }
  // Adds the chunks into the first.
  void finish() {
    for (int64_t chunk = 1; chunk < chunks_; ++chunk) {
      for (int64_t c = 0; c < 2 * channels_; ++c) d(0)[c] += d(chunk)[c];
    }
  }

 private:
  int64_t channels_, chunks_;
  std::vector<double> values_;
};

class BackwardPass {
 public:
  explicit BackwardPass(const DenseBlockBackward& block)
      : block_(block),
        pixels_(block.buffer.rows()),
        height_(block.buffer.size(1)),
        width_(block.buffer.size(2)),
        buffer_stride_(block.buffer.row_stride()),
        gradient_stride_(block.gradient.row_stride()),
        pending_d_(static_cast<size_t>(block.buffer.size(3)), 0.0),
        pending_dx_(pending_d_) {}

  void run() {
    int64_t channels = block_.buffer.size(3);
    for (size_t i = block_.layers.size(); i-- > 0;) {
      channels -= block_.layers[i].conv2.size(0);
      backward_of_layer(block_.layers[i], block_.gradients[i], channels);
    }
    if (block_.training) correct_input(channels);
  }

 private:
  const float* buffer(int64_t pixel, int64_t channel) const {
    return block_.buffer.as<float>() + pixel * buffer_stride_ + channel;
  }
  float* gradient(int64_t pixel, int64_t channel) const {
    return block_.gradient.as<float>() + pixel * gradient_stride_ + channel;
  }

  void backward_of_layer(const DenseBlockLayer& layer, const DenseBlockLayerGradient& grads,
                         int64_t channels) {
    const Norm norm2 = dense_block::second_norm(layer, block_.training, block_.eps);
    // The masked gradient of norm2's output; one buffer for all layers of one width.
    if (!masked_.defined() || masked_.shape() != layer.z.shape) {
      masked_ = Tensor();
      masked_ = Tensor::empty(layer.z.shape);
    }
    Sums sums2 = second_convolution(layer, grads, norm2, channels);
    write_norm(sums2, grads.norm2_weight, grads.norm2_bias);
    const Norm norm1 =
        dense_block::first_norm(layer, block_.mean, block_.inv_std, block_.training, block_.eps);
    Sums sums1 = first_convolution(layer, grads, norm1, correction_of(norm2, sums2), channels);
    write_norm(sums1, grads.norm1_weight, grads.norm1_bias);
    if (!block_.training) return;  // running statistics are constants
    const auto* weight = layer.norm1_weight.as<float>();
    for (int64_t c = 0; c < channels; ++c) {
      const double share = static_cast<double>(weight[c]) / static_cast<double>(pixels_);
      pending_d_[size_t(c)] += share * sums1.d(0)[c];
      pending_dx_[size_t(c)] += share * sums1.dx(0)[c];
    }
  }

  static void write_norm(Sums& sums, const View& grad_weight, const View& grad_bias) {
    for (int64_t c = 0; c < grad_weight.numel(); ++c) {
      grad_weight.as<float>()[c] = static_cast<float>(sums.dx(0)[c]);
      grad_bias.as<float>()[c] = static_cast<float>(sums.d(0)[c]);
    }
  }

  // What the channels [first, last) of the gradient buffer still lack.
  Correction pending(int64_t first, int64_t last) const {
    Correction result;
    for (int64_t c = first; c < last; ++c) {
      double second = 0.0;
      double offset = 0.0;
      if (pending_d_[size_t(c)] != 0.0 || pending_dx_[size_t(c)] != 0.0) {
        const auto inverse = static_cast<double>(block_.inv_std.as<float>()[c]);
        const auto mean = static_cast<double>(block_.mean.as<float>()[c]);
        second = -inverse * inverse * pending_dx_[size_t(c)];
        offset = -inverse * pending_d_[size_t(c)] - second * mean;
      }
      result.first.push_back(1.0F);
      result.second.push_back(static_cast<float>(second));
      result.offset.push_back(static_cast<float>(offset));
    }
    return result;
  }

  // From the masked gradient of norm2's output to that of its input z.
  Correction correction_of(const Norm& norm, Sums& sums) const {
    Correction result;
    const double share = block_.training ? 1.0 / static_cast<double>(pixels_) : 0.0;
    for (size_t c = 0; c < norm.scale.size(); ++c) {
      const auto scale = static_cast<double>(norm.scale[c]);
      const double mean_d = share * sums.d(0)[c];
      const double mean_dx = share * sums.dx(0)[c];
      result.first.push_back(norm.scale[c]);
      result.second.push_back(static_cast<float>(-scale * mean_dx * static_cast<double>(norm.inv_std[c])));
      result.offset.push_back(
          static_cast<float>(-scale * (mean_d + mean_dx * static_cast<double>(norm.centre[c]))));
    }
    return result;
  }

  // conv2 and the ReLU before it: weight gradient, masked_ and its sums.
  Sums second_convolution(const DenseBlockLayer& layer, const DenseBlockLayerGradient& grads,
                          const Norm& norm, int64_t channels) {
    const int64_t growth = layer.conv2.size(0);
    const int64_t middle = layer.z.size(3);
    const Correction correction = pending(channels, channels + growth);
    gemm::Image image{.x = gemm::pixels_of(block_.gradient),
                      .height = height_,
                      .width = width_,
                      .channels = growth,
                      .scale = correction.first.data(),
                      .shift = correction.offset.data(),
                      .other = gemm::pixels_of(block_.buffer),
                      .other_scale = correction.second.data()};
    image.x.data += channels;
    image.other.data += channels;
    const Packed weight = gemm::pack_weight_reversed(layer.conv2);
    const Chunks chunks(block_.buffer.size(0) * height_, width_, kTasks);
    Sums sums(chunks.count, middle);
    // [chunk, u, v, k, m], taps in reverse order
    const int64_t taps_size = 9 * growth * middle;
    const Tensor partial = Tensor::zeros({chunks.count, taps_size});
    core::parallel_for(0, chunks.count, 1, [&](int64_t chunk, int64_t) {
      second_convolution_chunk(layer, norm, image, weight, chunks, chunk, sums,
                               partial.data<float>() + chunk * taps_size);
    });
    sums.finish();
    unpack_conv2(partial, chunks.count, grads.conv2);
    return sums;
  }

  void second_convolution_chunk(const DenseBlockLayer& layer, const Norm& norm, const gemm::Image& image,
                                const Packed& weight, const Chunks& chunks, int64_t chunk, Sums& sums,
                                float* partial) {
    gemm::Strip strip;
    const int64_t growth = image.channels;
    const int64_t middle = layer.z.size(3);
    const gemm::Window window = dense_block::window3x3(layer.z);
    const int64_t step = gemm::rows_per_strip(chunks.total, width_);
    const int64_t active_stride = gemm::padded_stride(middle);
    const Tensor active = Tensor::empty({step * width_, active_stride});
    for (int64_t first = chunks.first(chunk); first < chunks.last(chunk); first += step) {
      const int64_t last = std::min(chunks.last(chunk), first + step);
      const int64_t count = (last - first) * width_;
      const int64_t next_count = (std::min(chunks.last(chunk), last + step) - last) * width_;
      const float* z = layer.z.as<float>() + first * width_ * middle;
      float* masked = masked_.data<float>() + first * width_ * middle;
      strip.load(image, window, first, last, 0, growth, growth);
      gemm::affine_relu_rows(z, middle, count, middle, norm.scale.data(), norm.shift.data(),
                             active.data<float>(), active_stride);
      gemm::multiply(gemm::Indirect{.a = strip.pointers(window, growth),
                                    .a_stride = count,
                                    .rows = count,
                                    .taps = 3,
                                    .channels = 3 * growth,
                                    .b = &weight,
                                    .c = masked,
                                    .c_stride = middle,
                                    .prefetch = {{{z + count * middle, middle, next_count, middle}}}});
      gemm::masked_gradient_rows({.grad = masked,
                                  .grad_stride = middle,
                                  .active = active.data<float>(),
                                  .active_stride = active_stride,
                                  .x = z,
                                  .x_stride = middle,
                                  .scale = norm.inv_std.data(),
                                  .shift = norm.centre.data(),
                                  .to = masked,
                                  .to_stride = middle},
                                 count, middle, sums.d(chunk), sums.dx(chunk));
      for (const gemm::Strip::Part& part : strip.parts()) {
        for (int64_t u = 0; u < 3; ++u) {
          gemm::multiply(gemm::Transposed{.a = part.data + u * part.row_stride,
                                          .a_segment = part.row_stride,
                                          .a_step = growth,
                                          .b = active.data<float>() + part.first * width_ * active_stride,
                                          .b_segment = width_ * active_stride,
                                          .b_step = active_stride,
                                          .segments = part.rows,
                                          .steps = width_,
                                          .rows = 3 * growth,
                                          .columns = middle,
                                          .c = partial + u * 3 * growth * middle,
                                          .c_stride = middle,
                                          .accumulate = true});
        }
      }
    }
  }

  static void unpack_conv2(const Tensor& partial, int64_t chunks, const View& grad) {
    const int64_t growth = grad.size(0);
    const int64_t middle = grad.size(1);
    const int64_t size = 9 * growth * middle;
    core::parallel_for(0, growth, 1, [&](int64_t n, int64_t) {
      std::vector<float> sum(static_cast<size_t>(middle));
      for (int64_t t = 0; t < 9; ++t) {
        const float* from = partial.data<float>() + ((8 - t) * growth + n) * middle;
        std::fill(sum.begin(), sum.end(), 0.0F);
        for (int64_t chunk = 0; chunk < chunks; ++chunk) {
          for (int64_t c = 0; c < middle; ++c) sum[size_t(c)] += from[chunk * size + c];
        }
        for (int64_t c = 0; c < middle; ++c) {
          grad.as<float>()[(n * middle + c) * 9 + t] = sum[size_t(c)];
        }
      }
    });
  }

  // conv1 and the ReLU before it: weight gradient, sums, and the gradient buffer's prefix. A task is a chunk
  // of pixels and a block of the prefix's channels.
  Sums first_convolution(const DenseBlockLayer& layer, const DenseBlockLayerGradient& grads, const Norm& norm,
                         const Correction& correction, int64_t channels) {
    const int64_t middle = layer.z.size(3);
    Packed weight(middle, channels);
    core::parallel_for(0, weight.panels(), 1, [&](int64_t first, int64_t last) {
      weight.set(layer.conv1.as<float>(), channels, 1, 0, middle, first, last);
    });
    const int64_t tile = gemm::tile_columns();
    const int64_t least_blocks = (channels + kChannelBlock - 1) / kChannelBlock;
    const int64_t block = ((channels + least_blocks - 1) / least_blocks + tile - 1) / tile * tile;
    const int64_t blocks = (channels + block - 1) / block;
    const Chunks chunks(pixels_, 1, (kTasks + blocks - 1) / blocks);
    Sums sums(chunks.count, channels);
    const Tensor partial = Tensor::zeros({chunks.count, middle, channels});
    core::parallel_for(0, chunks.count * blocks, 1, [&](int64_t task, int64_t) {
      const int64_t chunk = task / blocks;
      const int64_t first = task % blocks * block;
      first_convolution_task(layer, norm, correction, weight, chunks, chunk, first,
                             std::min(block, channels - first), sums,
                             partial.data<float>() + chunk * middle * channels + first, channels);
    });
    sums.finish();
    core::parallel_for(0, middle, 8, [&](int64_t first, int64_t last) {
      auto* to = grads.conv1.as<float>();
      std::fill(to + first * channels, to + last * channels, 0.0F);
      for (int64_t chunk = 0; chunk < chunks.count; ++chunk) {
        const float* from = partial.data<float>() + chunk * middle * channels;
        for (int64_t i = first * channels; i < last * channels; ++i) to[i] += from[i];
      }
    });
    return sums;
  }

  void first_convolution_task(const DenseBlockLayer& layer, const Norm& norm, const Correction& correction,
                              const Packed& weight, const Chunks& chunks, int64_t chunk, int64_t channel,
                              int64_t channels, Sums& sums, float* partial, int64_t partial_stride) {
    const int64_t middle = layer.z.size(3);
    const int64_t step = gemm::rows_per_strip(pixels_, 1);
    const int64_t z_stride = gemm::padded_stride(middle);
    const int64_t active_stride = gemm::padded_stride(channels);
    const Tensor grad_z = Tensor::empty({step, z_stride});
    const Tensor active = Tensor::empty({step, active_stride});
    const Tensor grad_a = Tensor::empty({step, channels});
    const auto rows = dense_block::row_pointers(grad_z.data<float>(), step, z_stride);
    for (int64_t first = chunks.first(chunk); first < chunks.last(chunk); first += step) {
      const int64_t count = std::min(step, chunks.last(chunk) - first);
      const int64_t next = first + count;  // the strip after this one
      const int64_t next_count = std::min(step, chunks.last(chunk) - next);
      gemm::combine_rows({.a = masked_.data<float>() + first * middle,
                          .a_stride = middle,
                          .b = layer.z.as<float>() + first * middle,
                          .b_stride = middle,
                          .first = correction.first.data(),
                          .second = correction.second.data(),
                          .offset = correction.offset.data()},
                         count, middle, grad_z.data<float>(), z_stride);
      gemm::affine_relu_rows(buffer(first, channel), buffer_stride_, count, channels,
                             norm.scale.data() + channel, norm.shift.data() + channel, active.data<float>(),
                             active_stride);
      gemm::multiply(
          gemm::Indirect{.a = rows.data(),
                         .a_stride = step,
                         .rows = count,
                         .channels = middle,
                         .b = &weight,
                         .b_column = channel,
                         .columns = channels,
                         .c = grad_a.data<float>(),
                         .c_stride = channels,
                         .prefetch = {{{gradient(first, channel), gradient_stride_, count, channels}}}});
      gemm::masked_gradient_rows({.grad = grad_a.data<float>(),
                                  .grad_stride = channels,
                                  .active = active.data<float>(),
                                  .active_stride = active_stride,
                                  .x = buffer(first, channel),
                                  .x_stride = buffer_stride_,
                                  .scale = norm.inv_std.data() + channel,
                                  .shift = norm.centre.data() + channel,
                                  .factor = norm.scale.data() + channel,
                                  .to = gradient(first, channel),
                                  .to_stride = gradient_stride_},
                                 count, channels, sums.d(chunk) + channel, sums.dx(chunk) + channel);
      gemm::multiply(gemm::Transposed{
          .a = grad_z.data<float>(),
          .a_segment = 0,
          .a_step = z_stride,
          .b = active.data<float>(),
          .b_segment = 0,
          .b_step = active_stride,
          .segments = 1,
          .steps = count,
          .rows = middle,
          .columns = channels,
          .c = partial,
          .c_stride = partial_stride,
          .accumulate = true,
          .prefetch = {{{buffer(next, channel), buffer_stride_, next_count, channels},
                        {masked_.data<float>() + next * middle, middle, next_count, middle}}}});
    }
  }

  void correct_input(int64_t channels) {
    const Correction correction = pending(0, channels);
    core::parallel_for(0, pixels_, gemm::rows_per_strip(pixels_, 1), [&](int64_t first, int64_t last) {
      gemm::combine_rows({.a = gradient(first, 0),
                          .a_stride = gradient_stride_,
                          .b = buffer(first, 0),
                          .b_stride = buffer_stride_,
                          .first = correction.first.data(),
                          .second = correction.second.data(),
                          .offset = correction.offset.data()},
                         last - first, channels, gradient(first, 0), gradient_stride_);
    });
  }

  const DenseBlockBackward& block_;
  int64_t pixels_, height_, width_, buffer_stride_, gradient_stride_;
  std::vector<double> pending_d_, pending_dx_;  // A and B of the buffer's channels
  Tensor masked_;
};

void run(const DenseBlockBackward& b) { BackwardPass(b).run(); }

const Register<DenseBlockBackward> registered("cpu", kCpu, 10,
                                              {takes::f32, takes::uniform_pixels, takes::not_empty}, run);

}  // namespace
}  // namespace medfusion::kernels
