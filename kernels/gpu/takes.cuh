// What variants may ask of the device that their tensors lie on.
#pragma once

#include "kernels/gpu/device.cuh"
#include "kernels/takes.h"
#ifdef __CUDACC__
#include "kernels/gpu/runtime_cuda.h"
#endif

namespace medfusion::kernels::cuda {
inline namespace MEDFUSION_GPU {

// 10 * major + minor, from `least` to `most`. The simulated device can do all.
template <int least, int most>
bool has_compute_capability([[maybe_unused]] Tensors tensors) {
#ifdef __CUDACC__
  const int capability = cuda_device_info(tensors.front()->device.index).compute_capability;
  return capability >= least && capability <= most;
#else
  return true;
#endif
}
inline constexpr TensorRequirement kComputeCapability80{"compute capability 8.0 or later",
                                                        has_compute_capability<80, 1 << 20>};
// wgmma exists on no other.
inline constexpr TensorRequirement kComputeCapability90{"compute capability 9.0",
                                                        has_compute_capability<90, 90>};

}  // namespace MEDFUSION_GPU
}  // namespace medfusion::kernels::cuda
