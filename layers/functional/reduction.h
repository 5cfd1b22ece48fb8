// Differentiable reductions; see kernels/reduction/reduction.h.
#pragma once

#include <initializer_list>
#include <vector>

#include "core/autograd.h"

namespace medfusion::layers {

// Over `dims` (negative ones count from the end; none given: over all). The reduced dimensions go away, or
// stay with size 1 where keep_dims is set; where all of them went, one element [1] is left. f32 or f64.
core::Variable sum(const core::Variable& x, const std::vector<int>& dims = {}, bool keep_dims = false);
core::Variable mean(const core::Variable& x, const std::vector<int>& dims = {}, bool keep_dims = false);
// The gradient goes to the first maximum alone. Throws core::Error where there is nothing to take it of.
core::Variable max(const core::Variable& x, const std::vector<int>& dims = {}, bool keep_dims = false);

}  // namespace medfusion::layers
