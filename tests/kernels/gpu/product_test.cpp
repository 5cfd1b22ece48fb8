// The products of kernels/gpu/product.cuh and the walks of kernels/gpu/columns.cuh against plain loops.
#include <gtest/gtest.h>

#include "core/random.h"
#include "core/tensor.h"
#include "kernels/gpu/columns.cuh"
#include "kernels/gpu/product.cuh"
#include "kernels/simulator/device_type.h"

namespace medfusion::kernels {
namespace {

using namespace cuda;  // NOLINT(google-build-using-namespace): the vocabulary of device code
using core::DType;
using core::Tensor;

constexpr core::Device kSim{simulator::kDeviceType, 0};

Tensor random(const core::Shape& shape, uint64_t stream) {
  const Tensor t = Tensor::empty(shape);
  const core::Philox philox(7, stream);
  for (int64_t i = 0; i < t.numel(); ++i) t.data<float>()[i] = philox.normal(static_cast<uint64_t>(i));
  return t;
}
Tensor on_sim(const Tensor& t) {
  const Tensor copy = Tensor::empty(t.shape(), t.dtype(), kSim);
  copy.copy_from(t);
  return copy;
}
Tensor on_cpu(const Tensor& t) {
  const Tensor copy = Tensor::empty(t.shape(), t.dtype());
  copy.copy_from(t);
  return copy;
}

PlainSource source(const Tensor& t) {
  return {t.view().as<float>(), t.size(1), t.size(0), static_cast<int>(t.size(1))};
}

// The matrix as the product sees it: [side, depth].
float element(const Tensor& t, Along along, int64_t side, int64_t depth) {
  return t.data<float>()[along == Along::depth ? side * t.size(1) + depth : depth * t.size(1) + side];
}

template <int N, Along a_along, Along b_along>
void check(int64_t rows, int64_t columns, int64_t depth, bool deep, bool accumulate) {
  SCOPED_TRACE(fmt::format("N={} {}{} {} x {} x {}{}", N, a_along == Along::depth ? 'd' : 's',
                           b_along == Along::depth ? 'd' : 's', rows, columns, depth, deep ? " deep" : ""));
  const auto shape = [&](Along along, int64_t side) {
    return along == Along::depth ? core::Shape{side, depth} : core::Shape{depth, side};
  };
  const Tensor a = random(shape(a_along, rows), 1), b = random(shape(b_along, columns), 2);
  const Tensor a_sim = on_sim(a), b_sim = on_sim(b);
  const Tensor c = Tensor::full({rows, columns}, accumulate ? 0.5 : std::nan(""));
  const Tensor c_sim = on_sim(c);
  ProductTarget to{c_sim.view().as<float>(), columns, rows, static_cast<int>(columns)};
  to.accumulate = accumulate;
  const auto run = deep ? launch_deep_product<N, a_along, b_along, PlainSource, PlainSource>
                        : launch_product<N, a_along, b_along, PlainSource, PlainSource>;
  run("product", kSim, source(a_sim), source(b_sim), to, depth);
  const Tensor result = on_cpu(c_sim);
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < columns; ++j) {
      double expected = accumulate ? 0.5 : 0.0;
      for (int64_t d = 0; d < depth; ++d) {
        expected +=
            static_cast<double>(element(a, a_along, i, d)) * static_cast<double>(element(b, b_along, j, d));
      }
      ASSERT_NEAR(result.data<float>()[i * columns + j], expected, 1e-4) << i << ", " << j;
    }
  }
}

template <int N>
void check_all(int64_t rows, int64_t columns, int64_t depth, bool deep, bool accumulate) {
  check<N, Along::depth, Along::depth>(rows, columns, depth, deep, accumulate);
  check<N, Along::depth, Along::side>(rows, columns, depth, deep, accumulate);
  check<N, Along::side, Along::depth>(rows, columns, depth, deep, accumulate);
  check<N, Along::side, Along::side>(rows, columns, depth, deep, accumulate);
}

TEST(Product, TilesMatchPlainLoops) {
  check_all<1>(1, 1, 1, false, false);
  check_all<1>(67, 65, 17, false, true);
  check_all<1>(5, 3, 0, false, false);
  check_all<4>(64, 64, 16, false, false);
  check_all<4>(68, 132, 36, false, true);
}

TEST(Product, DeepProductsAddTheirChunks) {
  check_all<1>(3, 5, 391, true, false);
  check_all<4>(8, 4, 520, true, false);
  check_all<1>(2, 2, 0, true, false);
}

template <int N>
__global__ void count_visits(Global<float> visits, Columns columns) {
  const ColumnPart part(columns, N);
  for_column_rows<kColumnRows>(part, [&](int count, int64_t row) {
    for (int k = 0; k < count; ++k) {
      for (int c = 0; c < N; ++c) {
        visits[(row + int64_t{k} * part.groups) * columns.channels + part.channel + c] += 1.0F;
      }
    }
  });
}

TEST(Columns, EveryElementIsVisitedOnce) {
  for (const auto& [rows, channels, blocks] : {std::array<int64_t, 3>{1, 4, 1},
                                               {7, 12, 3},
                                               {300, 4, 4},
                                               {33, 132, 100},
                                               {1000, 8, 2},
                                               {5, 600, 1}}) {
    SCOPED_TRACE(fmt::format("{} x {} in {}", rows, channels, blocks));
    for (const int n : {1, 4}) {
      const Tensor visits = Tensor::zeros({rows, channels}, DType::f32, kSim);
      const Columns columns(rows, channels, n, blocks);
      launch({"count_visits", kSim, columns.grid, dim3(kColumnThreads)},
             n == 1 ? count_visits<1> : count_visits<4>, visits.view().as<float>(), columns);
      const Tensor counts = on_cpu(visits);
      for (int64_t i = 0; i < counts.numel(); ++i) ASSERT_EQ(counts.data<float>()[i], 1.0F) << i;
    }
  }
}

}  // namespace
}  // namespace medfusion::kernels
