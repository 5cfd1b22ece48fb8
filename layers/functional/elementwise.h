// Differentiable arithmetic; see kernels/elementwise/elementwise.h.
#pragma once

#include "core/autograd.h"

namespace medfusion::layers {

// Also as a + b, a - b, a * b, below. NumPy broadcasting; both f32 or both f64. Throws core::Error where the
// shapes do not fit.
core::Variable add(const core::Variable& a, const core::Variable& b);
core::Variable sub(const core::Variable& a, const core::Variable& b);
core::Variable mul(const core::Variable& a, const core::Variable& b);
core::Variable div(const core::Variable& a, const core::Variable& b);

core::Variable scale(const core::Variable& x, double factor);      // factor x
core::Variable add_scalar(const core::Variable& x, double value);  // x + value

}  // namespace medfusion::layers

namespace medfusion::core {

inline Variable operator+(const Variable& a, const Variable& b) { return layers::add(a, b); }
inline Variable operator-(const Variable& a, const Variable& b) { return layers::sub(a, b); }
inline Variable operator*(const Variable& a, const Variable& b) { return layers::mul(a, b); }

}  // namespace medfusion::core
