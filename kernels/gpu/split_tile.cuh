// Products of f32 on tensor cores, for the tiles of tile.cuh: each factor is split into two parts of 11
// significant bits (TF32), and three products of the parts are added up, the small ones first; the fourth, of
// both low parts, is below 2^-22 of the whole; long sums are added up outside of the tensor cores. (Ootomo
// and Yokota, "Recovering single precision accuracy from Tensor Cores", 2022) The order of depth within a
// step is free, and chosen so that lanes read whole pieces of 16 bytes and no bank is met twice.
#pragma once

#include "kernels/gpu/tile.cuh"

namespace medfusion::kernels::cuda {
inline namespace MEDFUSION_GPU {

// x = high + low to 2^-22, both in TF32. The high part is rounded to nearest, the low one cut, so that one of
// them is NaN where x is. Where x is infinite or rounds to infinity (from 2^-12 below the largest number on),
// the parts are no number together.
__device__ __forceinline__ void split(uint32_t& high, uint32_t& low, float x) {
  high = (__float_as_uint(x) + 0x1000U) & 0xffffe000U;
  low = __float_as_uint(x - __uint_as_float(high)) & 0xffffe000U;
}

// A 16 x 8 block of a left factor, and an 8 x 8 block of a right one, in parts.
struct SplitLeft {
  uint32_t high[4], low[4];
  __device__ __forceinline__ void set(int i, float x) { split(high[i], low[i], x); }
};
struct SplitRight {
  uint32_t high[2], low[2];
  __device__ __forceinline__ SplitRight(float x0, float x1) {
    split(high[0], low[0], x0);
    split(high[1], low[1], x1);
  }
};

// d[.][j] += a b, for the 16 x 8 blocks of all rows.
template <int kRows, int kColumns>
__device__ __forceinline__ void multiply_step(Accumulators<kRows, kColumns>& d, int j,
                                              const SplitLeft (&a)[kRows / 16], const SplitRight& b) {
#pragma unroll
  for (int i = 0; i < kRows / 16; ++i) {
    mma_16x8x8(d.v[i][j], a[i].low, b.high[0], b.high[1]);
    mma_16x8x8(d.v[i][j], a[i].high, b.low[0], b.low[1]);
    mma_16x8x8(d.v[i][j], a[i].high, b.high[0], b.high[1]);
  }
}

// d[kRows, kColumns] += a b^T, of rows [row, row + kRows) of a and all rows of b.
template <int kRows, int kColumns, int kLeftRows, int kRightRows, int kDepth>
__device__ __forceinline__ void multiply_transposed(Accumulators<kRows, kColumns>& d,
                                                    const SharedTile<float, kLeftRows, kDepth>& a, int row,
                                                    const SharedTile<float, kRightRows, kDepth>& b) {
  using Left = SharedTile<float, kLeftRows, kDepth>;
  using Right = SharedTile<float, kRightRows, kDepth>;
  static_assert(kRightRows == kColumns && kDepth % 32 == 0);
  const int g = lane_index() / 4, t = lane_index() % 4;
  // Of a depth of 32 a lane takes eight, in two pieces; a piece is two steps.
#pragma unroll 1
  for (int k = 0; k < kDepth / 16; ++k) {
    const int at = k / 2 * 32 + 8 * t + k % 2 * 4;
    SplitLeft left[2][kRows / 16];
#pragma unroll
    for (int i = 0; i < kRows / 16; ++i) {
      const auto upper = load<4>(a.data, Left::offset(row + 16 * i + g, at));
      const auto lower = load<4>(a.data, Left::offset(row + 16 * i + g + 8, at));
#pragma unroll
      for (int n = 0; n < 4; ++n) {
        left[n / 2][i].set(n % 2 * 2, upper[n]);
        left[n / 2][i].set(n % 2 * 2 + 1, lower[n]);
      }
    }
#pragma unroll
    for (int j = 0; j < kColumns / 8; ++j) {
      const auto right = load<4>(b.data, Right::offset(8 * j + g, at));
#pragma unroll
      for (int step = 0; step < 2; ++step)
        multiply_step(d, j, left[step], SplitRight(right[2 * step], right[2 * step + 1]));
    }
  }
}

// Sums of a product with rows of a shared tile: as Accumulators, but their columns lie in another order, so
// that a lane reads whole pieces of the tile. Of 32 columns it has eight neighbours per row: those from
// column_of(e) on are v[i][4 n + 0 .. 3][e], n counting the columns by 32.
template <int kRows, int kColumns>
struct PieceSums : Accumulators<kRows, kColumns> {
  static_assert(kColumns % 32 == 0);
  static __device__ __forceinline__ int column_of(int e) { return lane_index() % 4 * 8 + e % 2 * 4; }
};

// d[kRows, kColumns] += a b, a being sums in registers: as they lie there, a lane's two neighbours are the
// two depths of a step. Sums of the depth are added to d apart: a tensor core would cut d at every step.
template <int kRows, int kColumns, int kDepth>
__device__ __forceinline__ void multiply(PieceSums<kRows, kColumns>& d, const Accumulators<kRows, kDepth>& a,
                                         const SharedTile<float, kDepth, kColumns>& b) {
  using Right = SharedTile<float, kDepth, kColumns>;
  const int g = lane_index() / 4, t = lane_index() % 4;
#pragma unroll
  for (int n = 0; n < kColumns / 32; ++n) {
    Accumulators<kRows, 32> part;
    fill(part, 0.0F);
#pragma unroll
    for (int k = 0; k < kDepth / 8; ++k) {
      SplitLeft left[kRows / 16];
#pragma unroll
      for (int i = 0; i < kRows / 16; ++i) {
#pragma unroll
        for (int e = 0; e < 4; ++e) left[i].set(e % 2 * 2 + e / 2, a.v[i][k][e]);
      }
      const auto even = load<4>(b.data, Right::offset(8 * k + 2 * t, 32 * n + 4 * g));
      const auto odd = load<4>(b.data, Right::offset(8 * k + 2 * t + 1, 32 * n + 4 * g));
#pragma unroll
      for (int j = 0; j < 4; ++j) multiply_step(part, j, left, SplitRight(even[j], odd[j]));
    }
#pragma unroll
    for (int i = 0; i < kRows / 16; ++i) {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
#pragma unroll
        for (int e = 0; e < 4; ++e) d.v[i][4 * n + j][e] += part.v[i][j][e];
      }
    }
  }
}

// Sums as the left factor of the next product: they stay what they are.
template <int kRows, int kColumns>
__device__ __forceinline__ void round_to(Accumulators<kRows, kColumns>& a,
                                         const Accumulators<kRows, kColumns>& x) {
  a = x;
}

// Into the shared tile from `row` on.
template <int kRows, int kColumns, int kTileRows>
__device__ __forceinline__ void store(const SharedTile<float, kTileRows, kColumns>& tile, int row,
                                      const PieceSums<kRows, kColumns>& x) {
  using X = PieceSums<kRows, kColumns>;
  using Tile = SharedTile<float, kTileRows, kColumns>;
#pragma unroll
  for (int i = 0; i < X::kI; ++i) {
#pragma unroll
    for (int n = 0; n < kColumns / 32; ++n) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const auto& v = x.v[i];
        store<4>(tile.data, Tile::offset(row + 16 * i + X::row_of(e), 32 * n + X::column_of(e)),
                 Vector<float, 4>{{v[4 * n][e], v[4 * n + 1][e], v[4 * n + 2][e], v[4 * n + 3][e]}});
      }
    }
  }
}

}  // namespace MEDFUSION_GPU
}  // namespace medfusion::kernels::cuda
