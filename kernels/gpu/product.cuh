// Products of f32 matrices on the ordinary cores: a block makes a tile of kTileRows x kTileColumns, a thread
// 8 x 4 of it, from slices of both operands in shared memory. An operand is a source of N adjacent elements,
// which may compute what it hands out.
#pragma once

#include <algorithm>

#include "core/tensor.h"
#include "kernels/gpu/device.cuh"

namespace medfusion::kernels::cuda {
inline namespace MEDFUSION_GPU {

constexpr int kTileRows = 64;
constexpr int kTileColumns = 64;
constexpr int kTileDepth = 16;
constexpr int kTileThreads = 128;
constexpr int kTileStride = 68;  // of a slice's rows: 64, and 4 against bank conflicts
constexpr int64_t kTileShared = int64_t{2} * kTileDepth * kTileStride * 4;  // bytes

// A matrix by rows; 0 outside.
struct PlainSource {
  Global<const float> data;
  int64_t stride, rows;
  int columns;

  template <int N>
  __device__ __forceinline__ Vector<float, N> get(int64_t i, int64_t j) const {
    if (i >= rows || j >= columns) return {};
    return load<N>(data, i * stride + j);
  }
};

// max(scale x + shift, 0), scale and shift per column; 0 outside.
struct NormalizedSource {
  PlainSource x;
  Global<const float> scale, shift;

  template <int N>
  __device__ __forceinline__ Vector<float, N> get(int64_t i, int64_t j) const {
    if (i >= x.rows || j >= x.columns) return {};
    auto v = load<N>(x.data, i * x.stride + j);
    const auto a = load<N>(scale, j);
    const auto b = load<N>(shift, j);
#pragma unroll
    for (int k = 0; k < N; ++k) {
      const float y = fmaf(v[k], a[k], b[k]);
      v[k] = y < 0.0F ? 0.0F : y;
    }
    return v;
  }
};

// Which way the depth of the product runs in an operand's memory.
enum class Along { depth, side };

// One slice of an operand, kTileDepth deep and 64 wide, on its way to shared memory.
template <int N, Along along>
struct TileSlice {
  static constexpr int kUnits = kTileDepth * 64 / kTileThreads / N;  // of one thread
  Vector<float, N> v[kUnits];

  static __device__ __forceinline__ int depth_of(int unit) {
    return along == Along::depth ? unit % (kTileDepth / N) * N : unit / (64 / N);
  }
  static __device__ __forceinline__ int side_of(int unit) {
    return along == Along::depth ? unit / (kTileDepth / N) : unit % (64 / N) * N;
  }

  template <class Source>
  __device__ __forceinline__ void fetch(const Source& source, int64_t side, int64_t depth) {
#pragma unroll
    for (int u = 0; u < kUnits; ++u) {
      const int unit = static_cast<int>(threadIdx.x) + u * kTileThreads;
      const int64_t s = side + side_of(unit), d = depth + depth_of(unit);
      v[u] = along == Along::depth ? source.template get<N>(s, d) : source.template get<N>(d, s);
    }
  }
  __device__ __forceinline__ void put(const Shared<float>& slice) const {
#pragma unroll
    for (int u = 0; u < kUnits; ++u) {
      const int unit = static_cast<int>(threadIdx.x) + u * kTileThreads;
      const int at = depth_of(unit) * kTileStride + side_of(unit);
      if constexpr (along == Along::side) {
        store<N>(slice, at, v[u]);
      } else {
#pragma unroll
        for (int k = 0; k < N; ++k) slice[at + k * kTileStride] = v[u][k];
      }
    }
  }
};

// Where a product goes: rows x columns, or one such matrix without gaps per chunk of the depth (the grid's
// z).
struct ProductTarget {
  Global<float> data;
  int64_t stride, rows;
  int columns;
  bool accumulate = false;
};

// The 8 x 4 elements of a thread: rows row(0) .. row(0) + 7 and columns column() .. column() + 3 of the tile.
struct TileProduct {
  float sum[8][4] = {};

  static __device__ __forceinline__ int row() { return static_cast<int>(threadIdx.x) / 16 * 8; }
  static __device__ __forceinline__ int column() { return static_cast<int>(threadIdx.x) % 16 * 4; }

  // sum += a b over depth [first, last): rows of the product from `row0` on, columns from `column0` on.
  // Between multiples of kTileDepth, `last` may be cut off by the sources alone.
  template <int N, Along a_along, Along b_along, class A, class B>
  __device__ __forceinline__ void multiply(const A& a, int64_t row0, const B& b, int64_t column0,
                                           int64_t first, int64_t last, SharedMemory& memory) {
    const Shared<float> a_slice = memory.take<float>(int64_t{kTileDepth} * kTileStride);
    const Shared<float> b_slice = memory.take<float>(int64_t{kTileDepth} * kTileStride);
    TileSlice<N, a_along> next_a;
    TileSlice<N, b_along> next_b;
    if (first < last) {
      next_a.fetch(a, row0, first);
      next_b.fetch(b, column0, first);
    }
    for (int64_t depth = first; depth < last; depth += kTileDepth) {
      next_a.put(a_slice);
      next_b.put(b_slice);
      __syncthreads();
      if (depth + kTileDepth < last) {
        next_a.fetch(a, row0, depth + kTileDepth);
        next_b.fetch(b, column0, depth + kTileDepth);
      }
#pragma unroll
      for (int d = 0; d < kTileDepth; ++d) {
        const auto upper = load<4>(a_slice, d * kTileStride + row());
        const auto lower = load<4>(a_slice, d * kTileStride + row() + 4);
        const auto right = load<4>(b_slice, d * kTileStride + column());
#pragma unroll
        for (int i = 0; i < 4; ++i) {
#pragma unroll
          for (int j = 0; j < 4; ++j) {
            sum[i][j] += upper[i] * right[j];
            sum[i + 4][j] += lower[i] * right[j];
          }
        }
      }
      __syncthreads();
    }
  }

  // Writes the tile whose first row and column these are, from element `base` of the target on.
  template <int N>
  __device__ __forceinline__ void write(const ProductTarget& to, int64_t base, int64_t row0,
                                        int64_t column0) const {
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      if (row0 + row() + i >= to.rows) break;
#pragma unroll
      for (int j = 0; j < 4; j += N) {
        if (column0 + column() + j >= to.columns) break;
        const int64_t at = base + (row0 + row() + i) * to.stride + column0 + column() + j;
        Vector<float, N> v{};
        if (to.accumulate) v = load<N>(to.data, at);
#pragma unroll
        for (int k = 0; k < N; ++k) v[k] += sum[i][j + k];
        store<N>(to.data, at, v);
      }
    }
  }
};

// to = a b over the whole depth, or to[z] = a b over chunk z of it; `chunk` is a multiple of kTileDepth. N
// divides the columns, and the stride, of all three.
template <int N, Along a_along, Along b_along, class A, class B>
__global__ void __launch_bounds__(kTileThreads)
    tile_product(A a, B b, ProductTarget to, int64_t depth, int64_t chunk) {
  SharedMemory memory;
  const int64_t row0 = int64_t{blockIdx.x} * kTileRows;
  const int64_t column0 = int64_t{blockIdx.y} * kTileColumns;
  const int64_t first = int64_t{blockIdx.z} * chunk;
  const int64_t last = first + chunk < depth ? first + chunk : depth;
  TileProduct product;
  product.multiply<N, a_along, b_along>(a, row0, b, column0, first, last, memory);
  product.write<N>(to, int64_t{blockIdx.z} * to.rows * to.columns, row0, column0);
}

// total = the sum of `parts` arrays of `count`, in order.
template <int kThreads>
__global__ void __launch_bounds__(kThreads)
    add_parts(Global<const float> partial, int64_t parts, int64_t count, Global<float> total) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= count) return;
  double sum = 0.0;
  for (int64_t part = 0; part < parts; ++part) sum += static_cast<double>(partial[part * count + i]);
  total[i] = static_cast<float>(sum);
}

