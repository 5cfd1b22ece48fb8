// The handles and descriptors of cuDNN. Only for nvcc.
#pragma once

#include <cudnn.h>

#include <map>
#include <mutex>
#include <utility>

#include "core/error.h"
#include "core/runtime.h"

namespace medfusion::kernels::cuda {

inline void check_cudnn(cudnnStatus_t status, const char* call) {
  if (status == CUDNN_STATUS_SUCCESS) return;
  char detail[256] = "";
  cudnnGetLastErrorString(detail, sizeof(detail));
  MEDFUSION_CHECK(status == CUDNN_STATUS_SUCCESS, "{}: {} {}", call, cudnnGetErrorString(status), detail);
}

// One handle per device and stream, made when first asked for and kept to the end of the process. Calls go to
// the stream that bind_cudnn said last.
inline cudnnHandle_t cudnn_handle(core::Device device, core::Stream stream) {
  static std::mutex mutex;
  static auto& all = *new std::map<std::pair<int, uint64_t>, cudnnHandle_t>;
  const std::lock_guard lock(mutex);
  cudnnHandle_t& handle = all[{device.index, stream.id}];
  if (handle == nullptr) check_cudnn(cudnnCreate(&handle), "cudnnCreate");
  return handle;
}
inline void bind_cudnn(cudnnHandle_t handle, void* native_stream) {
  check_cudnn(cudnnSetStream(handle, static_cast<cudaStream_t>(native_stream)), "cudnnSetStream");
}

// A descriptor of cuDNN: made and destroyed with the object.
template <class T, cudnnStatus_t (*Create)(T*), cudnnStatus_t (*Destroy)(T)>
class CudnnDescriptor {
 public:
  CudnnDescriptor() { check_cudnn(Create(&value_), "cudnnCreate...Descriptor"); }
  ~CudnnDescriptor() { Destroy(value_); }
  CudnnDescriptor(const CudnnDescriptor&) = delete;
  CudnnDescriptor& operator=(const CudnnDescriptor&) = delete;
  operator T() const { return value_; }

 private:
  T value_ = nullptr;
};
using CudnnTensor =
    CudnnDescriptor<cudnnTensorDescriptor_t, cudnnCreateTensorDescriptor, cudnnDestroyTensorDescriptor>;
using CudnnFilter =
    CudnnDescriptor<cudnnFilterDescriptor_t, cudnnCreateFilterDescriptor, cudnnDestroyFilterDescriptor>;
using CudnnConvolution = CudnnDescriptor<cudnnConvolutionDescriptor_t, cudnnCreateConvolutionDescriptor,
                                         cudnnDestroyConvolutionDescriptor>;

}  // namespace medfusion::kernels::cuda
