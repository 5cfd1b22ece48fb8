// What is known of every byte of a block's shared memory: who wrote it, who read it, and when.
#pragma once

#include <array>
#include <cstdint>
#include <source_location>
#include <string>
#include <vector>

namespace medfusion::simulator {

constexpr int kWarpSize = 32;
constexpr int kMaxWarps = 32;

// The place of a thread in the order that barriers make. Two accesses are ordered when a block-wide barrier
// lies between them (epoch), or when a chain of warp collectives, named barriers and mbarriers leads from one
// to the other: known[w] counts the synchronizations of warp w that the thread has learned of.
struct Clock {
  uint32_t epoch = 0;
  std::array<uint32_t, kMaxWarps> known{};
};

class Shadow {
 public:
  // Starts a block with `bytes` of shared memory, none of it written; epochs from `first_epoch` on are its
  // own.
  void start(int64_t bytes, uint32_t first_epoch);

  // Each returns what is wrong with the access, empty where nothing is.
  std::string read(int64_t offset, int64_t bytes, int thread, const Clock& clock, std::source_location site);
  std::string write(int64_t offset, int64_t bytes, int thread, const Clock& clock, std::source_location site);
  // The target of an asynchronous copy, from its start to the wait that makes it visible to its thread.
  std::string begin_copy(int64_t offset, int64_t bytes, int thread, const Clock& clock,
                         std::source_location site);
  void end_copy(int64_t offset, int64_t bytes, int thread, const Clock& clock, std::source_location site);

 private:
  struct Access {
    uint32_t epoch = 0;  // 0: never
    uint32_t clock = 0;  // of the thread's own warp
    int16_t thread = -1;
    uint32_t line = 0;
  };
  struct Byte {
    Access write;
    Access read;   // the latest
    Access other;  // the latest of another thread than `read`
    bool in_flight = false;
  };
  bool before(const Access& access, int thread, const Clock& clock) const;
  bool in_block(const Access& access) const { return access.epoch >= first_epoch_; }

  std::vector<Byte> bytes_;
  uint32_t first_epoch_ = 1;
};

}  // namespace medfusion::simulator
