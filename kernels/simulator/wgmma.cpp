// Asynchronous products of a warpgroup: what the matrix descriptors of wgmma.mma_async say, and when results
// appear. Written from the PTX ISA (asynchronous warpgroup-level matrix instructions), not from the kernels.
#include "kernels/simulator/wgmma.h"

#include <fmt/core.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "core/dtype.h"
#include "kernels/simulator/async.h"
#include "kernels/simulator/block.h"

namespace medfusion::simulator {
namespace {

constexpr int kRows = 64, kDepth = 16, kPiece = 16;
// A signaling NaN: arithmetic with it gives another NaN, so that a write of its result is seen.
constexpr uint32_t kPoison = 0x7fa0dead;

// Descriptor fields, in bytes: (x & 0x3ffff) >> 4 in 14 bits each.
int64_t field(uint64_t descriptor, int shift) {
  return static_cast<int64_t>(descriptor >> shift & 0x3fff) << 4;
}
int64_t start_of(uint64_t descriptor) { return field(descriptor, 0); }
int64_t leading_of(uint64_t descriptor) { return field(descriptor, 16); }
int64_t stride_of(uint64_t descriptor) { return field(descriptor, 32); }
int64_t base_of(uint64_t descriptor) { return static_cast<int64_t>(descriptor >> 49 & 7); }
int swizzle_of(uint64_t descriptor) { return static_cast<int>(descriptor >> 62); }

// The byte of shared memory where element (mn, k) of an operand begins, under the 128-byte swizzle. A pattern
// is eight lines of 128 bytes.
//   K-major: a line is a row (mn), of which the depth takes 32 bytes; `stride` leads to the next eight rows.
//   MN-major: a line is a k, with 64 elements along mn; `leading` leads to the next 64, `stride` to the next
//   eight k.
int64_t byte_of(uint64_t descriptor, bool mn_major, int mn, int k) {
  const int64_t linear = mn_major
                             ? start_of(descriptor) + mn / 64 * leading_of(descriptor) + mn % 64 * 2 +
                                   k / 8 * stride_of(descriptor) + k % 8 * 128
                             : start_of(descriptor) + mn / 8 * stride_of(descriptor) + mn % 8 * 128 + k * 2;
  return linear ^ (linear >> 7 & 7) << 4;
}

std::string wrong_descriptor(const char* factor, uint64_t descriptor) {
  const int64_t pattern = start_of(descriptor) >> 7 & 7;
  if (swizzle_of(descriptor) != 1) {
    return fmt::format("the descriptor of the {} factor asks for swizzle mode {}: 1 (128 bytes) is simulated",
                       factor, swizzle_of(descriptor));
  }
  if (pattern != base_of(descriptor)) {
    return fmt::format(
        "the descriptor of the {} factor is misaligned: the pattern of 128-byte swizzling that byte {} lies "
        "in "
        "begins {} lines after a multiple of 1024 bytes, its base offset says {}",
        factor, start_of(descriptor), pattern, base_of(descriptor));
  }
  if (pattern != 0) return fmt::format("a base offset ({}) is not simulated", pattern);
  return {};
}

void add_pieces(uint64_t descriptor, bool mn_major, int mn, std::vector<int64_t>& pieces) {
  constexpr int kElements = kPiece / 2;
  for (int i = 0; i < mn; i += mn_major ? kElements : 1) {
    for (int k = 0; k < kDepth; k += mn_major ? 1 : kElements)
      pieces.push_back(byte_of(descriptor, mn_major, i, k));
  }
}

float bf16_at(const char* shared, int64_t byte) {
  uint16_t bits = 0;
  std::memcpy(&bits, shared + byte, 2);
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}

// Element (row, k) of the left factor in registers: thread 32 w + 4 g + t has, in words of two neighbours,
// rows 16 w + g (0, 2) and 8 more (1, 3), columns 2t (0, 1) and 8 more (2, 3).
float left_register(const WgmmaOperation& operation, int row, int k) {
  const int thread = row / 16 * kWarpSize + row % 8 * 4 + k % 8 / 2;
  const uint32_t word =
      operation.a[static_cast<size_t>(thread)][static_cast<size_t>(row % 16 / 8 + k / 8 * 2)];
  return std::bit_cast<float>(k % 2 == 0 ? word << 16 : word & 0xffff0000U);
}

// Sum i of thread t of a warpgroup is that of this row and column.
int row_of(int thread, int i) { return thread / kWarpSize * 16 + thread % kWarpSize / 4 + i / 2 % 2 * 8; }
int column_of(int thread, int i) { return i / 4 * 8 + thread % 4 * 2 + i % 2; }

}  // namespace

std::vector<int64_t> wgmma_pieces(const Wgmma& operation, int64_t shared_bytes, std::string& wrong) {
  wrong = operation.a == nullptr ? wrong_descriptor("left", operation.a_descriptor) : "";
  if (wrong.empty()) wrong = wrong_descriptor("right", operation.b_descriptor);
  std::vector<int64_t> pieces;
  if (!wrong.empty()) return pieces;
  if (operation.a == nullptr) add_pieces(operation.a_descriptor, false, kRows, pieces);
  add_pieces(operation.b_descriptor, operation.b_transposed, operation.columns, pieces);
  for (const int64_t piece : pieces) {
    if (piece + kPiece > shared_bytes)
      wrong = fmt::format("reads byte {} of shared memory, which has {}", piece, shared_bytes);
  }
  return pieces;
}

void multiply_wgmma(const WgmmaOperation& operation, const char* shared, std::vector<float>& sums) {
  const Wgmma& shape = operation.shape;
  const auto columns = static_cast<size_t>(shape.columns);
  std::vector<float> b(kDepth * columns);
  for (int k = 0; k < kDepth; ++k) {
    for (int c = 0; c < shape.columns; ++c) {
      b[static_cast<size_t>(k) * columns + static_cast<size_t>(c)] =
          bf16_at(shared, byte_of(shape.b_descriptor, shape.b_transposed, c, k));
    }
  }
  for (int row = 0; row < kRows; ++row) {
    float* const sum = sums.data() + static_cast<size_t>(row) * columns;
    for (int k = 0; k < kDepth; ++k) {
      const float a = shape.a != nullptr ? left_register(operation, row, k)
                                         : bf16_at(shared, byte_of(shape.a_descriptor, false, row, k));
      const float* const right = b.data() + static_cast<size_t>(k) * columns;
      for (size_t c = 0; c < columns; ++c) sum[c] += a * right[c];
    }
  }
}

void Block::wgmma_fence() { async().threads[static_cast<size_t>(current_)].fenced = true; }

void Block::wgmma(const Wgmma& operation, Site site) {
  Async& state = async();
  const int group = current_ / kWarpgroup, member = current_ % kWarpgroup;
  if ((group + 1) * kWarpgroup > count_)
    fault(site, "wgmma needs four whole warps, from a multiple of four on");
  if (operation.columns % 8 != 0 || operation.columns < 8 || operation.columns > 256) {
    fault(site, fmt::format("wgmma with {} columns: expected 8 to 256 in steps of 8", operation.columns));
  }
  Async::Warpgroup& warpgroup = state.warpgroups[static_cast<size_t>(group)];
  Async::Thread& thread = state.threads[static_cast<size_t>(current_)];
  const int64_t number = thread.issued++;
  if (number == warpgroup.first + static_cast<int64_t>(warpgroup.operations.size())) {
    std::string wrong;
    WgmmaOperation& fresh = warpgroup.operations.emplace_back();
    fresh.shape = operation;
    fresh.site = site;
    fresh.pieces = wgmma_pieces(operation, shared_bytes_, wrong);
    if (!wrong.empty()) fault(site, fmt::format("wgmma: {}", wrong));
  }
  WgmmaOperation& shared_one = warpgroup.operation(number);
  if (!shared_one.shape.same_as(operation) || shared_one.site.line() != site.line()) {
    fault(site,
          fmt::format("wgmma mismatch: other threads of the warpgroup came to one in line {}, or with other "
                      "operands",
                      shared_one.site.line()));
  }

  // The sums leave the thread until it has waited.
  const auto known = std::find_if(thread.in_flight.begin(), thread.in_flight.end(),
                                  [&](const auto& sums) { return sums.at == operation.sums; });
  const auto count = static_cast<size_t>(operation.columns / 2);
  if (known != thread.in_flight.end()) {
    if (known->values.size() != count)
      fault(site, "wgmma: its sums are those of one of another shape in flight");
    known->last = number;
  } else {
    if (!thread.fenced) fault(site, "wgmma without a wgmma.fence after its registers were last accessed");
    thread.in_flight.push_back(
        {operation.sums, std::vector<float>(operation.sums, operation.sums + count), number, site});
    for (size_t i = 0; i < count; ++i) std::memcpy(operation.sums + i, &kPoison, sizeof(kPoison));
  }
  shared_one.sums[static_cast<size_t>(member)] = operation.sums;
  shared_one.a_at[static_cast<size_t>(member)] = operation.a;
  if (operation.a != nullptr) std::copy_n(operation.a, 4, shared_one.a[static_cast<size_t>(member)].begin());

  const unsigned warp = 1U << (member / kWarpSize);
  if ((shared_one.warps & warp) == 0) {
    shared_one.warps |= warp;
    for (const int64_t piece : shared_one.pieces) {
      const std::string wrong = shadow_.begin_read(piece, kPiece, current_, self().clock, site);
      if (!wrong.empty()) fault(site, wrong);
    }
  }
  if (++shared_one.arrived < kWarpgroup) return;
  for (int i = group * kWarpgroup; i < (group + 1) * kWarpgroup; ++i) {
    if (threads_[static_cast<size_t>(i)]->state == State::at_wgmma) wake(i);
  }
}

void Block::wgmma_commit() {
  Async::Thread& thread = async().threads[static_cast<size_t>(current_)];
  thread.groups.push_back(thread.issued);
}

void Block::wgmma_wait(int groups_left, Site site) {
  release(exchange("wgmma.wait_group", 0xffffffffU, &groups_left, sizeof(groups_left), site));
  const int group = current_ / kWarpgroup;
  Async::Thread& thread = async().threads[static_cast<size_t>(current_)];
  Async::Warpgroup& warpgroup = async().warpgroups[static_cast<size_t>(group)];
  if (static_cast<int>(thread.groups.size()) <= groups_left) return;
  const int64_t end = thread.groups[thread.groups.size() - 1 - static_cast<size_t>(groups_left)];
  thread.groups.erase(thread.groups.begin(), thread.groups.end() - groups_left);
  if (end <= thread.delivered) return;
  while (warpgroup.operation(end - 1).arrived < kWarpgroup) wait(State::at_wgmma, site);
  while (warpgroup.computed < end) compute_wgmma(group);
  deliver_wgmma(end, site);
}

// The next operation of the warpgroup, on what its threads' sums were before it.
void Block::compute_wgmma(int group) {
  Async::Warpgroup& warpgroup = async_->warpgroups[static_cast<size_t>(group)];
  const WgmmaOperation& operation = warpgroup.operation(warpgroup.computed++);
  const int columns = operation.shape.columns;
  async_->sums.assign(static_cast<size_t>(kRows * columns), 0.0F);
  const auto for_each_sum = [&](const auto& use) {
    for (int t = 0; t < kWarpgroup; ++t) {
      auto& in_flight = async_->threads[static_cast<size_t>(group * kWarpgroup + t)].in_flight;
      const auto sums = std::find_if(in_flight.begin(), in_flight.end(), [&](const auto& each) {
        return each.at == operation.sums[static_cast<size_t>(t)];
      });
      for (int i = 0; i < columns / 2; ++i) {
        use(async_->sums[static_cast<size_t>(row_of(t, i) * columns + column_of(t, i))],
            sums->values[static_cast<size_t>(i)]);
      }
    }
  };
  if (operation.shape.accumulate) for_each_sum([](float& sum, float value) { sum = value; });
  multiply_wgmma(operation, shared(), async_->sums);
  for_each_sum([](float sum, float& value) { value = sum; });
}

// To the calling thread, of the operations before number `end`.
void Block::deliver_wgmma(int64_t end, Site site) {
  const int member = current_ % kWarpgroup, warp = member / kWarpSize;
  Async::Thread& thread = async_->threads[static_cast<size_t>(current_)];
  Async::Warpgroup& warpgroup = async_->warpgroups[static_cast<size_t>(current_ / kWarpgroup)];
  for (int64_t n = thread.delivered; n < end; ++n) {
    WgmmaOperation& operation = warpgroup.operation(n);
    const auto& words = operation.a[static_cast<size_t>(member)];
    const uint32_t* const at = operation.a_at[static_cast<size_t>(member)];
    if (at != nullptr && !std::equal(words.begin(), words.end(), at)) {
      fault(site,
            fmt::format("the registers of the left factor of the wgmma of line {} changed before its wait",
                        operation.site.line()));
    }
    ++operation.delivered;
  }
  thread.delivered = end;
  std::erase_if(thread.in_flight, [&](const Async::Thread::Sums& sums) {
    if (sums.last >= end) return false;
    for (size_t i = 0; i < sums.values.size(); ++i) {
      if (std::memcmp(sums.at + i, &kPoison, sizeof(kPoison)) != 0) {
        fault(site,
              fmt::format("the sums of the wgmma of line {} were written before its wait", sums.site.line()));
      }
    }
    std::copy(sums.values.begin(), sums.values.end(), sums.at);
    thread.fenced = false;
    return true;
  });
  int64_t& ended = warpgroup.ended[static_cast<size_t>(warp)];
  for (; ended < end; ++ended) {
    for (const int64_t piece : warpgroup.operation(ended).pieces)
      shadow_.end_read(piece, kPiece, current_, self().clock.epoch,
                       warp_clocks_[static_cast<size_t>(current_ / kWarpSize)], site);
  }
  while (!warpgroup.operations.empty() && warpgroup.operations.front().delivered == kWarpgroup) {
    warpgroup.operations.pop_front();
    ++warpgroup.first;
  }
}

namespace {

// What each thread of a block has from the start: the registers in equal parts, in steps of 8.
int first_registers(int threads) { return std::min(65536 / threads / 8 * 8, 255 / 8 * 8); }

}  // namespace

void Block::set_max_registers(int count, bool increase, Site site) {
  const char* const name = increase ? "setmaxnreg.inc" : "setmaxnreg.dec";
  const int group = current_ / kWarpgroup;
  if (count < 24 || count > 256 || count % 8 != 0) {
    fault(site, fmt::format("{} to {} registers: expected 24 to 256 in steps of 8", name, count));
  }
  if ((group + 1) * kWarpgroup > count_)
    fault(site, fmt::format("{} needs four whole warps, from a multiple of four on", name));
  auto& changes = async().warpgroups[static_cast<size_t>(group)].register_changes;
  const size_t number = async().threads[static_cast<size_t>(current_)].register_changes++;
  if (number == changes.size()) {
    const int before = number == 0 ? first_registers(count_) : changes[number - 1].count;
    if (increase ? count < before : count > before)
      fault(site, fmt::format("{} to {} registers, from {}", name, count, before));
    changes.push_back({count, increase, site, current_, 0});
  }
  RegisterChange& change = changes[number];
  if (change.count != count || change.increase != increase || change.site.line() != site.line()) {
    fault(site, fmt::format("{} to {} registers, other threads of the warpgroup came to one to {} in line {}",
                            name, count, change.count, change.site.line()));
  }
  ++change.arrived;
}

// What a block that has ended must not leave behind.
void Block::check_async_end() {
  if (async_ == nullptr) return;
  for (const auto& [offset, barrier] : async_->mbarriers) {
    if (!barrier.copies.empty()) {
      const BulkCopy& copy = barrier.copies.front();
      return fail(copy.thread, copy.site, "bulk copy that nobody waits for");
    }
    if (barrier.bytes != 0) {
      return fail(barrier.thread, barrier.site,
                  fmt::format("expect_tx mismatch: {} bytes that the mbarrier expects are not brought",
                              barrier.bytes));
    }
  }
  for (int i = 0; i < count_; ++i) {
    const Async::Thread& thread = async_->threads[static_cast<size_t>(i)];
    if (!thread.in_flight.empty())
      return fail(i, thread.in_flight.front().site, "wgmma that is not waited for");
  }
  int registers = 0;
  const RegisterChange* last = nullptr;
  for (const Async::Warpgroup& warpgroup : async_->warpgroups) {
    for (const RegisterChange& change : warpgroup.register_changes) {
      if (change.arrived != kWarpgroup) {
        return fail(change.thread, change.site,
                    fmt::format("setmaxnreg: {} threads of the warpgroup's 128 came", change.arrived));
      }
      last = &change;
    }
    registers += warpgroup.register_changes.empty() ? first_registers(count_)
                                                    : warpgroup.register_changes.back().count;
  }
  const int all = first_registers(count_) * static_cast<int>(async_->warpgroups.size());
  if (last != nullptr && registers > all) {
    fail(last->thread, last->site,
         fmt::format("setmaxnreg.inc waits for ever: the warpgroups ask for {} registers per thread, of {}",
                     registers, all));
  }
}

}  // namespace medfusion::simulator
