#include "core/allocator.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <utility>

#include "core/error.h"
#include "core/uncached.h"

namespace medfusion::core {
namespace {

// Small blocks in steps of 512 bytes, large ones in steps of 64 KiB, so that equal uses meet equal sizes.
constexpr int64_t kStep = 512;
int64_t round_up(int64_t bytes) {
  const int64_t step = bytes < (int64_t{1} << 20) ? kStep : int64_t{1} << 16;
  return (bytes + step - 1) / step * step;
}

// A size that is not one of those, by which free() knows that the block is not kept.
int64_t apart(int64_t bytes) { return bytes % kStep == 0 ? bytes + 1 : bytes; }

}  // namespace

CachingAllocator::~CachingAllocator() { release_cached(); }

void* CachingAllocator::take_cached(int64_t wanted, Stream stream, int64_t* granted) {
  const auto pool = active_pools_.find(stream.id);
  const bool is_pool = pool != active_pools_.end();
  if (!is_pool && !cached_.contains(stream.id)) return nullptr;
  auto& blocks = is_pool ? pool->second->cached_ : cached_[stream.id];
  // The smallest block that fits, unless it wastes more than an eighth of itself. In a pool sizes are equal,
  // so that the same work finds the same number of blocks of each size again.
  const auto found = blocks.lower_bound(wanted);
  if (found == blocks.end() || found->first - wanted > (is_pool ? 0 : found->first / 8)) return nullptr;
  void* const pointer = found->second;
  if (is_pool) pool_blocks_.emplace(pointer, pool->second);
  *granted = found->first;
  blocks.erase(found);
  cached_bytes_ -= *granted;
  return pointer;
}

void* CachingAllocator::allocate(int64_t bytes, Stream stream, int64_t* granted) {
  *granted = 0;
  if (bytes == 0) return nullptr;
  const bool is_kept = caching_ && !uncached_memory;
  const int64_t wanted = is_kept ? round_up(bytes) : caching_ ? apart(bytes) : bytes;
  const auto hand_out = [&] {
    counters_.live += *granted;
    counters_.peak = std::max(counters_.peak, counters_.live);
  };
  {
    const std::lock_guard lock(mutex_);
    ++counters_.requests;
    if (void* const pointer = uncached_memory ? nullptr : take_cached(wanted, stream, granted)) {
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
  if (const auto pool = active_pools_.find(stream.id); pool != active_pools_.end()) {
    pool_blocks_.emplace(pointer, pool->second);
  }
  *granted = wanted;
  counters_.reserved += wanted;
  counters_.peak_reserved = std::max(counters_.peak_reserved, counters_.reserved);
  hand_out();
  return pointer;
}

void CachingAllocator::free(void* pointer, int64_t granted, Stream stream) noexcept {
  if (pointer == nullptr) return;
  {
    const std::lock_guard lock(mutex_);
    counters_.live -= granted;
    const auto pool = pool_blocks_.find(pointer);
    const bool is_pool = pool != pool_blocks_.end();
    if (is_pool || (caching_ && granted % kStep == 0)) {
      try {
        (is_pool ? pool->second->cached_ : cached_[stream.id]).emplace(granted, pointer);
        cached_bytes_ += granted;
        if (is_pool) pool_blocks_.erase(pool);
        return;
      } catch (...) {  // no memory for the bookkeeping: give the block back
      }
      if (is_pool) pool_blocks_.erase(pool);
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
  }
  for (const auto& [stream, pool] : blocks) give_back(pool, Stream{stream});
}

void CachingAllocator::give_back(const std::multimap<int64_t, void*>& blocks, Stream stream) noexcept {
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [size, pointer] : blocks) {
      counters_.reserved -= size;
      cached_bytes_ -= size;
    }
  }
  for (const auto& [size, pointer] : blocks) runtime_.free(pointer, size, stream);
}

MemoryPool::~MemoryPool() {
  {
    const std::lock_guard lock(owner_.mutex_);
    std::erase_if(owner_.pool_blocks_, [this](const auto& block) { return block.second == this; });
  }
  owner_.give_back(cached_, stream_);
}

MemoryPool::Use::Use(MemoryPool& pool) : pool_(pool) {
  const std::lock_guard lock(pool.owner_.mutex_);
  const bool is_first = pool.owner_.active_pools_.emplace(pool.stream_.id, &pool).second;
  MEDFUSION_CHECK(is_first, "memory pool: stream {} has one in use", pool.stream_.id);
}

MemoryPool::Use::~Use() {
  const std::lock_guard lock(pool_.owner_.mutex_);
  pool_.owner_.active_pools_.erase(pool_.stream_.id);
}

MemoryCounters CachingAllocator::counters() const {
  const std::lock_guard lock(mutex_);
  return counters_;
}

void CachingAllocator::reset_peak() {
  const std::lock_guard lock(mutex_);
  counters_.peak = counters_.live;
  counters_.peak_reserved = counters_.reserved;
}

CachingAllocator& allocator(Device device) {
  Runtime& owner = runtime(device);  // throws where the device does not exist
  // Made on first use and not destroyed at exit: tensors in other statics may outlive them.
  static auto* const made =
      new std::array<std::array<std::atomic<CachingAllocator*>, kMaxDevices>, kMaxDeviceTypes>{};
  std::atomic<CachingAllocator*>& slot = (*made)[device.type.number()][static_cast<size_t>(device.index)];
  if (CachingAllocator* const present = slot.load(std::memory_order_acquire)) return *present;
  static std::mutex mutex;
  const std::lock_guard lock(mutex);
  if (slot.load(std::memory_order_relaxed) == nullptr) {
    slot.store(new CachingAllocator(owner), std::memory_order_release);
  }
  return *slot.load(std::memory_order_relaxed);
}

}  // namespace medfusion::core
