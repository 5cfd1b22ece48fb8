#include "core/allocator.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <utility>

#include "core/error.h"

namespace medfusion::core {
namespace {

// Small blocks in steps of 512 bytes, large ones in steps of 64 KiB, so that equal uses meet equal sizes.
int64_t round_up(int64_t bytes) {
  const int64_t step = bytes < (int64_t{1} << 20) ? 512 : int64_t{1} << 16;
  return (bytes + step - 1) / step * step;
}

}  // namespace

CachingAllocator::~CachingAllocator() { release_cached(); }

// The smallest cached block that fits, unless it wastes more than an eighth of itself.
void* CachingAllocator::take_cached(int64_t wanted, Stream stream, int64_t* granted) {
  const auto pool = cached_.find(stream.id);
  if (pool == cached_.end()) return nullptr;
  const auto found = pool->second.lower_bound(wanted);
  if (found == pool->second.end() || found->first - wanted > found->first / 8) return nullptr;
  *granted = found->first;
  void* const pointer = found->second;
  pool->second.erase(found);
  cached_bytes_ -= *granted;
  return pointer;
}

void* CachingAllocator::allocate(int64_t bytes, Stream stream, int64_t* granted) {
  *granted = 0;
  if (bytes == 0) return nullptr;
  const int64_t wanted = caching_ ? round_up(bytes) : bytes;
  const auto hand_out = [&] {
    counters_.live += *granted;
    counters_.peak = std::max(counters_.peak, counters_.live);
  };
  {
    const std::lock_guard lock(mutex_);
    ++counters_.requests;
    if (void* const pointer = take_cached(wanted, stream, granted)) {
      ++counters_.cache_hits;
      hand_out();
      return pointer;
    }
  }
  void* pointer = nullptr;
  try {
    pointer = runtime_.allocate(wanted, stream);
  } catch (const OutOfMemory&) {
    const MemoryCounters before = counters();
    release_cached();
    try {
      pointer = runtime_.allocate(wanted, stream);
    } catch (const OutOfMemory& error) {
      throw OutOfMemory(fmt::format("{}; the allocator held {} bytes in tensors and {} cached", error.what(),
                                    before.live, before.reserved - before.live));
    }
  }
  const std::lock_guard lock(mutex_);
  *granted = wanted;
  counters_.reserved += wanted;
  hand_out();
  return pointer;
}

void CachingAllocator::free(void* pointer, int64_t granted, Stream stream) noexcept {
  if (pointer == nullptr) return;
  {
    const std::lock_guard lock(mutex_);
    counters_.live -= granted;
    if (caching_) {
      try {
        cached_[stream.id].emplace(granted, pointer);
        cached_bytes_ += granted;
        return;
      } catch (...) {  // no memory for the bookkeeping: give the block back
      }
    }
    counters_.reserved -= granted;
  }
  runtime_.free(pointer, granted, stream);
}

void CachingAllocator::release_cached() noexcept {
  std::map<uint64_t, std::multimap<int64_t, void*>> blocks;
  {
    const std::lock_guard lock(mutex_);
    blocks.swap(cached_);
    counters_.reserved -= cached_bytes_;
    cached_bytes_ = 0;
  }
  for (const auto& [stream, pool] : blocks) {
    for (const auto& [size, pointer] : pool) runtime_.free(pointer, size, Stream{stream});
  }
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
  Runtime& owner = runtime(device);  // throws where the device does not exist
  // Made on first use and not destroyed at exit: tensors in other statics may outlive them.
  static auto* const made = new std::array<std::array<std::atomic<CachingAllocator*>, kMaxDevices>, 3>{};
  std::atomic<CachingAllocator*>& slot =
      (*made)[static_cast<size_t>(device.type)][static_cast<size_t>(device.index)];
  if (CachingAllocator* const present = slot.load(std::memory_order_acquire)) return *present;
  static std::mutex mutex;
  const std::lock_guard lock(mutex);
  if (slot.load(std::memory_order_relaxed) == nullptr) {
    slot.store(new CachingAllocator(owner), std::memory_order_release);
  }
  return *slot.load(std::memory_order_relaxed);
}

}  // namespace medfusion::core
