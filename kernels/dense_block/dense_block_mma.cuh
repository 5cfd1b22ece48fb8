// The convolutions of a dense layer in bf16 on tensor cores, as products over pixels: 1x1, or 3x3 with
// padding 1 as nine taps, whose operand is gathered. A batch norm and ReLU before a convolution are applied
// to a tile where it arrives in shared memory, once per block and by the thread that copied the piece: zeros
// around the image stay zeros. Results, sums and statistics are made by one block in order, or in parts that
// are combined in order.
#pragma once

#include "kernels/dense_block/dense_block_device.cuh"
#include "kernels/gpu/tile_pieces.cuh"

namespace medfusion::kernels::cuda::dense_block {
inline namespace MEDFUSION_GPU {

constexpr int kMmaThreads = 256;
constexpr int kMmaWarps = kMmaThreads / kWarp;
constexpr int kPixels = 128;  // of a block's tile of the result
constexpr int kStep = 32;     // of the depth, in a stage
constexpr int kMmaStages = 4;
constexpr int kDown = 4;  // warps one below the other in that tile
constexpr int kMostChannels =
    4096;  // of an operand that is normalized over its depth: they lie in shared memory

// [pixels, channels] in bf16
template <class T>
struct Matrix {
  Global<T> data;
  int64_t stride;
  int channels;
};

// The pixels of a batch of images, one after another, and what the windows of a convolution meet.
struct Images {
  int pixels, height, width;

  static constexpr int taps(bool window) { return window ? 9 : 1; }
  // Where tap (u, v) = (tap / 3, tap % 3) of a pixel lies from it.
  __device__ __forceinline__ int offset(bool window, int tap) const {
    return window ? (tap / 3 - 1) * width + tap % 3 - 1 : 0;
  }
  // Bit t: tap t of the pixel lies on its image.
  __device__ __forceinline__ unsigned taps_of(bool window, int pixel) const {
    if (pixel >= pixels) return 0;
    if (!window) return 1;
    const int line = pixel / width;
    const int column = pixel - line * width, row = line % height;
    const unsigned columns = 2U | (column > 0 ? 1U : 0U) | (column + 1 < width ? 4U : 0U);
    return columns << 3 | (row > 0 ? columns : 0U) | (row + 1 < height ? columns << 6 : 0U);
  }
};

// The pixels whose pieces of a tile a thread copies.
template <class Tile, bool kWindow>
struct OwnPixels {
  using Own = OwnPieces<kMmaThreads, Tile>;
  int first;  // of the thread's, the others lie a fixed distance apart
  int pixels;
  unsigned taps[kWindow ? Own::kCount : 1];

  __device__ __forceinline__ OwnPixels(const Images& images, int row0)
      : first(row0 + Own::row(0)), pixels(images.pixels) {
    if constexpr (kWindow) {
#pragma unroll
      for (int n = 0; n < Own::kCount; ++n) taps[n] = images.taps_of(true, pixel(n));
    }
  }
  __device__ __forceinline__ int pixel(int n) const { return first + n * (kMmaThreads / Tile::kPieces); }
  __device__ __forceinline__ bool on_image(int n, int tap) const {
    return kWindow ? (taps[kWindow ? n : 0] >> tap & 1U) != 0 : pixel(n) < pixels;
  }
};

// The part of a tile [kPixels, kColumns] that a warp makes.
template <int kColumns_>
struct WarpTile {
  static constexpr int kRows = kPixels / kDown, kColumns = kColumns_ * kDown / kMmaWarps;
  using Sums = Accumulators<kRows, kColumns>;
  using Columns = ColumnValues<kColumns>;
  int down = warp_index() % kDown;
  int row = down * kRows, column = warp_index() / kDown * kColumns;
};

__device__ __forceinline__ float plus(float x, float y) { return x + y; }
__device__ __forceinline__ float rounded(float x) { return high_bf16(pack_bf16(0.0F, x)); }

// max(scale x + shift, 0) of a piece; 0 where it is not on the image.
template <class Scale>
__device__ __forceinline__ void normalize(float (&x)[8], const Scale& scale, const Scale& shift,
                                          bool on_image) {
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    const float y = fmaf(x[i], scale[i], shift[i]);
    x[i] = !on_image || y < 0.0F ? 0.0F : y;
  }
}

// Eight floats of a global or a shared array.
struct Eight {
  Vector<float, 4> low, high;
  template <class Pointer>
  static __device__ __forceinline__ Eight load_from(const Pointer& x, int i) {
    return {load<4>(x, i), load<4>(x, i + 4)};
  }
  __device__ __forceinline__ float operator[](int i) const { return i < 4 ? low[i] : high[i - 4]; }
};

// partial[tile][0] = the means of the tile's columns, partial[tile][1] = the sums of squares about them, over
// its first `rows` rows; rows after them are 0.
template <int kColumns>
__device__ __forceinline__ void write_moments(typename WarpTile<kColumns>::Sums& x, int rows, int64_t tile,
                                              int column0, int channels, const Global<float>& partial,
                                              const Shared<float>& scratch) {
  const WarpTile<kColumns> warp;
  typename WarpTile<kColumns>::Columns values{};  // means, then squares: few registers are left
  const auto add_up = [&] {
    reduce_lane_columns(values, x, plus);
    combine_columns(values, plus);
    add_over_warps<kDown>(values, scratch, warp.down, warp.column, kColumns);
  };
  const auto write = [&](int which) {
    for_each(values, [&](float& value, int column) {
      column += column0 + warp.column;
      if (warp.down == 0 && lane_index() < 4 && column < channels)
        partial[(tile * 2 + which) * channels + column] = value;
    });
  };
  add_up();
  for_each(values, [&](float& value, int) { value /= static_cast<float>(rows); });
  write(0);
  map_columns(x, values, [](float value, float mean) { return (value - mean) * (value - mean); });
  for_each(x, [&](float& value, int row, int) { value = warp.row + row < rows ? value : 0.0F; });
  for_each(values, [](float& value, int) { value = 0.0F; });
  add_up();
  write(1);
}

// y = the convolution of max(norm(x), 0) with weight [taps][y.channels][x.channels]; partial: the moments of
// every tile of y, as it is rounded, unless null.
template <int kColumns, bool kWindow>
__global__ void __launch_bounds__(kMmaThreads, 2)
    dense_block_convolve(Matrix<const BFloat16> x, Norm norm, Global<const BFloat16> weight,
                         Matrix<BFloat16> y, Images images, Global<float> partial) {
  using Left = SharedTile<BFloat16, kPixels, kStep>;
  using Right = SharedTile<BFloat16, kColumns, kStep>;
  SharedMemory memory;
  const auto left = Left::take(memory, kMmaStages);
  const auto right = Right::take(memory, kMmaStages);
  const int steps = (x.channels + kStep - 1) / kStep;
  const Shared<float> affine = memory.take<float>(steps * 2 * kStep);  // [steps][scale, shift][kStep]
  for (int c = static_cast<int>(threadIdx.x) * 4; c < steps * kStep; c += kMmaThreads * 4) {
    const int at = c / kStep * 2 * kStep + c % kStep;
    Vector<float, 4> a{}, b{};
    if (c < x.channels) a = load<4>(norm.scale, c), b = load<4>(norm.shift, c);
    store<4>(affine, at, a);
    store<4>(affine, at + kStep, b);
  }
  __syncthreads();

  const int row0 = static_cast<int>(blockIdx.x) * kPixels, column0 = static_cast<int>(blockIdx.y) * kColumns;
  const OwnPixels<Left, kWindow> own(images, row0);
  const WarpTile<kColumns> warp;
  typename WarpTile<kColumns>::Sums sums;
  fill(sums, 0.0F);
  pipeline<kMmaStages>(
      Images::taps(kWindow) * steps,
      [&](int n, int stage) {
        const int tap = kWindow ? n / steps : 0;
        const int depth = (n - tap * steps) * kStep;
        const int offset = images.offset(kWindow, tap);
        // 32 bits: the widest tile has no register left
        copy_async_rows<kMmaThreads>(
            left[stage], x.data + depth, static_cast<int>(x.stride), x.channels - depth,
            [&](int i) { return own.on_image(i, tap) ? own.pixel(i) + offset : -1; });
        copy_async_rows<kMmaThreads>(right[stage],
                                     weight + ((int64_t{tap} * y.channels + column0) * x.channels + depth),
                                     x.channels, x.channels - depth, [&](int i) {
                                       const int row = OwnPieces<kMmaThreads, Right>::row(i);
                                       return row < y.channels - column0 ? row : -1;
                                     });
      },
      [&](int n, int stage) {
        const int tap = kWindow ? n / steps : 0;
        const int at = (n - tap * steps) * 2 * kStep + OwnPieces<kMmaThreads, Left>::column();
        const Eight a = Eight::load_from(affine, at), b = Eight::load_from(affine, at + kStep);
        map_own_pieces<kMmaThreads>(
            left[stage], [&](float(&values)[8], int i) { normalize(values, a, b, own.on_image(i, tap)); });
      },
      [&](int /*n*/, int stage) {
        multiply_transposed(sums, left[stage], warp.row, right[stage], warp.column);
      });

  __syncthreads();  // the stages are read no more
  using Result = SharedTile<BFloat16, kPixels, kColumns>;
  SharedMemory reused;
  const auto result = Result::take(reused);
  const Shared<float> scratch = reused.take<float>(kDown * kColumns);
  const int rows = images.pixels - row0 < kPixels ? images.pixels - row0 : kPixels;
  store(result, warp.row, sums, warp.column);
  if (partial != nullptr) {
    for_each(sums, [](float& value, int, int) { value = rounded(value); });
    write_moments<kColumns>(sums, rows, blockIdx.x, column0, y.channels, partial, scratch);
  }
  __syncthreads();
  copy_out<kMmaThreads>(y.data + (int64_t{row0} * y.stride + column0), y.stride, rows, y.channels - column0,
                        true, result);
}

// With d = the gradient of that convolution's input where norm(x) > 0, otherwise 0: grad_x = scale d, plus
// what was there with `accumulate`, and partial[tile of pixels] = the sums of d, then of d times the
// normalized x, of every channel. weight [taps][grad_y.channels][x.channels].
template <int kColumns, bool kWindow>
__global__ void __launch_bounds__(kMmaThreads, 2)
    dense_block_convolve_back_x(Matrix<const BFloat16> grad_y, Global<const BFloat16> weight,
                                Matrix<const BFloat16> x, Norm norm, Matrix<BFloat16> grad_x, bool accumulate,
                                Images images, Global<float> partial) {
  using Left = SharedTile<BFloat16, kPixels, kStep>;
  using Right = SharedTile<BFloat16, kStep, kColumns>;
  using Result = SharedTile<BFloat16, kPixels, kColumns>;
  SharedMemory memory;
  const auto left = Left::take(memory, kMmaStages);
  const auto right = Right::take(memory, kMmaStages);
  const auto inputs = Result::take(memory), result = Result::take(memory);
  const int row0 = static_cast<int>(blockIdx.x) * kPixels, column0 = static_cast<int>(blockIdx.y) * kColumns;
  const int64_t rows = images.pixels - row0 < kPixels ? images.pixels - row0 : kPixels;
  const int columns = x.channels - column0;
  copy_async<kMmaThreads>(inputs, x.data + (row0 * x.stride + column0), x.stride, rows, columns, true);
  const Global<BFloat16> target = grad_x.data + (row0 * grad_x.stride + column0);
  if (accumulate)
    copy_async<kMmaThreads>(result, Global<const BFloat16>(target), grad_x.stride, rows, columns, true);

  const int steps = (grad_y.channels + kStep - 1) / kStep;
  const OwnPixels<Left, kWindow> own(images, row0);
  const WarpTile<kColumns> warp;
  typename WarpTile<kColumns>::Sums sums;
  fill(sums, 0.0F);
  pipeline<kMmaStages>(
      Images::taps(kWindow) * steps,
      [&](int n, int stage) {
        const int tap = kWindow ? n / steps : 0;
        const int depth = (n - tap * steps) * kStep;
        // A pixel was tap `tap` of the one that lies the other way.
        const int back = Images::taps(kWindow) - 1 - tap;
        const int offset = images.offset(kWindow, back);
        copy_async_rows<kMmaThreads>(
            left[stage], grad_y.data + depth, grad_y.stride, grad_y.channels - depth,
            [&](int i) { return own.on_image(i, back) ? int64_t{own.pixel(i)} + offset : -1; });
        copy_async<kMmaThreads>(right[stage],
                                weight + ((int64_t{tap} * grad_y.channels + depth) * x.channels + column0),
                                x.channels, grad_y.channels - depth, columns, true);
      },
      [&](int /*n*/, int stage) { multiply(sums, left[stage], warp.row, right[stage], warp.column); });

  typename WarpTile<kColumns>::Columns sum_d{}, sum_dx{};
#pragma unroll
  for (int j = 0; j < WarpTile<kColumns>::Sums::kJ; ++j) {
    const int column = warp.column + 8 * j + WarpTile<kColumns>::Sums::column_of(0);  // and the next
    if (column >= columns) continue;
    const auto scale = load<2>(norm.scale, column0 + column), shift = load<2>(norm.shift, column0 + column);
    const auto inv_std = load<2>(norm.inv_std, column0 + column);
    const auto centre = load<2>(norm.centre, column0 + column);
#pragma unroll
    for (int i = 0; i < WarpTile<kColumns>::Sums::kI; ++i) {
#pragma unroll
      for (int e = 0; e < 4; e += 2) {
        const int at = Result::offset(warp.row + 16 * i + WarpTile<kColumns>::Sums::row_of(e), column);
        float in[2], g[2] = {0.0F, 0.0F};
        unpack(in, load<2>(inputs.data, at));
        if (accumulate) unpack(g, load<2>(result.data, at));
#pragma unroll
        for (int k = 0; k < 2; ++k) {
          const float d = fmaf(in[k], scale[k], shift[k]) > 0.0F ? sums.v[i][j][e + k] : 0.0F;
          sum_d.v[j][k] += d;
          sum_dx.v[j][k] += d * fmaf(in[k], inv_std[k], centre[k]);
          g[k] = fmaf(scale[k], d, g[k]);
        }
        store<2>(result.data, at, pack(g));
      }
    }
  }
  __syncthreads();  // the stages are read no more, and the result is whole
  copy_out<kMmaThreads>(target, grad_x.stride, rows, columns, true, result);
  SharedMemory reused;
  const Shared<float> scratch = reused.take<float>(kDown * kColumns);
  const auto write = [&](typename WarpTile<kColumns>::Columns& values, int which) {
    combine_columns(values, plus);
    add_over_warps<kDown>(values, scratch, warp.down, warp.column, kColumns);
    for_each(values, [&](float& value, int column) {
      column += warp.column;
      if (warp.down == 0 && lane_index() < 4 && column < columns)
        partial[(int64_t{blockIdx.x} * 2 + which) * x.channels + column0 + column] = value;
    });
  };
  write(sum_d, 0);
  write(sum_dx, 1);
}

// The gradient of that convolution's weight, of one tap and over one chunk of the pixels: partial[chunk][tap]
// [grad_y.channels][x.channels]. Grid: (tiles of x's channels, taps x tiles of grad_y's, chunks).
template <int kRows, bool kWindow>
__global__ void __launch_bounds__(kMmaThreads, 2)
    dense_block_convolve_back_weight(Matrix<const BFloat16> grad_y, Matrix<const BFloat16> x, Norm norm,
                                     Images images, int chunk, Global<float> partial) {
  constexpr int kColumns = 128;
  constexpr int kWarpsDown = kRows >= 64 ? 4 : 2;
  constexpr int kWarpRows = kRows / kWarpsDown, kWarpColumns = kColumns * kWarpsDown / kMmaWarps;
  using Left = SharedTile<BFloat16, kStep, kRows>;
  using Right = SharedTile<BFloat16, kStep, kColumns>;
  using Sums = Accumulators<kWarpRows, kWarpColumns>;
  SharedMemory memory;
  const auto left = Left::take(memory, kMmaStages);
  const auto right = Right::take(memory, kMmaStages);
  constexpr int kTaps = Images::taps(kWindow);
  const int tap = static_cast<int>(blockIdx.y) % kTaps;
  const int row0 = static_cast<int>(blockIdx.y) / kTaps * kRows;
  const int column0 = static_cast<int>(blockIdx.x) * kColumns;
  const int first = static_cast<int>(blockIdx.z) * chunk;
  const int last = first + chunk < images.pixels ? first + chunk : images.pixels;
  const int offset = images.offset(kWindow, tap);

  using Own = OwnPieces<kMmaThreads, Right>;
  const int channel = column0 + Own::column();
  Eight scale{}, shift{};
  if (channel < x.channels) {
    scale = Eight::load_from(norm.scale, channel);
    shift = Eight::load_from(norm.shift, channel);
  }
  Sums sums;
  fill(sums, 0.0F);
  const int down = warp_index() % kWarpsDown, across = warp_index() / kWarpsDown;
  pipeline<kMmaStages>((last - first + kStep - 1) / kStep,
                       [&](int n, int stage) {
                         const int pixel = first + n * kStep;
                         copy_async<kMmaThreads>(left[stage], grad_y.data + (pixel * grad_y.stride + row0),
                                                 grad_y.stride, last - pixel, grad_y.channels - row0, true);
                         copy_async_rows<kMmaThreads>(
                             right[stage], x.data + column0, x.stride, x.channels - column0, [&](int i) {
                               const int p = pixel + Own::row(i);
                               const unsigned taps = images.taps_of(kWindow, p);
                               return (taps >> tap & 1U) != 0 ? int64_t{p} + offset : -1;
                             });
                       },
                       [&](int n, int stage) {
                         const int pixel = first + n * kStep;
                         map_own_pieces<kMmaThreads>(right[stage], [&](float(&values)[8], int i) {
                           const unsigned taps = images.taps_of(kWindow, pixel + Own::row(i));
                           normalize(values, scale, shift, (taps >> tap & 1U) != 0);
                         });
                       },
                       [&](int /*n*/, int stage) {
                         multiply_of_transposed(sums, left[stage], down * kWarpRows, right[stage],
                                                across * kWarpColumns);
                       });

  const int64_t base = (int64_t{blockIdx.z} * kTaps + tap) * grad_y.channels * x.channels;
#pragma unroll
  for (int i = 0; i < Sums::kI; ++i) {
#pragma unroll
    for (int j = 0; j < Sums::kJ; ++j) {
#pragma unroll
      for (int e = 0; e < 4; e += 2) {
        const int row = row0 + down * kWarpRows + 16 * i + Sums::row_of(e);
        const int column = column0 + across * kWarpColumns + 8 * j + Sums::column_of(e);
        if (row >= grad_y.channels || column >= x.channels) continue;
        store<2>(partial, base + int64_t{row} * x.channels + column,
                 Vector<float, 2>{{sums.v[i][j][e], sums.v[i][j][e + 1]}});
      }
    }
  }
}

}  // namespace MEDFUSION_GPU
}  // namespace medfusion::kernels::cuda::dense_block
