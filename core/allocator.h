// A caching allocator per device: freed blocks are kept and reused, with counters that benchmarks report.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>

#include "core/device.h"
#include "core/runtime.h"

namespace medfusion::core {

// All in bytes, but for the counts of blocks handed out and of those that came from the cache.
struct MemoryCounters {
  int64_t live = 0;      // handed out now
  int64_t peak = 0;      // the most that was handed out at once since reset_peak()
  int64_t reserved = 0;  // held from the device: live and cached
  int64_t requests = 0;
  int64_t cache_hits = 0;
};

class CachingAllocator {
 public:
  explicit CachingAllocator(Runtime& owner) : runtime_(owner) {}
  ~CachingAllocator();
  CachingAllocator(const CachingAllocator&) = delete;
  CachingAllocator& operator=(const CachingAllocator&) = delete;

  // At least `bytes`, aligned to 64. bytes = 0 gives nullptr. Sets *granted to the size to pass to free().
  void* allocate(int64_t bytes, int64_t* granted);
  void free(void* pointer, int64_t granted) noexcept;

  // Gives cached blocks back to the device.
  void release_cached();
  MemoryCounters counters() const;
  void reset_peak();

 private:
  Runtime& runtime_;
  mutable std::mutex mutex_;
  std::multimap<int64_t, void*> cached_;  // size -> block
  MemoryCounters counters_;
};

// The allocator of a device.
CachingAllocator& allocator(Device device = {});

}  // namespace medfusion::core
