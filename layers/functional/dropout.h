// Differentiable dropout.
#pragma once

#include "core/autograd.h"

namespace medfusion::layers {

// Zeroes each element of x with `probability` in [0, 1] and divides the others by 1 - probability. The choice
// depends on (seed, stream, row-major index) only; take a fresh stream for every call (Context::next_stream).
// probability = 0 gives x itself. f32 or f64, any strides.
// `base` (i64 [1] on the device of x, or undefined) is added to the stream when the work runs, in both
// passes.
core::Variable dropout(const core::Variable& x, double probability, uint64_t seed, uint64_t stream,
                       const core::Tensor& base = {});

}  // namespace medfusion::layers
