#include <cmath>
#include <limits>

#include "kernels/registry.h"
#include "kernels/simulator/device_type.h"
#include "kernels/softmax/softmax.h"
#include "tests/kernels/kernel_test.h"

MEDFUSION_KERNEL_TESTS(softmax)

namespace medfusion::kernels {
namespace {

using core::Tensor;

// A row with NaN or +inf gives NaN, wherever it stands; one of -inf throughout gives zeros.
TEST(Softmax, NanAndInfinityFillTheirRow) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  for (const int64_t width : {5, 40, 200, 1024, 1500}) {
    for (const int64_t place : {int64_t{0}, width / 2, width - 1}) {
      const Tensor x = Tensor::full({5, width}, 0.5);
      float* const rows = x.data<float>();
      rows[place] = kNan;
      rows[width + place] = kInfinity;
      for (const int64_t row : {2, 3}) std::fill_n(rows + row * width, width, -kInfinity);
      rows[2 * width + place] = kNan;
      for (const core::Device device : {core::Device{}, core::Device{simulator::kDeviceType, 0}}) {
        const Tensor on_device = x.to(device);
        const Tensor result = Tensor::empty(x.shape(), core::DType::f32, device);
        dispatch<SoftmaxForward>({on_device.view(), result.view()}, device.type);
        const Tensor y = result.to(core::Device{});
        for (int64_t i = 0; i < width; ++i) {
          for (const int64_t row : {0, 1, 2}) {
            ASSERT_TRUE(std::isnan(y.at(row * width + i)))
                << name_of(device.type) << " width " << width << " row " << row << " column " << i;
          }
          ASSERT_EQ(y.at(3 * width + i), 0.0) << name_of(device.type) << " width " << width;
          ASSERT_NEAR(y.at(4 * width + i), 1.0 / static_cast<double>(width), 1e-7) << name_of(device.type);
        }
      }
    }
  }
}

}  // namespace
}  // namespace medfusion::kernels
