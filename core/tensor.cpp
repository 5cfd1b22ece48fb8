#include "core/tensor.h"

#include "core/allocator.h"
#include "core/runtime.h"

namespace medfusion::core {

struct Tensor::Storage {
  void* data = nullptr;
  int64_t granted = 0;
  Device device;
  Stream stream;  // that the memory was allocated for
  bool owned = true;

  Storage() = default;
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;
  ~Storage() {
    if (!owned) return;
    if (device.type == DeviceType::cpu) note_host_free(data, granted);
    allocator(device).free(data, granted, stream);
  }
};

namespace {

// The value of an element as a double.
template <class T>
double to_double(T value) {
  if constexpr (std::is_same_v<T, BFloat16>) {
    return static_cast<double>(static_cast<float>(value));
  } else {
    return static_cast<double>(value);
  }
}

}  // namespace

Tensor Tensor::empty(const Shape& shape, DType dtype, Device device) {
  for (const int64_t size : shape)
    MEDFUSION_CHECK(size >= 0, "Tensor: negative size in shape {}", shape.str());
  Tensor result;
  result.storage_ = std::make_shared<Storage>();
  result.storage_->device = device;
  result.storage_->stream = current_stream(device);
  result.storage_->data = allocator(device).allocate(shape.numel() * size_of(dtype), result.storage_->stream,
                                                     &result.storage_->granted);
  result.view_ = {result.storage_->data, dtype, device, shape, contiguous_strides(shape)};
  return result;
}

Tensor Tensor::zeros(const Shape& shape, DType dtype, Device device) {
  Tensor result = empty(shape, dtype, device);
  runtime(device).fill_bytes(result.view_.data, 0, result.bytes(), current_stream(device));
  return result;
}

Tensor Tensor::full(const Shape& shape, double value, DType dtype, Device device) {
  Tensor result = empty(shape, dtype, device);
  result.fill(value);
  return result;
}

Tensor Tensor::borrow(void* data, const Shape& shape, DType dtype, Device device) {
  Tensor result;
  result.storage_ = std::make_shared<Storage>();
  result.storage_->device = device;
  result.storage_->owned = false;
  result.view_ = {data, dtype, device, shape, contiguous_strides(shape)};
  return result;
}

double Tensor::item() const {
  MEDFUSION_CHECK(numel() == 1, "item: expected one element, got shape {}", shape().str());
  return at(0);
}

double Tensor::at(int64_t index) const {
  MEDFUSION_CHECK(index >= 0 && index < numel(), "at: index {} of {} elements", index, numel());
  View view = view_;
  int64_t element_data = 0;  // of any dtype
  if (device().type != DeviceType::cpu) {
    Runtime& owner = runtime(device());
    const char* const from = static_cast<char*>(view.data) + view.offset(index) * size_of(dtype());
    owner.copy_to_host(&element_data, from, size_of(dtype()), current_stream(device()));
    owner.synchronize(current_stream(device()));
    view = {&element_data, dtype(), {}, {}, {}};
    index = 0;
  } else {
    check_host_data();
  }
  return visit_dtype(dtype(), [&](auto type) { return to_double(element<decltype(type)>(view, index)); });
}

Tensor Tensor::with(View view) const {
  Tensor result;
  result.storage_ = storage_;
  result.view_ = view;
  return result;
}

Tensor Tensor::slice(int dimension, int64_t first, int64_t last) const {
  const int d = shape().normalize(dimension);
  MEDFUSION_CHECK(0 <= first && first <= last && last <= shape()[d], "slice: [{}, {}) of dimension {} of {}",
                  first, last, d, shape().str());
  View view = view_;
  view.shape[d] = last - first;
  view.data = static_cast<char*>(view.data) + first * view.strides[d] * size_of(dtype());
  return with(view);
}

Tensor Tensor::transpose(int a, int b) const {
  View view = view_;
  const int da = shape().normalize(a);
  const int db = shape().normalize(b);
  std::swap(view.shape[da], view.shape[db]);
  std::swap(view.strides[da], view.strides[db]);
  return with(view);
}

Tensor Tensor::reshape(const Shape& wanted) const {
  Shape target = wanted;
  int64_t known = 1;
  int unknown = -1;
  for (int i = 0; i < target.rank(); ++i) {
    if (target[i] == -1) {
      MEDFUSION_CHECK(unknown < 0, "reshape: more than one -1 in {}", wanted.str());
      unknown = i;
    } else {
      known *= target[i];
    }
  }
  if (unknown >= 0) {
    MEDFUSION_CHECK(known > 0 && numel() % known == 0, "reshape: {} to {}", shape().str(), wanted.str());
    target[unknown] = numel() / known;
  }
  MEDFUSION_CHECK(target.numel() == numel(), "reshape: {} to {}", shape().str(), wanted.str());
  View view = view_;
  view.shape = target;
  if (contiguous()) {
    view.strides = contiguous_strides(target);
    return with(view);
  }
  return to_contiguous().reshape(target);
}

Tensor Tensor::squeeze(int dimension) const {
  const int d = shape().normalize(dimension);
  MEDFUSION_CHECK(shape()[d] == 1, "squeeze: dimension {} of {} is not 1", d, shape().str());
  View view = view_;
  view.shape = {};
  view.strides = {};
  for (int i = 0; i < rank(); ++i) {
    if (i == d) continue;
    view.shape.push_back(shape()[i]);
    view.strides.push_back(strides()[i]);
  }
  return with(view);
}

Tensor Tensor::unsqueeze(int dimension) const {
  const int d = dimension < 0 ? dimension + rank() + 1 : dimension;
  MEDFUSION_CHECK(d >= 0 && d <= rank(), "unsqueeze: dimension {} of rank {}", dimension, rank());
  View view = view_;
  view.shape = {};
  view.strides = {};
  for (int i = 0; i <= rank(); ++i) {
    if (i == d) {
      view.shape.push_back(1);
      view.strides.push_back(i < rank() ? strides()[i] * shape()[i] : 1);
    }
    if (i < rank()) {
      view.shape.push_back(shape()[i]);
      view.strides.push_back(strides()[i]);
    }
  }
  return with(view);
}

Tensor Tensor::expand(const Shape& target) const {
  MEDFUSION_CHECK(target.rank() >= rank() && broadcast_shapes(shape(), target) == target, "expand: {} to {}",
                  shape().str(), target.str());
  View view = view_;
  view.shape = target;
  view.strides = target;
  const int shift = target.rank() - rank();
  for (int i = 0; i < target.rank(); ++i) {
    view.strides[i] = i < shift || shape()[i - shift] == 1 ? 0 : strides()[i - shift];
  }
  return with(view);
}

Tensor Tensor::to_contiguous() const { return contiguous() ? *this : clone(); }

Tensor Tensor::clone() const {
  Tensor result = empty(shape(), dtype(), device());
  result.copy_from(*this);
  return result;
}

Tensor Tensor::to(DType target) const {
  if (target == dtype()) return *this;
  Tensor result = empty(shape(), target, device());
  result.copy_from(*this);
  return result;
}

}  // namespace medfusion::core
