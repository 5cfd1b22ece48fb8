// The block in its one buffer. Statistics of a channel are taken once, when it is made. The 1x1 convolutions
// normalize what they read and take the statistics of what they write; the 3x3 ones go to the device's
// convolution, with their normalized input in one tensor that all layers share. Backward as in
// dense_block_cpu_backward.cpp: the corrections of batch norm wait as two sums per channel until the
// channel's gradient is consumed.
#include <algorithm>

#include "core/tensor.h"
#include "kernels/batch_norm/batch_norm_simt.h"
#include "kernels/convolution/convolution.h"
#include "kernels/dense_block/dense_block_device.cuh"
#include "kernels/gpu/product.cuh"

namespace medfusion::kernels::cuda::dense_block {
namespace {

using core::DType;
using core::Tensor;
using core::View;

// ---- A dense layer's 1x1 convolution and its gradient by its input, with the batch norm and ReLU before it
// folded into what is read and written: no normalized tensor exists. P pixels, c channels of the prefix, m of
// z.

// Adds up what the threads of a column hold for their four columns: those of the whole tile, in every thread.
__device__ __forceinline__ void add_tile_columns(float (&of_thread)[4], const Shared<float>& sums) {
  const int group = static_cast<int>(threadIdx.x) / 16;
  store<4>(sums, group * kTileColumns + TileProduct::column(),
           Vector<float, 4>{{of_thread[0], of_thread[1], of_thread[2], of_thread[3]}});
  __syncthreads();
  Vector<float, 4> total{};
  for (int g = 0; g < 8; ++g) {
    const auto part = load<4>(sums, g * kTileColumns + TileProduct::column());
#pragma unroll
    for (int j = 0; j < 4; ++j) total[j] += part[j];
  }
#pragma unroll
  for (int j = 0; j < 4; ++j) of_thread[j] = total[j];
  __syncthreads();
}

// moments[tile][0] = the means of the tile's channels, moments[tile][1] = the sums of squares about them,
// over its first `left` pixels; pixels after them are 0.
__device__ __forceinline__ void write_moments(const TileProduct& product, int64_t left, int64_t column,
                                              int channels, const Global<float>& moments) {
  SharedMemory reused;  // the slices are read no more
  const Shared<float> sums = reused.take<float>(8 * kTileColumns);
  const float share = 1.0F / static_cast<float>(left < kTileRows ? left : kTileRows);
  float mean[4] = {}, squares[4] = {};  // pixels past the last one are 0
#pragma unroll
  for (int i = 0; i < 8; ++i) {
#pragma unroll
    for (int j = 0; j < 4; ++j) mean[j] += product.sum[i][j];
  }
  add_tile_columns(mean, sums);
#pragma unroll
  for (float& value : mean) value *= share;
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    if (TileProduct::row() + i >= left) break;
#pragma unroll
    for (int j = 0; j < 4; ++j) squares[j] += (product.sum[i][j] - mean[j]) * (product.sum[i][j] - mean[j]);
  }
  add_tile_columns(squares, sums);
  if (TileProduct::row() != 0) return;
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    if (column + j >= channels) break;
    moments[int64_t{blockIdx.x} * 2 * channels + column + j] = mean[j];
    moments[(int64_t{blockIdx.x} * 2 + 1) * channels + column + j] = squares[j];
  }
}

// z [P, m] = max(norm(prefix), 0) weight^T, and, unless null, the moments of every tile of kTileRows pixels:
// moments[tile][0] = the means of the channels, moments[tile][1] = the sums of squares about them.
template <int N>
__global__ void __launch_bounds__(kTileThreads)
    dense_block_conv1(NormalizedSource prefix, PlainSource weight, ProductTarget z, Global<float> moments) {
  SharedMemory memory;
  const int64_t row0 = int64_t{blockIdx.x} * kTileRows;
  const int64_t column0 = int64_t{blockIdx.y} * kTileColumns;
  TileProduct product;
  product.multiply<N, Along::depth, Along::depth>(prefix, row0, weight, column0, 0, prefix.x.columns, memory);
  product.write<N>(z, 0, row0, column0);
  if (moments != nullptr)
    write_moments(product, z.rows - row0, column0 + TileProduct::column(), z.columns, moments);
}

