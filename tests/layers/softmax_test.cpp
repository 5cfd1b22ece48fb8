#include "layers/functional/softmax.h"

#include <gtest/gtest.h>

#include <limits>

#include "tests/layers/fixture.h"

namespace medfusion::layers {
namespace {

using core::Tensor;
using core::Variable;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

TEST(SoftmaxFunctional, AgreesWithPyTorch) {
  const Fixture fixture("ops_activations");
  for (const std::string& name : fixture.cases("softmax")) {
    FixtureCase c(fixture, "softmax", name);
    c.expect_parity({"x"}, [](const auto& in) { return softmax(in[0]); });
  }
}

TEST(SoftmaxFunctional, GradientsAgreeWithDifferences) {
  EXPECT_TRUE(gradients_agree([](const auto& in) { return softmax(in[0]); }, {random_tensor({2, 3, 7}, 1)}));
}

TEST(SoftmaxFunctional, RowsThatAreMaskedThroughoutGiveZeros) {
  const Variable x(Tensor::from<float>({2, 3}, {-kInfinity, -kInfinity, -kInfinity, 1, -kInfinity, 1}), true);
  const Variable y = softmax(x);
  const std::vector<double> expected{0, 0, 0, 0.5, 0, 0.5};
  for (int64_t i = 0; i < 6; ++i) EXPECT_EQ(y.value().at(i), expected[static_cast<size_t>(i)]) << i;
  y.backward(Tensor::from<float>({2, 3}, {1, 2, 3, 1, 2, 3}));
  const std::vector<double> gradient{0, 0, 0, -0.5, 0, 0.5};
  for (int64_t i = 0; i < 6; ++i) EXPECT_EQ(x.gradient().at(i), gradient[static_cast<size_t>(i)]) << i;
}

TEST(SoftmaxFunctional, HugeValuesDoNotOverflow) {
  const float huge = std::numeric_limits<float>::max();
  const Tensor y = softmax(Variable(Tensor::from<float>({2, 2}, {huge, -huge, -huge, -huge}))).value();
  EXPECT_EQ(y.at(0), 1.0);
  EXPECT_EQ(y.at(1), 0.0);
  EXPECT_EQ(y.at(2), 0.5);
}

TEST(SoftmaxFunctional, NanSpreadsOverItsRowOnly) {
  const Tensor y = softmax(Variable(Tensor::from<float>({2, 2}, {std::nanf(""), 0, 0, 0}))).value();
  EXPECT_TRUE(std::isnan(y.at(0)));
  EXPECT_TRUE(std::isnan(y.at(1)));
  EXPECT_EQ(y.at(2), 0.5);
}

TEST(SoftmaxFunctional, TakesTransposedInput) {
  const Tensor x = random_tensor({3, 5}, 2).to(core::DType::f32);
  const Tensor a = softmax(Variable(x.transpose(0, 1))).value();
  const Tensor b = softmax(Variable(x.transpose(0, 1).to_contiguous())).value();
  for (int64_t i = 0; i < a.numel(); ++i) EXPECT_EQ(a.at(i), b.at(i));
}

}  // namespace
}  // namespace medfusion::layers
