// Each operation of the tile vocabulary alone, on the simulator, against plain loops; for every shape that a
// kernel instantiates.
#include "tests/kernels/gpu/tile_test.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

namespace medfusion::kernels::cuda::tile_test {
namespace {

// ---- shared tiles

template <class S>
class SharedTiles : public testing::Test {};
using SharedShapes =
    testing::Types<Shape<16, 16>, Shape<16, 32>, Shape<16, 64>, Shape<16, 128>, Shape<32, 16>, Shape<32, 32>,
                   Shape<32, 64>, Shape<32, 128>, Shape<64, 16>, Shape<64, 32>, Shape<64, 64>, Shape<64, 128>,
                   Shape<128, 16>, Shape<128, 32>, Shape<128, 64>, Shape<128, 128>, Shape<256, 16>,
                   Shape<256, 32>, Shape<256, 64>>;
TYPED_TEST_SUITE(SharedTiles, SharedShapes);

TYPED_TEST(SharedTiles, EveryElementHasItsPlaceAndEightRowsLieInAllBanks) {
  using Tile = SharedTile<BFloat16, TypeParam::kRows, TypeParam::kColumns>;
  std::vector<int> places;
  for (int r = 0; r < Tile::kRows; ++r) {
    for (int c = 0; c < Tile::kColumns; ++c) places.push_back(Tile::offset(r, c));
  }
  std::sort(places.begin(), places.end());
  for (int i = 0; i < Tile::kSize; ++i) ASSERT_EQ(places[static_cast<size_t>(i)], i);
  for (int r = 0; r < Tile::kRows; r += 8) {
    for (int c = 0; c < Tile::kColumns; c += 8) {
      unsigned pieces_of_line = 0;
      for (int i = 0; i < 8; ++i) pieces_of_line |= 1U << (Tile::offset(r + i, c) * 2 / 16 % 8);
      EXPECT_EQ(pieces_of_line, 0xffU) << "rows from " << r << ", column " << c;
    }
  }
}

TYPED_TEST(SharedTiles, CopiesInAndOutKeepTheMatrixAndItsEdges) {
  using Tile = SharedTile<BFloat16, TypeParam::kRows, TypeParam::kColumns>;
  struct Part {
    int rows, columns, stride;
    bool wide;
  };
  const int whole = Tile::kColumns;
  for (const Part part : {Part{Tile::kRows, whole, whole + 8, true},
                          Part{Tile::kRows - 3, whole - 8, whole, true}, Part{1, whole - 3, whole + 1, false},
                          Part{Tile::kRows, 1, whole, false}, Part{0, whole, whole, true}}) {
    const Matrix source(Tile::kRows, part.stride, 3);
    const Tensor from = upload(source), to = upload(Matrix(Tile::kRows, part.stride));
    const Global<const BFloat16> x(from.view().as<BFloat16>());
    const Global<BFloat16> y(to.view().as<BFloat16>());
    Matrix seen(Tile::kRows, whole);
    run(kThreads, Tile::kBytes, [&] {
      SharedMemory memory;
      const Tile tile = Tile::take(memory);
      copy_async<kThreads>(tile, x, part.stride, part.rows, part.columns, part.wide);
      copy_async_commit();
      copy_async_wait<0>();
      __syncthreads();
      if (threadIdx.x == 0) {
        for (int r = 0; r < seen.rows; ++r) {
          for (int c = 0; c < seen.columns; ++c) {
            const BFloat16 value = tile.data[Tile::offset(r, c)];
            seen(r, c) = static_cast<float>(value);
          }
        }
      }
      copy_out<kThreads>(y, part.stride, part.rows, part.columns, part.wide, tile);
    });
    for (int r = 0; r < Tile::kRows; ++r) {
      for (int c = 0; c < whole; ++c) {
        const bool inside = r < part.rows && c < part.columns;
        ASSERT_EQ(seen(r, c), inside ? source(r, c) : 0.0F) << r << " " << c;
        const int64_t at = int64_t{r} * part.stride + c;
        ASSERT_EQ(static_cast<float>(to.view().as<BFloat16>()[at]), inside ? source(r, c) : 0.0F)
            << r << " " << c;
      }
    }
  }
}

TYPED_TEST(SharedTiles, GroupsOfABlockCopyTilesOfTheirOwn) {
  using Tile = SharedTile<BFloat16, TypeParam::kRows, TypeParam::kColumns>;
  constexpr int kGroups = 3;
  const Matrix source(kGroups * Tile::kRows, Tile::kColumns, 3);
  for (const bool wide : {true, false}) {
    const Tensor from = upload(source), to = upload(Matrix(source.rows, source.columns));
    const Global<const BFloat16> x(from.view().as<BFloat16>());
    const Global<BFloat16> y(to.view().as<BFloat16>());
    run(kGroups * kThreads, kGroups * Tile::kBytes, [&] {
      SharedMemory memory;
      const int group = static_cast<int>(threadIdx.x) / kThreads;
      const Tile tile = Tile::take(memory, kGroups)[group];
      if (group == 1) return;  // the others need it not
      copy_async<kThreads>(tile, x + group * Tile::kSize, Tile::kColumns, Tile::kRows, Tile::kColumns, wide);
      copy_async_commit();
      copy_async_wait<0>();
      sync_named(1 + group, kThreads);
      copy_out<kThreads>(y + group * Tile::kSize, Tile::kColumns, Tile::kRows, Tile::kColumns, wide, tile);
    });
    for (int i = 0; i < kGroups * Tile::kSize; ++i) {
      const float expected = i / Tile::kSize == 1 ? 0.0F : source.v[static_cast<size_t>(i)];
      ASSERT_EQ(static_cast<float>(to.view().as<BFloat16>()[i]), expected) << i;
    }
  }
}

// ---- register tiles

template <class S>
class RegisterTiles : public testing::Test {};
using RegisterShapes = testing::Types<Shape<16, 16>, Shape<16, 32>, Shape<16, 64>, Shape<16, 128>,
                                      Shape<32, 16>, Shape<32, 32>, Shape<32, 64>, Shape<32, 128>>;
TYPED_TEST_SUITE(RegisterTiles, RegisterShapes);

TYPED_TEST(RegisterTiles, LanesHoldEveryElementOnce) {
  Matrix count(TypeParam::kRows, TypeParam::kColumns);
  run(32, 0, [&] {
    Accumulators<TypeParam::kRows, TypeParam::kColumns> x;
    fill(x, 1.0F);
    get(x, count);
  });
  EXPECT_THAT(count.v, testing::Each(1.0F));
}

TYPED_TEST(RegisterTiles, Maps) {
  const Matrix a(TypeParam::kRows, TypeParam::kColumns, 1), b(TypeParam::kRows, TypeParam::kColumns, 2);
  Matrix result(TypeParam::kRows, TypeParam::kColumns);
  run(32, 0, [&] {
    Accumulators<TypeParam::kRows, TypeParam::kColumns> x, y;
    set(x, a);
    set(y, b);
    RowValues<TypeParam::kRows> rows;
    for_each(rows, [](float& value, int row) { value = static_cast<float>(row); });
    ColumnValues<TypeParam::kColumns> columns;
    for_each(columns, [](float& value, int column) { value = static_cast<float>(3 * column); });
    map(x, y, [](float p, float q) { return p - 2.0F * q; });
    map_rows(x, rows, [](float p, float row) { return p * row; });
    map_columns(x, columns, [](float p, float column) { return p + column; });
    get(x, result);
  });
  for (int r = 0; r < a.rows; ++r) {
    for (int c = 0; c < a.columns; ++c) {
      ASSERT_EQ(result(r, c), (a(r, c) - 2.0F * b(r, c)) * static_cast<float>(r) + static_cast<float>(3 * c));
    }
  }
}

TYPED_TEST(RegisterTiles, RowAndColumnReductions) {
  const Matrix a(TypeParam::kRows, TypeParam::kColumns, 4);
  std::vector<float> most(TypeParam::kRows), sum(TypeParam::kColumns);
  run(32, 0, [&] {
    Accumulators<TypeParam::kRows, TypeParam::kColumns> x;
    set(x, a);
    RowValues<TypeParam::kRows> rows;
    for_each(rows, [](float& value, int) { value = -INFINITY; });
    const auto larger = [](float p, float q) { return fmaxf(p, q); };
    reduce_lane_rows(rows, x, larger);
    combine_rows(rows, larger);
    ColumnValues<TypeParam::kColumns> columns;
    for_each(columns, [](float& value, int) { value = 0.0F; });
    const auto plus = [](float p, float q) { return p + q; };
    reduce_lane_columns(columns, x, plus);
    combine_columns(columns, plus);
    for_each(rows, [&](float& value, int row) {  // every lane of a row has its value
      if (lane_index() % 4 == row % 4) most[static_cast<size_t>(row)] = value;
    });
    for_each(columns, [&](float& value, int column) {
      if (lane_index() / 4 == column % 8) sum[static_cast<size_t>(column)] = value;
    });
  });
  for (int r = 0; r < a.rows; ++r) {
    float expected = -INFINITY;
    for (int c = 0; c < a.columns; ++c) expected = std::max(expected, a(r, c));
    EXPECT_EQ(most[static_cast<size_t>(r)], expected);
  }
  for (int c = 0; c < a.columns; ++c) {
    double expected = 0.0;
    for (int r = 0; r < a.rows; ++r) expected += a(r, c);
    EXPECT_NEAR(sum[static_cast<size_t>(c)], expected, 1e-5);
  }
}

TYPED_TEST(RegisterTiles, StoreRoundsIntoItsRowsOfASharedTile) {
  using Tile = SharedTile<BFloat16, 2 * TypeParam::kRows, TypeParam::kColumns>;
  Matrix a(TypeParam::kRows, TypeParam::kColumns, 5);
  for (float& value : a.v) value *= 1.0000001F + 1.0F / 300.0F;
  Matrix result(2 * TypeParam::kRows, TypeParam::kColumns);
  run(kThreads, Tile::kBytes, [&] {
    SharedMemory memory;
    const Tile tile = Tile::take(memory);
    Accumulators<TypeParam::kRows, TypeParam::kColumns> x;
    set(x, a);
    store(tile, warp_index() * TypeParam::kRows, x);
    __syncthreads();
    if (threadIdx.x != 0) return;
    for (int r = 0; r < result.rows; ++r) {
      for (int c = 0; c < result.columns; ++c) {
        const BFloat16 value = tile.data[Tile::offset(r, c)];
        result(r, c) = static_cast<float>(value);
      }
    }
  });
  for (int r = 0; r < result.rows; ++r) {
    for (int c = 0; c < result.columns; ++c) ASSERT_EQ(result(r, c), rounded(a(r % TypeParam::kRows, c)));
  }
}

// ---- products: rows, columns and depth of those of attention

template <class S>
class Products : public testing::Test {
 public:
  static constexpr int kRows = S::kRows, kColumns = S::kColumns, kDepth = S::kDepth;
  const Matrix start{kRows, kColumns, 6}, a{kRows, kDepth, 7};

