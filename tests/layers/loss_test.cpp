#include "layers/functional/loss.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/layers/fixture.h"

namespace medfusion::layers {
namespace {

using core::Tensor;
using core::Variable;

// Runs every case of `operation` with the options that `read` takes from it.
template <class Read>
void expect_fixture_parity(const std::string& operation, const Read& read) {
  const Fixture fixture("ops_losses");
  for (const std::string& name : fixture.cases(operation)) {
    FixtureCase c(fixture, operation, name);
    const LossOptions options = read(c);
    const Tensor targets = c.get("labels");
    c.expect_parity(
        {"x"}, [&](const auto& in) { return multilabel_loss(in[0], targets, options); }, "loss");
  }
}

TEST(LossFunctional, WeightedCrossEntropyAgreesWithPyTorch) {
  expect_fixture_parity("bce", [](FixtureCase& c) {
    return LossOptions{.kind = LossKind::bce, .positive_weight = c.get("pos_weight")};
  });
}

TEST(LossFunctional, FocalAgreesWithPyTorch) {
  expect_fixture_parity("focal", [](FixtureCase& c) {
    LossOptions options{.kind = LossKind::focal, .focal_gamma = c.scalar("gamma")};
    if (c.has("alpha")) options.focal_alpha = c.scalar("alpha");
    return options;
  });
}

TEST(LossFunctional, AsymmetricAgreesWithPyTorch) {
  expect_fixture_parity("asymmetric", [](FixtureCase& c) {
    return LossOptions{.kind = LossKind::asymmetric,
                       .asymmetric_gamma_negative = c.scalar("gamma_negative"),
                       .asymmetric_gamma_positive = c.scalar("gamma_positive"),
                       .asymmetric_clip = c.scalar("clip")};
  });
}

TEST(LossFunctional, CrossEntropyAgreesWithPyTorch) {
  const Fixture fixture("ops_cross_entropy");
  for (const std::string& name : fixture.cases("cross_entropy")) {
    FixtureCase c(fixture, "cross_entropy", name);
    LossOptions options{.label_smoothing = c.scalar("label_smoothing")};
    if (c.has("weight")) options.positive_weight = c.get("weight");
    const Tensor targets = c.get("labels");
    c.expect_parity(
        {"x"}, [&](const auto& in) { return cross_entropy_loss(in[0], targets, options); }, "loss");
  }
}

TEST(LossFunctional, GradientsOfCrossEntropyAgreeWithDifferences) {
  LossOptions options{.label_smoothing = 0.1};
  options.positive_weight = Tensor::from<float>({3}, {1, 2, 0.5F});
  const float unknown = std::nanf("");
  const Tensor targets = Tensor::from<float>({4, 3}, {1, 0, 0, 0, 0, 1, unknown, unknown, unknown, 0, 1, 0});
  const auto loss = [&](const std::vector<Variable>& in) {
    return cross_entropy_loss(in[0], targets, options);
  };
  EXPECT_TRUE(gradients_agree(loss, {random_tensor({4, 3}, 1)}));
}

TEST(LossFunctional, LabelsThatExcludeEachOtherHaveCrossEntropy) {
  const Variable logits(random_tensor({2, 3}, 5));
  const Tensor targets = Tensor::from<float>({2, 3}, {1, 0, 0, 0, 0, 1});
  const auto loss = [&](const LossOptions& options) {
    return label_loss(logits, targets, options).value().item();
  };
  EXPECT_EQ(loss({}), multilabel_loss(logits, targets, {}).value().item());
  EXPECT_EQ(loss({.exclusive = true}), cross_entropy_loss(logits, targets, {}).value().item());
  EXPECT_NE(loss({}), loss({.exclusive = true}));
  EXPECT_THROW(loss({.kind = LossKind::focal, .exclusive = true}), core::Error);
}

Tensor some_targets(const core::Shape& shape) {
  const Tensor targets = Tensor::empty(shape);
  for (int64_t i = 0; i < targets.numel(); ++i)
    targets.data<float>()[i] = i % 5 == 4 ? -1.0F : static_cast<float>(i % 3) / 2.0F;
  return targets;
}

TEST(LossFunctional, GradientsAgreeWithDifferences) {
  for (const LossKind kind : {LossKind::bce, LossKind::focal, LossKind::asymmetric}) {
    LossOptions options{.kind = kind, .label_smoothing = 0.1, .focal_alpha = 0.3};
    options.positive_weight = Tensor::from<float>({7}, {1, 2, 3, 4, 0.5F, 6, 7});
    const auto loss = [&](const std::vector<Variable>& in) {
      return multilabel_loss(in[0], some_targets({3, 7}), options);
    };
    EXPECT_TRUE(gradients_agree(loss, {random_tensor({3, 7}, 1)}));
  }
}

TEST(LossFunctional, TakesAnyStrides) {
  const Tensor x = random_tensor({3, 7}, 1).to(core::DType::f32);
  const Tensor turned = x.transpose(0, 1).clone().transpose(0, 1);
  ASSERT_FALSE(turned.view().rows_uniform());
  const Variable plain_leaf(x, true);
  const Variable turned_leaf(turned, true);
  const Tensor targets = some_targets({3, 7});
  const Variable plain = multilabel_loss(plain_leaf, targets, {});
  const Variable loss = multilabel_loss(turned_leaf, targets, {});
  EXPECT_EQ(loss.value().item(), plain.value().item());
  plain.backward();
  loss.backward();
  expect_close(turned_leaf.gradient(), plain_leaf.gradient(), 0.0, "gradient");
}

// A smoothed hard target is the soft target t (1 - s) + s / 2.
TEST(LossFunctional, SmoothingMovesTargetsToTheMiddle) {
  const Variable logits(random_tensor({2, 3}, 5));
  const Tensor hard = Tensor::from<float>({2, 3}, {1, 0, -1, 0, 1, 1});
  const Tensor soft = Tensor::from<double>({2, 3}, {0.9, 0.1, -1, 0.1, 0.9, 0.9});
  EXPECT_NEAR(multilabel_loss(logits, hard, {.label_smoothing = 0.2}).value().item(),
              multilabel_loss(logits, soft, {}).value().item(), 1e-12);
}

TEST(LossFunctional, PositiveWeightReachesEveryKind) {
  const Variable logit(Tensor::full({1, 1}, 0.3));
  for (const LossKind kind : {LossKind::bce, LossKind::focal, LossKind::asymmetric}) {
    for (const double target : {0.0, 1.0}) {
      const Tensor targets = Tensor::full({1, 1}, target);
      const double plain = multilabel_loss(logit, targets, {.kind = kind}).value().item();
      const double weighted =
          multilabel_loss(logit, targets, {.kind = kind, .positive_weight = Tensor::full({1}, 4.0)})
              .value()
              .item();
      EXPECT_NEAR(weighted, target == 1.0 ? 4.0 * plain : plain, 1e-6);
    }
  }
}

TEST(LossFunctional, RefusesWhatDoesNotFit) {
  const Variable logits(Tensor::zeros({2, 3}));
  const Tensor targets = Tensor::zeros({2, 3});
  EXPECT_THROW(multilabel_loss(logits, Tensor::zeros({3, 2}), {}), core::Error);
  EXPECT_THROW(multilabel_loss(logits, Tensor::zeros({2, 3}, core::DType::i64), {}), core::Error);
  EXPECT_THROW(multilabel_loss(Variable(Tensor::zeros({6})), Tensor::zeros({6}), {}), core::Error);
  EXPECT_THROW(multilabel_loss(logits, targets, {.positive_weight = Tensor::zeros({2})}), core::Error);
  EXPECT_THROW(multilabel_loss(logits, targets, {.label_smoothing = 1.0}), core::Error);
  EXPECT_THROW(multilabel_loss(logits, targets, {.kind = LossKind::focal, .focal_gamma = -1.0}), core::Error);
  EXPECT_THROW(multilabel_loss(logits, targets, {.kind = LossKind::focal, .focal_alpha = 1.5}), core::Error);
  EXPECT_THROW(multilabel_loss(logits, targets, {.kind = LossKind::asymmetric, .asymmetric_clip = 1.0}),
               core::Error);
}

}  // namespace
}  // namespace medfusion::layers
