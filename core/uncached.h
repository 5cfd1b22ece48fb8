// Memory that the caching allocator does not keep when it is freed (core/allocator.h).
#pragma once

namespace medfusion::core {

inline thread_local bool uncached_memory = false;

// While it lives, what the calling thread allocates is not kept. For tensors of ever other sizes, such as
// images as files hold them: kept, they would add up to a block of almost every size.
class UncachedMemory {
 public:
  UncachedMemory() { uncached_memory = true; }
  ~UncachedMemory() { uncached_memory = before_; }
  UncachedMemory(const UncachedMemory&) = delete;
  UncachedMemory& operator=(const UncachedMemory&) = delete;

 private:
  const bool before_ = uncached_memory;
};

}  // namespace medfusion::core
