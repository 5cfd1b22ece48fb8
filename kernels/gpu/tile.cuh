// The vocabulary of kernels on tensor cores. A SharedTile is a matrix in shared memory that a block fills; a
// register tile is a matrix that one warp holds in its lanes, in the layout of its role in a product:
//   Accumulators  f32 sums            LeftTile  bf16, the left factor
// Right factors are read from shared tiles inside of the products. Operations on register tiles are
// collective over the warp, those on whole SharedTiles over the block.
#pragma once

#include "kernels/gpu/intrinsics.cuh"

namespace medfusion::kernels::cuda {
inline namespace MEDFUSION_GPU {

__device__ __forceinline__ int lane_index() { return static_cast<int>(threadIdx.x) % kWarp; }
__device__ __forceinline__ int warp_index() { return static_cast<int>(threadIdx.x) / kWarp; }

// A matrix in shared memory, row after row, in pieces of 16 bytes. The pieces of a row change places with the
// row, so that the same piece of eight rows in a row (what ldmatrix reads) lies in all 32 banks.
template <class T, int kRows_, int kColumns_>
struct SharedTile {
  static constexpr int kRows = kRows_, kColumns = kColumns_;
  static constexpr int kPiece = 16 / static_cast<int>(sizeof(T));  // elements
  static constexpr int kPieces = kColumns / kPiece;                // of a row
  static_assert(kColumns % kPiece == 0 && (kPieces & (kPieces - 1)) == 0, "a power of two of pieces");
  static constexpr int kSize = kRows * kColumns;
  static constexpr int64_t kBytes = int64_t{kSize} * static_cast<int64_t>(sizeof(T));

  Shared<T> data;

  // `count` tiles, one after another
  static __device__ __forceinline__ SharedTile take(SharedMemory& memory, int count = 1) {
    return {memory.take<T>(int64_t{kSize} * count, 128)};
  }
  __device__ __forceinline__ SharedTile operator[](int n) const { return {data + n * kSize}; }

  // Where element (row, column) lies in data.
  static __device__ __forceinline__ int offset(int row, int column) {
    constexpr int kRowsPerLine = kPieces >= 8 ? 1 : 8 / kPieces;  // of 128 bytes
    constexpr int kMask = (kPieces >= 8 ? 8 : kPieces) - 1;
    const int piece = column / kPiece ^ (row / kRowsPerLine & kMask);
    return row * kColumns + piece * kPiece + column % kPiece;
  }
};

// Elements of bf16 that move together, as floats and back.
template <int N>
__device__ __forceinline__ void unpack(float (&values)[N], const Vector<BFloat16, N>& piece) {
#pragma unroll
  for (int i = 0; i < N; ++i) values[i] = low_bf16(piece[i].bits);
}
template <int N>
__device__ __forceinline__ Vector<BFloat16, N> pack(const float (&values)[N]) {
  Vector<BFloat16, N> piece;
#pragma unroll
  for (int i = 0; i < N; i += 2) {
    const uint32_t pair = pack_bf16(values[i], values[i + 1]);
    piece[i].bits = static_cast<uint16_t>(pair & 0xffffU);
    piece[i + 1].bits = static_cast<uint16_t>(pair >> 16);
  }
  return piece;
}

namespace detail {
// f(row, column) for the pieces of a tile that fall to the calling thread of kThreads.
template <int kThreads, class Tile, class Step>
__device__ __forceinline__ void piece_of_tile(int step, const Step& f) {
  constexpr int kCount = Tile::kRows * Tile::kPieces;
  const int n = step * kThreads + static_cast<int>(threadIdx.x) % kThreads;
  if (kCount % kThreads == 0 || n < kCount) f(n / Tile::kPieces, n % Tile::kPieces * Tile::kPiece);
}
template <int kThreads, class Tile, class Step>
__device__ __forceinline__ void pieces_at_once(const Step& f) {
#pragma unroll
  for (int step = 0; step < (Tile::kRows * Tile::kPieces + kThreads - 1) / kThreads; ++step)
    piece_of_tile<kThreads, Tile>(step, f);
}
template <int kThreads, class Tile, class Step>
__device__ __forceinline__ void pieces_in_turn(const Step& f) {
#pragma unroll 1
  for (int step = 0; step < (Tile::kRows * Tile::kPieces + kThreads - 1) / kThreads; ++step)
    piece_of_tile<kThreads, Tile>(step, f);
}
}  // namespace detail

// Block of kThreads, or as many of its threads from a multiple of kThreads on: starts the copy of a matrix of
// `rows` rows and `columns` columns into the tile, zeros around it. `wide`: rows are aligned to 16 bytes and
// `columns` is whole pieces; otherwise elements are copied one by one, at once. A group of copies ends with
// copy_async_commit().
template <int kThreads, class Tile, class T>
__device__ __forceinline__ void copy_async(const Tile& tile, Global<const T> x, int64_t stride, int64_t rows,
                                           int columns, bool wide) {
  if (wide) {
    detail::pieces_at_once<kThreads, Tile>([&](int row, int column) {
      copy_async_16(tile.data, Tile::offset(row, column), x, row * stride + column,
                    row < rows && column < columns);
    });
    return;
  }
  detail::pieces_in_turn<kThreads, Tile>([&](int row, int column) {
    Vector<T, Tile::kPiece> piece{};
#pragma unroll
    for (int i = 0; i < Tile::kPiece; ++i) {
      if (row < rows && column + i < columns) piece[i] = x[row * stride + column + i];
    }
    store<Tile::kPiece>(tile.data, Tile::offset(row, column), piece);
  });
}

// Block of kThreads, or as many of its threads: writes the first `rows` rows and `columns` columns of the
// tile.
template <int kThreads, class Tile, class T>
__device__ __forceinline__ void copy_out(Global<T> y, int64_t stride, int64_t rows, int columns, bool wide,
                                         const Tile& tile) {
  if (wide) {
    detail::pieces_at_once<kThreads, Tile>([&](int row, int column) {
      if (row >= rows || column >= columns) return;
      store<Tile::kPiece>(y, row * stride + column, load<Tile::kPiece>(tile.data, Tile::offset(row, column)));
    });
    return;
  }
  detail::pieces_in_turn<kThreads, Tile>([&](int row, int column) {
    const auto piece = load<Tile::kPiece>(tile.data, Tile::offset(row, column));
#pragma unroll
    for (int i = 0; i < Tile::kPiece; ++i) {
      if (row < rows && column + i < columns) y[row * stride + column + i] = piece[i];
    }
  });
}

// Items go by through a ring of stages in shared memory: produce(n, stage) starts the copies of item n, and
// consume(n, stage) works on it, while kStages - 1 later ones are under way. Between the two, prepare(n,
// stage) may change what the same thread copied. All threads of the block do all three.
template <int kStages, class Count, class Produce, class Prepare, class Consume>
__device__ __forceinline__ void pipeline(Count count, const Produce& produce, const Prepare& prepare,
                                         const Consume& consume) {
  static_assert(kStages >= 2, "with one stage nothing overlaps");
#pragma unroll
  for (int n = 0; n < kStages - 1; ++n) {
    if (n < count) produce(Count{n}, n);
    copy_async_commit();
  }
  int stage = 0, next = kStages - 1;
  for (Count n = 0; n < count; ++n) {
    copy_async_wait<kStages - 2>();
    prepare(n, stage);
    __syncthreads();  // item n is there for all, and all are done with the one before
    if (n + kStages - 1 < count) produce(n + kStages - 1, next);
    copy_async_commit();
    consume(n, stage);
    stage = stage + 1 == kStages ? 0 : stage + 1;
    next = next + 1 == kStages ? 0 : next + 1;
  }
}
template <int kStages, class Count, class Produce, class Consume>
__device__ __forceinline__ void pipeline(Count count, const Produce& produce, const Consume& consume) {
  pipeline<kStages>(
      count, produce, [](Count, int) {}, consume);
}

// f32 [kRows, kColumns]; lane: v[i][j][e] is element (16 i + row_of(e), 8 j + column_of(e)).
template <int kRows_, int kColumns_>
struct Accumulators {
  static constexpr int kRows = kRows_, kColumns = kColumns_;
  static constexpr int kI = kRows / 16, kJ = kColumns / 8;
  static_assert(kRows % 16 == 0 && kColumns % 16 == 0);
  float v[kI][kJ][4];

  static __device__ __forceinline__ int row_of(int e) { return lane_index() / 4 + e / 2 * 8; }
  static __device__ __forceinline__ int column_of(int e) { return lane_index() % 4 * 2 + e % 2; }
};

// f(value, row, column) on every element: the map of one tile.
template <int kRows, int kColumns, class F>
__device__ __forceinline__ void for_each(Accumulators<kRows, kColumns>& x, const F& f) {
  using X = Accumulators<kRows, kColumns>;
#pragma unroll
  for (int i = 0; i < X::kI; ++i) {
#pragma unroll
    for (int j = 0; j < X::kJ; ++j) {
#pragma unroll
      for (int e = 0; e < 4; ++e) f(x.v[i][j][e], 16 * i + X::row_of(e), 8 * j + X::column_of(e));
    }
  }
}
template <int kRows, int kColumns>
__device__ __forceinline__ void fill(Accumulators<kRows, kColumns>& x, float value) {
  for_each(x, [&](float& element, int, int) { element = value; });
}

// One value per row (column) of Accumulators, in the lanes that hold elements of it.
template <int kRows>
struct RowValues {
  float v[kRows / 16][2];
};
template <int kColumns>
struct ColumnValues {
  float v[kColumns / 8][2];
};

// f(value, its row's value)
template <int kRows, int kColumns, class F>
__device__ __forceinline__ void map_rows(Accumulators<kRows, kColumns>& x, const RowValues<kRows>& rows,
                                         const F& f) {
#pragma unroll
  for (int i = 0; i < kRows / 16; ++i) {
#pragma unroll
    for (int j = 0; j < kColumns / 8; ++j) {
#pragma unroll
      for (int e = 0; e < 4; ++e) x.v[i][j][e] = f(x.v[i][j][e], rows.v[i][e / 2]);
    }
  }
}
// f(value, its column's value)
template <int kRows, int kColumns, class F>
__device__ __forceinline__ void map_columns(Accumulators<kRows, kColumns>& x,
                                            const ColumnValues<kColumns>& columns, const F& f) {
#pragma unroll
  for (int i = 0; i < kRows / 16; ++i) {
#pragma unroll
    for (int j = 0; j < kColumns / 8; ++j) {
#pragma unroll
      for (int e = 0; e < 4; ++e) x.v[i][j][e] = f(x.v[i][j][e], columns.v[j][e % 2]);
    }
  }
}
// f(value of x, value of y at the same place)
template <int kRows, int kColumns, class F>
__device__ __forceinline__ void map(Accumulators<kRows, kColumns>& x, const Accumulators<kRows, kColumns>& y,
                                    const F& f) {
#pragma unroll
  for (int i = 0; i < kRows / 16; ++i) {
#pragma unroll
    for (int j = 0; j < kColumns / 8; ++j) {
#pragma unroll
      for (int e = 0; e < 4; ++e) x.v[i][j][e] = f(x.v[i][j][e], y.v[i][j][e]);
    }
  }
}
// f(value, row) on each of the row's lanes
template <int kRows, class F>
__device__ __forceinline__ void for_each(RowValues<kRows>& x, const F& f) {
#pragma unroll
  for (int i = 0; i < kRows / 16; ++i) {
#pragma unroll
    for (int e = 0; e < 2; ++e) f(x.v[i][e], 16 * i + lane_index() / 4 + 8 * e);
  }
}
// f(value, column)
template <int kColumns, class F>
__device__ __forceinline__ void for_each(ColumnValues<kColumns>& x, const F& f) {
#pragma unroll
  for (int j = 0; j < kColumns / 8; ++j) {
#pragma unroll
    for (int e = 0; e < 2; ++e) f(x.v[j][e], 8 * j + lane_index() % 4 * 2 + e);
  }
}

// rows = op(rows, op over this lane's elements of the row): still to be combined over lanes.
template <int kRows, int kColumns, class Op>
__device__ __forceinline__ void reduce_lane_rows(RowValues<kRows>& rows,
                                                 const Accumulators<kRows, kColumns>& x, const Op& op) {
#pragma unroll
  for (int i = 0; i < kRows / 16; ++i) {
#pragma unroll
    for (int j = 0; j < kColumns / 8; ++j) {
#pragma unroll
      for (int e = 0; e < 4; ++e) rows.v[i][e / 2] = op(rows.v[i][e / 2], x.v[i][j][e]);
    }
  }
}
// Combines what the lanes of a row hold; all of them get it.
template <int kRows, class Op>
__device__ __forceinline__ void combine_rows(RowValues<kRows>& rows, const Op& op) {
#pragma unroll
  for (int lanes = 1; lanes <= 2; lanes *= 2) {
    for_each(rows, [&](float& value, int) { value = op(value, __shfl_xor_sync(kFullWarp, value, lanes)); });
  }
}
// columns = op(columns, op over this lane's elements of the column), and the combination over lanes.
template <int kRows, int kColumns, class Op>
__device__ __forceinline__ void reduce_lane_columns(ColumnValues<kColumns>& columns,
                                                    const Accumulators<kRows, kColumns>& x, const Op& op) {
#pragma unroll
  for (int i = 0; i < kRows / 16; ++i) {
#pragma unroll
    for (int j = 0; j < kColumns / 8; ++j) {
#pragma unroll
      for (int e = 0; e < 4; ++e) columns.v[j][e % 2] = op(columns.v[j][e % 2], x.v[i][j][e]);
    }
  }
}
template <int kColumns, class Op>
__device__ __forceinline__ void combine_columns(ColumnValues<kColumns>& columns, const Op& op) {
#pragma unroll
  for (int lanes = 4; lanes <= 16; lanes *= 2) {
    for_each(columns,
             [&](float& value, int) { value = op(value, __shfl_xor_sync(kFullWarp, value, lanes)); });
  }
}

// bf16 [kRows, kDepth], the left factor of a product: 16 x 16 blocks.
template <int kRows_, int kDepth_>
struct LeftTile {
  static constexpr int kRows = kRows_, kDepth = kDepth_;
  static_assert(kRows % 16 == 0 && kDepth % 16 == 0);
  uint32_t v[kRows / 16][kDepth / 16][4];
};

// Block [row, row + 16) x [column, column + 16) of a shared tile as a left factor.
template <class Tile>
__device__ __forceinline__ void load_left(uint32_t (&block)[4], const Tile& x, int row, int column) {
  load_matrices(block, x.data, Tile::offset(row + lane_index() % 16, column + lane_index() / 16 * 8));
}
// Rows [row, row + kRows) and columns [column, column + kDepth) of a shared tile.
template <int kRows, int kDepth, class Tile>
__device__ __forceinline__ void load(LeftTile<kRows, kDepth>& a, const Tile& x, int row, int column = 0) {
#pragma unroll
  for (int i = 0; i < kRows / 16; ++i) {
#pragma unroll
    for (int k = 0; k < kDepth / 16; ++k) load_left(a.v[i][k], x, row + 16 * i, column + 16 * k);
  }
}

// Sums rounded to bf16 as the left factor of the next product, without leaving the registers.
template <int kRows, int kColumns>
__device__ __forceinline__ void round_to(LeftTile<kRows, kColumns>& a,
                                         const Accumulators<kRows, kColumns>& x) {
#pragma unroll
  for (int i = 0; i < kRows / 16; ++i) {
#pragma unroll
    for (int j = 0; j < kColumns / 8; ++j) {
      a.v[i][j / 2][j % 2 * 2] = pack_bf16(x.v[i][j][0], x.v[i][j][1]);
      a.v[i][j / 2][j % 2 * 2 + 1] = pack_bf16(x.v[i][j][2], x.v[i][j][3]);
    }
  }
}

// Rounded to bf16, into the shared tile from (row, column) on.
template <int kRows, int kColumns, class Tile>
__device__ __forceinline__ void store(const Tile& tile, int row, const Accumulators<kRows, kColumns>& x,
                                      int column = 0) {
  using X = Accumulators<kRows, kColumns>;
#pragma unroll
  for (int i = 0; i < X::kI; ++i) {
#pragma unroll
    for (int j = 0; j < X::kJ; ++j) {
#pragma unroll
      for (int e = 0; e < 4; e += 2) {
        const float pair[2] = {x.v[i][j][e], x.v[i][j][e + 1]};
        store<2>(tile.data, Tile::offset(row + 16 * i + X::row_of(e), column + 8 * j + X::column_of(e)),
                 pack(pair));
      }
    }
  }
}

// One step of depth 16 of a product: d += a[.][kRows, 16] b, for 16 columns at a time.
template <int kRows, int kColumns>
__device__ __forceinline__ void multiply_step(Accumulators<kRows, kColumns>& d, int j,
                                              const uint32_t (&a)[kRows / 16][4], const uint32_t (&b)[4]) {
#pragma unroll
  for (int i = 0; i < kRows / 16; ++i) {
    mma_16x8x16(d.v[i][2 * j], a[i], b[0], b[1]);
    mma_16x8x16(d.v[i][2 * j + 1], a[i], b[2], b[3]);
  }
}
// d += a_k b_k^T, b_k = columns [16 k, 16 k + 16) of b, whose rows from `first` on are d's columns
template <int kRows, int kColumns, class Tile>
__device__ __forceinline__ void multiply_step_transposed(Accumulators<kRows, kColumns>& d,
                                                         const uint32_t (&a)[kRows / 16][4], const Tile& b,
                                                         int k, int first = 0) {
  const int row = first + lane_index() / 16 * 8 + lane_index() % 8;
  const int column = 16 * k + lane_index() / 8 % 2 * 8;
#pragma unroll
  for (int j = 0; j < kColumns / 16; ++j) {
    uint32_t words[4];
    load_matrices(words, b.data, Tile::offset(16 * j + row, column));
    multiply_step(d, j, a, words);
  }
}

// d[kRows, kColumns] += a[kRows, kDepth] b[kColumns, kDepth]^T
template <int kRows, int kColumns, int kDepth, class Tile>
__device__ __forceinline__ void multiply_transposed(Accumulators<kRows, kColumns>& d,
                                                    const LeftTile<kRows, kDepth>& a, const Tile& b) {
  static_assert(Tile::kRows == kColumns && Tile::kColumns == kDepth);
#pragma unroll
  for (int k = 0; k < kDepth / 16; ++k) {
    uint32_t left[kRows / 16][4];
#pragma unroll
    for (int i = 0; i < kRows / 16; ++i) {
#pragma unroll
      for (int n = 0; n < 4; ++n) left[i][n] = a.v[i][k][n];
    }
    multiply_step_transposed(d, left, b, k);
  }
}
// The same with rows [row, row + kRows) of a shared tile on the left: fewer registers, more loads. On the
// right, rows [column, column + kColumns) of b.
template <int kRows, int kColumns, class Left, class Tile>
__device__ __forceinline__ void multiply_transposed(Accumulators<kRows, kColumns>& d, const Left& a, int row,
                                                    const Tile& b, int column = 0) {
  static_assert(Tile::kRows >= kColumns && Tile::kColumns == Left::kColumns);
#pragma unroll 4
  for (int k = 0; k < Tile::kColumns / 16; ++k) {
    uint32_t left[kRows / 16][4];
#pragma unroll
    for (int i = 0; i < kRows / 16; ++i) load_left(left[i], a, row + 16 * i, 16 * k);
    multiply_step_transposed(d, left, b, k, column);
  }
}

// d[kRows, kColumns] += a[kRows, kDepth] b[kDepth, kColumns]
template <int kRows, int kColumns, int kDepth, class Tile>
__device__ __forceinline__ void multiply(Accumulators<kRows, kColumns>& d, const LeftTile<kRows, kDepth>& a,
                                         const Tile& b) {
  static_assert(Tile::kRows == kDepth && Tile::kColumns == kColumns);
  const int row = lane_index() % 16, column = lane_index() / 16 * 8;
#pragma unroll
  for (int k = 0; k < kDepth / 16; ++k) {
    uint32_t left[kRows / 16][4];
#pragma unroll
    for (int i = 0; i < kRows / 16; ++i) {
#pragma unroll
      for (int n = 0; n < 4; ++n) left[i][n] = a.v[i][k][n];
    }
#pragma unroll
    for (int j = 0; j < kColumns / 16; ++j) {
      uint32_t words[4];
      load_matrices_transposed(words, b.data, Tile::offset(16 * k + row, 16 * j + column));
      multiply_step(d, j, left, words);
    }
  }
}

// The same with rows [row, row + kRows) of a shared tile on the left and columns [column, column + kColumns)
// of one on the right.
template <int kRows, int kColumns, class Left, class Tile>
__device__ __forceinline__ void multiply(Accumulators<kRows, kColumns>& d, const Left& a, int row,
                                         const Tile& b, int column) {
  static_assert(Tile::kRows == Left::kColumns);
  const int b_row = lane_index() % 16, b_column = column + lane_index() / 16 * 8;
#pragma unroll 4
  for (int k = 0; k < Left::kColumns / 16; ++k) {
    uint32_t left[kRows / 16][4], right[4];
#pragma unroll
    for (int i = 0; i < kRows / 16; ++i) load_left(left[i], a, row + 16 * i, 16 * k);
#pragma unroll
    for (int j = 0; j < kColumns / 16; ++j) {
      load_matrices_transposed(right, b.data, Tile::offset(16 * k + b_row, 16 * j + b_column));
      multiply_step(d, j, left, right);
    }
  }
}

// d += a^T b, for rows [row, row + kRows) of a^T and columns [column, column + kColumns) of b
template <int kRows, int kColumns, class Left, class Right>
__device__ __forceinline__ void multiply_of_transposed(Accumulators<kRows, kColumns>& d, const Left& a,
                                                       int row, const Right& b, int column) {
  static_assert(Left::kRows == Right::kRows);
  const int lane = lane_index();
#pragma unroll 4
  for (int k = 0; k < Left::kRows / 16; ++k) {
    uint32_t left[kRows / 16][4], right[4];
#pragma unroll
    for (int i = 0; i < kRows / 16; ++i) {
      load_matrices_transposed(
          left[i], a.data, Left::offset(16 * k + lane / 16 * 8 + lane % 8, row + 16 * i + lane / 8 % 2 * 8));
    }
#pragma unroll
    for (int j = 0; j < kColumns / 16; ++j) {
      load_matrices_transposed(right, b.data,
                               Right::offset(16 * k + lane % 16, column + 16 * j + lane / 16 * 8));
      multiply_step(d, j, left, right);
    }
  }
}

}  // namespace MEDFUSION_GPU
}  // namespace medfusion::kernels::cuda
