// What core asks of a device beyond plain byte copies: strided and converting copies, fills, and the adding
// up of gradients.
#include "kernels/elementwise/tensor_ops_simt.h"

#include "core/autograd.h"
#include "core/tensor.h"
#include "kernels/gpu/floats.cuh"
#include "kernels/gpu/map.cuh"

namespace medfusion::kernels {
namespace {

using namespace cuda;  // NOLINT(google-build-using-namespace): the vocabulary of device code

// The conversions of the host (core/tensor_copy.cpp): bf16 by way of float, bool is "not 0".
template <class To, class From>
__host__ __device__ To convert(From value) {
  if constexpr (std::is_same_v<From, core::BFloat16>) {
    return convert<To>(static_cast<float>(value));
  } else if constexpr (std::is_same_v<To, core::BFloat16>) {
    return core::BFloat16(static_cast<float>(value));
  } else if constexpr (std::is_same_v<To, bool>) {
    return value != From{};
  } else {
    return static_cast<To>(value);
  }
}

template <class T>
constexpr bool kIsReal = std::is_floating_point_v<T> || std::is_same_v<T, core::BFloat16>;

template <class To, class From>
struct Convert {
  static constexpr bool kWide =
      std::is_same_v<To, From> || (kIsReal<To> && (kIsReal<From> || std::is_same_v<From, uint8_t>));
  __device__ To operator()(From value) const { return convert<To>(value); }
};
template <class T>
struct Constant {
  T value;
  __device__ T operator()() const { return value; }
};
template <class T>
struct Add {
  __device__ T operator()(T a, T b) const { return a + b; }
};
template <>
struct Add<BFloat16> {
  __device__ BFloat16 operator()(BFloat16 a, BFloat16 b) const { return to_bf16(to_float(a) + to_float(b)); }
};

// Calls body(T{}) with the unsigned type of as many bytes as an element has.
template <class Body>
void visit_bits(core::DType dtype, const Body& body) {
  switch (core::size_of(dtype)) {
    case 1:
      return body(uint8_t{});
    case 2:
      return body(uint16_t{});
    case 4:
      return body(uint32_t{});
    default:
      return body(uint64_t{});
  }
}

void copy(const core::View& to, const core::View& from) {
  if (to.dtype == from.dtype) {
    visit_bits(to.dtype, [&]<class T>(T) { map<T, T>("copy", Convert<T, T>(), to, {&from}); });
    return;
  }
  core::visit_dtype(to.dtype, [&]<class To>(To) {
    core::visit_dtype(from.dtype, [&]<class From>(From) {
      if constexpr (!std::is_same_v<To, From>) map<To, From>("convert", Convert<To, From>(), to, {&from});
    });
  });
}

void fill(const core::View& to, double value) {
  core::visit_dtype(to.dtype, [&]<class T>(T) {
    const T typed = convert<T>(value);
    visit_bits(to.dtype, [&]<class Bits>(Bits) {
      if constexpr (sizeof(Bits) == sizeof(T)) {
        map<Bits>("fill", Constant<Bits>{std::bit_cast<Bits>(typed)}, to, {});
      }
    });
  });
}

void add(const core::View& to, const core::View& from) {
  if (to.dtype == core::DType::f64) {
    map<double, double, double>("add", Add<double>(), to, {&to, &from});
  } else if (to.dtype == core::DType::bf16) {
    map<BFloat16, BFloat16, BFloat16>("add", Add<BFloat16>(), to, {&to, &from});
  } else {
    to.as<float>();  // throws on any other
    map<float, float, float>("add", Add<float>(), to, {&to, &from});
  }
}

const bool registered = [] {
  core::set_device_copy(kDevice, copy);
  core::set_device_fill(kDevice, fill);
  core::set_device_add(kDevice, add);
  return true;
}();

}  // namespace
}  // namespace medfusion::kernels

namespace medfusion::kernels::cuda {
inline namespace MEDFUSION_GPU {

void convert_view(const core::View& from, const core::View& to) { kernels::copy(to, from); }

}  // namespace MEDFUSION_GPU
}  // namespace medfusion::kernels::cuda
