#include "kernels/gpu/staging_cuda.h"

#include <algorithm>
#include <cstring>
#include <deque>

#include "kernels/gpu/status_cuda.h"

namespace medfusion::kernels::cuda {

CudaStaging::~CudaStaging() {
  for (Slot& slot : slots_) {
    if (slot.idle != nullptr) cuda_note(cudaEventDestroy(slot.idle), index_, "cudaEventDestroy");
    if (slot.pinned != nullptr)
      cuda_note(cudaFreeHost(slot.pinned), index_, "cudaFreeHost of a staging buffer");
  }
}

void CudaStaging::wait(const Slot& slot) {
  cuda_check(cudaEventSynchronize(slot.idle), index_, "cudaEventSynchronize of a staged copy");
}

CudaStaging::Slot& CudaStaging::next_idle() {
  Slot& slot = slots_[turn_++ % kSlots];
  if (slot.pinned == nullptr) {
    cuda_check(cudaHostAlloc(&slot.pinned, kSlotBytes, cudaHostAllocPortable), index_,
               "cudaHostAlloc of a staging buffer");
  }
  if (slot.idle == nullptr) {
    cuda_check(cudaEventCreateWithFlags(&slot.idle, cudaEventDisableTiming), index_,
               "cudaEventCreateWithFlags");
  }
  wait(slot);  // an event that was never recorded is over
  return slot;
}

void CudaStaging::to_device(void* device, const void* host, int64_t bytes, cudaStream_t stream) {
  const std::lock_guard lock(mutex_);
  for (int64_t at = 0; at < bytes; at += kSlotBytes) {
    const auto count = static_cast<size_t>(std::min(kSlotBytes, bytes - at));
    Slot& slot = next_idle();
    std::memcpy(slot.pinned, static_cast<const char*>(host) + at, count);
    cuda_check(
        cudaMemcpyAsync(static_cast<char*>(device) + at, slot.pinned, count, cudaMemcpyHostToDevice, stream),
        index_, "cudaMemcpyAsync to the device");
    cuda_check(cudaEventRecord(slot.idle, stream), index_, "cudaEventRecord");
  }
}

void CudaStaging::to_host(void* host, const void* device, int64_t bytes, cudaStream_t stream) {
  const std::lock_guard lock(mutex_);
  struct Arrival {
    const Slot* slot;
    int64_t at;
    size_t count;
  };
  std::deque<Arrival> under_way;
  const auto take_first = [&] {
    const Arrival first = under_way.front();
    under_way.pop_front();
    wait(*first.slot);
    std::memcpy(static_cast<char*>(host) + first.at, first.slot->pinned, first.count);
  };
  for (int64_t at = 0; at < bytes; at += kSlotBytes) {
    if (under_way.size() == kSlots) take_first();  // its buffer is the next one
    const auto count = static_cast<size_t>(std::min(kSlotBytes, bytes - at));
    Slot& slot = next_idle();
    cuda_check(cudaMemcpyAsync(slot.pinned, static_cast<const char*>(device) + at, count,
                               cudaMemcpyDeviceToHost, stream),
               index_, "cudaMemcpyAsync to the host");
    cuda_check(cudaEventRecord(slot.idle, stream), index_, "cudaEventRecord");
    under_way.push_back({&slot, at, count});
  }
  while (!under_way.empty()) take_first();
}

}  // namespace medfusion::kernels::cuda
