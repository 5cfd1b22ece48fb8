// Tiles for the asynchronous products of a warpgroup (wgmma, compute capability 9.0). The register tiles are
// those of tile.cuh: each of the four warps holds 16 of 64 rows, so that maps and reductions are the same.
#pragma once

#include "kernels/gpu/hopper.cuh"
#include "kernels/gpu/tile.cuh"

namespace medfusion::kernels::cuda {
inline namespace MEDFUSION_GPU {

// The warpgroup of the thread; the same value in a register of all lanes, as the compiler can see.
__device__ __forceinline__ int warpgroup_index() {
  return __shfl_sync(kFullWarp, static_cast<int>(threadIdx.x) / kWarpgroup, 0);
}

// A matrix in shared memory as bulk copies write it and wgmma reads it: panels of 64 columns, one after
// another; the row of a panel is a line of 128 bytes, whose 16-byte pieces change places with the row.
template <int kRows_, int kColumns_>
struct SwizzledTile {
  static constexpr int kRows = kRows_, kColumns = kColumns_;
  static constexpr int kPanelColumns = static_cast<int>(kBoxColumns), kPanels = kColumns / kPanelColumns;
  static constexpr int kPanelSize = kRows * kPanelColumns, kSize = kRows * kColumns;
  static constexpr int kPiece = 8, kPieces = kPanelColumns / kPiece;
  static constexpr int64_t kBytes = int64_t{kSize} * 2;
  static constexpr int kPatternBytes = 1024;  // eight lines
  static_assert(kRows % 8 == 0 && kColumns % kPanelColumns == 0);

  Shared<BFloat16> data;

  // `count` tiles, one after another
  static __device__ __forceinline__ SwizzledTile take(SharedMemory& memory, int count = 1) {
    return {memory.take<BFloat16>(int64_t{kSize} * count, kPatternBytes)};
  }
  __device__ __forceinline__ SwizzledTile operator[](int n) const { return {data + n * kSize}; }

  // Where element (row, column) lies in data.
  static __device__ __forceinline__ int offset(int row, int column) {
    const int piece = column % kPanelColumns / kPiece ^ row % 8;
    return column / kPanelColumns * kPanelSize + row * kPanelColumns + piece * kPiece + column % kPiece;
  }
  // Depth [16 k, 16 k + 16) of rows from `row` (a multiple of 8) on, columns being the depth.
  __device__ __forceinline__ uint64_t along_depth(int row, int k) const {
    constexpr int kSteps = kPanelColumns / 16;  // of a panel
    const int at = k / kSteps * kPanelSize + row * kPanelColumns + k % kSteps * 16;
    return matrix_descriptor(shared_address(data, at), 0, kPatternBytes);
  }
  // Depth [16 k, 16 k + 16) of all columns, rows being the depth.
  __device__ __forceinline__ uint64_t across_depth(int k) const {
    return matrix_descriptor(shared_address(data, 16 * k * kPanelColumns), kPanelSize * 2, kPatternBytes);
  }
};

// One thread: starts the copy of columns [column, column + kColumns) of rows [row, row + kRows) of sample
// `b`, zeros where there is no such row. The map's boxes have kRows rows. kBytes count at barrier[j].
template <class Tile>
__device__ __forceinline__ void copy_tile_async(const Tile& tile, Shared<uint64_t> barrier, At j,
                                                const TensorMap& map, int column, int row, int b) {
#pragma unroll
  for (int panel = 0; panel < Tile::kPanels; ++panel) {
    copy_box_async(tile.data, panel * Tile::kPanelSize, barrier, j, map, column + panel * Tile::kPanelColumns,
                   row, b);
  }
}

// Warpgroup, of rows 16 w to 16 w + 15 in warp w: starts d[64, kColumns] = a[row .. row + 64, :] b^T, one
// group. Neither d nor the tiles may be touched before wait_products.
template <int kColumns, class Left, class Right>
__device__ __forceinline__ void start_multiply_transposed(Accumulators<16, kColumns>& d, const Left& a,
                                                          int row, const Right& b) {
  static_assert((kColumns == 64 || kColumns == 128) && Right::kRows == kColumns);
  static_assert(Right::kColumns == Left::kColumns);
  pin(d.v[0]);
  wgmma_fence();
#pragma unroll
  for (int k = 0; k < Left::kColumns / 16; ++k) {
    if constexpr (kColumns == 128) {
      wgmma_64x128x16(d.v[0], a.along_depth(row, k), b.along_depth(0, k), k > 0);
    } else {
      wgmma_64x64x16(d.v[0], a.along_depth(row, k), b.along_depth(0, k), k > 0);
    }
  }
  wgmma_commit();
}

// Starts d += a b, one group. Nor may a be touched before wait_products.
template <int kColumns, int kDepth, class Right>
__device__ __forceinline__ void start_multiply(Accumulators<16, kColumns>& d, LeftTile<16, kDepth>& a,
                                               const Right& b) {
  static_assert(Right::kRows == kDepth && Right::kColumns == kColumns && (kColumns == 64 || kColumns == 128));
  pin(d.v[0]);
  pin(a.v[0]);
  wgmma_fence();
#pragma unroll
  for (int k = 0; k < kDepth / 16; ++k) {
    if constexpr (kColumns == 128) {
      wgmma_64x128x16(d.v[0], a.v[0][k], b.across_depth(k));
    } else {
      wgmma_64x64x16(d.v[0], a.v[0][k], b.across_depth(k));
    }
  }
  wgmma_commit();
}

// No later wait comes before the arithmetic that makes x.
template <int kColumns>
__device__ __forceinline__ void no_wait_before(Accumulators<16, kColumns>& x) {
  uint32_t bits = 0;
  for_each(x, [&](float& value, int, int) { bits |= __float_as_uint(value); });
  no_wait_before(__uint_as_float(bits));
}

// Waits until at most kLeft products, the latest, are under way. Names the sums that are there then, and all
// else that must not be used before.
template <int kLeft, class... Tiles>
__device__ __forceinline__ void wait_products(Tiles&... tiles) {
  wgmma_wait<kLeft>();
  (pin(tiles.v[0]), ...);
}

}  // namespace MEDFUSION_GPU
}  // namespace medfusion::kernels::cuda
