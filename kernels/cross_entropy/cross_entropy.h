// Loss of labels of which exactly one is true: the cross-entropy of their softmax.
#pragma once

#include <array>

#include "core/view.h"

namespace medfusion::kernels {

// A row is known where none of its targets is NaN or negative. With p = softmax(logits), w the class weights,
// t the targets of the row (they add up to 1) and the share y[c] = w[c] ((1 - label_smoothing) t[c] +
// label_smoothing / labels):
//   loss = sum over known rows of sum[c] y[c] (-log p[c])  /  total,   total = sum over them of sum[c] w[c]
//   t[c]
// and 0 where total is 0. An unknown row adds nothing to loss or gradient, whatever its logits. logits and
// targets [batch, labels], targets in [0, 1]; class_weight [labels] contiguous or undefined (1). All f32 or
// all f64. Finite logits give finite results where their differences are finite. PyTorch's cross_entropy with
// weight and label_smoothing is the same for targets that are 0 or 1.
struct CrossEntropyForward {
  static constexpr const char* kOperation = "cross_entropy";
  static constexpr const char* kDirection = "forward";
  double label_smoothing = 0.0;  // [0, 1)
  core::View logits;
  core::View targets;
  core::View class_weight;
  core::View loss;   // [1], overwritten
  core::View total;  // [1], overwritten
  auto tensors() const { return std::array{&logits, &targets}; }
};

// grad_logits = grad_loss * d loss / d logits
struct CrossEntropyBackward {
  static constexpr const char* kOperation = "cross_entropy";
  static constexpr const char* kDirection = "backward";
  double label_smoothing = 0.0;
  core::View logits;
  core::View targets;
  core::View class_weight;
  core::View total;        // from forward
  core::View grad_loss;    // [1]
  core::View grad_logits;  // overwritten
  auto tensors() const { return std::array{&logits, &targets, &grad_logits}; }
};

}  // namespace medfusion::kernels
