#include "layers/functional/activation.h"

#include <gtest/gtest-spi.h>
#include <gtest/gtest.h>

#include "tests/layers/fixture.h"

namespace medfusion::layers {
namespace {

using Function = core::Variable (*)(const core::Variable&);

void expect_fixture_parity(const std::string& operation, Function function) {
  const Fixture fixture("ops_activations");
  for (const std::string& name : fixture.cases(operation)) {
    FixtureCase c(fixture, operation, name);
    c.expect_parity({"x"}, [&](const auto& in) { return function(in[0]); });
  }
}

TEST(ActivationFunctional, ReluAgreesWithPyTorch) { expect_fixture_parity("relu", relu); }
TEST(ActivationFunctional, GeluAgreesWithPyTorch) { expect_fixture_parity("gelu", gelu); }
TEST(ActivationFunctional, SigmoidAgreesWithPyTorch) { expect_fixture_parity("sigmoid", sigmoid); }

TEST(ActivationFunctional, Relu6AgreesWithPyTorch) { expect_fixture_parity("relu6", relu6); }

TEST(ActivationFunctional, Relu6HasNoSlopeWhereItBends) {
  core::Tensor x = core::Tensor::zeros({4});
  const float values[] = {0.0F, 6.0F, 3.0F, 7.0F};
  for (size_t i = 0; i < 4; ++i) x.data<float>()[i] = values[i];
  const core::Variable in(x, true);
  relu6(in).backward(core::Tensor::full({4}, 1.0));
  for (int64_t i = 0; i < 4; ++i) EXPECT_EQ(in.gradient().at(i), i == 2 ? 1.0 : 0.0) << i;
}

TEST(ActivationFunctional, GradientsAgreeWithDifferences) {
  for (const Function function : {relu, gelu, sigmoid, relu6}) {
    EXPECT_TRUE(gradients_agree([&](const auto& in) { return function(in[0]); }, {random_tensor({3, 7}, 1)}));
  }
}

TEST(ActivationFunctional, TakesFloatsOnly) {
  EXPECT_THROW(relu(core::Variable(core::Tensor::zeros({2}, core::DType::i64))), core::Error);
}

// The checks themselves must be able to fail.
TEST(GradientCheck, FindsAWrongGradient) {
  const auto wrong = [](const std::vector<core::Variable>& in) {
    return core::Variable::result("wrong", relu(in[0].detach()).value(), {in[0]},
                                  [](const core::Tensor& g, const core::InputGradients& inputs) {
                                    inputs.accumulate(0, g);  // right only where x > 0
                                  });
  };
  EXPECT_FALSE(gradients_agree(wrong, {random_tensor({3, 7}, 1)}));
}

TEST(FixtureLoader, RefusesUnknownNames) {
  const Fixture fixture("ops_activations");
  EXPECT_THROW(fixture.get("relu.ragged.z"), core::Error);
  EXPECT_THROW(fixture.cases("relux"), core::Error);
}

TEST(FixtureLoader, ReportsWhatWasNotCompared) {
  static const Fixture fixture("ops_activations");
  const auto leave_one_out = [] {
    FixtureCase c(fixture, "relu", "ragged");
    for (const char* name : {"x", "y", "grad_y"}) c.get(name);
  };
  EXPECT_NONFATAL_FAILURE(leave_one_out(), "relu.ragged.grad_x was not compared");
}

}  // namespace
}  // namespace medfusion::layers
