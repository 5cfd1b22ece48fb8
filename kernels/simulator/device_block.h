// What the sim runtime keeps per allocation, and what it knows of copies to the host. For kernels/simulator/
// only.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "kernels/simulator/device_memory.h"

namespace medfusion::simulator {

// A vector clock: per stream, how many of its entries are known to have happened.
class SimClock {
 public:
  uint64_t at(uint64_t stream) const {
    const auto found = ticks_.find(stream);
    return found == ticks_.end() ? 0 : found->second;
  }
  void set(uint64_t stream, uint64_t tick) { ticks_[stream] = tick; }
  void join(const SimClock& other) {
    for (const auto& [stream, tick] : other.ticks_) {
      uint64_t& mine = ticks_[stream];
      if (mine < tick) mine = tick;
    }
  }

 private:
  std::map<uint64_t, uint64_t> ticks_;
};

// One entry of a stream that touched an allocation.
struct SimUse {
  std::string what;  // "'copy' on stream 1"
  uint64_t stream = 0;
  uint64_t tick = 0;  // 0: there is none

  bool known_to(const SimClock& clock) const { return clock.at(stream) >= tick; }
};

struct SimBlock final : SimAllocation {
  uint64_t owner = 0;   // the runtime that made it
  char* raw = nullptr;  // the guards and the memory between them
  int64_t raw_bytes = 0;
  // Guarded by the mutex of the owner.
  SimUse write;  // the last; the allocation itself while `fresh`
  bool fresh = true;
  std::vector<SimUse> reads;  // since then, the last of each stream
  SimUse free;                // once one is queued
};

// Null where the host has no memory left. Filled with 0xFF, between guard zones.
std::shared_ptr<SimBlock> make_sim_block(int64_t bytes, uint64_t owner);
std::shared_ptr<SimBlock> find_sim_block(const void* pointer);
// Throws Error naming the allocation and `what` where a guard zone was written.
void check_sim_guards(SimBlock& block, const std::string& what);
// Sets `freed`. The memory is kept poisoned for a while, so that a stale pointer does not meet a new owner.
void retire_sim_block(const std::shared_ptr<SimBlock>& block);
int64_t sim_memory_limit(int index);
// Changes with each set_sim_seed: random orders start again then.
uint64_t sim_seed_version();

// Host memory that a queued copy still needs: the destination of a copy to the host until the host waits for
// its stream, the source of a copy to the device until the stream has run it.
struct SimHostCopy {
  uint64_t owner = 0;
  char* host = nullptr;
  int64_t bytes = 0;
  bool to_host = false;
  SimUse use;
  std::vector<char> staged;  // what the stream has copied to the host, held back until the host waits
  bool arrived = false;
  bool lost = false;  // the host has given the memory away

  bool overlaps(const void* begin, int64_t size) const {
    return static_cast<const char*>(begin) < host + bytes && host < static_cast<const char*>(begin) + size;
  }
};

void add_sim_host_copy(const std::shared_ptr<SimHostCopy>& copy);
// Forgets one whose stream has run it; throws Error where its memory is lost.
void end_sim_host_copy(const std::shared_ptr<SimHostCopy>& copy);
// Those of `owner` in one direction that overlap the range, in the order they were queued.
std::vector<std::shared_ptr<SimHostCopy>> sim_host_copies(uint64_t owner, const void* host, int64_t bytes,
                                                          bool to_host);
// Hands over and forgets the copies to the host that `clock` knows of; throws Error, after all the others,
// where the memory of one is lost.
void deliver_sim_host_copies(uint64_t owner, const SimClock& clock);
// Forgets all of an owner that goes away.
void forget_sim_host_copies(uint64_t owner);

}  // namespace medfusion::simulator
