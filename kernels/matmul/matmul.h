// Matrix products, plain and batched.
#pragma once

#include <array>
#include <utility>

#include "core/view.h"

namespace medfusion::kernels {

// c = a b + bias, or c += a b + bias with accumulate.
// a [M, K], b [K, N], c [M, N], or all three with a leading batch dimension of one size; bias [N] or
// undefined. Same dtype (f32, f64), any strides: a product with a transposed matrix takes transposed(view). c
// overlaps nothing. With K = 0 the product is 0. Devices also take a and b in bf16 with c and bias in f32:
// the factors are exact, sums are f32. With tf32 a device may round f32 factors to 10 bits of mantissa
// (TF32).
struct MatmulForward {
  static constexpr const char* kOperation = "matmul";
  static constexpr const char* kDirection = "forward";
  core::View a;
  core::View b;
  core::View bias = {};
  core::View c;  // overwritten, or added to
  bool accumulate = false;
  bool tf32 = false;
  auto tensors() const { return std::array{&a, &b, &c}; }
};

// With g = grad_c: grad_a = g b^T, grad_b = a^T g, grad_bias = sum of g over batch and rows. Gradients left
// undefined are not computed; the others are overwritten.
struct MatmulBackward {
  static constexpr const char* kOperation = "matmul";
  static constexpr const char* kDirection = "backward";
  core::View a;
  core::View b;
  core::View grad_c;
  core::View grad_a = {};
  core::View grad_b = {};
  core::View grad_bias = {};
  bool tf32 = false;
  auto tensors() const { return std::array{&a, &b, &grad_c, &grad_a, &grad_b}; }
};

// The view with its last two dimensions exchanged.
inline core::View transposed(core::View view) {
  const int last = view.rank() - 1;
  std::swap(view.shape[last], view.shape[last - 1]);
  std::swap(view.strides[last], view.strides[last - 1]);
  return view;
}

// Matrix `batch` of a view of rank 2 (then the view itself) or 3.
inline core::View matrix_of(const core::View& view, int64_t batch) {
  if (view.rank() == 2) return view;
  core::View matrix = view;
  matrix.shape = {view.size(1), view.size(2)};
  matrix.strides = {view.stride(1), view.stride(2)};
  if (view.data != nullptr) {
    matrix.data = static_cast<char*>(view.data) + batch * view.stride(0) * core::size_of(view.dtype);
  }
  return matrix;
}

}  // namespace medfusion::kernels
