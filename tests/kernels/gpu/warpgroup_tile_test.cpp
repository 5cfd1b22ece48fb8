// The tiles of a warpgroup on the simulator, against plain loops, for the shapes that kernels instantiate.
// Bulk copies bring what wgmma reads, so that both meet without the tile's own idea of where an element lies.
#include "kernels/gpu/warpgroup_tile.cuh"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/random.h"
#include "core/tensor.h"
#include "kernels/simulator/device_type.h"

namespace medfusion::kernels {
namespace {

using namespace cuda;  // NOLINT(google-build-using-namespace): the vocabulary of device code
using core::Tensor;

constexpr core::Device kSim{simulator::kDeviceType, 0};

// [rows, columns] of bf16 on the device, and on the host as floats.
struct Matrix {
  int rows, columns;
  std::vector<float> v;
  Tensor tensor;
  Matrix(int r, int c, uint64_t seed) : rows(r), columns(c), v(static_cast<size_t>(r * c)) {
    const core::Philox philox(seed, 0);
    const Tensor host = Tensor::empty({r, c}, core::DType::bf16);
    for (size_t i = 0; i < v.size(); ++i) {
      const core::BFloat16 value(static_cast<float>(philox.normal(i)));
      host.data<core::BFloat16>()[i] = value;
      v[i] = static_cast<float>(value);
    }
    tensor = host.to(kSim);
    core::runtime(kSim).synchronize({});
  }
  // 0 where there is no such row.
  float operator()(int r, int c) const { return r < rows ? v[static_cast<size_t>(r * columns + c)] : 0.0F; }
  TensorMap map(int64_t box_rows) const {
    return tensor_map(
        {tensor.view().as<core::BFloat16>(), {columns, rows, 1}, {1, columns, rows * columns}, box_rows});
  }
};

template <class Kernel>
void run(int64_t shared_bytes, const Kernel& kernel) {
  simulator::run("warpgroup_tile_test", {1}, {kWarpgroup}, shared_bytes + 16, kernel);
}

// Brings tiles to all threads.
template <class... Copies>
void bring(Shared<uint64_t> barrier, int64_t bytes, const Copies&... copies) {
  if (threadIdx.x == 0) {
    mbarrier_init(barrier, 0, 1);
    fence_proxy_async();
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    mbarrier_arrive_expect(barrier, 0, static_cast<int>(bytes));
    (copies(), ...);
  }
  mbarrier_wait(barrier, 0, 0);
}

template <int kColumns>
void get(Accumulators<16, kColumns>& d, std::vector<float>& result) {
  for_each(d, [&](float& value, int row, int column) {
    result[static_cast<size_t>((warp_index() * 16 + row) * kColumns + column)] = value;
  });
}

template <class Expected>
void expect_sums(const std::vector<float>& result, int columns, int depth, const Expected& term,
                 float start) {
  for (int r = 0; r < 64; ++r) {
    for (int c = 0; c < columns; ++c) {
      double expected = start, size = 1.0;
      for (int k = 0; k < depth; ++k) {
        expected += term(r, c, k);
        size += std::abs(term(r, c, k));
      }
      ASSERT_NEAR(result[static_cast<size_t>(r * columns + c)], expected, 2e-6 * size) << r << " " << c;
    }
  }
}

template <int kColumns_>
struct Width {
  static constexpr int kColumns = kColumns_;
};
template <class S>
class WarpgroupTiles : public testing::Test {};
using Widths = testing::Types<Width<64>, Width<128>>;  // of a head
TYPED_TEST_SUITE(WarpgroupTiles, Widths);

TYPED_TEST(WarpgroupTiles, EveryElementHasItsPlace) {
  using Tile = SwizzledTile<128, TypeParam::kColumns>;
  std::vector<int> places;
  for (int r = 0; r < Tile::kRows; ++r) {
    for (int c = 0; c < Tile::kColumns; ++c) places.push_back(Tile::offset(r, c));
  }
  std::sort(places.begin(), places.end());
  for (int i = 0; i < Tile::kSize; ++i) ASSERT_EQ(places[static_cast<size_t>(i)], i);
}

TYPED_TEST(WarpgroupTiles, BulkCopiesPutElementsInTheirPlaces) {
  using Tile = SwizzledTile<128, TypeParam::kColumns>;
  const Matrix source(150, 2 * TypeParam::kColumns, 1);  // rows 90 to 149 are there
  const TensorMap map = source.map(Tile::kRows);
  run(2 * Tile::kBytes, [&] {
    SharedMemory memory;
    const Tile tile = Tile::take(memory, 2)[1];
    const auto barrier = memory.take<uint64_t>(1);
    bring(barrier, Tile::kBytes, [&] { copy_tile_async(tile, barrier, 0, map, TypeParam::kColumns, 90, 0); });
    for (int r = static_cast<int>(threadIdx.x); r < Tile::kRows; r += kWarpgroup) {
      for (int c = 0; c < Tile::kColumns; ++c) {
        const BFloat16 value = tile.data[Tile::offset(r, c)];
        EXPECT_EQ(static_cast<float>(value), source(90 + r, TypeParam::kColumns + c)) << r << " " << c;
      }
    }
  });
}

TYPED_TEST(WarpgroupTiles, StoreAndLoadAgree) {
  using Tile = SwizzledTile<128, TypeParam::kColumns>;
  std::vector<float> seen(64 * TypeParam::kColumns);
  run(Tile::kBytes, [&] {
    SharedMemory memory;
    const Tile tile = Tile::take(memory);
    Accumulators<16, TypeParam::kColumns> x;
    for_each(x, [](float& value, int row, int c) {
      value = static_cast<float>((warp_index() * 16 + row) % 13 + 16 * (c % 16));
    });
    store(tile, 64 + warp_index() * 16, x);
    __syncthreads();
    for (int n = static_cast<int>(threadIdx.x); n < 64 * Tile::kColumns / 8; n += kWarpgroup) {
      const int r = n / (Tile::kColumns / 8), c = n % (Tile::kColumns / 8) * 8;
      const auto piece = load<8>(tile.data, Tile::offset(64 + r, c));
      for (int i = 0; i < 8; ++i)
        seen[static_cast<size_t>(r * Tile::kColumns + c + i)] = static_cast<float>(piece[i]);
    }
  });
  for (int r = 0; r < 64; ++r) {
    for (int c = 0; c < TypeParam::kColumns; ++c) {
      ASSERT_EQ(seen[static_cast<size_t>(r * TypeParam::kColumns + c)],
                static_cast<float>(r % 13 + 16 * (c % 16)));
    }
  }
}

// d[64, kColumns] = a b^T for rows [row, row + 64) of a, both of kDepth columns.
template <int kColumns, int kDepth>
void check_product_with_transpose(int row) {
  using Left = SwizzledTile<128, kDepth>;
  using Right = SwizzledTile<kColumns, kDepth>;
  const Matrix a(128, kDepth, 2), b(kColumns - 3, kDepth, 3);
  const TensorMap a_map = a.map(128), b_map = b.map(kColumns);
  std::vector<float> result(64 * kColumns);
  run(Left::kBytes + Right::kBytes, [&] {
    SharedMemory memory;
    const Left left = Left::take(memory);
    const Right right = Right::take(memory);
    const auto barrier = memory.take<uint64_t>(1);
    bring(
        barrier, Left::kBytes + Right::kBytes, [&] { copy_tile_async(left, barrier, 0, a_map, 0, 0, 0); },
        [&] { copy_tile_async(right, barrier, 0, b_map, 0, 0, 0); });
    Accumulators<16, kColumns> d;
    fill(d, NAN);  // what was there before does not count
    start_multiply_transposed(d, left, row, right);
    wait_products<0>(d);
    get(d, result);
  });
  expect_sums(
      result, kColumns, kDepth, [&](int r, int c, int k) { return double{a(row + r, k)} * b(c, k); }, 0.0F);
}

TYPED_TEST(WarpgroupTiles, ProductWithTheTransposeOfATile) {
  for (const int row : {0, 64}) {
    check_product_with_transpose<64, TypeParam::kColumns>(row);
    check_product_with_transpose<128, TypeParam::kColumns>(row);
  }
}

// d[64, kColumns] += a b for a of kDepth columns in registers.
template <int kColumns, int kDepth>
void check_product_of_rounded_sums() {
  using Tile = SwizzledTile<kDepth, kColumns>;
  const Matrix a(64, kDepth, 4), b(kDepth, kColumns, 5);
  const TensorMap map = b.map(kDepth);
  std::vector<float> result(64 * kColumns);
  run(Tile::kBytes, [&] {
    SharedMemory memory;
    const Tile right = Tile::take(memory);
    const auto barrier = memory.take<uint64_t>(1);
    bring(barrier, Tile::kBytes, [&] { copy_tile_async(right, barrier, 0, map, 0, 0, 0); });
    Accumulators<16, kDepth> sums;
    for_each(sums,
             [&](float& value, int row, int k) { value = a(warp_index() * 16 + row, k) * (1.0F + 1e-4F); });
    LeftTile<16, kDepth> left;
    round_to(left, sums);
    Accumulators<16, kColumns> d;
    fill(d, 3.0F);
    start_multiply(d, left, right);
    wait_products<0>(d, left);
    get(d, result);
  });
  expect_sums(
      result, kColumns, kDepth, [&](int r, int c, int k) { return double{a(r, k)} * b(k, c); }, 3.0F);
}

TYPED_TEST(WarpgroupTiles, ProductOfRoundedSumsWithATile) {
  check_product_of_rounded_sums<TypeParam::kColumns, 64>();
  check_product_of_rounded_sums<TypeParam::kColumns, 128>();
}

TEST(WarpgroupTiles, AWaitCanLeaveTheLatestProduct) {
  using Tile = SwizzledTile<128, 64>;
  const Matrix a(128, 64, 6);
  const TensorMap map = a.map(128);
  std::vector<float> first(64 * 128), second(64 * 128);
  run(Tile::kBytes, [&] {
    SharedMemory memory;
    const Tile tile = Tile::take(memory);
    const auto barrier = memory.take<uint64_t>(1);
    bring(barrier, Tile::kBytes, [&] { copy_tile_async(tile, barrier, 0, map, 0, 0, 0); });
    Accumulators<16, 128> x, y;
    fill(x, 0.0F);
    fill(y, 0.0F);
    start_multiply_transposed(x, tile, 0, tile);
    start_multiply_transposed(y, tile, 64, tile);
    wait_products<1>(x);
    get(x, first);
    EXPECT_TRUE(std::isnan(y.v[0][3][2]));
    wait_products<0>(y);
    get(y, second);
  });
  expect_sums(
      first, 128, 64, [&](int r, int c, int k) { return double{a(r, k)} * a(c, k); }, 0.0F);
  expect_sums(
      second, 128, 64, [&](int r, int c, int k) { return double{a(64 + r, k)} * a(c, k); }, 0.0F);
}

}  // namespace
}  // namespace medfusion::kernels
