// Products of f32 on tensor cores, for the tiles of tile.cuh: each factor is split into two parts of 11
// significant bits (TF32), and three products of the parts are added up, the small ones first; the fourth, of
// both low parts, is below 2^-22 of the whole. (Ootomo and Yokota, "Recovering single precision accuracy from
// Tensor Cores", 2022) The order of depth within a step is free, and chosen so that lanes read whole pieces
// of 16 bytes and no bank is met twice.
#pragma once

#include "kernels/cuda/tile.cuh"

namespace medfusion::cuda {
inline namespace MEDFUSION_GPU {

// Warp: d[16, 8] += a[16, 8] b[8, 8], TF32 with f32 sums; what a word has below TF32 must be 0. With
// g = lane / 4 and t = lane % 4 a lane holds
//   d: rows g (0, 1) and g + 8 (2, 3), columns 2t and 2t + 1
//   a: rows g (0, 2) and g + 8 (1, 3), depths t (0, 1) and t + 4 (2, 3)
//   b: column g, depths t (0) and t + 4 (1)
#ifdef __CUDACC__
__device__ __forceinline__ void mma_16x8x8(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
#else
inline void mma_16x8x8(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1,
                       simulator::Site site = simulator::Site::current()) {
  struct Operands {
    uint32_t a[4], b[2];
  };
  const Operands mine{{a[0], a[1], a[2], a[3]}, {b0, b1}};
  simulator::collective<int>("mma.m16n8k8", kFullWarp, mine, site, [&](const simulator::Collective& all) {
    const int lane = simulator::Block::current().lane();
    const auto tf32 = [](uint32_t word) { return __uint_as_float(word & 0xffffe000U); };
    for (int depth = 0; depth < 8; ++depth) {
      const int half = depth / 4, holder = depth % 4;
      const auto left = all.value<Operands>(lane / 4 * 4 + holder);
      for (int column = 0; column < 2; ++column) {
        const float right = tf32(all.value<Operands>((lane % 4 * 2 + column) * 4 + holder).b[half]);
        d[column] += tf32(left.a[half * 2]) * right;
        d[column + 2] += tf32(left.a[half * 2 + 1]) * right;
      }
    }
    return 0;
  });
}
#endif

// x = high + low to 2^-22, both in TF32: rounded to nearest, away from zero in the middle.
__device__ __forceinline__ void split(uint32_t& high, uint32_t& low, float x) {
  const auto rounded = [](float value) { return (__float_as_uint(value) + 0x1000U) & 0xffffe000U; };
  high = rounded(x);
  low = rounded(x - __uint_as_float(high));
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
// two depths of a step.
template <int kRows, int kColumns, int kDepth>
__device__ __forceinline__ void multiply(PieceSums<kRows, kColumns>& d, const Accumulators<kRows, kDepth>& a,
                                         const SharedTile<float, kDepth, kColumns>& b) {
  using Right = SharedTile<float, kDepth, kColumns>;
  const int g = lane_index() / 4, t = lane_index() % 4;
#pragma unroll
  for (int k = 0; k < kDepth / 8; ++k) {
    SplitLeft left[kRows / 16];
#pragma unroll
    for (int i = 0; i < kRows / 16; ++i) {
#pragma unroll
      for (int e = 0; e < 4; ++e) left[i].set(e % 2 * 2 + e / 2, a.v[i][k][e]);
    }
#pragma unroll
    for (int n = 0; n < kColumns / 32; ++n) {
      const auto even = load<4>(b.data, Right::offset(8 * k + 2 * t, 32 * n + 4 * g));
      const auto odd = load<4>(b.data, Right::offset(8 * k + 2 * t + 1, 32 * n + 4 * g));
#pragma unroll
      for (int j = 0; j < 4; ++j) multiply_step(d, 4 * n + j, left, SplitRight(even[j], odd[j]));
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
}  // namespace medfusion::cuda
