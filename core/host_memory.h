// Host memory that queued copies of a device still need. A device that finds its misuse (the simulated one)
// counts such copies here and installs what is asked then.
#pragma once

#include <atomic>
#include <cstdint>

namespace medfusion::core {

// Copies to the host whose destination the host may not touch yet, and copies of either kind that still need
// their host memory.
inline std::atomic<int64_t> host_copies_pending{0};
inline std::atomic<int64_t> host_memory_uses{0};

struct HostMemoryChecks {
  void (*access)(const void* pointer, int64_t bytes) = nullptr;
  void (*free)(const void* pointer, int64_t bytes) noexcept = nullptr;
};
// Set before the first copy is counted.
inline HostMemoryChecks host_memory_checks;

// Checks that no copy to the host still under way will write [pointer, pointer + bytes); throws Error, naming
// the copy, otherwise. Cheap while no such copy is queued. Tensors call it before the host reads them.
inline void check_host_access(const void* pointer, int64_t bytes) {
  if (host_copies_pending.load(std::memory_order_acquire) != 0) [[unlikely]] {
    host_memory_checks.access(pointer, bytes);
  }
}

// Says that the host gives memory away. A queued copy that needs it leaves it alone, and fails with an Error
// at the synchronize that would have ended it.
inline void note_host_free(const void* pointer, int64_t bytes) noexcept {
  if (host_memory_uses.load(std::memory_order_relaxed) != 0) [[unlikely]] {
    host_memory_checks.free(pointer, bytes);
  }
}

}  // namespace medfusion::core
