// Concatenation of any number of tensors along one dimension.
#pragma once

#include <array>
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
  auto tensors() const { return std::array{&y}; }
};

// grads[n] = the part of grad_y that input n filled.
struct ConcatBackward {
  static constexpr const char* kOperation = "concat";
  static constexpr const char* kDirection = "backward";
  int dimension;
  core::View grad_y;
  std::vector<core::View> grads;  // overwritten; all have their shapes, one without data is not wanted
  auto tensors() const { return std::array{&grad_y}; }
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

// Calls copy(from, to) for every part of y, or every gradient that is wanted.
template <class Copy>
void for_parts(const ConcatForward& a, const Copy& copy) {
  int64_t first = 0;
  for (const core::View& x : a.inputs) {
    const int64_t size = x.shape[a.dimension];
    copy(x, concat_part(a.y, a.dimension, first, size));
    first += size;
  }
}
template <class Copy>
void for_parts(const ConcatBackward& a, const Copy& copy) {
  int64_t first = 0;
  for (const core::View& grad : a.grads) {
    const int64_t size = grad.shape[a.dimension];
    if (grad.data != nullptr) copy(concat_part(a.grad_y, a.dimension, first, size), grad);
    first += size;
  }
}

}  // namespace medfusion::kernels
