// Differentiable views: the values are those of Tensor's functions of the same names, without a copy where
// strides allow. Dimensions may be negative (from the end).
#pragma once

#include "core/autograd.h"

namespace medfusion::layers {

// One size may be -1.
core::Variable reshape(const core::Variable& x, const core::Shape& shape);
// [first, last) of a dimension; the gradient is zero elsewhere.
core::Variable slice(const core::Variable& x, int dimension, int64_t first, int64_t last);
core::Variable transpose(const core::Variable& x, int a, int b);
// Broadcasts to `shape` (NumPy rules); the gradient is summed over what was repeated, in a fixed order.
core::Variable expand(const core::Variable& x, const core::Shape& shape);

}  // namespace medfusion::layers
