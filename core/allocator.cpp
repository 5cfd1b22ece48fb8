#include "core/allocator.h"

#include <algorithm>

namespace medfusion::core {
namespace {

// Small blocks in steps of 512 bytes, large ones in steps of 64 KiB, so that equal uses meet equal sizes.
int64_t round_up(int64_t bytes) {
  const int64_t step = bytes < (int64_t{1} << 20) ? 512 : int64_t{1} << 16;
  return (bytes + step - 1) / step * step;
}

}  // namespace

CachingAllocator::~CachingAllocator() { release_cached(); }

void* CachingAllocator::allocate(int64_t bytes, int64_t* granted) {
  if (bytes == 0) {
    *granted = 0;
    return nullptr;
  }
  const int64_t wanted = round_up(bytes);
  const std::lock_guard lock(mutex_);
  ++counters_.requests;
  void* pointer = nullptr;
  // The smallest cached block that fits, unless it wastes more than an eighth of itself.
  const auto found = cached_.lower_bound(wanted);
  if (found != cached_.end() && found->first - wanted <= found->first / 8) {
    *granted = found->first;
    pointer = found->second;
    cached_.erase(found);
    ++counters_.cache_hits;
  } else {
    *granted = wanted;
    pointer = runtime_.allocate(wanted);
    counters_.reserved += wanted;
  }
  counters_.live += *granted;
  counters_.peak = std::max(counters_.peak, counters_.live);
  return pointer;
}

void CachingAllocator::free(void* pointer, int64_t granted) noexcept {
  if (pointer == nullptr) return;
  const std::lock_guard lock(mutex_);
  counters_.live -= granted;
  try {
    cached_.emplace(granted, pointer);
  } catch (...) {  // no memory for the bookkeeping: give the block back
    counters_.reserved -= granted;
    runtime_.free(pointer, granted);
  }
}

void CachingAllocator::release_cached() {
  const std::lock_guard lock(mutex_);
  for (const auto& [size, pointer] : cached_) {
    counters_.reserved -= size;
    runtime_.free(pointer, size);
  }
  cached_.clear();
}

MemoryCounters CachingAllocator::counters() const {
  const std::lock_guard lock(mutex_);
  return counters_;
}

void CachingAllocator::reset_peak() {
  const std::lock_guard lock(mutex_);
  counters_.peak = counters_.live;
}

CachingAllocator& allocator(Device device) {
  // Not destroyed at exit: tensors in other statics may outlive it.
  static auto* const cpu = new CachingAllocator(runtime(Device{}));
  runtime(device);  // throws where the device does not exist
  return *cpu;
}

}  // namespace medfusion::core