// to = a b, N elements at a time.
template <int N, Along a_along, Along b_along, class A, class B>
void launch_product(const char* name, core::Device device, const A& a, const B& b, const ProductTarget& to,
                    int64_t depth) {
  launch({name, device, grid_of(ceil_div(to.rows, kTileRows), ceil_div(to.columns, kTileColumns)),
          dim3(kTileThreads), kTileShared},
         tile_product<N, a_along, b_along, A, B>, a, b, to, depth, ceil_div(depth, kTileDepth) * kTileDepth);
}

// The same where the depth is long and the product small: chunks of the depth, as many as fill a large
// device, make partial products that are added in order. `to` has no gaps.
template <int N, Along a_along, Along b_along, class A, class B>
void launch_deep_product(const char* name, core::Device device, const A& a, const B& b,
                         const ProductTarget& to, int64_t depth) {
  constexpr int64_t kBlocks = 528, kLeast = 128;
  const int64_t count = to.rows * to.columns;
  const dim3 tiles = grid_of(ceil_div(to.rows, kTileRows), ceil_div(to.columns, kTileColumns));
  const int64_t most = std::max<int64_t>(1, ceil_div(depth, kLeast));
  const int64_t wanted = std::clamp<int64_t>(kBlocks / (int64_t{tiles.x} * tiles.y), 1, most);
  const int64_t chunk = std::max<int64_t>(1, ceil_div(ceil_div(depth, wanted), kTileDepth)) * kTileDepth;
  const int64_t chunks = std::max<int64_t>(1, ceil_div(depth, chunk));
  const core::Tensor partial = core::Tensor::empty({chunks * count}, core::DType::f32, device);
  ProductTarget part = to;
  part.data = partial.view().as<float>();
  part.stride = to.columns;
  launch({name, device, grid_of(tiles.x, tiles.y, chunks), dim3(kTileThreads), kTileShared},
         tile_product<N, a_along, b_along, A, B>, a, b, part, depth, chunk);
  launch({"add_parts", device, grid_of(ceil_div(count, kTileThreads)), dim3(kTileThreads)},
         add_parts<kTileThreads>, partial.view().as<float>(), chunks, count, to.data);
}

}  // namespace MEDFUSION_GPU
}  // namespace medfusion::kernels::cuda
