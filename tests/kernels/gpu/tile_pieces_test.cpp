// Operands that are gathered and changed on their way, products of parts of shared tiles, and sums over
// warps: each alone, on the simulator, against plain loops, for every shape of the dense block's kernels.
#include "kernels/gpu/tile_pieces.cuh"

#include <gtest/gtest.h>

#include "tests/kernels/gpu/tile_test.h"

namespace medfusion::kernels::cuda::tile_test {
namespace {

constexpr int kBlock = 256;

TEST(TilePieces, FloatsAndBack) {
  const float values[8] = {0.0F, -1.5F, 1.0F + 1.0F / 256, 1.0F + 3.0F / 256, 1e-40F, -3e38F, INFINITY, 7.0F};
  float back[8];
  unpack(back, pack(values));
  for (int i = 0; i < 8; ++i) EXPECT_EQ(back[i], rounded(values[i])) << i;
}

template <class S>
class GatheredTiles : public testing::Test {};
using GatheredShapes = testing::Types<Shape<128, 32>, Shape<32, 128>, Shape<16, 16>>;
TYPED_TEST_SUITE(GatheredTiles, GatheredShapes);

// Row r of the tile is row 3 r % 7 of the matrix, or none where r is a multiple of 5; a thread adds 1 to what
// it copied before the barrier. The last piece of every row is beyond the matrix.
TYPED_TEST(GatheredTiles, RowsOfAnyOrderAndAMapBeforeTheBarrier) {
  using Tile = SharedTile<BFloat16, TypeParam::kRows, TypeParam::kColumns>;
  using Own = OwnPieces<kBlock, Tile>;
  const int columns = Tile::kColumns - 8, stride = Tile::kColumns + 16;
  const Matrix source(7, stride, 3);
  const Tensor from = upload(source);
  const Global<const BFloat16> x(from.view().as<BFloat16>());
  Matrix seen(Tile::kRows, Tile::kColumns);
  std::vector<int> owners(static_cast<size_t>(Tile::kSize), 0);
  run(kBlock, Tile::kBytes, [&] {
    SharedMemory memory;
    const Tile tile = Tile::take(memory);
    copy_async_rows<kBlock>(tile, x, stride, columns, [](int n) {
      const int row = Own::row(n);
      return row % 5 == 0 ? int64_t{-1} : int64_t{3} * row % 7;
    });
    copy_async_commit();
    copy_async_wait<0>();
    map_own_pieces<kBlock>(tile, [&](float(&values)[8], int n) {
      for (int i = 0; i < 8; ++i) {
        values[i] += 1.0F;
        ++owners[static_cast<size_t>(Own::row(n) * Tile::kColumns + Own::column() + i)];
      }
    });
    __syncthreads();
    if (threadIdx.x == 0) read_tile(tile, seen);
  });
  for (int r = 0; r < Tile::kRows; ++r) {
    for (int c = 0; c < Tile::kColumns; ++c) {
      const float value = r % 5 == 0 || c >= columns ? 0.0F : source(3 * r % 7, c);
      ASSERT_EQ(seen(r, c), rounded(value + 1.0F)) << r << " " << c;
      ASSERT_EQ(owners[static_cast<size_t>(r * Tile::kColumns + c)], 1);
    }
  }
}

TEST(TilePipeline, AnItemIsPreparedOnceBetweenItsCopyAndItsUse) {
  using Tile = SharedTile<BFloat16, 16, 32>;
  for (const int64_t count : {0, 1, 2, 3, 7}) {
    const Matrix source(16 * 8, 32, 9);
    const Tensor tensor = upload(source);
    const Global<const BFloat16> x(tensor.view().as<BFloat16>());
    int64_t consumed = 0;
    run(64, 4 * Tile::kBytes, [&] {
      SharedMemory memory;
      const Tile tiles = Tile::take(memory, 4);
      pipeline<4>(
          count,
          [&](int64_t n, int stage) {
            copy_async_rows<64>(tiles[stage], x + n * Tile::kSize, 32, 32,
                                [](int i) { return int64_t{OwnPieces<64, Tile>::row(i)}; });
          },
          [&](int64_t n, int stage) {
            map_own_pieces<64>(tiles[stage], [&](float(&values)[8], int) {
              for (float& value : values) value = static_cast<float>(n) - value;
            });
          },
          [&](int64_t n, int stage) {
            if (threadIdx.x != 37) return;
            Matrix seen(16, 32);
            read_tile(tiles[stage], seen);
            for (int r = 0; r < 16; ++r) {
              for (int c = 0; c < 32; ++c) {
                const float value = source(static_cast<int>(n) * 16 + r, c);
                ASSERT_EQ(seen(r, c), rounded(static_cast<float>(n) - value));
              }
            }
            ++consumed;
          });
    });
    EXPECT_EQ(consumed, count);
  }
}

// Columns of a warp's part and of the whole right factor; the part's rows.
template <int kRows_, int kColumns_, int kWhole_>
struct Part {
  static constexpr int kRows = kRows_, kColumns = kColumns_, kWhole = kWhole_;
};
template <class P>
class PartsOfProducts : public testing::Test {
 public:
  static constexpr int kDepth = 32, kRows = P::kRows, kColumns = P::kColumns, kWhole = P::kWhole;
  static constexpr int kAll = 128;  // rows

