// Concatenation of any number of tensors along one dimension.
#pragma once

#include <vector>

#include "core/view.h"

namespace medfusion::kernels {

// y = inputs side by side along `dimension`, in order. All of one dtype (any) and of equal shapes but for
// `dimension`, whose sizes add up to that of y. Any strides; no input may overlap y.
struct ConcatForward {
  static constexpr const char* kOperation = "concat";
  static constexpr const char* kDirection = "forward";
  int dimension;  // not negative
  std::vector<core::View> inputs;
  core::View y;  // overwritten
};

// grads[n] = the part of grad_y that input n filled.
struct ConcatBackward {
  static constexpr const char* kOperation = "concat";
  static constexpr const char* kDirection = "backward";
  int dimension;
  core::View grad_y;
  std::vector<core::View> grads;  // overwritten; all have their shapes, one without data is not wanted
};

// [first, first + size) of a dimension of x.
inline core::View concat_part(const core::View& x, int dimension, int64_t first, int64_t size) {
  core::View part = x;
  part.shape[dimension] = size;
  if (part.data != nullptr) {
    part.data = static_cast<char*>(part.data) + first * x.strides[dimension] * core::size_of(x.dtype);
  }
  return part;
}

}  // namespace medfusion::kernels
