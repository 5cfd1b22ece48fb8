#include "kernels/pooling/pooling.h"

#include <cmath>
#include <limits>

#include "core/tensor.h"
#include "kernels/registry.h"
#include "kernels/simulator/device_type.h"
#include "tests/kernels/kernel_test.h"

MEDFUSION_KERNEL_TESTS(pooling)
MEDFUSION_KERNEL_TESTS_IN_BF16(pooling, "", "simt")

namespace medfusion::kernels {
namespace {

using core::DType;
using core::Shape;
using core::Tensor;

Tensor copy_to(const Tensor& t, core::Device device) {
  const Tensor copy = Tensor::empty(t.shape(), t.dtype(), device);
  copy.copy_from(t);
  return copy;
}

// Few distinct values, infinities, and a NaN here and there; every fifth image is all NaN.
Tensor awkward(const Shape& shape, DType dtype) {
  const Tensor t = Tensor::empty(shape, dtype);
  const int64_t image = shape.numel() / shape[0];
  core::visit_dtype(dtype, [&](auto type) {
    using T = decltype(type);
    if constexpr (std::is_floating_point_v<T>) {
      for (int64_t i = 0; i < t.numel(); ++i) {
        const auto word = static_cast<uint64_t>(i + 1) * 0x9E3779B97F4A7C15U >> 59U;
        T value = static_cast<T>(word % 3);
        if (word > 28 || i / image % 5 == 4) value = std::numeric_limits<T>::quiet_NaN();
        if (word == 27) value = std::numeric_limits<T>::infinity();
        if (word == 26) value = -std::numeric_limits<T>::infinity();
        core::element<T>(t.view(), i) = value;
      }
    }
  });
  return t;
}

struct Maxima {
  Tensor y, argmax;
};

Maxima windows(const Tensor& x, core::Device device) {
  const Shape shape{x.size(0), 3, 3, x.size(3)};
  Maxima m{Tensor::empty(shape, x.dtype(), device), Tensor::empty(shape, DType::u8, device)};
  const Tensor there = copy_to(x, device);
  dispatch(PoolingForward{Pooling::max, {3, 2, 1}, there.view(), m.y.view(), m.argmax.view()}, device.type);
  return {copy_to(m.y, {}), copy_to(m.argmax, {})};
}

Maxima whole(const Tensor& x, core::Device device) {
  const Shape shape{x.size(0), x.size(3)};
  Maxima m{Tensor::empty(shape, x.dtype(), device), Tensor::empty(shape, DType::i32, device)};
  const Tensor there = copy_to(x, device);
  dispatch(GlobalPoolingForward{Pooling::max, there.view(), m.y.view(), m.argmax.view()}, device.type);
  return {copy_to(m.y, {}), copy_to(m.argmax, {})};
}

void expect_same(const Maxima& expected, const Maxima& actual) {
  for (int64_t i = 0; i < expected.y.numel(); ++i) {
    const double e = expected.y.at(i), a = actual.y.at(i);
    EXPECT_TRUE(e == a || (std::isnan(e) && std::isnan(a))) << i << ": " << e << " and " << a;
    EXPECT_EQ(expected.argmax.at(i), actual.argmax.at(i)) << i;
  }
}

TEST(Pooling, TheFirstOfEqualMaximaAndTheFirstNaNWin) {
  for (const int64_t channels : {3, 8}) {
    const Shape shape{5, 6, 5, channels};
    const Tensor exact = awkward(shape, DType::f64), single = awkward(shape, DType::f32);
    for (const core::DeviceType type : {core::DeviceType::cpu, simulator::kDeviceType}) {
      SCOPED_TRACE(fmt::format("{} channels on {}", channels, core::name_of(type)));
      expect_same(windows(exact, {}), windows(single, {type, 0}));
      expect_same(whole(exact, {}), whole(single, {type, 0}));
    }
  }
}

}  // namespace
}  // namespace medfusion::kernels
