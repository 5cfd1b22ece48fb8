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
// Bulk copies are nobody's accesses: those that report to one mbarrier count as a warp of their own, of these
// many behind the real ones.
constexpr int kCopyWarps = 16;
using Known = std::array<uint32_t, kMaxWarps + kCopyWarps>;

// The place of a thread in the order that barriers make. Two accesses are ordered when a block-wide barrier
// lies between them (epoch), or when a chain of __syncwarps, named barriers and mbarriers leads from one to
// the other: known[w] counts the synchronizations of warp w that the thread has learned of.
struct Clock {
  uint32_t epoch = 0;
  Known known{};
};

class Shadow {
 public:
  // Starts a block of `warps` with `bytes` of shared memory, none of it written; epochs from `first_epoch` on
  // are its own.
  void start(int64_t bytes, int warps, uint32_t first_epoch);

  // Each returns what is wrong with the access, empty where nothing is.
  std::string read(int64_t offset, int64_t bytes, int thread, const Clock& clock, std::source_location site);
  std::string write(int64_t offset, int64_t bytes, int thread, const Clock& clock, std::source_location site);
  // The target of an asynchronous copy, from its start to the wait that makes it visible to its thread.
  std::string begin_copy(int64_t offset, int64_t bytes, int thread, const Clock& clock,
                         std::source_location site);
  void end_copy(int64_t offset, int64_t bytes, int thread, const Clock& clock, std::source_location site);
  // Bytes of a bulk copy are there: `clock` is that of its warp, a copy warp.
  void arrive(int64_t offset, int64_t bytes, int warp, uint32_t epoch, uint32_t clock,
              std::source_location site);
  // An asynchronous read (of a wgmma), by a warp: until its end nobody may write. Goes through the async
  // proxy, so that what threads wrote must have been fenced by them. Its end is the wait, which all lanes of
  // the warp make: they may write then, other warps must learn of what comes after `clock`, the warp's.
  std::string begin_read(int64_t offset, int64_t bytes, int thread, const Clock& clock,
                         std::source_location site);
  void end_read(int64_t offset, int64_t bytes, int thread, uint32_t epoch, uint32_t clock,
                std::source_location site);
  // fence.proxy.async of a thread, and how many it has made.
  void proxy_fence(int thread) { ++fences_[static_cast<size_t>(thread)]; }
  uint16_t proxy_fences(int thread) const { return fences_[static_cast<size_t>(thread)]; }
  // After a block that ended in the middle of reads.
  void forget_reads();

 private:
  struct Access {
    uint32_t epoch = 0;  // 0: never
    uint32_t clock = 0;  // of the thread's own warp
    int16_t thread = -1;
    uint32_t line = 0;
  };
  struct Byte {
    Access write;
    uint32_t read_epoch = 0;  // of the latest read, 0: never
    uint32_t async_line = 0;  // of the latest asynchronous read
    int16_t async_thread = -1;
    bool in_flight = false;
    uint8_t readers = 0;  // asynchronous ones
    uint16_t fences = 0;  // of the writing thread before the write
  };
  // The reads of a byte by one warp since its latest synchronization. Those before it need not be kept: who
  // knows of a later read of the warp knows of them.
  struct Reads {
    uint32_t epoch = 0, clock = 0;
    uint32_t lanes = 0;  // none: of an asynchronous read, which is nobody's in the warp itself
    uint32_t line = 0;   // of the latest
  };
  static bool is_copy(const Access& access) { return access.thread >= kMaxWarps * kWarpSize; }
  bool before(const Access& access, int thread, const Clock& clock) const;
  bool in_block(const Access& access) const { return access.epoch >= first_epoch_; }
  std::string check_read(const Byte& byte, int thread, const Clock& clock) const;
  void note_read(int64_t offset, int thread, const Reads& latest);
  // A read that is not known to `thread`; epoch 0 where there is none.
  Access unordered_read(int64_t offset, int thread, const Clock& clock) const;

  std::vector<Byte> bytes_;
  std::vector<Reads> reads_;  // of byte i by warp w: [i * warps_ + w]
  size_t warps_ = 0;
  std::array<uint16_t, kMaxWarps * kWarpSize> fences_{};
  uint32_t first_epoch_ = 1;
};

}  // namespace medfusion::simulator
