// Differentiable concatenation.
#pragma once

#include <vector>

#include "core/autograd.h"

namespace medfusion::layers {

// Joins tensors of one dtype and of equal shapes but for `dimension` (negative: from the end). At least one.
core::Variable concat(const std::vector<core::Variable>& inputs, int dimension);
// The same for plain tensors of any dtype, e.g. masks.
core::Tensor concat(const std::vector<core::Tensor>& inputs, int dimension);

}  // namespace medfusion::layers
