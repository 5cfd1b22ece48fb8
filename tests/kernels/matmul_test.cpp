#include "kernels/matmul/matmul.h"

#include <cmath>

#include "kernels/registry.h"
#include "kernels/simulator/device_type.h"
#include "kernels/workshop/check.h"
#include "tests/kernels/kernel_test.h"

MEDFUSION_KERNEL_TESTS(matmul)

namespace medfusion::kernels {
namespace {

using core::DType;
using core::Tensor;

// Products of bf16 factors on the simulated device are those of the same numbers in double, to the rounding
// of sums in f32.
void expect_bf16_product(int64_t rows, int64_t inner, int64_t columns, bool transpose) {
  const core::Device sim{simulator::kDeviceType, 0};
  const auto factor = [](const core::Shape& shape, uint64_t stream) {
    const Tensor x = Tensor::empty(shape, DType::f64);
    fill_slot({.name = "x", .shape = shape}, x, 7, stream);
    return x.to(DType::bf16);
  };
  const Tensor a = factor({rows, inner}, 1);
  const Tensor b = transpose ? factor({columns, inner}, 2).transpose(0, 1) : factor({inner, columns}, 2);
  const Tensor bias = factor({columns}, 3);
  const Tensor exact = Tensor::empty({rows, columns}, DType::f64);
  const Tensor wide_a = a.to(DType::f64), wide_b = b.to(DType::f64), wide_bias = bias.to(DType::f64);
  dispatch<MatmulForward>(
      {.a = wide_a.view(), .b = wide_b.view(), .bias = wide_bias.view(), .c = exact.view()},
      core::DeviceType::cpu);
  const Tensor device_a = a.to(sim), device_bias = bias.to(DType::f32).to(sim);
  const Tensor device_b =
      transpose ? b.transpose(0, 1).to(sim).transpose(0, 1) : b.to(sim);  // the same strides
  const Tensor c = Tensor::empty({rows, columns}, DType::f32, sim);
  dispatch<MatmulForward>(
      {.a = device_a.view(), .b = device_b.view(), .bias = device_bias.view(), .c = c.view()},
      simulator::kDeviceType);
  const Tensor actual = c.to(core::Device{});
  for (int64_t i = 0; i < exact.numel(); ++i) {
    ASSERT_NEAR(exact.at(i), actual.at(i), 2e-5 * (1.0 + std::abs(exact.at(i)))) << i;
  }
}

TEST(Matmul, TakesFactorsInBf16OnADevice) {
  expect_bf16_product(1, 1, 1, false);
  expect_bf16_product(5, 33, 7, false);
  expect_bf16_product(31, 64, 32, true);
}

}  // namespace
}  // namespace medfusion::kernels