// With d = grad_z weight [P, c] where norm(prefix) > 0, otherwise 0: gradient += scale d, and
// partial[tile of pixels] = the sums of d, then of d times the normalized prefix, of every channel.
template <int N>
__global__ void __launch_bounds__(kTileThreads)
    dense_block_conv1_grad_x(PlainSource grad_z, PlainSource weight, PlainSource prefix, Norm norm,
                             Global<float> gradient, int64_t gradient_stride, Global<float> partial) {
  SharedMemory memory;
  const int64_t row0 = int64_t{blockIdx.x} * kTileRows;
  const int64_t column0 = int64_t{blockIdx.y} * kTileColumns;
  TileProduct product;
  product.multiply<N, Along::depth, Along::side>(grad_z, row0, weight, column0, 0, grad_z.columns, memory);
  SharedMemory reused;  // the slices are read no more
  const Shared<float> sums = reused.take<float>(8 * 2 * kTileColumns);
  float sum_d[4] = {}, sum_dx[4] = {};
  const int64_t column = column0 + TileProduct::column();
#pragma unroll
  for (int j = 0; j < 4; j += N) {
    if (column + j >= prefix.columns) break;
    const auto scale = load<N>(norm.scale, column + j);
    const auto shift = load<N>(norm.shift, column + j);
    const auto inv_std = load<N>(norm.inv_std, column + j);
    const auto centre = load<N>(norm.centre, column + j);
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const int64_t row = row0 + TileProduct::row() + i;
      if (row >= prefix.rows) break;
      const auto x = load<N>(prefix.data, row * prefix.stride + column + j);
      auto g = load<N>(gradient, row * gradient_stride + column + j);
#pragma unroll
      for (int k = 0; k < N; ++k) {
        const float d = fmaf(x[k], scale[k], shift[k]) > 0.0F ? product.sum[i][j + k] : 0.0F;
        sum_d[j + k] += d;
        sum_dx[j + k] += d * fmaf(x[k], inv_std[k], centre[k]);
        g[k] += scale[k] * d;
      }
      store<N>(gradient, row * gradient_stride + column + j, g);
    }
  }
  const int group = static_cast<int>(threadIdx.x) / 16;
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    sums[group * 2 * kTileColumns + TileProduct::column() + j] = sum_d[j];
    sums[(group * 2 + 1) * kTileColumns + TileProduct::column() + j] = sum_dx[j];
  }
  __syncthreads();
  const int side = static_cast<int>(threadIdx.x) % kTileColumns;
  const int which = static_cast<int>(threadIdx.x) / kTileColumns;  // 0: d, 1: d times x
  if (column0 + side >= prefix.columns) return;
  float total = 0.0F;
  for (int g = 0; g < 8; ++g) total += static_cast<float>(sums[(g * 2 + which) * kTileColumns + side]);
  partial[(int64_t{blockIdx.x} * 2 + which) * prefix.columns + column0 + side] = total;
}

// ---- the passes

bool by_fours(const View& v) { return v.size(-1) % 4 == 0 && aligned_rows<16>(v); }

// What forward and backward of one call share.
struct Block {
  View buffer;
  View mean, inv_std;  // undefined outside training
  bool training;
  double eps;

  int64_t pixels() const { return buffer.rows(); }
  core::Device device() const { return buffer.device; }
  Tensor scratch(const core::Shape& shape, DType dtype = DType::f32) const {
    return Tensor::empty(shape, dtype, device());
  }

  // [4, c]: the rows of Norm.
  Tensor norm1(const DenseBlockLayer& l) const {
    return make_norm(l.norm1_weight, l.norm1_bias, training ? mean : l.norm1_mean,
                     training ? inv_std : l.norm1_var, training, eps);
  }
  // Mean and inv_std of the norm before the 3x3 convolution; `own` keeps what is made for it.
  std::pair<View, View> statistics2(const DenseBlockLayer& l, Tensor& own) const {
    if (training) return {l.z_mean, l.z_inv_std};
    own = scratch({l.norm2_var.numel()});
    batch_norm::from_running({}, l.norm2_var, eps, {}, own.view());
    return {l.norm2_mean, own.view()};
  }
  PlainSource source(const View& v) const {
    return {v.as<float>(), v.row_stride(), v.rows(), static_cast<int>(v.size(-1))};
  }
  static PlainSource weight_source(const View& conv1) {  // [m, c, 1, 1]
    return {conv1.as<float>(), conv1.size(1), conv1.size(0), static_cast<int>(conv1.size(1))};
  }
  static NormalizedSource normalized(const PlainSource& x, const Tensor& norm) {
    float* const first = norm.view().as<float>();
    return {x, first, first + x.columns};
  }
};

