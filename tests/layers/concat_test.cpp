#include "layers/functional/concat.h"

#include <gtest/gtest.h>

#include "tests/layers/fixture.h"

namespace medfusion::layers {
namespace {

using core::DType;
using core::Tensor;
using core::Variable;

TEST(ConcatFunctional, AgreesWithPyTorch) {
  const Fixture fixture("ops_concat");
  for (const std::string& name : fixture.cases("concat")) {
    FixtureCase c(fixture, "concat", name);
    std::vector<std::string> inputs;
    while (c.has(fmt::format("x{}", inputs.size()))) inputs.push_back(fmt::format("x{}", inputs.size()));
    c.expect_parity(inputs, [](const auto& in) { return concat(in, -1); });
  }
}

TEST(ConcatFunctional, GradientsAgreeWithDifferences) {
  EXPECT_TRUE(gradients_agree([](const auto& in) { return concat(in, 1); },
                              {random_tensor({2, 3, 4}, 1), random_tensor({2, 1, 4}, 2)}));
}

TEST(ConcatFunctional, AnInputMayAppearTwiceOrWantNoGradient) {
  for (const DType dtype : {DType::f64, DType::f32}) {
    const Variable x(Tensor::from<float>({2}, {1, 2}).to(dtype), true);
    const Variable constant(Tensor::from<float>({1}, {3}).to(dtype));
    const Variable y = concat({x, constant, x}, 0);
    y.backward(Tensor::from<float>({5}, {1, 2, 4, 8, 16}).to(dtype));
    EXPECT_EQ(x.gradient().at(0), 9.0);
    EXPECT_EQ(x.gradient().at(1), 18.0);
  }
}

TEST(ConcatFunctional, JoinsMasks) {
  const Tensor a = Tensor::from<uint8_t>({2, 2}, {1, 0, 0, 1}).to(DType::boolean);
  const Tensor y = concat(std::vector<Tensor>{a, a.slice(1, 0, 1)}, -1);
  EXPECT_EQ(y.dtype(), DType::boolean);
  const std::vector<double> expected{1, 0, 1, 0, 1, 0};
  for (int64_t i = 0; i < 6; ++i) EXPECT_EQ(y.at(i), expected[static_cast<size_t>(i)]);
}

TEST(ConcatFunctional, RefusesWhatDoesNotJoin) {
  const Variable a(Tensor::zeros({2, 3}));
  EXPECT_THROW(concat(std::vector<Variable>{}, 0), core::Error);
  EXPECT_THROW(concat({a, Variable(Tensor::zeros({3, 3}))}, 1), core::Error);
  EXPECT_THROW(concat({a, Variable(Tensor::zeros({2, 3, 1}))}, 1), core::Error);
  EXPECT_THROW(concat({a, Variable(Tensor::zeros({2, 3}, DType::f64))}, 1), core::Error);
  EXPECT_THROW(concat({a, a}, 2), core::Error);
}

}  // namespace
}  // namespace medfusion::layers
