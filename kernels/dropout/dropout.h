// Dropout (Srivastava et al. 2014) whose mask is a function of a counter: nothing is stored for backward.
#pragma once

#include <array>

#include "core/view.h"

namespace medfusion::kernels {

// y_i = x_i / (1 - probability) where Philox(seed, stream).uniform(i) >= probability, else 0 (also where x_i
// is not finite); i counts elements in row-major order, so that strides and threads do not matter. 0 <= p <=
// 1 for the probability p. x, y: same shape, f32 or f64, rows of one stride (View::rows_uniform); y may be x.
//
// `base` (i64 [1] where x lies, or undefined: 0) is added to `stream` when the kernel runs, so that a
// captured step draws other numbers in every replay.
struct DropoutForward {
  static constexpr const char* kOperation = "dropout";
  static constexpr const char* kDirection = "forward";
  double probability;
  uint64_t seed;
  uint64_t stream;
  core::View x;
  core::View y;  // overwritten
  core::View base = {};
  auto tensors() const { return std::array{&x, &y}; }
};

// The same map of grad_y: grad_x may be grad_y.
struct DropoutBackward {
  static constexpr const char* kOperation = "dropout";
  static constexpr const char* kDirection = "backward";
  double probability;
  uint64_t seed;
  uint64_t stream;
  core::View grad_y;
  core::View grad_x;  // overwritten
  core::View base = {};
  auto tensors() const { return std::array{&grad_y, &grad_x}; }
};

// What the host reads as stream + base.
inline uint64_t dropout_stream(uint64_t stream, const core::View& base) {
  return stream + (base.defined() ? static_cast<uint64_t>(*base.as<int64_t>()) : 0);
}

}  // namespace medfusion::kernels
