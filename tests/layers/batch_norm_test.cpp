#include "layers/functional/batch_norm.h"

#include <gtest/gtest.h>

#include "core/threads.h"
#include "layers/functional/activation.h"
#include "tests/layers/fixture.h"

namespace medfusion::layers {
namespace {

using core::DType;
using core::Tensor;
using core::Variable;

TEST(BatchNormFunctional, AgreesWithPyTorch) {
  const Fixture fixture("ops_batch_norm");
  for (const std::string& name : fixture.cases("batch_norm")) {
    FixtureCase c(fixture, "batch_norm", name);
    const bool training = name.starts_with("train");
    const double eps = c.scalar("eps");
    const double momentum = c.scalar("momentum");
    Tensor mean, var;
    c.expect_parity({"x", "weight", "bias"}, [&](const auto& in) {
      mean = c.get("running_mean").to(in[0].dtype()).clone();
      var = c.get("running_var").to(in[0].dtype()).clone();
      const Variable y = batch_norm(in[0], in[1], in[2], mean, var, training, momentum, eps);
      const std::string prefix = training ? "new_" : "";
      expect_close(mean, c.get(prefix + "running_mean"), 1e-6, name + " running mean");
      expect_close(var, c.get(prefix + "running_var"), 1e-6, name + " running variance");
      return y;
    });
  }
}

TEST(BatchNormFunctional, GradientsAgreeWithDifferences) {
  for (const bool training : {true, false}) {
    for (const bool relu : {true, false}) {
      EXPECT_TRUE(gradients_agree(
          [&](const auto& in) {
            return batch_norm(in[0], in[1], in[2], Tensor::zeros({5}, DType::f64),
                              Tensor::full({5}, 2.0, DType::f64), training, 0.1, 1e-5, relu);
          },
          {random_tensor({2, 3, 2, 5}, 1), random_tensor({5}, 2), random_tensor({5}, 3)}));
    }
  }
}

// What one run gives: value, gradients, running statistics.
std::vector<Tensor> run(const Tensor& input, bool training, bool fuse, bool relu_after) {
  const int64_t channels = input.size(-1);
  const Variable x(input, true);
  const Variable weight(random_tensor({channels}, 11).to(DType::f32), true);
  const Variable bias(random_tensor({channels}, 12).to(DType::f32), true);
  const Tensor mean = Tensor::zeros({channels});
  const Tensor var = Tensor::full({channels}, 1.0);
  Variable y = batch_norm(x, weight, bias, mean, var, training, 0.1, 1e-5, fuse);
  if (relu_after) y = relu(y);
  y.backward(random_tensor(y.shape(), 13).to(DType::f32));
  return {y.value(), x.gradient(), weight.gradient(), bias.gradient(), mean, var};
}

void expect_same_bytes(const std::vector<Tensor>& a, const std::vector<Tensor>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t n = 0; n < a.size(); ++n) {
    for (int64_t i = 0; i < a[n].numel(); ++i) ASSERT_EQ(a[n].at(i), b[n].at(i)) << n << " " << i;
  }
}

TEST(BatchNormFunctional, FusedReluIsReluAfterwards) {
  const Tensor x = random_tensor({3, 11, 7, 19}, 4).to(DType::f32);
  for (const bool training : {true, false}) {
    expect_same_bytes(run(x, training, true, false), run(x, training, false, true));
  }
}

TEST(BatchNormFunctional, SameBytesWithAnyThreadCount) {
  const Tensor x = random_tensor({4, 50, 50, 19}, 4).to(DType::f32);
  const int before = core::num_threads();
  core::set_num_threads(1);
  const auto one = run(x, true, true, false);
  core::set_num_threads(3);
  const auto three = run(x, true, true, false);
  core::set_num_threads(before);
  expect_same_bytes(one, three);
}

// E[x^2] - E[x]^2 in float would lose every digit of this variance.
TEST(BatchNormFunctional, LargeMeansCostNoDigits) {
  const int64_t rows = 4096;
  Tensor x = Tensor::empty({rows, 1});
  for (int64_t i = 0; i < rows; ++i) x.data<float>()[i] = 4096.0F + static_cast<float>(i % 2);
  const Tensor mean = Tensor::zeros({1});
  const Tensor var = Tensor::zeros({1});
  const Variable one(Tensor::full({1}, 1.0));
  const Variable zero(Tensor::zeros({1}));
  const Tensor y = batch_norm(Variable(x), one, zero, mean, var, true, 1.0, 0.0).value();
  EXPECT_EQ(mean.item(), 4096.5);
  EXPECT_NEAR(var.item(), 0.25 * rows / (rows - 1.0), 1e-7);
  EXPECT_NEAR(y.at(0), -1.0, 1e-6);
  EXPECT_NEAR(y.at(1), 1.0, 1e-6);
}

TEST(BatchNormFunctional, EvaluationLeavesRunningStatisticsAlone) {
  const auto results = run(random_tensor({2, 3, 4}, 5).to(DType::f32), false, false, false);
  for (int64_t c = 0; c < 4; ++c) {
    EXPECT_EQ(results[4].at(c), 0.0);
    EXPECT_EQ(results[5].at(c), 1.0);
  }
}

TEST(BatchNormFunctional, RefusesOneValuePerChannelAndWrongSizes) {
  const Variable x(Tensor::zeros({1, 1, 1, 3}));
  const Variable p(Tensor::zeros({3}));
  const Tensor running = Tensor::full({3}, 1.0);
  EXPECT_THROW(batch_norm(x, p, p, running, running, true), core::Error);
  EXPECT_NO_THROW(batch_norm(x, p, p, running, running, false));
  EXPECT_THROW(batch_norm(x, Variable(Tensor::zeros({2})), p, running, running, false), core::Error);
}

}  // namespace
}  // namespace medfusion::layers
