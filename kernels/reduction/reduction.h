// Sum, mean and maximum over a set of dimensions.
#pragma once

#include <array>

#include "core/view.h"

namespace medfusion::kernels {

enum class Reduction : uint8_t { sum, mean, max };

// y = the sum, mean or maximum of x over the dimensions in which y has size 1 and x another. x, y: f32 or
// f64, same rank, any strides. Nothing to reduce gives 0 (sum), NaN (mean); max wants at least one element.
// max propagates NaN. Devices also take the sum of x in bf16, with y in f32. Sums of f32 combine partial sums
// of at most 128 terms in double, in an order that depends on the shape only.
struct ReduceForward {
  static constexpr const char* kOperation = "reduction";
  static constexpr const char* kDirection = "forward";
  Reduction function;
  core::View x;
  core::View y;       // overwritten
  core::View argmax;  // max only, may be undefined: i64, shape of y, contiguous: the row-major index in x of
                      // the first maximum (of the first NaN where there is one); overwritten
  auto tensors() const { return std::array{&x, &y}; }
};

// grad_x = grad_y (sum), grad_y / count (mean), broadcast; max: grad_y at argmax, 0 elsewhere. Where a
// maximum is met several times the first takes all, whereas torch.amax splits it evenly.
struct ReduceBackward {
  static constexpr const char* kOperation = "reduction";
  static constexpr const char* kDirection = "backward";
  Reduction function;
  core::View argmax;  // max only
  core::View grad_y;
  core::View grad_x;  // overwritten
  auto tensors() const { return std::array{&grad_y, &grad_x}; }
};

}  // namespace medfusion::kernels
