// Element-wise activations.
#pragma once

#include <array>

#include "core/view.h"

namespace medfusion::kernels {

enum class Activation : uint8_t {
  relu,     // max(x, 0); derivative 0 at 0; NaN stays NaN
  gelu,     // x Phi(x), the exact form with erf (Hendrycks and Gimpel 2016)
  sigmoid,  // 1 / (1 + exp(-x))
  relu6,    // min(max(x, 0), 6) (Krizhevsky 2010); derivative 0 at 0 and 6; NaN stays NaN
};

// y = f(x). x, y: same shape and dtype (f32, f64; on devices relu also bf16), any strides; y may be x.
struct ActivationForward {
  static constexpr const char* kOperation = "activation";
  static constexpr const char* kDirection = "forward";
  Activation function;
  core::View x;
  core::View y;  // overwritten
  auto tensors() const { return std::array{&x, &y}; }
};

// grad_x = grad_y f'(x). grad_x may be grad_y.
struct ActivationBackward {
  static constexpr const char* kOperation = "activation";
  static constexpr const char* kDirection = "backward";
  Activation function;
  core::View x;  // the input of forward
  core::View grad_y;
  core::View grad_x;  // overwritten
  auto tensors() const { return std::array{&x, &grad_y, &grad_x}; }
};

}  // namespace medfusion::kernels
