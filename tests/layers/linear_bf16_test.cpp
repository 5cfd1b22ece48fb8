// linear_bf16 on the simulated device against linear in double on the same rounded factors.
#include <gtest/gtest.h>

#include <cmath>

#include "kernels/simulator/device_type.h"
#include "layers/functional/matmul.h"
#include "tests/layers/fixture.h"

namespace medfusion::layers {
namespace {

using core::DType;
using core::Tensor;
using core::Variable;

constexpr core::Device kSim{simulator::kDeviceType, 0};

Tensor rounded(const core::Shape& shape, uint64_t stream) {
  return random_tensor(shape, stream).to(DType::bf16).to(DType::f64);
}

void expect_near(const Tensor& expected, const Tensor& actual, double tolerance, const char* name) {
  ASSERT_EQ(expected.shape(), actual.shape()) << name;
  const Tensor host = actual.to(core::Device{}).to(DType::f64);
  for (int64_t i = 0; i < expected.numel(); ++i) {
    ASSERT_NEAR(expected.at(i), host.at(i), tolerance * (1.0 + std::abs(expected.at(i)))) << name << " " << i;
  }
}

TEST(LinearBf16, IsLinearOfRoundedFactors) {
  const Tensor x = rounded({2, 5, 12}, 1), weight = rounded({7, 12}, 2), bias = rounded({7}, 3),
               upstream = rounded({2, 5, 7}, 4);
  const Variable exact_x(x, true), exact_weight(weight, true), exact_bias(bias, true);
  const Variable exact = linear(exact_x, exact_weight, exact_bias);
  exact.backward(upstream);
  for (const bool narrow : {false, true}) {
    const auto leaf = [](const Tensor& t) { return Variable(t.to(DType::f32).to(kSim), true); };
    const Variable device_x = leaf(x), device_weight = leaf(weight), device_bias = leaf(bias);
    const Variable y =
        linear_bf16(narrow ? cast(device_x, DType::bf16) : device_x, device_weight, device_bias);
    EXPECT_EQ(y.dtype(), DType::f32);
    y.backward(upstream.to(DType::f32).to(kSim));
    // The factors are exact: only sums round, and the gradient of x where it is bf16.
    expect_near(exact.value(), y.value(), 1e-5, "y");
    expect_near(exact_x.gradient(), device_x.gradient(), narrow ? 1.0 / 256.0 : 1e-5, "x");
    expect_near(exact_weight.gradient(), device_weight.gradient(), 1e-5, "weight");
    expect_near(exact_bias.gradient(), device_bias.gradient(), 1e-5, "bias");
  }
}

}  // namespace
}  // namespace medfusion::layers
