// A dense layer's 1x1 convolution and its gradient by its input, with the batch norm and ReLU before it
// folded into what is read and written: no normalized tensor exists. P pixels, c channels of the prefix, m of
// z.
#pragma once

#include "kernels/dense_block/dense_block_device.cuh"
#include "kernels/gpu/product.cuh"

namespace medfusion::kernels::dense_block {
inline namespace MEDFUSION_GPU {

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

}  // namespace MEDFUSION_GPU
}  // namespace medfusion::kernels::dense_block
