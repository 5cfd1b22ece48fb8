#include "kernels/dropout/dropout.h"
#include "core/random.h"
#include "kernels/registry.h"
#include "kernels/simulator/device_type.h"
#include "tests/kernels/kernel_test.h"

MEDFUSION_KERNEL_TESTS(dropout)

namespace medfusion::kernels {
namespace {

using core::Tensor;

// Which elements are dropped, and every bit of what is kept.
TEST(Dropout, TheDeviceDrawsWhatTheHostDraws) {
  const core::Device sim{simulator::kDeviceType, 0};
  for (const double probability : {0.1, 0.37, 0.5}) {
    for (const core::Shape& shape : {core::Shape{1025}, core::Shape{9, 7, 16}}) {
      const Tensor x = Tensor::empty(shape);
      const core::Philox philox(3, 1);
      for (int64_t i = 0; i < x.numel(); ++i) {
        x.data<float>()[i] = static_cast<float>(philox.normal(static_cast<uint64_t>(i)));
      }
      const int last = shape.rank() - 1;
      for (const int64_t first : {0, 3}) {
        const Tensor part = x.slice(last, first, shape[last]);
        const Tensor host = Tensor::empty(part.shape());
        const Tensor device = Tensor::empty(part.shape(), core::DType::f32, sim);
        const Tensor uploaded = x.to(sim).slice(last, first, shape[last]);
        dispatch<DropoutForward>({probability, 11, 13, part.view(), host.view()}, core::DeviceType::cpu,
                                 "cpu");
        dispatch<DropoutForward>({probability, 11, 13, uploaded.view(), device.view()},
                                 simulator::kDeviceType, "simt");
        const Tensor result = device.to(core::Device{});
        for (int64_t i = 0; i < host.numel(); ++i) ASSERT_EQ(host.at(i), result.at(i)) << i;
      }
    }
  }
}

TEST(Dropout, TheBaseIsAddedToTheStreamWhenTheKernelRuns) {
  const Tensor x = Tensor::full({64}, 1.0), y = Tensor::empty({64}), moved = Tensor::empty({64});
  const Tensor base = Tensor::from<int64_t>({1}, {int64_t{3} << 20});
  dispatch<DropoutForward>({0.5, 11, (3U << 20) + 2, x.view(), y.view()}, core::DeviceType::cpu);
  dispatch<DropoutForward>({0.5, 11, 2, x.view(), moved.view(), base.view()}, core::DeviceType::cpu);
  for (int64_t i = 0; i < x.numel(); ++i) ASSERT_EQ(y.at(i), moved.at(i)) << i;

  const core::Device sim{simulator::kDeviceType, 0};
  const Tensor device_x = x.to(sim), device_base = base.to(sim), result = Tensor::empty({64}, x.dtype(), sim);
  dispatch<DropoutForward>({0.5, 11, 2, device_x.view(), result.view(), device_base.view()},
                           simulator::kDeviceType);
  const Tensor host = result.to(core::Device{});
  for (int64_t i = 0; i < x.numel(); ++i) ASSERT_EQ(y.at(i), host.at(i)) << i;
}

}  // namespace
}  // namespace medfusion::kernels
