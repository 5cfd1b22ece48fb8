// What the host code of the cuda device shares: checked calls, and the current device of a thread.
#pragma once

#include <cuda_runtime_api.h>

#include <string>

namespace medfusion::kernels::cuda {

// Throws Error "cuda:INDEX: CALL: what CUDA says (its name)" unless the status is success. `call` is the
// function of CUDA, and what it was to do where that helps.
void cuda_check(cudaError_t status, int index, const char* call);

// The same for destructors and frees, which cannot throw: the first such failure of the process is a line on
// stderr, later ones follow from it. Silent when the process ends and CUDA is gone before it.
void cuda_note(cudaError_t status, int index, const char* call) noexcept;

// Makes a device the current one of the thread for the lifetime of the object.
class CudaDeviceGuard {
 public:
  explicit CudaDeviceGuard(int index) : index_(index) {
    if (cudaGetDevice(&before_) != cudaSuccess) before_ = -1;
    if (before_ != index) cuda_check(cudaSetDevice(index), index, "cudaSetDevice");
    changed_ = before_ >= 0 && before_ != index;
  }
  ~CudaDeviceGuard() {
    if (changed_) cuda_note(cudaSetDevice(before_), index_, "cudaSetDevice back to the device before");
  }
  CudaDeviceGuard(const CudaDeviceGuard&) = delete;
  CudaDeviceGuard& operator=(const CudaDeviceGuard&) = delete;

 private:
  int index_;
  int before_ = -1;
  bool changed_ = false;
};

}  // namespace medfusion::kernels::cuda
