// Arithmetic on two tensors with NumPy broadcasting, and on one tensor and numbers.
#pragma once

#include <array>

#include "core/view.h"
#include "kernels/takes.h"

namespace medfusion::kernels {

enum class Binary : uint8_t { add, sub, mul, div };

// y = a (op) b. f32 or f64, any strides. a and b have the rank of y; each of their sizes is that of y, or 1
// and broadcast. y may be a or b where that one has its shape.
struct BinaryForward {
  static constexpr const char* kOperation = "elementwise";
  static constexpr const char* kDirection = "forward";
  Binary function;
  core::View a, b;
  core::View y;  // overwritten
  auto tensors() const { return std::array{&a, &b, &y}; }
};

// grad_a = sum over the dimensions broadcast in a of grad_y d(a op b)/da, and likewise grad_b:
// add (g, g), sub (g, -g), mul (g b, g a), div (g / b, -g a / b^2).
struct BinaryBackward {
  static constexpr const char* kOperation = "elementwise";
  static constexpr const char* kDirection = "backward";
  Binary function;
  core::View a, b;  // may be left undefined for add and sub
  core::View grad_y;
  core::View grad_a, grad_b;  // overwritten; the shapes of a and b; either may be left undefined
  auto tensors() const { return std::array{&a, &b, &grad_y, &grad_a, &grad_b}; }
};

// What every variant of the above does.
inline constexpr TensorRequirement kBroadcasting{"broadcasting", takes::any_strides.holds};

// y = scale x + shift. Same shape, any strides; y may be x. Its backward is itself with shift 0.
struct AffineForward {
  static constexpr const char* kOperation = "elementwise";
  static constexpr const char* kDirection = "affine";
  double scale = 1.0, shift = 0.0;
  core::View x;
  core::View y;  // overwritten
  auto tensors() const { return std::array{&x, &y}; }
};

}  // namespace medfusion::kernels
