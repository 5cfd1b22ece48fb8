// Rows of a table by number.
#pragma once

#include <array>

#include "core/view.h"

namespace medfusion::kernels {

// y[n] = weight[ids[n]]. The ids are in [0, V): the functional has checked them. weight and y f32 or f64,
// their columns contiguous; rows may be strided.
struct EmbeddingForward {
  static constexpr const char* kOperation = "embedding";
  static constexpr const char* kDirection = "forward";
  core::View weight;  // [V, D]
  core::View ids;     // [N] i64, contiguous
  core::View y;       // [N, D], overwritten
  auto tensors() const { return std::array{&weight, &y}; }
};

// grad_weight[v] = the sum of grad_y[n] over all n with ids[n] = v, in rising n; zero where there is none.
struct EmbeddingBackward {
  static constexpr const char* kOperation = "embedding";
  static constexpr const char* kDirection = "backward";
  core::View ids;          // [N]
  core::View grad_y;       // [N, D]
  core::View grad_weight;  // [V, D], overwritten
  auto tensors() const { return std::array{&grad_y, &grad_weight}; }
};

}  // namespace medfusion::kernels
