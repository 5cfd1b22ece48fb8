#include "core/tensor.h"

#include <gtest/gtest.h>

#include "core/autograd.h"

namespace medfusion::core {
namespace {

TEST(Tensor, SlicesAreViewsOfTheSameMemory) {
  const Tensor t = Tensor::from<float>({2, 3}, {0, 1, 2, 3, 4, 5});
  const Tensor column = t.slice(1, 1, 2);
  EXPECT_EQ(column.shape(), (Shape{2, 1}));
  EXPECT_EQ(column.at(1), 4.0);
  column.fill(7.0);
  EXPECT_EQ(t.at(1), 7.0);
  EXPECT_EQ(t.at(4), 7.0);
  EXPECT_EQ(t.at(0), 0.0);
}

TEST(Tensor, TransposeThenReshapeCopies) {
  const Tensor t = Tensor::from<float>({2, 3}, {0, 1, 2, 3, 4, 5});
  const Tensor r = t.transpose(0, 1).reshape({6});
  EXPECT_EQ(r.at(1), 3.0);
  EXPECT_EQ(r.at(2), 1.0);
}

TEST(Tensor, ConvertsBetweenDtypes) {
  const Tensor t = Tensor::from<double>({3}, {1.0, -2.5, 3.0e38});
  EXPECT_EQ(t.to(DType::f32).at(1), -2.5);
  EXPECT_EQ(t.to(DType::bf16).at(1), -2.5);
  EXPECT_EQ(t.to(DType::boolean).at(0), 1.0);
}

TEST(Autograd, AddsTheGradientsOfTwoUses) {
  const Variable x(Tensor::from<float>({2}, {3, 4}), true);
  const auto twice = [](const Variable& a, const Variable& b) {  // a + b, the same gradient for both
    Tensor sum = a.value().clone();
    for (int64_t i = 0; i < sum.numel(); ++i) sum.data<float>()[i] += b.value().data<float>()[i];
    return Variable::result("add", sum, {a, b}, [](const Tensor& g, const InputGradients& inputs) {
      inputs.accumulate(0, g);
      inputs.accumulate(1, g);
    });
  };
  const Variable y = twice(x, x);
  const Variable z = twice(y, x);
  const Variable w = twice(z, y);
  w.backward(Tensor::from<float>({2}, {1, 10}));
  EXPECT_EQ(x.gradient().at(0), 5.0);
  EXPECT_EQ(x.gradient().at(1), 50.0);
}

TEST(Autograd, LongChainsDoNotOverflowTheStack) {
  Variable x(Tensor::from<float>({1}, {1}), true);
  Variable y = x;
  for (int i = 0; i < 200000; ++i) {
    y = Variable::result("identity", y.value(), {y},
                         [](const Tensor& g, const InputGradients& inputs) { inputs.accumulate(0, g); });
  }
  y.backward();
  EXPECT_EQ(x.gradient().at(0), 1.0);
  y = x;
}

}  // namespace
}  // namespace medfusion::core
