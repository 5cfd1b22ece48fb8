// The `cuda` device: NVIDIA GPUs through the CUDA runtime. Only in builds where nvcc was found.
#pragma once

#include <cstdint>
#include <string>

namespace medfusion::kernels::cuda {

struct CudaDeviceInfo {
  std::string name;              // "NVIDIA H100 80GB HBM3"
  int compute_capability = 0;    // 10 * major + minor: 80, 86, 90, ...
  int multiprocessors = 0;       // SMs
  int64_t memory_bytes = 0;      // of the device
  int64_t cache_bytes = 0;       // second level
  int64_t shared_per_block = 0;  // the most dynamic shared memory that a block can ask for, in bytes
};

// How many devices the driver sees; 0 without a driver. Never throws.
int cuda_device_count() noexcept;

// What the device is; asked of the driver once. Throws Error where it does not exist or cannot be used.
const CudaDeviceInfo& cuda_device_info(int index);

// The versions of the CUDA runtime that this build holds, and of CUDA that the installed driver supports,
// such as "13.0"; the latter is "none" without a driver.
std::string cuda_runtime_version();
std::string cuda_driver_version();

}  // namespace medfusion::kernels::cuda
