// Differentiable table look-up.
#pragma once

#include "core/autograd.h"

namespace medfusion::layers {

// weight [V, D] f32 or f64, ids i64 of any shape -> [ids.., D]: the rows that the ids name. An id outside [0,
// V) is an error; ids on a device other than the cpu are not looked at before, and must stay as they are
// until backward has run. The gradient adds equal ids in the order of their places.
core::Variable embedding(const core::Variable& weight, const core::Tensor& ids);

}  // namespace medfusion::layers
