// Words of the tile vocabulary for operands that are gathered row by row and changed on their way, and for
// sums over the warps of a block.
#pragma once

#include "kernels/gpu/tile.cuh"

namespace medfusion::kernels::cuda {
inline namespace MEDFUSION_GPU {

// The pieces of a tile that fall to the calling thread of a block of kThreads, all in one column of pieces.
// copy_async_rows and map_own_pieces take the same: what a thread copied it may change as soon as that has
// arrived, before the barrier that shows it to the others.
template <int kThreads, class Tile>
struct OwnPieces {
  static constexpr int kAll = Tile::kRows * Tile::kPieces;
  static constexpr int kCount = (kAll + kThreads - 1) / kThreads;
  static_assert(kThreads % Tile::kPieces == 0);
  static __device__ __forceinline__ bool has(int n) {
    return kAll % kThreads == 0 || n * kThreads + static_cast<int>(threadIdx.x) < kAll;
  }
  static __device__ __forceinline__ int row(int n) {
    return (n * kThreads + static_cast<int>(threadIdx.x)) / Tile::kPieces;
  }
  static __device__ __forceinline__ int column() {
    return static_cast<int>(threadIdx.x) % Tile::kPieces * Tile::kPiece;
  }
};

// Block of kThreads: starts the copy of rows of x, in any order: the row of a thread's n-th piece is row
// source(n) of x, or zeros where that is negative. Rows are aligned to 16 bytes, `columns` is whole pieces.
// With a stride of int places in x are counted in 32 bits.
template <int kThreads, class Tile, class T, class Index, class Source>
__device__ __forceinline__ void copy_async_rows(const Tile& tile, Global<const T> x, Index stride,
                                                int columns, const Source& source) {
  using Own = OwnPieces<kThreads, Tile>;
#pragma unroll
  for (int n = 0; n < Own::kCount; ++n) {
    if (!Own::has(n)) continue;
    const Index row = source(n);
    copy_async_16(tile.data, Tile::offset(Own::row(n), Own::column()), x, row * stride + Own::column(),
                  row >= 0 && Own::column() < columns);
  }
}

// Block of kThreads: f(values, n) changes the thread's n-th piece, in f32.
template <int kThreads, class Tile, class F>
__device__ __forceinline__ void map_own_pieces(const Tile& tile, const F& f) {
  using Own = OwnPieces<kThreads, Tile>;
#pragma unroll
  for (int n = 0; n < Own::kCount; ++n) {
    if (!Own::has(n)) continue;
    const int at = Tile::offset(Own::row(n), Own::column());
    float values[Tile::kPiece];
    unpack(values, load<Tile::kPiece>(tile.data, at));
    f(values, n);
    store<Tile::kPiece>(tile.data, at, pack(values));
  }
}

// Adds up, in order, what `kDown` warps hold of the same columns; all of them get it. This warp is number
// `down` of them, its columns are those from `column` on of `width`. `scratch` holds kDown x width, and may
// be reused at once. By all threads of the block.
template <int kDown, int kColumns>
__device__ __forceinline__ void add_over_warps(ColumnValues<kColumns>& columns, const Shared<float>& scratch,
                                               int down, int column, int width) {
  for_each(columns, [&](float& value, int c) {
    if (lane_index() < 4) scratch[down * width + column + c] = value;
  });
  __syncthreads();
  for_each(columns, [&](float& value, int c) {
    value = 0.0F;
#pragma unroll
    for (int warp = 0; warp < kDown; ++warp) value += static_cast<float>(scratch[warp * width + column + c]);
  });
  __syncthreads();
}

}  // namespace MEDFUSION_GPU
}  // namespace medfusion::kernels::cuda
