// Copies between a cuda device and ordinary (pageable) host memory, through pinned buffers. The driver would
// stage such copies too, but may wait for the stream first; here a copy to the device costs the host one
// memcpy and then overlaps with everything else.
#pragma once

#include <cuda_runtime_api.h>

#include <array>
#include <cstdint>
#include <mutex>

namespace medfusion::kernels::cuda {

class CudaStaging {
 public:
  explicit CudaStaging(int index) : index_(index) {}
  ~CudaStaging();
  CudaStaging(const CudaStaging&) = delete;
  CudaStaging& operator=(const CudaStaging&) = delete;

  // Returns once the host's memory has been read; the copy is ordered within the stream.
  void to_device(void* device, const void* host, int64_t bytes, cudaStream_t stream);
  // Returns once the host's memory has been written.
  void to_host(void* host, const void* device, int64_t bytes, cudaStream_t stream);

 private:
  static constexpr int kSlots = 4;
  static constexpr int64_t kSlotBytes = int64_t{2} << 20;
  struct Slot {
    void* pinned = nullptr;
    cudaEvent_t idle = nullptr;  // recorded after the last copy that used the buffer
  };

  Slot& next_idle();
  void wait(const Slot& slot);

  const int index_;
  std::mutex mutex_;
  std::array<Slot, kSlots> slots_;
  size_t turn_ = 0;
};

}  // namespace medfusion::kernels::cuda
