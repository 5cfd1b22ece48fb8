#include "layers/functional/elementwise.h"

#include <gtest/gtest.h>

#include "tests/layers/fixture.h"

namespace medfusion::layers {
namespace {

using core::Tensor;
using core::Variable;
using Function = Variable (*)(const Variable&, const Variable&);

void expect_fixture_parity(const std::string& operation, Function function) {
  const Fixture fixture("ops_elementwise");
  for (const std::string& name : fixture.cases(operation)) {
    FixtureCase c(fixture, operation, name);
    c.expect_parity({"a", "b"}, [&](const auto& in) { return function(in[0], in[1]); });
  }
}

TEST(ElementwiseFunctional, AddAgreesWithPyTorch) { expect_fixture_parity("add", add); }
TEST(ElementwiseFunctional, MulAgreesWithPyTorch) { expect_fixture_parity("multiply", mul); }

TEST(ElementwiseFunctional, GradientsAgreeWithDifferences) {
  const Tensor a = random_tensor({2, 3, 5}, 1);
  Tensor b = random_tensor({3, 1}, 2);
  for (int64_t i = 0; i < b.numel(); ++i) b.data<double>()[i] += b.data<double>()[i] < 0 ? -1.0 : 1.0;
  for (const Function function : {add, sub, mul, div}) {
    EXPECT_TRUE(gradients_agree([&](const auto& in) { return function(in[0], in[1]); }, {a, b}));
    EXPECT_TRUE(gradients_agree(
        [&](const auto& in) { return function(in[1], add_scalar(mul(in[0], in[0]), 0.5)); }, {a, b}));
  }
  EXPECT_TRUE(gradients_agree([](const auto& in) { return add_scalar(scale(in[0], -3.0), 2.0); }, {a}));
}

// One gradient is handed to both inputs; adding to one must not change the other.
TEST(ElementwiseFunctional, SharedGradientsStayApart) {
  const Variable x(Tensor::from<float>({2}, {1, 2}), true);
  const Variable y(Tensor::from<float>({2}, {3, 4}), true);
  const Variable p = scale(x, 2.0);
  const Variable q = scale(y, 3.0);
  add(add(p, q), p).backward(Tensor::from<float>({2}, {1, 10}));  // 4 x + 3 y
  EXPECT_EQ(x.gradient().at(0), 4.0);
  EXPECT_EQ(x.gradient().at(1), 40.0);
  EXPECT_EQ(y.gradient().at(0), 3.0);
  EXPECT_EQ(y.gradient().at(1), 30.0);
}

TEST(ElementwiseFunctional, DividesAndSubtracts) {
  const Variable a(Tensor::from<float>({2, 1}, {6, 8}));
  const Variable b(Tensor::from<float>({2}, {2, 4}));
  const Tensor quotient = div(a, b).value();
  EXPECT_EQ(quotient.shape(), (core::Shape{2, 2}));
  EXPECT_EQ(quotient.at(1), 1.5);
  EXPECT_EQ(quotient.at(2), 4.0);
  EXPECT_EQ(sub(a, b).value().at(2), 6.0);
}

TEST(ElementwiseFunctional, RefusesShapesThatDoNotFitAndMixedTypes) {
  const Variable a(Tensor::zeros({2, 3}));
  EXPECT_THROW(add(a, Variable(Tensor::zeros({2}))), core::Error);
  EXPECT_THROW(add(a, Variable(Tensor::zeros({2, 3}, core::DType::f64))), core::Error);
  EXPECT_THROW(scale(Variable(Tensor::zeros({2}, core::DType::i64)), 2.0), core::Error);
}

}  // namespace
}  // namespace medfusion::layers
