// Differentiable losses of labels, some of them unknown; formulas: kernels/loss/loss.h for independent
// labels, kernels/cross_entropy/cross_entropy.h for labels of which exactly one is true.
#pragma once

#include <array>

#include "core/autograd.h"
#include "core/settings.h"

namespace medfusion::layers {

inline constexpr std::array kLossKinds{"bce", "focal", "asymmetric"};
enum class LossKind : uint8_t {
  bce,         // binary cross-entropy of sigmoid(logits)
  focal,       // Lin et al. 2017, "Focal Loss for Dense Object Detection"
  asymmetric,  // Ridnik et al. 2021, "Asymmetric Loss for Multi-Label Classification"
};
constexpr core::Names names_of(LossKind) { return kLossKinds; }

// What training makes positive_weight of.
inline constexpr std::array kPositiveWeights{"none", "balanced", "sqrt"};
enum class PositiveWeight : uint8_t { none, balanced, sqrt };
constexpr core::Names names_of(PositiveWeight) { return kPositiveWeights; }

struct LossOptions {
  LossKind kind = LossKind::bce;
  PositiveWeight weighting = PositiveWeight::none;  // for the caller, who sets positive_weight
  core::Tensor positive_weight =
      {};                  // [labels], any float dtype: multiplies the terms of positives; undefined: 1
  bool exclusive = false;  // exactly one label is true; no setting, it follows from the data
  double label_smoothing = 0.0;
  double focal_gamma = 2.0;
  double focal_alpha = -1.0;  // weight of positives, 1 - alpha of negatives; negative: both 1
  double asymmetric_gamma_negative = 4.0;
  double asymmetric_gamma_positive = 1.0;
  double asymmetric_clip = 0.05;

  void visit_fields(core::FieldVisitor& visit) {
    using core::Range;
    visit("loss", kind,
          "`bce` (weighted binary cross-entropy), `focal`, `asymmetric`; unknown labels do not count. Where "
          "the output is softmax `bce` is the cross-entropy of the softmax, and the others are refused.");
    visit("pos_weight", weighting,
          "Weight of a label's positives: `none` is 1, `balanced` is the number of negatives per positive in "
          "the training part, at most 100, `sqrt` is the square root of that. Where the output is softmax "
          "`balanced` is the rows per label divided by those of this label.");
    visit("focal_gamma", focal_gamma, Range::at_least(0), "Exponent of `focal`.");
    visit("asl_gamma_neg", asymmetric_gamma_negative, Range::at_least(0),
          "Exponent of `asymmetric` for negatives.");
    visit("asl_gamma_pos", asymmetric_gamma_positive, Range::at_least(0),
          "Exponent of `asymmetric` for positives.");
    visit("asl_clip", asymmetric_clip, Range::below(0, 1),
          "`asymmetric` subtracts this from the probability of negatives.");
    visit("label_smoothing", label_smoothing, Range::below(0, 1),
          "With the value s, the targets 0 and 1 become s/2 and 1 - s/2. Where the output is softmax with L "
          "labels they become s/L and 1 - s + s/L.");
  }
};

// The mean over known labels, [1]; 0 where none is known. logits [batch, labels], f32 or f64; targets of the
// same shape in [0, 1], NaN or negative (-1) where unknown.
core::Variable multilabel_loss(const core::Variable& logits, const core::Tensor& targets,
                               const LossOptions& options);

// The same of labels of which exactly one is true: the mean over known rows, each weighted as its label, and
// 0 where none is known. A row with an unknown target is unknown. The kind is bce.
core::Variable cross_entropy_loss(const core::Variable& logits, const core::Tensor& targets,
                                  const LossOptions& options);

// What the sum over labels, or rows, is divided by to be that mean: the number of known labels, or the weight
// of known rows. targets and positive_weight (or undefined: 1) on the host.
double loss_weight(const core::Tensor& targets, bool exclusive, const core::Tensor& positive_weight);

// Of the two, the one that options.exclusive asks for.
core::Variable label_loss(const core::Variable& logits, const core::Tensor& targets,
                          const LossOptions& options);

}  // namespace medfusion::layers
