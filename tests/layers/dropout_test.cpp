#include "layers/functional/dropout.h"

#include <gtest/gtest.h>

#include "core/threads.h"
#include "layers/dropout.h"
#include "tests/layers/fixture.h"

namespace medfusion::layers {
namespace {

using core::DType;
using core::Tensor;
using core::Variable;

TEST(DropoutFunctional, KeepsWhatTheCounterSays) {
  const core::Philox philox(9, 4);
  for (const DType dtype : {DType::f64, DType::f32}) {
    const Variable x(Tensor::full({5, 7, 9}, 3.0, dtype), true);
    const Variable y = dropout(x, 0.25, 9, 4);
    y.backward(Tensor::full({5, 7, 9}, 1.0, dtype));
    for (int64_t i = 0; i < y.value().numel(); ++i) {
      const bool kept = philox.uniform(static_cast<uint64_t>(i)) >= 0.25F;
      ASSERT_NEAR(y.value().at(i), kept ? 4.0 : 0.0, 1e-6) << i;
      ASSERT_NEAR(x.gradient().at(i), kept ? 4.0 / 3.0 : 0.0, 1e-6) << i;
    }
  }
}

TEST(DropoutFunctional, DropsTheShareThatWasAsked) {
  const Tensor y = dropout(Variable(Tensor::full({100000}, 1.0)), 0.3, 1, 2).value();
  int64_t dropped = 0;
  for (int64_t i = 0; i < y.numel(); ++i) dropped += y.at(i) == 0.0;
  EXPECT_NEAR(static_cast<double>(dropped), 30000.0, 600.0);  // four standard deviations
}

TEST(DropoutFunctional, GradientsAgreeWithDifferences) {
  EXPECT_TRUE(
      gradients_agree([](const auto& in) { return dropout(in[0], 0.4, 3, 1); }, {random_tensor({4, 9}, 1)}));
}

TEST(DropoutFunctional, StridesAndThreadsDoNotMatter) {
  const Tensor wide = random_tensor({60, 70, 12}, 1).to(DType::f32);
  const Tensor views[] = {wide.slice(2, 3, 10), wide.transpose(0, 1), wide.slice(1, 0, 33)};
  const int before = core::num_threads();
  for (const Tensor& view : views) {
    const auto run = [&](const Tensor& x, int threads) {
      core::set_num_threads(threads);
      return dropout(Variable(x), 0.5, 7, 7).value();
    };
    const Tensor expected = run(view.clone(), 1);
    expect_close(run(view, 1), expected, 0.0, "strided");
    expect_close(run(view, 3), expected, 0.0, "three threads");
  }
  core::set_num_threads(before);
}

TEST(DropoutFunctional, StreamsAndSeedsDiffer) {
  const Variable x(Tensor::full({64}, 1.0));
  const auto differ = [](const Tensor& a, const Tensor& b) {
    for (int64_t i = 0; i < a.numel(); ++i) {
      if (a.at(i) != b.at(i)) return true;
    }
    return false;
  };
  EXPECT_TRUE(differ(dropout(x, 0.5, 1, 0).value(), dropout(x, 0.5, 1, 1).value()));
  EXPECT_TRUE(differ(dropout(x, 0.5, 1, 0).value(), dropout(x, 0.5, 2, 0).value()));
}

TEST(DropoutFunctional, TheEnds) {
  const Variable x(random_tensor({8}, 1));
  EXPECT_TRUE(dropout(x, 0.0, 1, 1).value().shares_storage_with(x.value()));
  expect_close(dropout(x, 1.0, 1, 1).value(), Tensor::zeros({8}, DType::f64), 0.0, "p = 1");
  EXPECT_THROW(dropout(x, -0.1, 1, 1), core::Error);
  EXPECT_THROW(dropout(x, 1.5, 1, 1), core::Error);
  EXPECT_THROW(dropout(Variable(Tensor::zeros({2}, DType::i64)), 0.5, 1, 1), core::Error);
}

TEST(StochasticDepth, KeepsOrDropsWholeSamples) {
  Context context{.training = true, .seed = 3};
  const Variable x(Tensor::full({400, 2, 3, 5}, 1.5), true);
  const Variable y = stochastic_depth(x, 0.25, context);
  EXPECT_EQ(context.stream, 1U);
  y.backward(Tensor::full(x.shape(), 1.0));
  int64_t kept = 0;
  for (int64_t i = 0; i < y.value().numel(); ++i) {
    const bool keeps = y.value().at(i / 30 * 30) != 0.0;
    ASSERT_NEAR(y.value().at(i), keeps ? 2.0 : 0.0, 1e-6) << i;
    ASSERT_NEAR(x.gradient().at(i), keeps ? 4.0 / 3.0 : 0.0, 1e-6) << i;
    kept += keeps ? 1 : 0;
  }
  EXPECT_NEAR(static_cast<double>(kept) / 30.0, 300.0, 35.0);  // four standard deviations
}

TEST(StochasticDepth, IsNothingInEvaluation) {
  Context context;
  const Variable x(Tensor::full({4, 3}, 1.5));
  EXPECT_TRUE(stochastic_depth(x, 0.25, context).value().shares_storage_with(x.value()));
  EXPECT_EQ(context.stream, 0U);
}

}  // namespace
}  // namespace medfusion::layers
