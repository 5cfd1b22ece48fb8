#include "layers/functional/pooling.h"

#include <gtest/gtest.h>

#include "tests/layers/fixture.h"

namespace medfusion::layers {
namespace {

using core::Tensor;
using core::Variable;

TEST(PoolingFunctional, MaxAgreesWithPyTorch) {
  const Fixture fixture("ops_pooling");
  for (const std::string& name : fixture.cases("max_pool")) {
    FixtureCase c(fixture, "max_pool", name);
    const PoolOptions options{c.integer("kernel"), c.integer("stride"), c.integer("padding")};
    c.expect_parity({"x"}, [&](const auto& in) { return max_pool(in[0], options); });
  }
}

TEST(PoolingFunctional, AverageAgreesWithPyTorch) {
  const Fixture fixture("ops_pooling");
  for (const std::string& name : fixture.cases("avg_pool")) {
    FixtureCase c(fixture, "avg_pool", name);
    const PoolOptions options{c.integer("kernel"), c.integer("stride"), 0};
    c.expect_parity({"x"}, [&](const auto& in) { return average_pool(in[0], options); });
  }
}

TEST(PoolingFunctional, GlobalPoolsAgreeWithPyTorch) {
  const Fixture fixture("ops_pooling");
  for (const std::string& name : fixture.cases("global_average_pool")) {
    FixtureCase c(fixture, "global_average_pool", name);
    c.expect_parity({"x"}, [&](const auto& in) { return global_average_pool(in[0]); });
  }
  for (const std::string& name : fixture.cases("global_max_pool")) {
    FixtureCase c(fixture, "global_max_pool", name);
    c.expect_parity({"x"}, [&](const auto& in) { return global_max_pool(in[0]); });
  }
}

TEST(PoolingFunctional, GradientsAgreeWithDifferences) {
  const Tensor x = random_tensor({2, 5, 6, 3}, 1);
  const PoolOptions options{3, 2, 1};
  EXPECT_TRUE(gradients_agree([&](const auto& in) { return max_pool(in[0], options); }, {x}));
  EXPECT_TRUE(gradients_agree([&](const auto& in) { return average_pool(in[0], options); }, {x}));
  EXPECT_TRUE(gradients_agree([&](const auto& in) { return global_max_pool(in[0]); }, {x}));
  EXPECT_TRUE(gradients_agree([&](const auto& in) { return global_average_pool(in[0]); }, {x}));
}

TEST(PoolingFunctional, PaddingDoesNotCountInTheMean) {
  const Variable x(Tensor::full({1, 3, 3, 1}, 7.0));
  const Tensor y = average_pool(x, {3, 2, 1}).value();
  for (int64_t i = 0; i < y.numel(); ++i) EXPECT_NEAR(y.at(i), 7.0, 1e-6);
}

TEST(PoolingFunctional, TakesTransposedImages) {
  const Tensor nchw = random_tensor({2, 3, 4, 5}, 2).to(core::DType::f32);
  const Tensor nhwc = nchw.transpose(1, 2).transpose(2, 3);
  const Tensor a = max_pool(Variable(nhwc), {2, 2, 0}).value();
  const Tensor b = max_pool(Variable(nhwc.to_contiguous()), {2, 2, 0}).value();
  ASSERT_EQ(a.shape(), (core::Shape{2, 2, 2, 3}));
  for (int64_t i = 0; i < a.numel(); ++i) EXPECT_EQ(a.at(i), b.at(i));
}

TEST(PoolingFunctional, PropagatesNanAndFirstMaximumTakesTheGradient) {
  const Variable x(Tensor::from<float>({1, 2, 2, 1}, {3, 3, std::nanf(""), 1}), true);
  EXPECT_TRUE(std::isnan(max_pool(x, {2, 2, 0}).value().item()));
  EXPECT_TRUE(std::isnan(global_max_pool(x).value().item()));
  const Variable tie(Tensor::from<float>({1, 2, 2, 1}, {1, 3, 3, 3}), true);
  max_pool(tie, {2, 2, 0}).backward(Tensor::full({1, 1, 1, 1}, 5.0));
  global_max_pool(tie).backward(Tensor::full({1, 1}, 2.0));
  EXPECT_EQ(tie.gradient().at(1), 7.0);
  EXPECT_EQ(tie.gradient().at(2), 0.0);
}

TEST(PoolingFunctional, RefusesWhatDoesNotFit) {
  const Variable x(Tensor::zeros({1, 2, 2, 1}));
  EXPECT_THROW(max_pool(x, {3, 1, 0}), core::Error);
  EXPECT_THROW(max_pool(x, {2, 1, 2}), core::Error);
  EXPECT_THROW(average_pool(x, {2, 0, 0}), core::Error);
  EXPECT_THROW(global_max_pool(Variable(Tensor::zeros({1, 0, 2, 1}))), core::Error);
  EXPECT_THROW(max_pool(Variable(Tensor::zeros({2, 2, 1})), {2, 2, 0}), core::Error);
}

}  // namespace
}  // namespace medfusion::layers
