// Losses of independent binary labels: cross-entropy, focal and asymmetric are one formula.
#pragma once

#include <array>

#include "core/view.h"

namespace medfusion::kernels {

// With p = sigmoid(logit), y the smoothed target and w the label's positive weight, the term of a known label
// is
//   positive_scale w y (1 - p)^positive_gamma (-log p)
//     + negative_scale (1 - y) m^negative_gamma (-log(1 - m)),   m = max(p - clip, 0)
// - cross-entropy: both gammas and clip 0, both scales 1
// - focal (Lin et al. 2017): both gammas equal, scales alpha and 1 - alpha
// - asymmetric (Ridnik et al. 2021, "Asymmetric Loss for Multi-Label Classification"): gammas apart, clip the
//   probability margin
// The gradient is of the whole formula: the modulating factors are differentiated too.
struct LossFormula {
  double positive_scale = 1.0;
  double negative_scale = 1.0;
  double positive_gamma = 0.0;   // >= 0
  double negative_gamma = 0.0;   // >= 0
  double clip = 0.0;             // [0, 1)
  double label_smoothing = 0.0;  // [0, 1): y = target (1 - label_smoothing) + label_smoothing / 2
};

// loss = sum of the terms of known labels / number of known labels, 0 where none is known. A target that is
// NaN or negative is unknown: whatever its logit, it adds nothing to loss or gradient. logits and targets
// [batch, labels], targets in [0, 1]; positive_weight [labels] contiguous or undefined (1). All f32 or all
// f64. Finite logits of any size give finite results.
struct LossForward {
  static constexpr const char* kOperation = "loss";
  static constexpr const char* kDirection = "forward";
  LossFormula formula;
  core::View logits;
  core::View targets;
  core::View positive_weight;
  core::View loss;   // [1], overwritten
  core::View known;  // i64 [1], overwritten: the number of known labels
  auto tensors() const { return std::array{&logits, &targets}; }
};

// grad_logits = grad_loss * d loss / d logits
struct LossBackward {
  static constexpr const char* kOperation = "loss";
  static constexpr const char* kDirection = "backward";
  LossFormula formula;
  core::View logits;
  core::View targets;
  core::View positive_weight;
  core::View known;        // from forward
  core::View grad_loss;    // [1]
  core::View grad_logits;  // overwritten
  auto tensors() const { return std::array{&logits, &targets, &grad_logits}; }
};

}  // namespace medfusion::kernels
