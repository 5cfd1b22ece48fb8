// A caching allocator per device: freed blocks are kept and reused, with counters that benchmarks report.
// A block belongs to the stream it was allocated for and is reused by that stream only, where order needs no
// wait. Work of another stream that uses it must be waited for before it is freed.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>

#include "core/device.h"
#include "core/runtime.h"

namespace medfusion::core {

// All in bytes, but for the counts of blocks handed out and of those that came from the cache.
struct MemoryCounters {
  int64_t live = 0;           // handed out now
  int64_t peak = 0;           // the most that was handed out at once since reset_peak()
  int64_t reserved = 0;       // held from the device: live and cached
  int64_t peak_reserved = 0;  // the most that was held since reset_peak()
  int64_t requests = 0;
  int64_t cache_hits = 0;
};

class MemoryPool;

class CachingAllocator {
 public:
  // With a runtime of exact allocations nothing is rounded or kept, unless `always_cache`.
  explicit CachingAllocator(Runtime& owner, bool always_cache = false)
      : runtime_(owner), caching_(always_cache || !owner.exact_allocations()) {}
  ~CachingAllocator();
  CachingAllocator(const CachingAllocator&) = delete;
  CachingAllocator& operator=(const CachingAllocator&) = delete;

  // At least `bytes`, aligned to 64, for `stream`. bytes = 0 gives nullptr. Sets *granted to the size to pass
  // to free(). Where the device has no memory left, cached blocks go back to it before OutOfMemory is thrown.
  void* allocate(int64_t bytes, Stream stream, int64_t* granted);
  // `stream` is the one of allocate().
  void free(void* pointer, int64_t granted, Stream stream) noexcept;

  // Gives cached blocks back to the device, each in the order of its stream.
  void release_cached() noexcept;
  MemoryCounters counters() const;
  void reset_peak();

 private:
  friend class MemoryPool;

  void* take_cached(int64_t wanted, Stream stream, int64_t* granted);
  void give_back(const std::multimap<int64_t, void*>& blocks, Stream stream) noexcept;

  Runtime& runtime_;
  const bool caching_;
  mutable std::mutex mutex_;                                  // never held while the runtime is called
  std::map<uint64_t, std::multimap<int64_t, void*>> cached_;  // stream -> size -> block
  std::map<uint64_t, MemoryPool*> active_pools_;              // by stream
  std::map<void*, MemoryPool*> pool_blocks_;                  // blocks handed out by a pool
  int64_t cached_bytes_ = 0;
  MemoryCounters counters_;
};

// Memory for one captured graph, which nothing else may use between its replays. While a Use lives, what is
// allocated for the pool's stream comes from the pool and goes back to it when freed, with exact allocations
// too. A capture cannot allocate: run the same work once before it in a Use, free the results, then capture
// in another. Destroy the graph first and the pool after it; blocks that are still in use then go back when
// freed.
class MemoryPool {
 public:
  MemoryPool(CachingAllocator& owner, Stream stream) : owner_(owner), stream_(stream) {}
  ~MemoryPool();
  MemoryPool(const MemoryPool&) = delete;
  MemoryPool& operator=(const MemoryPool&) = delete;

  class Use {
   public:
    explicit Use(MemoryPool& pool);  // throws Error where the stream has one in use
    ~Use();
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;

   private:
    MemoryPool& pool_;
  };

 private:
  friend class CachingAllocator;

  CachingAllocator& owner_;
  const Stream stream_;
  std::multimap<int64_t, void*> cached_;  // size -> block; guarded by the mutex of the owner
};

// The allocator of a device.
CachingAllocator& allocator(Device device = {});

}  // namespace medfusion::core
