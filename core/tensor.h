// Tensor: a cheap handle to storage with dtype, shape, strides and device. Copies share the storage; slices
// are views. Images are [batch, height, width, channels], tokens [batch, token, channel].
#pragma once

#include <memory>
#include <vector>

#include "core/host_memory.h"
#include "core/view.h"

namespace medfusion::core {

class Tensor {
 public:
  Tensor() = default;  // undefined

  static Tensor empty(const Shape& shape, DType dtype = DType::f32, Device device = {});
  static Tensor zeros(const Shape& shape, DType dtype = DType::f32, Device device = {});
  static Tensor full(const Shape& shape, double value, DType dtype = DType::f32, Device device = {});
  static Tensor empty_like(const Tensor& other) {
    return empty(other.shape(), other.dtype(), other.device());
  }
  // Copies values.size() == shape.numel() elements.
  template <class T>
  static Tensor from(const Shape& shape, const std::vector<T>& values);
  // A view of memory owned by the caller, who keeps it alive; contiguous.
  static Tensor borrow(void* data, const Shape& shape, DType dtype, Device device = {});

  bool defined() const { return storage_ != nullptr; }
  const Shape& shape() const { return view_.shape; }
  const Strides& strides() const { return view_.strides; }
  int rank() const { return view_.rank(); }
  int64_t size(int i) const { return view_.size(i); }
  int64_t numel() const { return view_.numel(); }
  int64_t bytes() const { return numel() * size_of(dtype()); }
  DType dtype() const { return view_.dtype; }
  Device device() const { return view_.device; }
  bool contiguous() const { return view_.contiguous(); }
  const View& view() const { return view_; }
  // Whether this handle is the only one of its storage.
  bool exclusive() const { return storage_.use_count() == 1; }
  bool shares_storage_with(const Tensor& other) const { return storage_ == other.storage_; }

  // Typed pointer to the first element, for the host; throws on another dtype, on a tensor that is not the
  // host's, and while a copy to it is under way. Kernels take device pointers from view().
  template <class T>
  T* data() const {
    if (device().type != DeviceType::cpu || host_copies_pending.load(std::memory_order_acquire) != 0)
        [[unlikely]] {
      check_host_data();
    }
    return view_.as<T>();
  }
  // The only element of a tensor with one element, converted.
  double item() const;
  // Element at a row-major index, converted; for tests and small results.
  double at(int64_t index) const;

  // Views. Dimensions may be negative (from the end); sizes and ranges are checked.
  Tensor slice(int dimension, int64_t first, int64_t last) const;  // [first, last)
  Tensor transpose(int a, int b) const;
  Tensor reshape(
      const Shape& shape) const;  // one size may be -1; copies only where strides do not allow a view
  Tensor squeeze(int dimension) const;
  Tensor unsqueeze(int dimension) const;
  Tensor expand(const Shape& shape) const;  // broadcasting view with stride 0

  Tensor to_contiguous() const;  // itself where it already is
  Tensor clone() const;          // contiguous copy
  Tensor to(DType dtype) const;  // converted copy, or itself
  // Copy on another device, or itself. Like copy_from it uses the devices' current streams and returns once
  // the host's memory was read or written.
  Tensor to(Device device) const;
  void copy_from(const Tensor& source) const;  // same shape; converts dtype; between any devices
  void fill(double value) const;

 private:
  struct Storage;
  std::shared_ptr<Storage> storage_;
  View view_;

  Tensor with(View view) const;
  void check_host_data() const;
};

// How strided or converting copies and fills run on a device: queued on its current stream. Set by kernels;
// until then a device has none.
using DeviceCopy = void (*)(const View& to, const View& from);
using DeviceFill = void (*)(const View& to, double value);
void set_device_copy(DeviceType type, DeviceCopy copy);
void set_device_fill(DeviceType type, DeviceFill fill);

template <class T>
Tensor Tensor::from(const Shape& shape, const std::vector<T>& values) {
  MEDFUSION_CHECK(shape.numel() == static_cast<int64_t>(values.size()),
                  "Tensor::from: shape {} wants {} values, got {}", shape.str(), shape.numel(),
                  values.size());
  Tensor result = empty(shape, dtype_of<T>);
  std::copy(values.begin(), values.end(), result.data<T>());
  return result;
}

}  // namespace medfusion::core
