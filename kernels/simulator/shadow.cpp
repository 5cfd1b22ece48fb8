#include "kernels/simulator/shadow.h"

#include <fmt/core.h>

namespace medfusion::simulator {

void Shadow::start(int64_t bytes, uint32_t first_epoch) {
  if (static_cast<int64_t>(bytes_.size()) < bytes) bytes_.resize(static_cast<size_t>(bytes));
  first_epoch_ = first_epoch;
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

}  // namespace medfusion::simulator
