#include "kernels/simulator/block.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstdlib>
#include <numeric>
#include <utility>

#include "core/error.h"
#include "kernels/simulator/async.h"
#include "kernels/simulator/device_memory.h"

namespace medfusion::simulator {
namespace {

constexpr int kNamedBarriers = 16;
thread_local Block* current_block = nullptr;

// Unwinds the stack of a thread when its block has failed.
struct Stop {};

uint64_t mix(uint64_t x) {  // splitmix64
  x += 0x9e3779b97f4a7c15U;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9U;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebU;
  return x ^ (x >> 31);
}

uint64_t hash_of(const char* text) {
  uint64_t hash = 0xcbf29ce484222325U;  // FNV-1a
  for (; *text != 0; ++text) hash = (hash ^ static_cast<uint8_t>(*text)) * 0x100000001b3U;
  return hash;
}

Dim3 unflatten(int64_t linear, Dim3 size) {
  return {static_cast<unsigned>(linear % size.x), static_cast<unsigned>(linear / size.x % size.y),
          static_cast<unsigned>(linear / size.x / size.y)};
}

std::string text_of(Dim3 d) { return fmt::format("({},{},{})", d.x, d.y, d.z); }
std::string text_of(Site site) { return fmt::format("{}:{}", site.file_name(), site.line()); }
bool same_place(Site a, Site b) {
  return a.line() == b.line() && std::strcmp(a.file_name(), b.file_name()) == 0;
}

}  // namespace

void run(const char* name, Dim3 grid, Dim3 block, int64_t shared_bytes, const std::function<void()>& kernel) {
  constexpr int64_t kMaxThreads = 1024, kMaxGrid = 65535;
  const int64_t most_shared = simulator::sim_shared_limit();
  MEDFUSION_CHECK(block.count() >= 1 && block.count() <= kMaxThreads && block.z <= 64,
                  "{}: expected a block of 1 to {} threads, got {}", name, kMaxThreads, text_of(block));
  MEDFUSION_CHECK(grid.count() >= 1 && grid.x <= 0x7fffffffU && grid.y <= kMaxGrid && grid.z <= kMaxGrid,
                  "{}: expected a grid of at least one block and at most (2^31-1,65535,65535), got {}", name,
                  text_of(grid));
  MEDFUSION_CHECK(shared_bytes >= 0 && shared_bytes <= most_shared,
                  "{}: expected at most {} bytes of shared memory, got {}", name, most_shared, shared_bytes);
  static thread_local Block executor;
  std::vector<uint32_t> order(static_cast<size_t>(grid.count()));
  std::iota(order.begin(), order.end(), 0U);
  uint64_t random = mix(simulator::sim_seed() ^ hash_of(name));
  for (size_t i = order.size(); i > 1; --i) {
    random = mix(random);
    std::swap(order[i - 1], order[random % i]);
  }
  for (const uint32_t index : order)
    executor.run(name, grid, block, unflatten(index, grid), shared_bytes, kernel);
}

Block::Block() : named_(kNamedBarriers), collectives_(kMaxWarps) {}
Block::~Block() = default;

Block& Block::current() {
  MEDFUSION_CHECK(current_block != nullptr && current_block->current_ >= 0,
                  "simulator: device code called outside of a kernel");
  return *current_block;
}

Dim3 Block::thread_index() const { return unflatten(current_, size_); }

uint64_t Block::random() { return random_ = mix(random_); }

void Block::run(const char* name, Dim3 grid, Dim3 block, Dim3 index, int64_t shared_bytes,
                const std::function<void()>& kernel) {
  name_ = name;
  grid_ = grid;
  size_ = block;
  index_ = index;
  count_ = static_cast<int>(block.count());
  shared_bytes_ = shared_bytes;
  if (!shared_ || shared_capacity_ < shared_bytes) {
    constexpr int64_t kAlignment = 1024;  // what tensor copies with 128-byte swizzling ask for
    const int64_t rounded = (shared_bytes + kAlignment - 1) / kAlignment * kAlignment + kAlignment;
    shared_.reset(static_cast<char*>(std::aligned_alloc(kAlignment, static_cast<size_t>(rounded))));
    MEDFUSION_CHECK(shared_ != nullptr, "simulator: out of memory for {} bytes of shared memory",
                    shared_bytes);
    shared_capacity_ = shared_bytes;
  }
  if (shared_bytes > 0) std::memset(shared(), 0xFF, static_cast<size_t>(shared_bytes));  // NaN in every float
  shadow_.start(shared_bytes, (count_ + kWarpSize - 1) / kWarpSize, ++epoch_);
  random_ = mix(simulator::sim_seed() ^ hash_of(name) ^
                mix((uint64_t{index.z} << 42) + (uint64_t{index.y} << 21) + index.x));
  at_barrier_ = exited_ = votes_ = 0;
  warp_clocks_ = {};
  for (auto& barrier : named_) barrier = {};
  stopping_ = false;
  fault_.clear();
  while (static_cast<int>(threads_.size()) < count_) threads_.push_back(std::make_unique<Thread>());
  ready_.clear();
  for (int i = 0; i < count_; ++i) {
    Thread& thread = *threads_[static_cast<size_t>(i)];
    thread.state = State::ready;
    thread.clock = Clock{epoch_, {}};
    thread.group = 0;
    thread.collective = nullptr;
    thread.body = [this, &kernel] {
      if (stopping_) return;  // the block failed before this thread began
      try {
        kernel();
        thread_ended();
      } catch (const Stop&) {
      } catch (const std::exception& error) {
        fault_ = fmt::format("{}: {}", where(current_, Site()), error.what());  // a check names its own line
        stopping_ = true;
      }
      self().state = State::exited;
    };
    thread.fiber.start(&thread.body);
    ready_.push_back(i);
  }
  Block* const before = std::exchange(current_block, this);
  schedule();
  if (!stopping_ && exited_ < count_) report_stuck();
  if (!stopping_) check_async_end();
  if (stopping_) unwind();
  forget_async();
  current_ = -1;
  current_block = before;
  if (!fault_.empty()) {
    throw core::Error(fmt::format("{} [MEDFUSION_SIM_SEED={}]", fault_, simulator::sim_seed()));
  }
}

void Block::schedule() {
  while (!stopping_ && (!ready_.empty() || settle_copies())) {
    const size_t pick = random() % ready_.size();
    current_ = ready_[pick];
    ready_[pick] = ready_.back();
    ready_.pop_back();
    self().fiber.resume();
  }
}

// Lets every thread that has not ended leave its kernel, so that destructors run and fibers are idle again.
void Block::unwind() {
  for (current_ = 0; current_ < count_; ++current_) {
    if (self().fiber.idle()) continue;
    self().fiber.resume();
  }
  for (auto& open : collectives_) open.clear();
  shadow_.forget_reads();
  for (int i = 0; i < count_; ++i) threads_[static_cast<size_t>(i)]->copies.clear();
}

void Block::wait(State state, Site site) {
  self().state = state;
  self().site = site;
  self().fiber.yield();
  if (stopping_) throw Stop{};
}

void Block::wake(int thread) {
  threads_[static_cast<size_t>(thread)]->state = State::ready;
  ready_.push_back(thread);
}

std::string Block::where(int thread, Site site) const {
  return fmt::format("{}: block {} thread {}{}", name_, text_of(index_), text_of(unflatten(thread, size_)),
                     site.line() == 0 ? "" : " at " + text_of(site));
}

void Block::fault(Site site, const std::string& message) {
  fail(current_, site, message);
  throw Stop{};
}

void Block::fail(int thread, Site site, const std::string& message) {
  if (fault_.empty()) fault_ = fmt::format("{}: {}", where(thread, site), message);
  stopping_ = true;
}

void Block::thread_ended() {
  Thread& thread = self();
  for (const Copy& copy : thread.copies) std::memcpy(copy.to, copy.from, static_cast<size_t>(copy.bytes));
  thread.copies.clear();
  thread.state = State::exited;
  ++exited_;
  check_collective_partners();
}

// A warp collective that waits for a thread which has ended waits for ever.
void Block::check_collective_partners() {
  const uint32_t bit = 1U << lane();
  for (const auto& open : collectives_[static_cast<size_t>(current_ / kWarpSize)]) {
    if ((open->mask & bit) != 0 && (open->arrived & bit) == 0) {
      fault(open->site, fmt::format("{} with mask 0x{:08x} waits for this thread, which has left the kernel",
                                    open->what, open->mask));
    }
  }
}

void Block::report_stuck() {
  // The thread to name: one that waits for bytes which nobody brings, or one at a barrier, since a missing
  // partner there is the usual fault.
  int stuck = -1;
  bool lost_bytes = false;
  for (int i = 0; i < count_ && !lost_bytes; ++i) {
    const Thread& thread = *threads_[static_cast<size_t>(i)];
    if (thread.state == State::exited) continue;
    lost_bytes = thread.state == State::at_mbarrier && has_lost_bytes(i);
    if (stuck < 0 || thread.state == State::at_barrier || lost_bytes) stuck = i;
  }
  const Thread& thread = *threads_[static_cast<size_t>(stuck)];
  if (thread.state == State::at_mbarrier) return fail(stuck, thread.site, stuck_at_mbarrier(stuck));
  std::string others;
  for (int i = 0; i < count_ && others.empty(); ++i) {
    const Thread& other = *threads_[static_cast<size_t>(i)];
    if (other.state == State::exited) {
      others = fmt::format("thread {} has left the kernel", text_of(unflatten(i, size_)));
    } else if (other.state != thread.state || !same_place(other.site, thread.site)) {
      others = fmt::format("thread {} waits at {}", text_of(unflatten(i, size_)), text_of(other.site));
    }
  }
  const char* what = thread.state == State::at_barrier ? "divergent __syncthreads" : "deadlock";
  fault_ = fmt::format("{}: {}: this thread waits, {}", where(stuck, thread.site), what,
                       others.empty() ? "and nobody else comes" : others);
  stopping_ = true;
}

int Block::sync_threads(bool predicate, Site site) {
  votes_ += predicate ? 1 : 0;
  if (++at_barrier_ < count_) {
    wait(State::at_barrier, site);
    return vote_result_;
  }
  for (int i = 0; i < count_; ++i) {
    const Thread& other = *threads_[static_cast<size_t>(i)];
    if (i != current_ && !same_place(other.site, site)) {
      fault(site, fmt::format("divergent __syncthreads: thread {} waits at another one, {}",
                              text_of(unflatten(i, size_)), text_of(other.site)));
    }
  }
  vote_result_ = std::exchange(votes_, 0);
  at_barrier_ = 0;
  ++epoch_;
  for (int i = 0; i < count_; ++i) {
    threads_[static_cast<size_t>(i)]->clock.epoch = epoch_;
    if (i != current_) wake(i);
  }
  return vote_result_;
}

void Block::release_clock(Known& known) {
  Clock& clock = self().clock;
  const auto warp = static_cast<size_t>(current_ / kWarpSize);
  clock.known[warp] = ++warp_clocks_[warp];
  for (size_t w = 0; w < known.size(); ++w) known[w] = std::max(known[w], clock.known[w]);
}

// After it, everybody knows what each of them knew before, and what `known` says.
void Block::synchronize_clocks(const std::vector<int>& threads, Known known) {
  // Copy warps follow the real ones; most kernels have none.
  const size_t clocks = async_ == nullptr ? kMaxWarps : known.size();
  for (const int i : threads) {
    const Clock& clock = threads_[static_cast<size_t>(i)]->clock;
    for (size_t w = 0; w < clocks; ++w) known[w] = std::max(known[w], clock.known[w]);
  }
  for (const int i : threads) {
    const auto warp = static_cast<size_t>(i / kWarpSize);
    known[warp] = ++warp_clocks_[warp];
  }
  for (const int i : threads)
    std::copy_n(known.begin(), clocks, threads_[static_cast<size_t>(i)]->clock.known.begin());
}

Block::NamedBarrier& Block::named_barrier(int id, int threads, Site site) {
  if (id < 1 || id >= kNamedBarriers || threads % kWarpSize != 0 || threads < kWarpSize || threads > count_) {
    fault(site,
          fmt::format("named barrier {} for {} threads: expected an id of 1 to 15 and whole warps of the "
                      "block's {} threads",
                      id, threads, count_));
  }
  NamedBarrier& barrier = named_[static_cast<size_t>(id)];
  if (barrier.waiting.empty() && barrier.arrived == 0) barrier.expected = threads;
  if (barrier.expected != threads) {
    fault(site,
          fmt::format("named barrier {} for {} threads, others came for {}", id, threads, barrier.expected));
  }
  return barrier;
}

void Block::end_named(NamedBarrier& barrier) {
  synchronize_clocks(barrier.waiting, barrier.known);
  barrier.arrived = 0;
  barrier.known = {};
  for (const int i : std::exchange(barrier.waiting, {})) {
    if (i != current_) wake(i);
  }
}

void Block::sync_named(int id, int threads, Site site) {
  NamedBarrier& barrier = named_barrier(id, threads, site);
  barrier.waiting.push_back(current_);
  if (static_cast<int>(barrier.waiting.size()) + barrier.arrived < threads) {
    wait(State::at_named, site);
    return;
  }
  end_named(barrier);
}

void Block::arrive_named(int id, int threads, Site site) {
  NamedBarrier& barrier = named_barrier(id, threads, site);
  release_clock(barrier.known);
  ++barrier.arrived;
  if (static_cast<int>(barrier.waiting.size()) + barrier.arrived == threads) end_named(barrier);
}

const Collective& Block::exchange(const char* what, uint32_t mask, const void* value, size_t bytes, Site site,
                                  MemoryOrder order) {
  auto& open = collectives_[static_cast<size_t>(current_ / kWarpSize)];
  const int first = current_ / kWarpSize * kWarpSize;
  const uint32_t bit = 1U << lane();
  if ((mask & bit) == 0)
    fault(site, fmt::format("{}: mask 0x{:08x} leaves out the calling lane {}", what, mask, lane()));
  Collective* mine = nullptr;
  for (const auto& other : open) {
    if ((other->mask & ~other->arrived & mask) == 0 || other->arrived == other->mask) continue;
    const bool same =
        std::strcmp(other->what, what) == 0 && other->mask == mask && same_place(other->site, site);
    if (!same) {
      fault(site, fmt::format(
                      "mask mismatch: {} with mask 0x{:08x} here, lanes 0x{:08x} wait at {} in {} with mask "
                      "0x{:08x}",
                      what, mask, other->arrived, text_of(other->site), other->what, other->mask));
    }
    mine = other.get();
  }
  if (mine == nullptr) {
    for (int i = 0; i < kWarpSize; ++i) {
      if ((mask >> i & 1U) == 0) continue;
      if (first + i >= count_ || threads_[static_cast<size_t>(first + i)]->state == State::exited) {
        fault(site, fmt::format("{}: mask 0x{:08x} names lane {}, which has left the kernel or is not there",
                                what, mask, i));
      }
    }
    if (spare_.empty()) spare_.push_back(std::make_unique<Collective>());
    open.push_back(std::move(spare_.back()));
    spare_.pop_back();
    mine = open.back().get();
    mine->what = what;
    mine->mask = mask;
    mine->site = site;
    mine->arrived = mine->left = 0;
  }
  std::memcpy(mine->values[lane()], value, bytes);
  mine->arrived |= bit;
  if (mine->arrived != mask) {
    wait(State::at_collective, site);
    return *mine;
  }
  lanes_.clear();
  for (int i = 0; i < kWarpSize; ++i) {
    if ((mask >> i & 1U) != 0) lanes_.push_back(first + i);
  }
  if (order == MemoryOrder::lanes) synchronize_clocks(lanes_);
  for (const int i : lanes_) {
    if (i != current_) wake(i);
  }
  return *mine;
}

void Block::release(const Collective& collective) {
  auto& open = collectives_[static_cast<size_t>(current_ / kWarpSize)];
  const auto found =
      std::find_if(open.begin(), open.end(), [&](const auto& other) { return other.get() == &collective; });
  (*found)->left |= 1U << lane();
  if ((*found)->left != (*found)->mask) return;
  spare_.push_back(std::move(*found));
  open.erase(found);
}

void Block::yield_now() {
  wake(current_);
  self().fiber.yield();
  if (stopping_) throw Stop{};
}

void Block::shared_read(const void* pointer, int64_t bytes, Site site) {
  const std::string wrong =
      shadow_.read(static_cast<const char*>(pointer) - shared(), bytes, current_, self().clock, site);
  if (!wrong.empty()) fault(site, wrong);
}

void Block::shared_write(const void* pointer, int64_t bytes, Site site) {
  const std::string wrong =
      shadow_.write(static_cast<const char*>(pointer) - shared(), bytes, current_, self().clock, site);
  if (!wrong.empty()) fault(site, wrong);
}

void Block::copy_async(void* to, const void* from, int64_t bytes, Site site) {
  char* const target = static_cast<char*>(to);
  const std::string wrong = shadow_.begin_copy(target - shared(), bytes, current_, self().clock, site);
  if (!wrong.empty()) fault(site, wrong);
  self().copies.push_back({target, static_cast<const char*>(from), bytes, self().group});
}

void Block::copy_async_commit() { ++self().group; }

void Block::copy_async_wait(int groups_left, Site site) {
  Thread& thread = self();
  const int last = thread.group - groups_left;  // groups below it are done
  std::erase_if(thread.copies, [&](const Copy& copy) {
    if (copy.group >= last) return false;
    std::memcpy(copy.to, copy.from, static_cast<size_t>(copy.bytes));
    shadow_.end_copy(copy.to - shared(), copy.bytes, current_, thread.clock, site);
    return true;
  });
}

}  // namespace medfusion::simulator
