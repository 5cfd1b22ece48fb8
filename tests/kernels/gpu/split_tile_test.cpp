// Products of f32 in parts, on the simulator, against plain loops in f64; for every shape that a kernel
// instantiates.
#include "kernels/gpu/split_tile.cuh"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "tests/kernels/gpu/tile_test.h"

namespace medfusion::kernels::cuda::tile_test {
namespace {

Matrix of_f32(int rows, int columns, uint64_t seed) {
  Matrix m(rows, columns);
  const core::Philox philox(seed, 0);
  for (size_t i = 0; i < m.v.size(); ++i) m.v[i] = static_cast<float>(philox.normal(i));
  return m;
}

template <class Tile>
void fill_f32(const Tile& tile, const Matrix& m) {
  if (threadIdx.x == 0) {
    for (int r = 0; r < m.rows; ++r) {
      for (int c = 0; c < m.columns; ++c) tile.data[Tile::offset(r, c)] = m(r, c);
    }
  }
  __syncthreads();
}

float tf32(float x) {
  uint32_t high, low;
  split(high, low, x);
  return __uint_as_float(high);
}

// The largest error of `seen` beside sum |a| |b|, in units of 2^-22, with what is added to start from.
template <class Left, class Right>
double error_of(const Matrix& seen, const Matrix& start, int depth, const Left& a, const Right& b) {
  double worst = 0.0;
  for (int r = 0; r < seen.rows; ++r) {
    for (int c = 0; c < seen.columns; ++c) {
      double sum = start(r, c), size = std::abs(sum);
      for (int k = 0; k < depth; ++k) {
        sum += double{a(r, k)} * b(k, c);
        size += std::abs(double{a(r, k)} * b(k, c));
      }
      worst = std::max(worst, std::abs(seen(r, c) - sum) / size);
    }
  }
  return worst * 0x1p22;
}

// left(row, depth) and right(depth, column) are f32. One product of factors rounded to TF32 would be another
// result.
template <class Left, class Right>
void expect_product_of_f32(const Matrix& seen, const Matrix& start, int depth, const Left& left,
                           const Right& right) {
  EXPECT_LT(error_of(seen, start, depth, left, right), 4.0);
  const auto rounded_left = [&](int r, int k) { return tf32(left(r, k)); };
  const auto rounded_right = [&](int k, int c) { return tf32(right(k, c)); };
  EXPECT_GT(error_of(seen, start, depth, rounded_left, rounded_right), 100.0);
}

TEST(SplitF32, PartsAreTf32AndAddUpToTwentyTwoBits) {
  const Matrix x = of_f32(64, 64, 5);
  for (const float value : x.v) {
    uint32_t high, low;
    split(high, low, value);
    EXPECT_EQ((high | low) & 0x1fffU, 0U);
    const double sum = double{__uint_as_float(high)} + __uint_as_float(low);
    EXPECT_LE(std::abs(sum - value), std::abs(value) * 0x1p-22);
  }
}

// The GPU's own NaN has all bits of the significand set.
TEST(SplitF32, NanStaysNan) {
  for (const uint32_t bits : {0x7fffffffU, 0xffffffffU, 0x7fc00000U, 0xffc00000U, 0x7f800001U}) {
    uint32_t high, low;
    split(high, low, __uint_as_float(bits));
    EXPECT_TRUE(std::isnan(__uint_as_float(high) + __uint_as_float(low))) << std::hex << bits;
  }
}

// Tensor cores cut sums: a sum that goes on and on would end far too small.
TEST(SplitF32, LongSumsAreNotCutAgainAndAgain) {
  using Right = SharedTile<float, 32, 32>;
  Matrix a = of_f32(16, 32, 1), b = of_f32(32, 32, 2), seen(16, 32);
  for (Matrix* each : {&a, &b}) {
    for (float& value : each->v) value = 1.0F + 0.1F * value;
  }
  constexpr int kTiles = 128;
  run(kWarp, Right::kBytes, [&] {
    SharedMemory memory;
    const auto right = Right::take(memory);
    fill_f32(right, b);
    Accumulators<16, 32> left;
    set(left, a);
    PieceSums<16, 32> d;
    fill(d, 0.0F);
    for (int n = 0; n < kTiles; ++n) multiply(d, left, right);
    for (int i = 0; i < d.kI * d.kJ * 4; ++i) {
      const int j = i / 4, e = i % 4;
      seen(d.row_of(e), d.column_of(e) + j) = d.v[0][j][e];
    }
  });
  Matrix in_f32(16, 32);
  for (int n = 0; n < kTiles * 32; ++n) {
    for (int r = 0; r < 16; ++r) {
      for (int c = 0; c < 32; ++c) in_f32(r, c) = std::fma(a(r, n % 32), b(n % 32, c), in_f32(r, c));
    }
  }
  const auto error = [&](const Matrix& sums) {
    return error_of(
        sums, Matrix(16, 32), kTiles * 32, [&](int r, int k) { return a(r, k % 32); },
        [&](int k, int c) { return b(k % 32, c); });
  };
  EXPECT_LT(error(seen), 2.0 * error(in_f32));
}

// Lanes of a load of 16 bytes are served eight at a time.
TEST(SplitF32, EightLanesThatLoadTogetherMeetAllBanks) {
  using Tile = SharedTile<float, 32, 64>;
  for (int eight = 0; eight < 4; ++eight) {
    for (int half = 0; half < 2; ++half) {
      std::set<int> transposed, plain;
      for (int lane = 8 * eight; lane < 8 * eight + 8; ++lane) {
        const int g = lane / 4, t = lane % 4;
        transposed.insert(Tile::offset(g, 8 * t + 4 * half) / 4 % 8);
        plain.insert(Tile::offset(2 * t + half, 4 * g) / 4 % 8);
      }
      EXPECT_EQ(transposed.size(), 8U);
      EXPECT_EQ(plain.size(), 8U);
    }
  }
}

template <class S>
class SplitTransposed : public testing::Test {};
using TransposedShapes = testing::Types<Shape<16, 32, 32>, Shape<16, 32, 64>, Shape<16, 16, 128>,
                                        Shape<32, 32, 32>, Shape<32, 32, 64>>;
TYPED_TEST_SUITE(SplitTransposed, TransposedShapes);

TYPED_TEST(SplitTransposed, IsTheProductOfF32) {
  using S = TypeParam;
  using Left = SharedTile<float, S::kRows + 16, S::kDepth>;
  using Right = SharedTile<float, S::kColumns, S::kDepth>;
  const Matrix a = of_f32(Left::kRows, S::kDepth, 1), b = of_f32(S::kColumns, S::kDepth, 2);
  const Matrix start = of_f32(S::kRows, S::kColumns, 3);
  Matrix seen(S::kRows, S::kColumns);
  run(kWarp, Left::kBytes + Right::kBytes, [&] {
    SharedMemory memory;
    const auto left = Left::take(memory);
    const auto right = Right::take(memory);
    fill_f32(left, a);
    fill_f32(right, b);
    Accumulators<S::kRows, S::kColumns> d;
    set(d, start);
    multiply_transposed(d, left, 16, right);
    get(d, seen);
  });
  expect_product_of_f32(
      seen, start, S::kDepth, [&](int r, int k) { return a(16 + r, k); },
      [&](int k, int c) { return b(c, k); });
}

template <class S>
class SplitProduct : public testing::Test {};
using ProductShapes = testing::Types<Shape<16, 32, 32>, Shape<16, 64, 32>, Shape<16, 128, 16>,
                                     Shape<32, 32, 32>, Shape<32, 64, 32>>;
TYPED_TEST_SUITE(SplitProduct, ProductShapes);

TYPED_TEST(SplitProduct, IsTheProductOfF32AndIsStoredInOrder) {
  using S = TypeParam;
  using Right = SharedTile<float, S::kDepth, S::kColumns>;
  using To = SharedTile<float, S::kRows + 16, S::kColumns>;
  const Matrix a = of_f32(S::kRows, S::kDepth, 1), b = of_f32(S::kDepth, S::kColumns, 2);
  Matrix seen(S::kRows, S::kColumns);
  run(kWarp, Right::kBytes + To::kBytes, [&] {
    SharedMemory memory;
    const auto right = Right::take(memory);
    const auto to = To::take(memory);
    fill_f32(right, b);
    Accumulators<S::kRows, S::kDepth> left;
    set(left, a);
    PieceSums<S::kRows, S::kColumns> d;
    fill(d, 0.0F);
    for (int n = 0; n < 2; ++n) multiply(d, left, right);
    store(to, 16, d);
    __syncthreads();
    if (threadIdx.x == 0) {
      for (int r = 0; r < seen.rows; ++r) {
        for (int c = 0; c < seen.columns; ++c) seen(r, c) = to.data[To::offset(16 + r, c)];
      }
    }
  });
  expect_product_of_f32(
      seen, Matrix(S::kRows, S::kColumns), 2 * S::kDepth, [&](int r, int k) { return a(r, k % S::kDepth); },
      [&](int k, int c) { return b(k % S::kDepth, c); });
}

}  // namespace
}  // namespace medfusion::kernels::cuda::tile_test
