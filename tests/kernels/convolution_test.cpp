#include "core/sim_memory.h"
#include "kernels/cuda/library_call.cuh"
#include "tests/kernels/kernel_test.h"

MEDFUSION_KERNEL_TESTS(convolution)
MEDFUSION_KERNEL_TESTS_IN_BF16(convolution, "", "simt", "cudnn")

namespace medfusion::kernels {
namespace {

// Their descriptors do not speak of addresses: what they are given is aligned, whatever the dtype.
TEST(Convolution, LibrariesGetOperandsAtMultiplesOf16Bytes) {
  const core::Device sim{core::DeviceType::sim, 0};
  for (const core::DType dtype : {core::DType::f32, core::DType::bf16}) {
    const core::Tensor whole = core::Tensor::zeros({17}, dtype, sim);
    const core::Tensor misaligned = whole.slice(0, 1, 17), aligned = whole.slice(0, 0, 16);
    const cuda::Packed copied(misaligned.view()), kept(aligned.view());
    EXPECT_EQ(reinterpret_cast<uintptr_t>(copied.view().data) % 16, 0U) << core::name_of(dtype);
    EXPECT_NE(copied.view().data, misaligned.view().data) << core::name_of(dtype);
    EXPECT_EQ(kept.view().data, aligned.view().data) << core::name_of(dtype);
  }
}

}  // namespace
}  // namespace medfusion::kernels
