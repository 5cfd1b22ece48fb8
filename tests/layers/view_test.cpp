#include "layers/functional/view.h"

#include <gtest/gtest.h>

#include "tests/layers/gradient_check.h"

namespace medfusion::layers {
namespace {

using core::Shape;
using core::Tensor;
using core::Variable;

TEST(ViewFunctional, GradientsAgreeWithDifferences) {
  const Tensor x = random_tensor({2, 3, 4}, 1);
  EXPECT_TRUE(gradients_agree([](const auto& in) { return reshape(in[0], {4, -1}); }, {x}));
  EXPECT_TRUE(gradients_agree([](const auto& in) { return reshape(transpose(in[0], 0, 2), {6, 4}); }, {x}));
  EXPECT_TRUE(gradients_agree([](const auto& in) { return slice(in[0], -1, 1, 3); }, {x}));
  EXPECT_TRUE(gradients_agree([](const auto& in) { return transpose(in[0], 0, -1); }, {x}));
  EXPECT_TRUE(gradients_agree([](const auto& in) { return expand(in[0], {3, 2, 3, 4}); }, {x}));
  EXPECT_TRUE(gradients_agree(
      [](const auto& in) {
        return expand(in[0], {5, 2, 3, 4});
      },
      {random_tensor({2, 1, 4}, 2)}));
  EXPECT_TRUE(gradients_agree([](const auto& in) { return expand(in[0], {2, 3}); }, {random_tensor({1}, 2)}));
}

TEST(ViewFunctional, SharesTheMemory) {
  const Variable x(random_tensor({2, 3, 4}, 1));
  EXPECT_TRUE(reshape(x, {6, 4}).value().shares_storage_with(x.value()));
  EXPECT_TRUE(slice(x, 1, 0, 2).value().shares_storage_with(x.value()));
  EXPECT_TRUE(transpose(x, 0, 1).value().shares_storage_with(x.value()));
  EXPECT_TRUE(expand(x, {5, 2, 3, 4}).value().shares_storage_with(x.value()));
}

TEST(ViewFunctional, OverlappingSlicesAddTheirGradients) {
  const Variable x(Tensor::from<float>({4}, {0, 0, 0, 0}), true);
  const Variable a = slice(x, 0, 0, 3);
  const Variable b = slice(x, 0, 1, 4);
  a.backward(Tensor::from<float>({3}, {1, 2, 4}));
  b.backward(Tensor::from<float>({3}, {10, 20, 40}));
  const std::vector<double> expected{1, 12, 24, 40};
  for (int64_t i = 0; i < 4; ++i) EXPECT_EQ(x.gradient().at(i), expected[static_cast<size_t>(i)]);
}

// In f32 too: the sum over 1000 repeats of each element.
TEST(ViewFunctional, ExpandSumsEveryRepeat) {
  const Variable x(Tensor::from<float>({3}, {0, 0, 0}), true);
  expand(x, {1000, 3}).backward(Tensor::full({1000, 3}, 0.5));
  for (int64_t i = 0; i < 3; ++i) EXPECT_EQ(x.gradient().at(i), 500.0);
}

TEST(ViewFunctional, RefusesWhatDoesNotFit) {
  const Variable x(Tensor::zeros({2, 3}));
  EXPECT_THROW(reshape(x, {4, 2}), core::Error);
  EXPECT_THROW(slice(x, 1, 2, 4), core::Error);
  EXPECT_THROW(slice(x, 2, 0, 1), core::Error);
  EXPECT_THROW(transpose(x, 0, 2), core::Error);
  EXPECT_THROW(expand(x, {2, 4}), core::Error);
}

}  // namespace
}  // namespace medfusion::layers
