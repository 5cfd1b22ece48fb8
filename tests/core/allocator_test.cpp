#include "core/allocator.h"

#include <gtest/gtest.h>

#include <memory>

#include "core/uncached.h"

namespace medfusion::core {
namespace {

TEST(CachingAllocator, KeepsWhatIsFreedButUncachedMemory) {
  const std::unique_ptr<Runtime> cpu = make_cpu_runtime();
  CachingAllocator cache(*cpu);
  const auto use = [&](int64_t bytes) {
    int64_t granted = 0;
    void* const pointer = cache.allocate(bytes, {}, &granted);
    EXPECT_GE(granted, bytes);
    EXPECT_EQ(cache.counters().live, granted);
    cache.free(pointer, granted, {});
    EXPECT_EQ(cache.counters().live, 0);
  };
  use(1000);
  EXPECT_EQ(cache.counters().reserved, 1024);
  {
    const UncachedMemory uncached;
    for (const int64_t bytes : {1, 1000, 1024, 2000, 1 << 20, 5 << 20}) use(bytes);
    const UncachedMemory nested;
  }
  EXPECT_EQ(cache.counters().reserved, 1024);  // nothing more
  EXPECT_EQ(cache.counters().cache_hits, 0);
  use(1000);
  EXPECT_EQ(cache.counters().cache_hits, 1);
  use(2000);
  EXPECT_EQ(cache.counters().reserved, 1024 + 2048);
}

// Whatever the guard says when it is freed.
TEST(CachingAllocator, FreesABlockAsItWasAllocated) {
  const std::unique_ptr<Runtime> cpu = make_cpu_runtime();
  CachingAllocator cache(*cpu);
  int64_t kept = 0, other = 0;
  void* const a = cache.allocate(4096, {}, &kept);
  void* b = nullptr;
  {
    const UncachedMemory uncached;
    b = cache.allocate(4096, {}, &other);
    cache.free(a, kept, {});
  }
  cache.free(b, other, {});
  EXPECT_EQ(cache.counters().reserved, 4096);
}

}  // namespace
}  // namespace medfusion::core
