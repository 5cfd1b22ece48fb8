#include <limits>

#include "core/random.h"
#include "kernels/reduction/reduction.h"
#include "kernels/registry.h"
#include "kernels/simulator/device_type.h"
#include "tests/kernels/kernel_test.h"

MEDFUSION_KERNEL_TESTS(reduction)
MEDFUSION_KERNEL_TESTS_IN_BF16(reduction, "narrow sum", "simt")

namespace medfusion::kernels {
namespace {

using core::DType;
using core::Shape;
using core::Tensor;

// Value and place of the maximum of x over the dimensions in which y has size 1.
struct Maximum {
  Tensor y, argmax;
};
Maximum maximum(const Tensor& x, const Shape& y, core::Device device, const char* variant) {
  const Maximum result{Tensor::empty(y, x.dtype(), device), Tensor::empty(y, DType::i64, device)};
  const Tensor on_device = x.to(device);
  dispatch<ReduceForward>({Reduction::max, on_device.view(), result.y.view(), result.argmax.view()},
                          device.type, variant);
  return {result.y.to(core::Device{}), result.argmax.to(core::Device{})};
}

// Few different values, so that a maximum is met many times, in rows that have NaN and that have none.
TEST(ReduceMax, TheFirstOfManyAndTheFirstNanWin) {
  const std::pair<Shape, Shape> shapes[] = {
      {{20000}, {1}}, {{3, 700}, {3, 1}}, {{700, 3}, {1, 3}}, {{2, 3000, 5}, {2, 1, 5}}, {{4, 40}, {4, 1}}};
  const core::Philox philox(6, 2);
  for (const auto& [shape, reduced] : shapes) {
    for (const bool with_nan : {false, true}) {
      const Tensor x = Tensor::empty(shape, DType::f64);
      for (int64_t i = 0; i < x.numel(); ++i) {
        const uint32_t word = philox.word(static_cast<uint64_t>(i));
        const bool nan = with_nan && word % 256 == 3;
        x.data<double>()[i] = nan ? std::numeric_limits<double>::quiet_NaN() : word / 256 % 8;
      }
      const Maximum expected = maximum(x, reduced, {}, "reference");
      const Maximum on_cpu = maximum(x.to(DType::f32), reduced, {}, "cpu");
      const Maximum on_sim = maximum(x.to(DType::f32), reduced, {simulator::kDeviceType, 0}, "simt");
      for (const Maximum& actual : {on_cpu, on_sim}) {
        for (int64_t i = 0; i < expected.y.numel(); ++i) {
          EXPECT_EQ(expected.argmax.at(i), actual.argmax.at(i)) << shape.str() << " " << i;
          const double e = expected.y.at(i), a = actual.y.at(i);
          EXPECT_TRUE(e == a || (std::isnan(e) && std::isnan(a))) << shape.str() << " " << e << " " << a;
        }
      }
    }
  }
}

}  // namespace
}  // namespace medfusion::kernels
