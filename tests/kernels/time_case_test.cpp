#include "kernels/time_case.h"

#include <gtest/gtest.h>

#include "core/runtime.h"
#include "kernels/cuda/math_mode.h"

namespace medfusion::kernels {
namespace {

constexpr CeilingSizes kSmall{.bytes = 4096, .product = 16, .bf16_product = 32, .seconds = 1e-3};

TEST(Ceilings, OfTheCpuHaveNoProductOfBf16) {
  const Ceilings ceilings = measure_ceilings({}, kSmall);
  EXPECT_GT(ceilings.bytes_per_second, 0.0);
  EXPECT_GT(ceilings.flops_of(core::DType::f32), 0.0);
  EXPECT_EQ(ceilings.flops_of(core::DType::bf16), 0.0);
}

// What they are means nothing at these sizes, and nothing at all on `sim`.
class DeviceCeilings : public testing::TestWithParam<core::DeviceType> {};
INSTANTIATE_TEST_SUITE_P(Devices, DeviceCeilings,
                         testing::Values(core::DeviceType::sim, core::DeviceType::cuda),
                         [](const auto& test) { return std::string(core::name_of(test.param)); });

TEST_P(DeviceCeilings, HaveProductsOfBothTypes) {
  const core::Device device{GetParam(), 0};
  try {
    core::runtime(device);
  } catch (const core::Error& error) {
    GTEST_SKIP() << error.what();
  }
  cuda::set_allow_tf32(true);
  const Ceilings ceilings = measure_ceilings(device, kSmall);
  EXPECT_TRUE(cuda::allow_tf32()) << "it was not put back";
  cuda::set_allow_tf32(false);
  EXPECT_GT(ceilings.bytes_per_second, 0.0);
  EXPECT_GT(ceilings.flops_per_second, 0.0);
  EXPECT_GT(ceilings.bf16_flops_per_second, 0.0);
  EXPECT_EQ(ceilings.flops_of(core::DType::bf16), ceilings.bf16_flops_per_second);
}

}  // namespace
}  // namespace medfusion::kernels
