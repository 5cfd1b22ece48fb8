#include "layers/functional/upsample_add.h"

#include <gtest/gtest.h>

#include "tests/layers/fixture.h"

namespace medfusion::layers {
namespace {

using core::Tensor;
using core::Variable;

UpsampleOptions options_of(const std::string& name) {
  return {.bilinear = name.starts_with("bilinear"), .align_corners = name.find("align") != std::string::npos};
}

TEST(UpsampleAddFunctional, AgreesWithPyTorch) {
  const Fixture fixture("ops_upsample_add");
  for (const std::string& name : fixture.cases("upsample_add")) {
    FixtureCase c(fixture, "upsample_add", name);
    c.expect_parity({"x", "lateral"},
                    [&](const auto& in) { return upsample_add(in[0], in[1], options_of(name)); });
  }
}

TEST(UpsampleAddFunctional, GradientsAgreeWithDifferences) {
  for (const UpsampleOptions& options :
       {UpsampleOptions{}, UpsampleOptions{true, false}, UpsampleOptions{true, true}}) {
    EXPECT_TRUE(gradients_agree(
        [&](const auto& in) { return upsample_add(in[0], in[1], options, in[2]); },
        {random_tensor({2, 2, 3, 3}, 1), random_tensor({2, 5, 6, 3}, 2), random_tensor({3}, 3)}));
  }
}

TEST(UpsampleAddFunctional, RefusesWhatDoesNotFit) {
  const Variable x(Tensor::zeros({1, 2, 2, 3}));
  const Variable lateral(Tensor::zeros({1, 4, 4, 3}));
  EXPECT_THROW(upsample_add(x, Variable(Tensor::zeros({1, 4, 4, 2}))), core::Error);
  EXPECT_THROW(upsample_add(x, Variable(Tensor::zeros({2, 4, 4, 3}))), core::Error);
  EXPECT_THROW(upsample_add(x, Variable(Tensor::zeros({1, 4, 4, 3}, core::DType::f64))), core::Error);
  EXPECT_THROW(upsample_add(Variable(Tensor::zeros({1, 0, 2, 3})), lateral), core::Error);
  EXPECT_THROW(upsample_add(x, lateral, {}, Variable(Tensor::zeros({2}))), core::Error);
}

}  // namespace
}  // namespace medfusion::layers
