#include "layers/functional/reduction.h"

#include <gtest/gtest.h>

#include "core/threads.h"
#include "tests/layers/fixture.h"

namespace medfusion::layers {
namespace {

using core::Tensor;
using core::Variable;
using Function = Variable (*)(const Variable&, const std::vector<int>&, bool);

void expect_fixture_parity(const std::string& operation, Function function) {
  const Fixture fixture("ops_reductions");
  for (const std::string& name : fixture.cases(operation)) {
    FixtureCase c(fixture, operation, name);
    const Tensor stored = c.get("dims");
    std::vector<int> dims;
    for (int64_t i = 0; i < stored.numel(); ++i) dims.push_back(static_cast<int>(stored.at(i)));
    c.expect_parity({"x"}, [&](const auto& in) { return function(in[0], dims, false); });
  }
}

TEST(ReductionFunctional, SumAgreesWithPyTorch) { expect_fixture_parity("reduce_sum", sum); }
TEST(ReductionFunctional, MeanAgreesWithPyTorch) { expect_fixture_parity("reduce_mean", mean); }
TEST(ReductionFunctional, MaxAgreesWithPyTorch) { expect_fixture_parity("reduce_max", max); }

TEST(ReductionFunctional, GradientsAgreeWithDifferences) {
  for (const Function function : {sum, mean, max}) {
    for (const std::vector<int>& dims : {std::vector<int>{}, {0}, {-1}, {0, 2}}) {
      for (const bool keep : {false, true}) {
        EXPECT_TRUE(gradients_agree([&](const auto& in) { return function(in[0], dims, keep); },
                                    {random_tensor({3, 4, 5}, 1)}));
      }
    }
  }
}

TEST(ReductionFunctional, KeepsDimensionsWhereAsked) {
  const Variable x(Tensor::zeros({2, 3, 4}));
  EXPECT_EQ(sum(x, {1}).shape(), (core::Shape{2, 4}));
  EXPECT_EQ(sum(x, {-2}, true).shape(), (core::Shape{2, 1, 4}));
  EXPECT_EQ(sum(x).shape(), (core::Shape{1}));
  EXPECT_EQ(sum(x, {}, true).shape(), (core::Shape{1, 1, 1}));
}

TEST(ReductionFunctional, FirstMaximumTakesTheGradient) {
  const Variable x(Tensor::from<float>({2, 3}, {1, 5, 5, 7, 7, 2}), true);
  max(x, {1}).backward(Tensor::from<float>({2}, {10, 20}));
  const std::vector<double> expected{0, 10, 0, 20, 0, 0};
  for (int64_t i = 0; i < 6; ++i) EXPECT_EQ(x.gradient().at(i), expected[static_cast<size_t>(i)]) << i;
}

TEST(ReductionFunctional, MaxPropagatesNan) {
  const Variable x(Tensor::from<float>({3}, {1, std::nanf(""), 5}));
  EXPECT_TRUE(std::isnan(max(x).value().item()));
}

TEST(ReductionFunctional, MaxOfNothingIsAnError) {
  EXPECT_THROW(max(Variable(Tensor::zeros({2, 0})), {1}), core::Error);
  EXPECT_EQ(sum(Variable(Tensor::zeros({2, 0})), {1}).value().at(1), 0.0);
}

// A plain float loop over these values is off by more than a percent. Equal values round alike: the worst
// case of the 128 terms that are added in float.
TEST(ReductionFunctional, LongSumsStayAccurate) {
  const int64_t n = 1 << 23;
  const double bound = 128 * 0x1p-24;
  const Variable x(Tensor::full({n}, 0.1));
  const double exact = static_cast<double>(0.1F) * static_cast<double>(n);
  EXPECT_NEAR(sum(x).value().item() / exact, 1.0, bound);
  const Variable columns(x.value().reshape({n / 4, 4}));
  EXPECT_NEAR(sum(columns, {0}).value().at(3) / (exact / 4), 1.0, bound);
}

TEST(ReductionFunctional, SameBytesWithAnyThreadCount) {
  const Variable x(random_tensor({500, 7, 33}, 3).to(core::DType::f32));
  const int before = core::num_threads();
  for (const std::vector<int>& dims : {std::vector<int>{}, {0}, {2}, {0, 2}}) {
    core::set_num_threads(1);
    const Tensor one = sum(x, dims).value();
    core::set_num_threads(3);
    const Tensor three = sum(x, dims).value();
    for (int64_t i = 0; i < one.numel(); ++i) ASSERT_EQ(one.at(i), three.at(i));
  }
  core::set_num_threads(before);
}

}  // namespace
}  // namespace medfusion::layers
