// Copies and fills of tensors, on and between devices.
#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>

#include "core/runtime.h"
#include "core/tensor.h"
#include "core/threads.h"

namespace medfusion::core {
namespace {

template <class To, class From>
To convert(From value) {
  if constexpr (std::is_same_v<From, BFloat16>) {
    return convert<To>(static_cast<float>(value));
  } else if constexpr (std::is_same_v<To, BFloat16>) {
    return BFloat16(static_cast<float>(value));
  } else if constexpr (std::is_same_v<To, bool>) {
    return value != From{};
  } else {
    return static_cast<To>(value);
  }
}

// The last dimensions that are contiguous in both views, merged: copies run over them in one loop.
int64_t common_inner(const View& a, const View& b) {
  int64_t inner = 1;
  for (int i = a.rank() - 1; i >= 0; --i) {
    if (a.shape[i] != 1 && (a.strides[i] != inner || b.strides[i] != inner)) break;
    inner *= a.shape[i];
  }
  return inner;
}

void copy_loop(const View& to_view, const View& from_view) {
  const int64_t inner = common_inner(to_view, from_view);
  const int64_t grain = std::max<int64_t>(1, 65536 / inner);
  visit_dtype(to_view.dtype, [&](auto to_type) {
    visit_dtype(from_view.dtype, [&](auto from_type) {
      using To = decltype(to_type);
      using From = decltype(from_type);
      parallel_for(0, to_view.numel() / inner, grain, [&](int64_t first, int64_t last) {
        for (int64_t row = first; row < last; ++row) {
          To* to = to_view.as<To>() + to_view.offset(row * inner);
          const From* from = from_view.as<From>() + from_view.offset(row * inner);
          if constexpr (std::is_same_v<To, From>) {
            std::memcpy(static_cast<void*>(to), from, static_cast<size_t>(inner) * sizeof(To));
          } else {
            for (int64_t i = 0; i < inner; ++i) to[i] = convert<To>(from[i]);
          }
        }
      });
    });
  });
}

void fill_loop(const View& view, double value) {
  visit_dtype(view.dtype, [&](auto type) {
    using T = decltype(type);
    const T typed = convert<T>(value);
    if (view.contiguous()) {
      std::fill_n(view.as<T>(), view.numel(), typed);
    } else {
      for (int64_t i = 0; i < view.numel(); ++i) element<T>(view, i) = typed;
    }
  });
}

template <class Function>
using PerDeviceType = std::array<std::atomic<Function>, kMaxDeviceTypes>;
constinit PerDeviceType<DeviceCopy> device_copies{};
constinit PerDeviceType<DeviceFill> device_fills{};

template <class Function>
Function hook_of(const PerDeviceType<Function>& hooks, Device device, const char* operation) {
  const Function hook = hooks[device.type.number()];
  MEDFUSION_CHECK(hook != nullptr, "{}: no kernel for device {}:{}", operation, name_of(device.type),
                  device.index);
  return hook;
}

// The bytes of both tensors are the same, in the same order.
bool is_plain_copy(const Tensor& to, const Tensor& from) {
  return to.dtype() == from.dtype() && to.contiguous() && from.contiguous();
}

void copy_within(const Tensor& to, const Tensor& from) {
  const Device device = to.device();
  if (is_plain_copy(to, from)) {
    runtime(device).copy_on_device(to.view().data, from.view().data, to.bytes(), current_stream(device));
  } else {
    hook_of(device_copies, device, "copy_from")(to.view(), from.view());
  }
}

void copy_to_device(const Tensor& to, const Tensor& from) {
  const Device device = to.device();
  if (!to.contiguous()) {
    const Tensor staged = Tensor::empty(to.shape(), to.dtype(), device);
    copy_to_device(staged, from);
    copy_within(to, staged);
    return;
  }
  const Tensor source = from.to(to.dtype()).to_contiguous();
  runtime(device).copy_to_device(to.view().data, source.view().data, to.bytes(), current_stream(device));
  runtime(device).synchronize(current_stream(device));
}

void copy_to_host(const Tensor& to, const Tensor& from) {
  const Device device = from.device();
  if (!is_plain_copy(to, from)) {
    const Tensor source = from.to_contiguous();
    const Tensor staged = Tensor::empty(source.shape(), source.dtype());
    copy_to_host(staged, source);
    to.copy_from(staged);
    return;
  }
  runtime(device).copy_to_host(to.view().data, from.view().data, to.bytes(), current_stream(device));
  runtime(device).synchronize(current_stream(device));
}

}  // namespace

void set_device_copy(DeviceType type, DeviceCopy copy) { device_copies[type.number()] = copy; }
void set_device_fill(DeviceType type, DeviceFill fill) { device_fills[type.number()] = fill; }

void Tensor::copy_from(const Tensor& source) const {
  MEDFUSION_CHECK(shape() == source.shape(), "copy_from: shape {} from {}", shape().str(),
                  source.shape().str());
  if (numel() == 0) return;
  const bool to_host = device().type == DeviceType::cpu;
  const bool from_host = source.device().type == DeviceType::cpu;
  if (to_host) check_host_data();
  if (from_host) source.check_host_data();
  if (to_host && from_host) {
    copy_loop(view_, source.view_);
  } else if (device() == source.device()) {
    copy_within(*this, source);
  } else if (from_host) {
    copy_to_device(*this, source);
  } else if (to_host) {
    copy_to_host(*this, source);
  } else {
    copy_from(source.to(Device{}));
  }
}

Tensor Tensor::to(Device target) const {
  if (target == device()) return *this;
  Tensor result = empty(shape(), dtype(), target);
  result.copy_from(*this);
  return result;
}

void Tensor::fill(double value) const {
  if (numel() == 0) return;
  if (device().type == DeviceType::cpu) {
    check_host_data();
    fill_loop(view_, value);
  } else {
    hook_of(device_fills, device(), "fill")(view_, value);
  }
}

void Tensor::check_host_data() const {
  MEDFUSION_CHECK(device().type == DeviceType::cpu, "host access to memory of {}:{}", name_of(device().type),
                  device().index);
  int64_t last = 0;  // element
  for (int i = 0; i < rank(); ++i) last += (size(i) - 1) * view_.stride(i);
  if (numel() > 0) check_host_access(view_.data, (last + 1) * size_of(dtype()));
}

}  // namespace medfusion::core
