#include "layers/functional/layer_norm.h"

#include <gtest/gtest.h>

#include "tests/layers/fixture.h"

namespace medfusion::layers {
namespace {

using core::Tensor;
using core::Variable;

TEST(LayerNormFunctional, AgreesWithPyTorch) {
  const Fixture fixture("ops_layer_norm");
  for (const std::string& name : fixture.cases("layer_norm")) {
    FixtureCase c(fixture, "layer_norm", name);
    const double eps = c.scalar("eps");
    // Rows of two normalize to +-1: of the terms of the gradient, all but eps / variance cancels, and in f32
    // their rounding stands out against what is left (PyTorch's own f32 gradient is off by 5e-4 of its
    // largest value).
    const double tolerance = name == "width2" ? 1e-3 : 2e-5;
    c.expect_parity(
        {"x", "weight", "bias"}, [&](const auto& in) { return layer_norm(in[0], in[1], in[2], eps); }, "y",
        tolerance);
  }
}

TEST(LayerNormFunctional, GradientsAgreeWithDifferences) {
  EXPECT_TRUE(gradients_agree([](const auto& in) { return layer_norm(in[0], in[1], in[2]); },
                              {random_tensor({2, 3, 5}, 1), random_tensor({5}, 2), random_tensor({5}, 3)}));
}

TEST(LayerNormFunctional, ParametersThatAreConstantGetNoGradient) {
  const Variable x(random_tensor({3, 5}, 1).to(core::DType::f32), true);
  const Variable weight(Tensor::full({5}, 2.0));
  const Variable bias(Tensor::zeros({5}), true);
  layer_norm(x, weight, bias).backward(Tensor::full({3, 5}, 1.0));
  EXPECT_EQ(bias.gradient().at(2), 3.0);
  for (int64_t i = 0; i < 15; ++i) EXPECT_NEAR(x.gradient().at(i), 0.0, 1e-6);  // g and weight are constant
}

TEST(LayerNormFunctional, LargeMeansCostNoDigits) {
  const Variable x(Tensor::from<float>({1, 4}, {8192, 8193, 8192, 8193}));
  const Variable one(Tensor::full({4}, 1.0));
  const Variable zero(Tensor::zeros({4}));
  const Tensor y = layer_norm(x, one, zero, 0.0).value();
  EXPECT_NEAR(y.at(0), -1.0, 1e-6);
  EXPECT_NEAR(y.at(1), 1.0, 1e-6);
}

TEST(LayerNormFunctional, RefusesWrongSizes) {
  const Variable x(Tensor::zeros({2, 3}));
  const Variable good(Tensor::zeros({3}));
  EXPECT_THROW(layer_norm(x, Variable(Tensor::zeros({2})), good), core::Error);
  EXPECT_THROW(layer_norm(x, good, Variable(Tensor::zeros({3}, core::DType::f64))), core::Error);
}

}  // namespace
}  // namespace medfusion::layers