  // sums += the product, a [rows, depth] and b [depth, columns] as functions.
  template <class A, class B>
  static void expect_product(const Matrix& sums, const A& a, const B& b) {
    for (int r = 0; r < sums.rows; ++r) {
      for (int c = 0; c < sums.columns; ++c) {
        double expected = 0.0, size = 1.0;
        for (int k = 0; k < kDepth; ++k) {
          expected += static_cast<double>(a(r, k)) * b(k, c);
          size += std::abs(static_cast<double>(a(r, k)) * b(k, c));
        }
        ASSERT_NEAR(sums(r, c), expected, 2e-6 * size) << r << " " << c;
      }
    }
  }
  // part(sums, row, column) makes a part of the product, by one warp.
  template <class MakePart>
  static void all_parts(Matrix& sums, const MakePart& part) {
    for (int row = 0; row < sums.rows; row += kRows) {
      for (int column = 0; column < sums.columns; column += kColumns) {
        Accumulators<kRows, kColumns> d;
        fill(d, 0.0F);
        part(d, row, column);
        for_each(d, [&](float& value, int i, int j) { sums(row + i, column + j) += value; });
      }
    }
  }
};
using Parts = testing::Types<Part<32, 64, 128>, Part<32, 32, 64>, Part<32, 16, 32>>;
TYPED_TEST_SUITE(PartsOfProducts, Parts);

TYPED_TEST(PartsOfProducts, OfSharedTiles) {
  using This = TestFixture;
  using A = SharedTile<BFloat16, This::kAll, This::kDepth>;
  using B = SharedTile<BFloat16, This::kDepth, This::kWhole>;
  using T = SharedTile<BFloat16, This::kWhole, This::kDepth>;
  const Matrix a(This::kAll, This::kDepth, 7), b(This::kDepth, This::kWhole, 8);
  Matrix transposed(This::kWhole, This::kDepth);
  for (int k = 0; k < b.rows; ++k) {
    for (int c = 0; c < b.columns; ++c) transposed(c, k) = b(k, c);
  }
  Matrix sums(This::kAll, This::kWhole), of_transposed(This::kAll, This::kWhole);
  run(32, A::kBytes + B::kBytes + T::kBytes, [&] {
    SharedMemory memory;
    const A left = A::take(memory);
    const B right = B::take(memory);
    const T right_transposed = T::take(memory);
    fill_tile(left, a);
    fill_tile(right, b);
    fill_tile(right_transposed, transposed);
    This::all_parts(sums, [&](auto& d, int row, int column) { multiply(d, left, row, right, column); });
    This::all_parts(of_transposed, [&](auto& d, int row, int column) {
      multiply_transposed(d, left, row, right_transposed, column);
    });
  });
  This::expect_product(sums, a, b);
  EXPECT_EQ(sums.v, of_transposed.v);
}

// Depth: the pixels of a stage.
template <class P>
class PartsOfTransposed : public PartsOfProducts<P> {};
using TransposedParts = testing::Types<Part<32, 64, 128>, Part<16, 32, 128>>;
TYPED_TEST_SUITE(PartsOfTransposed, TransposedParts);

TYPED_TEST(PartsOfTransposed, OfSharedTiles) {
  using This = TestFixture;
  constexpr int kLeft = This::kRows == 32 ? 128 : 32;
  using A = SharedTile<BFloat16, This::kDepth, kLeft>;
  using B = SharedTile<BFloat16, This::kDepth, This::kWhole>;
  const Matrix a(This::kDepth, kLeft, 7), b(This::kDepth, This::kWhole, 8);
  Matrix sums(kLeft, This::kWhole);
  run(32, A::kBytes + B::kBytes, [&] {
    SharedMemory memory;
    const A left = A::take(memory);
    const B right = B::take(memory);
    fill_tile(left, a);
    fill_tile(right, b);
    This::all_parts(
        sums, [&](auto& d, int row, int column) { multiply_of_transposed(d, left, row, right, column); });
  });
  This::expect_product(
      sums, [&](int r, int k) { return a(k, r); }, b);
}

// Four warps, one below the other, and two side by side, which all get the sums of their columns.
template <class S>
class SumsOverWarps : public testing::Test {};
using SumShapes = testing::Types<Shape<32, 16>, Shape<32, 32>, Shape<32, 64>>;
TYPED_TEST_SUITE(SumsOverWarps, SumShapes);

TYPED_TEST(SumsOverWarps, EveryWarpGetsTheSumsOfItsColumns) {
  constexpr int kColumns = TypeParam::kColumns, kDown = 4;
  const Matrix a(kDown, 2 * kColumns, 4);
  Matrix sums(kDown, 2 * kColumns), twice(kDown, 2 * kColumns);
  run(kBlock, kDown * 2 * kColumns * 4, [&] {
    SharedMemory memory;
    const auto scratch = memory.take<float>(kDown * 2 * kColumns);
    const int down = warp_index() % kDown, column = warp_index() / kDown * kColumns;
    ColumnValues<kColumns> values;
    for_each(values, [&](float& value, int c) { value = a(down, column + c); });
    add_over_warps<kDown>(values, scratch, down, column, 2 * kColumns);
    const auto keep = [&](Matrix& m, float value, int c) {
      if (lane_index() / 4 == c % 8) m(down, column + c) = value;
    };
    for_each(values, [&](float& value, int c) { keep(sums, value, c); });
    add_over_warps<kDown>(values, scratch, down, column, 2 * kColumns);
    for_each(values, [&](float& value, int c) { keep(twice, value, c); });
  });
  for (int c = 0; c < a.columns; ++c) {
    const float sum = a(0, c) + a(1, c) + a(2, c) + a(3, c);
    for (int down = 0; down < kDown; ++down) {
      ASSERT_EQ(sums(down, c), sum);
      ASSERT_EQ(twice(down, c), 4.0F * sum);
    }
  }
}

}  // namespace
}  // namespace medfusion::kernels::cuda::tile_test