// `moments` of every tile of kTileRows pixels of z, unless null.
void conv1_forward(const Block& block, const DenseBlockLayer& l, const View& prefix, const Tensor& norm,
                   float* moments) {
  const bool wide = by_fours(prefix) && l.conv1.size(0) % 4 == 0 && aligned_rows<16>(l.z) &&
                    reinterpret_cast<uintptr_t>(l.conv1.data) % 16 == 0;
  const int64_t middle = l.conv1.size(0);
  launch({"dense_block_conv1", block.device(),
          grid_of(ceil_div(block.pixels(), kTileRows), ceil_div(middle, kTileColumns)), dim3(kTileThreads),
          kTileShared},
         wide ? dense_block_conv1<4> : dense_block_conv1<1>, Block::normalized(block.source(prefix), norm),
         Block::weight_source(l.conv1),
         ProductTarget{l.z.as<float>(), middle, block.pixels(), static_cast<int>(middle)}, moments);
}

void run_forward(const DenseBlockForward& b) {
  if (b.buffer.numel() == 0) return;
  const Block block{b.buffer, b.mean, b.inv_std, b.training, b.eps};
  int64_t channels = input_channels(b.buffer, b.layers);
  Tensor variance;  // of the buffer's channels
  if (b.training) variance = block.scratch({b.buffer.size(3)});
  const auto statistics = [&](int64_t first, int64_t last) {
    batch_norm::statistics(channels_of(b.buffer, first, last),
                           {.mean = channels_of(b.mean, first, last),
                            .variance = channels_of(variance.view(), first, last),
                            .inv_std = channels_of(b.inv_std, first, last),
                            .eps = b.eps});
  };
  if (b.training) statistics(0, channels);
  Tensor active;  // max(norm2(z), 0)
  Tensor moments;
  for (size_t i = 0; i < b.layers.size(); ++i) {
    const DenseBlockLayer& l = b.layers[i];
    const int64_t growth = l.conv2.size(0);
    if (b.training) update_running1(l, b.mean, variance.view(), b.momentum, block.pixels());
    const int64_t middle = l.z.size(3);
    if (b.training && (!moments.defined() || moments.size(2) != middle))
      moments = block.scratch({ceil_div(block.pixels(), kTileRows), 2, middle});
    float* const of_z = b.training ? moments.view().as<float>() : nullptr;
    conv1_forward(block, l, channels_of(b.buffer, 0, channels), block.norm1(l), of_z);
    if (b.training) {
      finish_statistics(block.device(), of_z, block.pixels(), kTileRows, middle,
                        {l.z_mean.as<float>(), nullptr, l.z_inv_std.as<float>(), l.norm2_mean.as<float>(),
                         l.norm2_var.as<float>(), b.momentum, b.eps});
    }
    if (!active.defined() || active.shape() != l.z.shape) active = block.scratch(l.z.shape);
    Tensor own;
    const auto [mean, inv_std] = block.statistics2(l, own);
    batch_norm::normalize({l.z, mean, inv_std, l.norm2_weight, l.norm2_bias, active.view(), true});
    dispatch(ConvolutionForward{.x = active.view(),
                                .weight = l.conv2,
                                .y = channels_of(b.buffer, channels, channels + growth),
                                .padding = 1,
                                .tf32 = b.tf32},
             kDevice);
    // The last layer's channels are not read again.
    if (b.training && i + 1 < b.layers.size()) statistics(channels, channels + growth);
    channels += growth;
  }
}

class BackwardPass {
 public:
  explicit BackwardPass(const DenseBlockBackward& b)
      : b_(b), block_{b.buffer, b.mean, b.inv_std, b.training, b.eps} {
    if (!b.training) return;  // running statistics are constants
    sums_ = Tensor::zeros({2, b.buffer.size(3)}, DType::f64, block_.device());
  }

  void run() {
    int64_t channels = b_.buffer.size(3);
    for (size_t i = b_.layers.size(); i-- > 0;) {
      const DenseBlockLayer& l = b_.layers[i];
      channels -= l.conv2.size(0);
      if (!grad_z_.defined() || grad_z_.shape() != l.z.shape) {
        grad_z_ = block_.scratch(l.z.shape);
        active_ = block_.scratch(l.z.shape);
      }
      second_half(l, b_.gradients[i], channels);
      first_half(l, b_.gradients[i], channels);
    }
    if (b_.training) complete(0, channels, channels_of(b_.gradient, 0, channels));
  }

