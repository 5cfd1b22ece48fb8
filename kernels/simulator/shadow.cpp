#include "kernels/simulator/shadow.h"

#include <fmt/core.h>

namespace medfusion::simulator {

void Shadow::start(int64_t bytes, uint32_t first_epoch) {
  if (static_cast<int64_t>(bytes_.size()) < bytes) bytes_.resize(static_cast<size_t>(bytes));
  first_epoch_ = first_epoch;
  fences_.fill(0);
}

// Whether the access, of this block, happened before what `thread` does now.
bool Shadow::before(const Access& access, int thread, const Clock& clock) const {
  if (access.thread == thread || access.epoch < clock.epoch) return true;
  return clock.known[static_cast<size_t>(access.thread / kWarpSize)] > access.clock;
}

std::string Shadow::read(int64_t offset, int64_t bytes, int thread, const Clock& clock,
                         std::source_location site) {
  for (int64_t i = offset; i < offset + bytes; ++i) {
    Byte& byte = bytes_[static_cast<size_t>(i)];
    if (byte.in_flight && in_block(byte.write)) {
      return fmt::format("read of shared memory that an asynchronous copy of thread {} (line {}) still fills",
                         byte.write.thread, byte.write.line);
    }
    if (!in_block(byte.write)) return "read of shared memory never written";
    if (!before(byte.write, thread, clock)) {
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
    const Access now{clock.epoch, clock.known[static_cast<size_t>(thread / kWarpSize)],
                     static_cast<int16_t>(thread), site.line()};
    if (byte.read.thread != thread) byte.other = byte.read;
    byte.read = now;
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
                         byte.read.thread, byte.read.line);
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
    for (const Access& access : {byte.read, byte.other}) {
      if (in_block(access) && !before(access, thread, clock)) {
        return fmt::format(
            "race: write to shared memory that thread {} reads at line {}, without a barrier between",
            access.thread, access.line);
      }
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
  std::string fault = read(offset, bytes, thread, clock, site);
  if (!fault.empty()) return fault;
  for (int64_t i = offset; i < offset + bytes; ++i) {
    Byte& byte = bytes_[static_cast<size_t>(i)];
    if (!is_copy(byte.write) && proxy_fences(byte.write.thread) <= byte.fences) {
      return fmt::format(
          "asynchronous read of shared memory that thread {} writes at line {}, without a fence.proxy.async "
          "of it between",
          byte.write.thread, byte.write.line);
    }
    ++byte.readers;
  }
  return {};
}

void Shadow::end_read(int64_t offset, int64_t bytes, int thread, const Clock& clock,
                      std::source_location site) {
  for (int64_t i = offset; i < offset + bytes; ++i) --bytes_[static_cast<size_t>(i)].readers;
  read(offset, bytes, thread, clock, site);
}

void Shadow::forget_reads() {
  for (Byte& byte : bytes_) byte.readers = 0;
}

}  // namespace medfusion::simulator
