#include "kernels/simulator/shadow.h"

#include <fmt/core.h>

#include <bit>

namespace medfusion::simulator {

void Shadow::start(int64_t bytes, int warps, uint32_t first_epoch) {
  if (static_cast<int64_t>(bytes_.size()) < bytes) bytes_.resize(static_cast<size_t>(bytes));
  // What lies there of other blocks has epochs of theirs.
  warps_ = static_cast<size_t>(warps);
  if (reads_.size() < static_cast<size_t>(bytes) * warps_) reads_.resize(static_cast<size_t>(bytes) * warps_);
  first_epoch_ = first_epoch;
  fences_.fill(0);
}

// Whether the access, of this block, happened before what `thread` does now.
bool Shadow::before(const Access& access, int thread, const Clock& clock) const {
  if (access.thread == thread || access.epoch < clock.epoch) return true;
  return clock.known[static_cast<size_t>(access.thread / kWarpSize)] > access.clock;
}

std::string Shadow::check_read(const Byte& byte, int thread, const Clock& clock) const {
  if (byte.in_flight && in_block(byte.write)) {
    return fmt::format("read of shared memory that an asynchronous copy of thread {} (line {}) still fills",
                       byte.write.thread, byte.write.line);
  }
  if (!in_block(byte.write)) return "read of shared memory never written";
  if (before(byte.write, thread, clock)) return {};
  if (is_copy(byte.write)) {
    return fmt::format(
        "race: read of shared memory that the bulk copy of line {} writes, without a wait on its "
        "mbarrier",
        byte.write.line);
  }
  return fmt::format(
      "race: read of shared memory that thread {} writes at line {}, without a barrier between",
      byte.write.thread, byte.write.line);
}

void Shadow::note_read(int64_t offset, int thread, const Reads& latest) {
  bytes_[static_cast<size_t>(offset)].read_epoch = latest.epoch;
  Reads& reads = reads_[static_cast<size_t>(offset) * warps_ + static_cast<size_t>(thread / kWarpSize)];
  uint32_t lanes = latest.lanes;
  if (reads.epoch == latest.epoch) {
    if (reads.clock > latest.clock) return;  // a lane that has arrived for others is ahead of this one
    if (reads.clock == latest.clock) lanes |= reads.lanes;
  }
  reads = {latest.epoch, latest.clock, lanes, latest.line};
}

Shadow::Access Shadow::unordered_read(int64_t offset, int thread, const Clock& clock) const {
  // A block-wide barrier lies between this and all reads of earlier epochs.
  if (bytes_[static_cast<size_t>(offset)].read_epoch != clock.epoch) return {};
  for (size_t warp = 0; warp < warps_; ++warp) {
    const Reads& reads = reads_[static_cast<size_t>(offset) * warps_ + warp];
    if (reads.epoch != clock.epoch || clock.known[warp] > reads.clock) continue;
    uint32_t lanes = reads.lanes;
    if (static_cast<int>(warp) == thread / kWarpSize) {
      lanes &= ~(1U << (thread % kWarpSize));
      if (lanes == 0) continue;
    }
    const int lane = lanes == 0 ? 0 : std::countr_zero(lanes);
    return {reads.epoch, reads.clock, static_cast<int16_t>(static_cast<int>(warp) * kWarpSize + lane),
            reads.line};
  }
  return {};
}

std::string Shadow::read(int64_t offset, int64_t bytes, int thread, const Clock& clock,
                         std::source_location site) {
  const Reads now{clock.epoch, clock.known[static_cast<size_t>(thread / kWarpSize)],
                  1U << (thread % kWarpSize), site.line()};
  for (int64_t i = offset; i < offset + bytes; ++i) {
    std::string wrong = check_read(bytes_[static_cast<size_t>(i)], thread, clock);
    if (!wrong.empty()) return wrong;
    note_read(i, thread, now);
  }
  return {};
}

std::string Shadow::write(int64_t offset, int64_t bytes, int thread, const Clock& clock,
                          std::source_location site) {
  const Access now{clock.epoch, clock.known[static_cast<size_t>(thread / kWarpSize)],
                   static_cast<int16_t>(thread), site.line()};
  for (int64_t i = offset; i < offset + bytes; ++i) {
    Byte& byte = bytes_[static_cast<size_t>(i)];
    if (byte.readers != 0) {
      return fmt::format("write to shared memory that a wgmma of thread {} (line {}) still reads",
                         byte.async_thread, byte.async_line);
    }
    if (in_block(byte.write)) {
      if (byte.in_flight) {
        return fmt::format(
            "write to shared memory that an asynchronous copy of thread {} (line {}) still fills",
            byte.write.thread, byte.write.line);
      }
      if (!before(byte.write, thread, clock)) {
        return fmt::format(
            "race: write to shared memory that thread {} writes at line {}, without a barrier between",
            byte.write.thread, byte.write.line);
      }
    }
    const Access reader = unordered_read(i, thread, clock);
    if (reader.epoch != 0) {
      return fmt::format(
          "race: write to shared memory that thread {} reads at line {}, without a barrier between",
          reader.thread, reader.line);
    }
    byte.write = now;
    byte.in_flight = false;
    byte.fences = proxy_fences(thread);
  }
  return {};
}

std::string Shadow::begin_copy(int64_t offset, int64_t bytes, int thread, const Clock& clock,
                               std::source_location site) {
  std::string fault = write(offset, bytes, thread, clock, site);
  if (!fault.empty()) return fault;
  for (int64_t i = offset; i < offset + bytes; ++i) bytes_[static_cast<size_t>(i)].in_flight = true;
  return {};
}

void Shadow::end_copy(int64_t offset, int64_t bytes, int thread, const Clock& clock,
                      std::source_location site) {
  for (int64_t i = offset; i < offset + bytes; ++i) bytes_[static_cast<size_t>(i)].in_flight = false;
  write(offset, bytes, thread, clock, site);
}

void Shadow::arrive(int64_t offset, int64_t bytes, int warp, uint32_t epoch, uint32_t clock,
                    std::source_location site) {
  const Access now{epoch, clock, static_cast<int16_t>(warp * kWarpSize), site.line()};
  for (int64_t i = offset; i < offset + bytes; ++i) {
    bytes_[static_cast<size_t>(i)].write = now;
    bytes_[static_cast<size_t>(i)].in_flight = false;
  }
}

std::string Shadow::begin_read(int64_t offset, int64_t bytes, int thread, const Clock& clock,
                               std::source_location site) {
  for (int64_t i = offset; i < offset + bytes; ++i) {
    Byte& byte = bytes_[static_cast<size_t>(i)];
    std::string wrong = check_read(byte, thread, clock);
    if (!wrong.empty()) return wrong;
    if (!is_copy(byte.write) && proxy_fences(byte.write.thread) <= byte.fences) {
      return fmt::format(
          "asynchronous read of shared memory that thread {} writes at line {}, without a fence.proxy.async "
          "of it between",
          byte.write.thread, byte.write.line);
    }
    byte.async_thread = static_cast<int16_t>(thread);
    byte.async_line = site.line();
    ++byte.readers;
  }
  return {};
}

void Shadow::end_read(int64_t offset, int64_t bytes, int thread, uint32_t epoch, uint32_t clock,
                      std::source_location site) {
  for (int64_t i = offset; i < offset + bytes; ++i) {
    --bytes_[static_cast<size_t>(i)].readers;
    note_read(i, thread, {epoch, clock, 0, site.line()});
  }
}

void Shadow::forget_reads() {
  for (Byte& byte : bytes_) byte.readers = 0;
}

}  // namespace medfusion::simulator
