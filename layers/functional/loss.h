// Differentiable losses of independent binary labels, some of them unknown; formulas: kernels/loss/loss.h.
#pragma once

#include "core/autograd.h"

namespace medfusion::layers {

enum class LossKind : uint8_t {
  bce,         // binary cross-entropy of sigmoid(logits)
  focal,       // Lin et al. 2017, "Focal Loss for Dense Object Detection"
  asymmetric,  // Ridnik et al. 2021, "Asymmetric Loss for Multi-Label Classification"
};

struct LossOptions {
  LossKind kind = LossKind::bce;
  core::Tensor positive_weight =
      {};                        // [labels], any float dtype: multiplies the terms of positives; undefined: 1
  double label_smoothing = 0.0;  // [0, 1): targets become t (1 - s) + s / 2
  double focal_gamma = 2.0;
  double focal_alpha = -1.0;  // weight of positives, 1 - alpha of negatives; negative: both 1
  double asymmetric_gamma_negative = 4.0;
  double asymmetric_gamma_positive = 1.0;
  double asymmetric_clip = 0.05;  // [0, 1): the probability margin of negatives
};

// The mean over known labels, [1]; 0 where none is known. logits [batch, labels], f32 or f64; targets of the
// same shape in [0, 1], NaN or negative (-1) where unknown.
core::Variable multilabel_loss(const core::Variable& logits, const core::Tensor& targets,
                               const LossOptions& options);

}  // namespace medfusion::layers
