// mbarriers and bulk copies of a block.
#include "kernels/simulator/mbarrier.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>

#include "kernels/simulator/async.h"
#include "kernels/simulator/block.h"

namespace medfusion::simulator {
namespace {

constexpr int64_t kMostBytes = (int64_t{1} << 20) - 1;  // that a phase can expect, and arrivals of one

bool inside(int64_t offset, int64_t bytes, int64_t all) { return offset >= 0 && offset + bytes <= all; }

}  // namespace

Async& Block::async() {
  if (async_ == nullptr) {
    async_ = std::make_unique<Async>();
    async_->threads.resize(static_cast<size_t>(count_));
    async_->warpgroups.resize(static_cast<size_t>((count_ + kWarpgroup - 1) / kWarpgroup));
  }
  return *async_;
}

void Block::forget_async() { async_.reset(); }

void Block::mbarrier_init(void* at, int count, Site site) {
  const int64_t offset = static_cast<char*>(at) - shared();
  if (!inside(offset, 8, shared_bytes_) || offset % 8 != 0 || count < 1 || count > kMostBytes) {
    fault(site,
          fmt::format(
              "mbarrier at byte {} of shared memory for {} arrivals: expected 8 aligned bytes of its {} "
              "and 1 to {} arrivals",
              offset, count, shared_bytes_, kMostBytes));
  }
  if (async().mbarriers.contains(offset)) {
    fault(site, fmt::format("the mbarrier at byte {} of shared memory is initialized already", offset));
  }
  shared_write(at, 8, site);
  MBarrier& barrier = async().mbarriers[offset];
  barrier.expected = barrier.pending = count;
  barrier.thread = current_;
  barrier.fences = shadow_.proxy_fences(current_);
  barrier.site = site;
}

// What was initialized must be known to those who use it.
MBarrier& Block::mbarrier_at(void* at, Site site) {
  const int64_t offset = static_cast<char*>(at) - shared();
  const auto found = async().mbarriers.find(offset);
  if (found == async().mbarriers.end())
    fault(site, fmt::format("no mbarrier was initialized at byte {} of shared memory", offset));
  shared_read(at, 8, site);
  return found->second;
}

void Block::mbarrier_arrive(void* at, int64_t expected_bytes, Site site) {
  MBarrier& barrier = mbarrier_at(at, site);
  if (barrier.pending == 0) {
    fault(site, fmt::format("arrives at an mbarrier (line {}) in whose phase all {} have arrived",
                            barrier.site.line(), barrier.expected));
  }
  barrier.bytes += expected_bytes;
  if (expected_bytes < 0 || barrier.bytes > kMostBytes) {
    fault(site, fmt::format("an mbarrier that expects {} bytes: at most {} are possible", barrier.bytes,
                            kMostBytes));
  }
  release_clock(barrier.arrived);
  --barrier.pending;
  end_phase_if_complete(static_cast<char*>(at) - shared(), barrier);
}

void Block::end_phase_if_complete(int64_t offset, MBarrier& barrier) {
  if (barrier.pending != 0 || barrier.bytes != 0) return;
  ++barrier.phase;
  barrier.pending = barrier.expected;
  barrier.released = barrier.arrived;
  if (barrier.waiting == 0) return;
  barrier.waiting = 0;
  for (int i = 0; i < count_; ++i) {
    const bool here = async_->threads[static_cast<size_t>(i)].mbarrier == offset;
    if (threads_[static_cast<size_t>(i)]->state == State::at_mbarrier && here) wake(i);
  }
}

void Block::mbarrier_wait(void* at, unsigned parity, Site site) {
  MBarrier& barrier = mbarrier_at(at, site);
  if (parity > 1) fault(site, fmt::format("a phase of an mbarrier has parity 0 or 1, not {}", parity));
  Async::Thread& thread = async().threads[static_cast<size_t>(current_)];
  while (static_cast<unsigned>(barrier.phase & 1) == parity) {
    ++barrier.waiting;
    thread.mbarrier = static_cast<char*>(at) - shared();
    thread.parity = parity;
    wait(State::at_mbarrier, site);
  }
  Known& known = self().clock.known;
  for (size_t w = 0; w < known.size(); ++w) known[w] = std::max(known[w], barrier.released[w]);
}

void Block::bulk_copy(void* to, void* at, const TensorMap& map, const std::array<int64_t, 3>& place,
                      Site site) {
  MBarrier& barrier = mbarrier_at(at, site);
  if (shadow_.proxy_fences(barrier.thread) <= barrier.fences) {
    fault(site, fmt::format("bulk copy to an mbarrier (line {}) whose initialization is not followed by a "
                            "fence.proxy.async",
                            barrier.site.line()));
  }
  const int64_t offset = static_cast<char*>(to) - shared(), bytes = map.box_bytes();
  if (!inside(offset, bytes, shared_bytes_) || offset % kSwizzleLine != 0) {
    fault(site,
          fmt::format("bulk copy of {} bytes to byte {} of shared memory: expected multiples of {} in its "
                      "{} bytes",
                      bytes, offset, kSwizzleLine, shared_bytes_));
  }
  const std::string wrong = shadow_.begin_copy(offset, bytes, current_, self().clock, site);
  if (!wrong.empty()) fault(site, wrong);
  barrier.copies.push_back({map, place, offset, current_, site});
}

bool Block::settle_copies() {
  while (async_ != nullptr && ready_.empty() && !stopping_) {
    std::vector<int64_t> open;
    for (const auto& [offset, barrier] : async_->mbarriers) {
      if (!barrier.copies.empty() && barrier.waiting > 0) open.push_back(offset);
    }
    if (open.empty()) return false;
    const int64_t offset = open[random() % open.size()];
    bring_bytes(offset, async_->mbarriers[offset]);
  }
  return !ready_.empty();
}

// Every row of the box, zeros where the tensor has none; all of it counts.
void Block::bring_bytes(int64_t offset, MBarrier& barrier) {
  Async& state = async();
  if (barrier.copy_warp < 0) barrier.copy_warp = state.copy_warps++ % kCopyWarps;
  uint32_t& clock = state.copy_clocks[static_cast<size_t>(barrier.copy_warp)];
  const std::vector<BulkCopy> copies = std::exchange(barrier.copies, {});
  for (const BulkCopy& copy : copies) {
    const TensorMap& map = copy.map;
    int64_t line = copy.to;
    for (int64_t k = 0; k < map.box[2]; ++k) {
      for (int64_t j = 0; j < map.box[1]; ++j, line += kSwizzleLine) {
        for (int64_t i = 0; i < map.box[0]; ++i) {
          const std::array<int64_t, kTensorRank> at{copy.place[0] + i, copy.place[1] + j, copy.place[2] + k};
          core::BFloat16 value(0.0F);
          if (map.holds(at) && !map.read(at, value)) {
            return fail(copy.thread, copy.site, "bulk copy of memory outside of the allocation, or freed");
          }
          std::memcpy(shared() + swizzled_128(line + 2 * i), &value, 2);
        }
      }
    }
    shadow_.arrive(copy.to, map.box_bytes(), kMaxWarps + barrier.copy_warp, epoch_, clock, copy.site);
    barrier.bytes -= map.box_bytes();
  }
  ++clock;
  barrier.arrived[static_cast<size_t>(kMaxWarps + barrier.copy_warp)] = clock;
  if (barrier.pending == 0 && barrier.bytes < 0) {
    return fail(
        copies.back().thread, copies.back().site,
        fmt::format("expect_tx mismatch: copies bring {} bytes more than the mbarrier (line {}) expects",
                    -barrier.bytes, barrier.site.line()));
  }
  end_phase_if_complete(offset, barrier);
}

bool Block::has_lost_bytes(int thread) const {
  const MBarrier& barrier = async_->mbarriers.at(async_->threads[static_cast<size_t>(thread)].mbarrier);
  return barrier.pending == 0 && barrier.bytes != 0;
}

std::string Block::stuck_at_mbarrier(int thread) const {
  const Async::Thread& state = async_->threads[static_cast<size_t>(thread)];
  const MBarrier& barrier = async_->mbarriers.at(state.mbarrier);
  return fmt::format(
      "deadlock: this thread waits for phase {} of the mbarrier at byte {} of shared memory (initialized in "
      "line "
      "{}); {} of {} arrivals are missing{}",
      barrier.phase, state.mbarrier, barrier.site.line(), barrier.pending, barrier.expected,
      barrier.bytes == 0 ? ""
                         : fmt::format(", and expect_tx mismatch: {} bytes are expected that no copy brings",
                                       barrier.bytes));
}

}  // namespace medfusion::simulator
