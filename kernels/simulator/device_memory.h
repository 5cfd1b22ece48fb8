// What the simulated device knows of its memory: kernels check every access against it.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

namespace medfusion::simulator {

// One allocation of the `sim` device. Lives as long as queued work refers to it, also after its free.
struct SimAllocation {
  char* begin = nullptr;
  int64_t bytes = 0;
  uint64_t id = 0;     // in order of allocation, from 1
  bool freed = false;  // the free has been run in stream order; `begin` must not be touched any more
};

// The live or stream-freed allocation that holds `pointer` (one past the end counts too, where no other
// begins there); null where it is none of the sim device's.
std::shared_ptr<const SimAllocation> find_sim_allocation(const void* pointer);

// Seed of every random order of the simulator: MEDFUSION_SIM_SEED where set, otherwise 1, or what was set
// last.
uint64_t sim_seed();
void set_sim_seed(uint64_t seed);

// True while the calling thread runs queued work of the sim device.
bool in_sim_work();

// The dynamic shared memory that a block of the simulated device may ask for: that of compute capability 9.0,
// 227 KiB, unless set. For tests of variants that do not fit every card.
inline constexpr int64_t kSimShared = int64_t{227} * 1024;
inline std::atomic<int64_t> sim_shared_bytes{kSimShared};
inline int64_t sim_shared_limit() { return sim_shared_bytes.load(std::memory_order_relaxed); }
inline void set_sim_shared_limit(int64_t bytes) { sim_shared_bytes.store(bytes, std::memory_order_relaxed); }

// The most that one simulated device may hold, in bytes; 0: what the host has. For tests of running out.
void set_sim_memory_limit(int index, int64_t bytes);

}  // namespace medfusion::simulator
