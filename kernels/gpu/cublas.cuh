// The handles of cuBLAS. Only for nvcc.
#pragma once

#include <cublas_v2.h>

#include <map>
#include <memory>
#include <mutex>
#include <utility>

#include "core/tensor.h"
#include "kernels/gpu/device.cuh"

namespace medfusion::kernels::cuda {

inline void check_cublas(cublasStatus_t status, const char* call) {
  MEDFUSION_CHECK(status == CUBLAS_STATUS_SUCCESS, "{}: {} ({})", call, cublasGetStatusString(status),
                  cublasGetStatusName(status));
}

// One handle per device and stream, made when first asked for and kept to the end of the process. Its
// workspace belongs to the stream, so that no two streams share one and a captured call allocates nothing.
class Cublas {
 public:
  // `native` is the stream's own handle, to which the calls that follow are bound; with `tf32` they may round
  // f32 to TF32.
  static cublasHandle_t of(core::Device device, core::Stream stream, void* native, bool tf32) {
    static std::mutex mutex;
    static auto& all = *new std::map<std::pair<int, uint64_t>, std::unique_ptr<Cublas>>;
    const std::lock_guard lock(mutex);
    auto& own = all[{device.index, stream.id}];
    if (own == nullptr) own.reset(new Cublas(device));
    check_cublas(cublasSetStream(own->handle_, static_cast<cudaStream_t>(native)), "cublasSetStream");
    check_cublas(cublasSetWorkspace(own->handle_, own->workspace(), kWorkspace), "cublasSetWorkspace");
    const cublasMath_t mode = tf32 ? CUBLAS_TF32_TENSOR_OP_MATH : CUBLAS_DEFAULT_MATH;
    check_cublas(cublasSetMathMode(own->handle_, mode), "cublasSetMathMode");
    return own->handle_;
  }

 private:
  static constexpr int64_t kWorkspace = int64_t{32} << 20;  // what NVIDIA recommends for Hopper

  static constexpr int64_t kAlignment = 256;  // what cuBLAS asks of it

  explicit Cublas(core::Device device)
      : memory_(core::Tensor::empty({kWorkspace + kAlignment}, core::DType::u8, device)) {
    check_cublas(cublasCreate(&handle_), "cublasCreate");
  }
  void* workspace() const {
    const auto address = reinterpret_cast<uintptr_t>(memory_.view().data);
    return reinterpret_cast<void*>((address + kAlignment - 1) / kAlignment * kAlignment);
  }

  cublasHandle_t handle_ = nullptr;
  core::Tensor memory_;
};

}  // namespace medfusion::kernels::cuda
