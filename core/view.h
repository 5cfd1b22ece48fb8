// A non-owning strided view of a tensor: what kernels take.
#pragma once

#include "core/device.h"
#include "core/dtype.h"
#include "core/shape.h"

namespace medfusion::core {

struct View {
  void* data = nullptr;  // first element
  DType dtype = DType::f32;
  Device device;
  Shape shape;
  Strides strides;  // in elements

  // True for an argument that was given; optional arguments of kernels are left undefined.
  bool defined() const { return data != nullptr || shape.rank() > 0; }
  int rank() const { return shape.rank(); }
  int64_t size(int i) const { return shape.at(i); }
  int64_t stride(int i) const { return strides.at(i); }
  int64_t numel() const { return shape.numel(); }

  template <class T>
  T* as() const {
    MEDFUSION_CHECK(dtype == dtype_of<T>, "view: expected {}, got {}", name_of(dtype_of<T>), name_of(dtype));
    return static_cast<T*>(data);
  }

  // Row-major without gaps (dimensions of size 1 may have any stride).
  bool contiguous() const {
    int64_t step = 1;
    for (int i = rank() - 1; i >= 0; --i) {
      if (shape[i] != 1 && strides[i] != step) return numel() == 0;
      step *= shape[i];
    }
    return true;
  }

  // True when all dimensions but the last merge into rows of one stride, and the last has stride 1: the view
  // is a [rows, shape[-1]] matrix whose row stride is row_stride(). Holds for a channel slice of an NHWC
  // buffer.
  bool rows_uniform() const {
    if (rank() == 0 || numel() == 0) return true;
    if (shape[rank() - 1] != 1 && strides[rank() - 1] != 1) return false;
    int64_t step = -1;
    for (int i = rank() - 2; i >= 0; --i) {
      if (shape[i] == 1) continue;
      if (step >= 0 && strides[i] != step) return false;
      step = strides[i] * shape[i];
    }
    return true;
  }
  int64_t rows() const { return rank() == 0 ? 1 : shape[rank() - 1] == 0 ? 0 : numel() / shape[rank() - 1]; }
  int64_t row_stride() const {
    for (int i = rank() - 2; i >= 0; --i) {
      if (shape[i] != 1) return strides[i];
    }
    return rank() == 0 ? 1 : shape[rank() - 1];
  }

  // Offset in elements of a row-major linear index.
  int64_t offset(int64_t index) const {
    int64_t result = 0;
    for (int i = rank() - 1; i >= 0; --i) {
      result += (index % shape[i]) * strides[i];
      index /= shape[i];
    }
    return result;
  }
};

// Element at a row-major linear index of any strided view. For references and tests, not for hot loops.
template <class T>
T& element(const View& view, int64_t index) {
  return view.as<T>()[view.offset(index)];
}

}  // namespace medfusion::core