 private:
  Pending pending(int64_t channel) const { return pending_of(b_, sums_, channel); }

  // to = the gradient of channels [first, last), complete.
  void complete(int64_t first, int64_t last, const View& to) const {
    correct(channels_of(b_.gradient, first, last), channels_of(b_.buffer, first, last), pending(first), to);
  }

  // From the layer's new channels, at `channel`, to the gradient of z, in grad_z_.
  void second_half(const DenseBlockLayer& l, const DenseBlockLayerGradient& g, int64_t channel) const {
    const int64_t growth = l.conv2.size(0);
    core::Shape shape = b_.buffer.shape;
    shape[3] = growth;
    const Tensor grad_new = block_.scratch(shape);
    complete(channel, channel + growth, grad_new.view());
    Tensor own;
    const auto [mean, inv_std] = block_.statistics2(l, own);
    batch_norm::normalize({l.z, mean, inv_std, l.norm2_weight, l.norm2_bias, active_.view(), true});
    dispatch(ConvolutionBackward{.x = active_.view(),
                                 .weight = l.conv2,
                                 .grad_y = grad_new.view(),
                                 .grad_x = grad_z_.view(),
                                 .grad_weight = g.conv2,
                                 .padding = 1,
                                 .tf32 = b_.tf32},
             kDevice);
    dispatch(BatchNormBackward{.x = l.z,
                               .weight = l.norm2_weight,
                               .bias = l.norm2_bias,
                               .mean = mean,
                               .inv_std = inv_std,
                               .grad_y = grad_z_.view(),
                               .grad_x = grad_z_.view(),
                               .grad_weight = g.norm2_weight,
                               .grad_bias = g.norm2_bias,
                               .training = b_.training,
                               .relu = true},
             kDevice);
  }

  // From grad_z_ to the gradient of the prefix [0, channels), which is added to.
  void first_half(const DenseBlockLayer& l, const DenseBlockLayerGradient& g, int64_t channels) const {
    const Tensor norm = block_.norm1(l);
    const View prefix = channels_of(b_.buffer, 0, channels);
    const View gradient = channels_of(b_.gradient, 0, channels);
    const int64_t middle = l.z.size(3);
    const bool wide = by_fours(prefix) && by_fours(gradient) && middle % 4 == 0 &&
                      reinterpret_cast<uintptr_t>(l.conv1.data) % 16 == 0;
    const PlainSource grad_z = block_.source(grad_z_.view());
    const PlainSource x = block_.source(prefix);
    const auto product =
        wide ? launch_deep_product<4, Along::side, Along::side, PlainSource, NormalizedSource>
             : launch_deep_product<1, Along::side, Along::side, PlainSource, NormalizedSource>;
    product("dense_block_conv1_grad_weight", block_.device(), grad_z, Block::normalized(x, norm),
            {g.conv1.as<float>(), channels, middle, static_cast<int>(channels)}, block_.pixels());
    const int64_t tiles = ceil_div(block_.pixels(), kTileRows);
    const Tensor partial = block_.scratch({tiles * 2 * channels});
    launch({"dense_block_conv1_grad_x", block_.device(), grid_of(tiles, ceil_div(channels, kTileColumns)),
            dim3(kTileThreads), kTileShared},
           wide ? dense_block_conv1_grad_x<4> : dense_block_conv1_grad_x<1>, grad_z,
           Block::weight_source(l.conv1), x, rows_of_norm(norm), gradient.as<float>(), gradient.row_stride(),
           partial.view().as<float>());
    finish_norm(partial.view().as<float>(), tiles, l.norm1_weight, g.norm1_weight, g.norm1_bias, pending(0),
                true, block_.pixels());
  }

  const DenseBlockBackward& b_;
  Block block_;
  Tensor sums_;             // [2, C]: what waits for the buffer's channels
  Tensor grad_z_, active_;  // of the layer at hand
};

void run_backward(const DenseBlockBackward& b) {
  if (b.buffer.numel() == 0) return clear_gradients(b.gradients);
  BackwardPass(b).run();
}

const Register<DenseBlockForward> forward("simt", kDevice, 10,
                                          {takes::f32, takes::uniform_pixels, takes::short_rows},
                                          run_forward);
const Register<DenseBlockBackward> backward("simt", kDevice, 10,
                                            {takes::f32, takes::uniform_pixels, takes::short_rows},
                                            run_backward);

}  // namespace
}  // namespace medfusion::kernels::cuda::dense_block
