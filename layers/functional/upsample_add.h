// Differentiable upsample-and-add of a feature pyramid; formulas in kernels/upsample_add/upsample_add.h.
#pragma once

#include "core/autograd.h"

namespace medfusion::layers {

struct UpsampleOptions {
  bool bilinear = false;       // else nearest: pixel floor(I in / out)
  bool align_corners = false;  // of bilinear: corners meet corners, else half-pixel centres
};

// lateral + resize(x) + bias: x [B, h, w, C], lateral [B, H, W, C], bias [C] or undefined -> [B, H, W, C].
// Any sizes, smaller ones too. f32 or f64, on a device also bf16 with a bias in f32.
core::Variable upsample_add(const core::Variable& x, const core::Variable& lateral,
                            const UpsampleOptions& options = {}, const core::Variable& bias = {});

}  // namespace medfusion::layers