  // start + a b, b(k, c)
  template <class B>
  void expect_product(const Matrix& result, const B& b) const {
    for (int r = 0; r < kRows; ++r) {
      for (int c = 0; c < kColumns; ++c) {
        double expected = start(r, c), size = 1.0;
        for (int k = 0; k < kDepth; ++k) {
          expected += static_cast<double>(a(r, k)) * b(k, c);
          size += std::abs(static_cast<double>(a(r, k)) * b(k, c));
        }
        ASSERT_NEAR(result(r, c), expected, 2e-6 * size) << r << " " << c;
      }
    }
  }
};
using ProductShapes =
    testing::Types<Shape<16, 16, 16>, Shape<16, 16, 32>, Shape<16, 16, 64>, Shape<16, 16, 128>,
                   Shape<16, 32, 16>, Shape<16, 32, 32>, Shape<16, 32, 64>, Shape<16, 32, 128>,
                   Shape<16, 64, 16>, Shape<16, 64, 32>, Shape<16, 64, 64>, Shape<16, 128, 16>,
                   Shape<16, 128, 32>, Shape<32, 16, 32>, Shape<32, 16, 64>, Shape<32, 32, 16>,
                   Shape<32, 32, 32>, Shape<32, 32, 64>, Shape<32, 64, 16>, Shape<32, 64, 32>,
                   Shape<32, 64, 64>>;
TYPED_TEST_SUITE(Products, ProductShapes);

TYPED_TEST(Products, WithTheTransposeOfASharedTile) {
  using This = TestFixture;
  using A = SharedTile<BFloat16, 2 * This::kRows, This::kDepth>;
  using B = SharedTile<BFloat16, This::kColumns, This::kDepth>;
  const Matrix b(This::kColumns, This::kDepth, 8);
  Matrix by_registers(This::kRows, This::kColumns), by_rows(This::kRows, This::kColumns);
  run(32, A::kBytes + B::kBytes, [&] {
    SharedMemory memory;
    const A left = A::take(memory);
    const B right = B::take(memory);
    Matrix twice(2 * This::kRows, This::kDepth);
    for (int r = 0; r < twice.rows; ++r) {
      for (int k = 0; k < twice.columns; ++k)
        twice(r, k) = r < This::kRows ? 100.0F : this->a(r - This::kRows, k);
    }
    fill_tile(left, twice);
    fill_tile(right, b);
    Accumulators<This::kRows, This::kColumns> d;
    set(d, this->start);
    LeftTile<This::kRows, This::kDepth> registers;
    load(registers, left, This::kRows);
    multiply_transposed(d, registers, right);
    get(d, by_registers);
    set(d, this->start);
    multiply_transposed(d, left, This::kRows, right);
    get(d, by_rows);
  });
  this->expect_product(by_registers, [&](int k, int c) { return b(c, k); });
  EXPECT_EQ(by_registers.v, by_rows.v);
}

TYPED_TEST(Products, WithColumnsOfASharedTileOnTheLeft) {
  using This = TestFixture;
  using A = SharedTile<BFloat16, This::kRows, 2 * This::kDepth>;
  using B = SharedTile<BFloat16, This::kDepth, This::kColumns>;
  const Matrix b(This::kDepth, This::kColumns, 8);
  Matrix result(This::kRows, This::kColumns);
  run(32, A::kBytes + B::kBytes, [&] {
    SharedMemory memory;
    const A wide = A::take(memory);
    const B right = B::take(memory);
    Matrix twice(This::kRows, 2 * This::kDepth);
    for (int r = 0; r < twice.rows; ++r) {
      for (int k = 0; k < twice.columns; ++k)
        twice(r, k) = k < This::kDepth ? 100.0F : this->a(r, k - This::kDepth);
    }
    fill_tile(wide, twice);
    fill_tile(right, b);
    LeftTile<This::kRows, This::kDepth> left;
    load(left, wide, 0, This::kDepth);
    Accumulators<This::kRows, This::kColumns> d;
    set(d, this->start);
    multiply(d, left, right);
    get(d, result);
  });
  this->expect_product(result, [&](int k, int c) { return b(k, c); });
}

TYPED_TEST(Products, WithASharedTileAndRoundedSumsOnTheLeft) {
  using This = TestFixture;
  using B = SharedTile<BFloat16, This::kDepth, This::kColumns>;
  const Matrix b(This::kDepth, This::kColumns, 8);
  Matrix result(This::kRows, This::kColumns);
  run(32, B::kBytes, [&] {
    SharedMemory memory;
    const B right = B::take(memory);
    fill_tile(right, b);
    Accumulators<This::kRows, This::kDepth> sums;
    for_each(sums, [&](float& value, int row, int k) { value = this->a(row, k) * (1.0F + 1e-4F); });
    LeftTile<This::kRows, This::kDepth> left;
    round_to(left, sums);
    Accumulators<This::kRows, This::kColumns> d;
    set(d, this->start);
    multiply(d, left, right);
    get(d, result);
  });
  this->expect_product(result, [&](int k, int c) { return b(k, c); });
}

// Rows of a transposed left and columns of a right tile; depth: the tokens of the short-sequence kernels.
template <class S>
class ProductsOfTransposed : public testing::Test {};
using TransposedShapes =
    testing::Types<Shape<32, 16, 32>, Shape<32, 32, 32>, Shape<32, 64, 32>, Shape<64, 16, 64>,
                   Shape<64, 32, 64>, Shape<64, 64, 64>, Shape<128, 16, 128>, Shape<128, 32, 128>,
                   Shape<128, 64, 128>, Shape<32, 16, 256>, Shape<32, 32, 256>, Shape<16, 64, 256>>;
TYPED_TEST_SUITE(ProductsOfTransposed, TransposedShapes);

TYPED_TEST(ProductsOfTransposed, EveryPartOfTheProduct) {
  constexpr int kRows = TypeParam::kRows, kColumns = TypeParam::kColumns, kDepth = TypeParam::kDepth;
  using A = SharedTile<BFloat16, kDepth, kRows>;
  using B = SharedTile<BFloat16, kDepth, kColumns>;
  using D = SharedTile<BFloat16, kRows, kColumns>;
  const Matrix a(kDepth, kRows, 7), b(kDepth, kColumns, 8);
  Matrix sums(kRows, kColumns), stored(kRows, kColumns);
  run(32, A::kBytes + B::kBytes + D::kBytes, [&] {
    SharedMemory memory;
    const A left = A::take(memory);
    const B right = B::take(memory);
    const D result = D::take(memory);
    fill_tile(left, a);
    fill_tile(right, b);
    const auto part = [&]<int kPart>(std::integral_constant<int, kPart>, int row, int column) {
      Accumulators<16, kPart> d;
      fill(d, 0.0F);
      multiply_of_transposed(d, left, row, right, column);
      for_each(d, [&](float& value, int i, int j) { sums(row + i, column + j) = value; });
      store(result, row, d, column);
    };
    for (int row = 0; row < kRows; row += 16) {
      // In one part, and in parts of 16 columns.
      if (row % 32 == 0) {
        part(std::integral_constant<int, kColumns>{}, row, 0);
      } else {
        for (int column = 0; column < kColumns; column += 16)
          part(std::integral_constant<int, 16>{}, row, column);
      }
    }
    __syncthreads();
    if (threadIdx.x != 0) return;
    for (int r = 0; r < kRows; ++r) {
      for (int c = 0; c < kColumns; ++c) {
        const BFloat16 value = result.data[D::offset(r, c)];
        stored(r, c) = static_cast<float>(value);
      }
    }
  });
  for (int r = 0; r < kRows; ++r) {
    for (int c = 0; c < kColumns; ++c) {
      double expected = 0.0, size = 1.0;
      for (int k = 0; k < kDepth; ++k) {
        expected += static_cast<double>(a(k, r)) * b(k, c);
        size += std::abs(static_cast<double>(a(k, r)) * b(k, c));
      }
      ASSERT_NEAR(sums(r, c), expected, 2e-6 * size) << r << " " << c;
      ASSERT_EQ(stored(r, c), rounded(sums(r, c)));
    }
  }
}

// ---- the rest of the vocabulary

TEST(Pipeline, EveryItemIsConsumedOnceAndAfterItsCopy) {
  for (const int64_t count : {0, 1, 2, 3, 7}) {
    const Tensor tensor = upload(Matrix(8, 64, 9));
    const Global<const BFloat16> x(tensor.view().as<BFloat16>());
    using Tile = SharedTile<BFloat16, 1, 64>;
    std::vector<int> consumed;
    const auto items = [&]<int kStages>(std::integral_constant<int, kStages>) {
      consumed.clear();
      run(kThreads, kStages * Tile::kBytes, [&] {
        SharedMemory memory;
        const Tile tiles = Tile::take(memory, kStages);
        pipeline<kStages>(
            count,
            [&](int64_t n, int stage) { copy_async<kThreads>(tiles[stage], x + n * 64, 64, 1, 64, true); },
            [&](int64_t n, int stage) {
              const int i = static_cast<int>(threadIdx.x);
              const BFloat16 value = tiles[stage].data[Tile::offset(0, i)];
              EXPECT_EQ(value.bits, tensor.view().as<BFloat16>()[n * 64 + i].bits);
              if (i == 5) consumed.push_back(static_cast<int>(n));
            });
      });
      std::vector<int> all(static_cast<size_t>(count));
      std::iota(all.begin(), all.end(), 0);
      EXPECT_EQ(consumed, all);
    };
    items(std::integral_constant<int, 2>{});
    items(std::integral_constant<int, 3>{});
    items(std::integral_constant<int, 4>{});
  }
}

TEST(Intrinsics, WordsOfTwoRoundToNearestEven) {
  for (const float x : {0.0F, -1.0F, 1.0F + 1.0F / 256, 1.0F + 3.0F / 256, 1e-40F, 3e38F, -INFINITY}) {
    const uint32_t word = pack_bf16(x, -2.5F * x);
    EXPECT_EQ(low_bf16(word), rounded(x));
    EXPECT_EQ(high_bf16(word), rounded(-2.5F * x));
  }
}

TEST(Intrinsics, PowersOfTwo) {
  EXPECT_EQ(exp2_fast(-INFINITY), 0.0F);
  EXPECT_EQ(exp2_fast(-127.0F), 0.0F);
  EXPECT_EQ(exp2_fast(-3.0F), 0.125F);
  EXPECT_TRUE(std::isnan(exp2_fast(NAN)));
}

TEST(Intrinsics, ANamedBarrierOrdersItsWarps) {
  float seen = 0.0F;
  run(96, 4, [&] {
    SharedMemory memory;
    const auto one = memory.take<float>(1);
    if (warp_index() == 2) return;  // not of the party
    if (threadIdx.x == 0) one[0] = 7.0F;
    sync_named(3, 64);
    if (threadIdx.x == 40) seen = one[0];
  });
  EXPECT_EQ(seen, 7.0F);
}

}  // namespace
}  // namespace medfusion::kernels::cuda::tile_test
