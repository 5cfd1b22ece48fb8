// Runs the threads of a CUDA launch on the host: one fiber each, in a seeded random order, with barriers,
// warp collectives and shared memory as the GPU has them, and reports what a GPU would let pass in silence.
#pragma once

#include <array>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <functional>
#include <memory>
#include <source_location>
#include <string>
#include <vector>

#include "kernels/simulator/fiber.h"
#include "kernels/simulator/shadow.h"

namespace medfusion::simulator {

using Site = std::source_location;
struct TensorMap;
struct Wgmma;
struct Async;  // what Hopper's asynchronous instructions keep
struct MBarrier;

struct Dim3 {
  unsigned x = 1, y = 1, z = 1;
  constexpr Dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
  int64_t count() const { return static_cast<int64_t>(x) * y * z; }
};

// Runs `kernel` for every thread of every block; blocks one after another, in random order. Throws
// core::Error for the first fault: "KERNEL: block (x,y,z) thread (x,y,z) at FILE:LINE: what is wrong [seed]".
// The limits of a launch (threads, shared memory, grid) are those of compute capability 9.0, unless
// simulator::set_sim_shared_limit says otherwise.
void run(const char* name, Dim3 grid, Dim3 block, int64_t shared_bytes, const std::function<void()>& kernel);

// Whether a warp collective is also a barrier for the memory accesses of its lanes. CUDA promises that of
// __syncwarp; shuffles, votes, ldmatrix and mma exchange values and nothing more.
enum class MemoryOrder : uint8_t { none, lanes };

// What the lanes of one warp collective exchange.
struct Collective {
  const char* what = "";
  uint32_t mask = 0;
  Site site;
  uint32_t arrived = 0, left = 0;
  alignas(16) std::byte values[kWarpSize][64];

  template <class T>
  T value(int lane) const {
    T result;
    std::memcpy(&result, values[lane], sizeof(T));
    return result;
  }
};

// The block that the calling fiber belongs to. Everything below `run` is called by simulated threads.
class Block {
 public:
  Block();
  ~Block();
  void run(const char* name, Dim3 grid, Dim3 block, Dim3 index, int64_t shared_bytes,
           const std::function<void()>& kernel);

  static Block& current();
  Dim3 grid() const { return grid_; }
  Dim3 size() const { return size_; }
  Dim3 index() const { return index_; }
  Dim3 thread_index() const;
  int thread() const { return current_; }  // linear
  int lane() const { return current_ % kWarpSize; }

  // All threads of the block; returns the number of them for which `predicate` was true.
  int sync_threads(bool predicate, Site site);
  // `threads` threads that name the same barrier (bar.sync id, threads).
  void sync_named(int id, int threads, Site site);
  // Counts among the threads of a named barrier without waiting for it (bar.arrive).
  void arrive_named(int id, int threads, Site site);
  // Exchanges a value of up to 64 bytes with the lanes of `mask`, all of which must come here. The result is
  // valid until release(). Only __syncwarp orders what the lanes do in shared memory.
  const Collective& exchange(const char* what, uint32_t mask, const void* value, size_t bytes, Site site,
                             MemoryOrder order = MemoryOrder::none);
  void release(const Collective& collective);
  // Lets other threads run: what a loop that waits for memory must call.
  void yield_now();

  char* shared() { return shared_.get(); }
  int64_t shared_bytes() const { return shared_bytes_; }
  void shared_read(const void* pointer, int64_t bytes, Site site);
  void shared_write(const void* pointer, int64_t bytes, Site site);

  // Asynchronous copies to shared memory (cp.async): done when the thread waits for their group.
  void copy_async(void* shared, const void* global, int64_t bytes, Site site);
  void copy_async_commit();
  void copy_async_wait(int groups_left, Site site);

  // An mbarrier at 8 aligned bytes of shared memory (mbarrier.cpp): phases end when `count` threads have
  // arrived and copies have brought the bytes that they expected.
  void mbarrier_init(void* at, int count, Site site);
  void mbarrier_arrive(void* at, int64_t expected_bytes, Site site);
  // Until the phase of that parity has ended; true at once where it is the one before the current phase.
  void mbarrier_wait(void* at, unsigned parity, Site site);
  // Starts the copy of the box at `place` (innermost first). Zeros where the tensor has nothing.
  void bulk_copy(void* shared, void* mbarrier, const TensorMap& map, const std::array<int64_t, 3>& place,
                 Site site);
  // What the thread wrote to shared memory so far can be seen by bulk copies and wgmma.
  void proxy_fence() { shadow_.proxy_fence(current_); }

  // Asynchronous products of a warpgroup (wgmma.cpp).
  void wgmma_fence();
  void wgmma(const Wgmma& operation, Site site);
  void wgmma_commit();
  void wgmma_wait(int groups_left, Site site);
  void set_max_registers(int count, bool increase, Site site);

  // Stops the launch with a fault of the calling thread.
  [[noreturn]] void fault(Site site, const std::string& message);

 private:
  enum class State : uint8_t { ready, at_barrier, at_named, at_collective, at_mbarrier, at_wgmma, exited };
  struct Copy {
    char* to;
    const char* from;
    int64_t bytes;
    int group;
  };
  struct Thread {
    Fiber fiber;
    std::function<void()> body;
    State state = State::ready;
    Site site;
    int named = -1;
    Collective* collective = nullptr;
    Clock clock;
    std::vector<Copy> copies;
    int group = 0;
  };
  struct NamedBarrier {
    int expected = 0, arrived = 0;  // arrived: those that do not wait
    Known known{};                  // of them
    std::vector<int> waiting;
  };

  void schedule();
  void wait(State state, Site site);
  void wake(int thread);
  void thread_ended();
  void unwind();
  void synchronize_clocks(const std::vector<int>& threads, Known known = {});
  // Tells whoever learns of the result what this thread has done so far.
  void release_clock(Known& known);
  NamedBarrier& named_barrier(int id, int threads, Site site);
  void end_named(NamedBarrier& barrier);
  void report_stuck();
  std::string stuck_at_mbarrier(int thread) const;
  bool has_lost_bytes(int thread) const;
  void check_collective_partners();
  std::string where(int thread, Site site) const;
  // A fault of a thread that is not the running one.
  void fail(int thread, Site site, const std::string& message);

  Async& async();
  MBarrier& mbarrier_at(void* at, Site site);
  void end_phase_if_complete(int64_t offset, MBarrier& barrier);
  // Where nobody can run: brings bytes that somebody waits for, until somebody can.
  bool settle_copies();
  void bring_bytes(int64_t offset, MBarrier& barrier);
  void compute_wgmma(int group);
  void deliver_wgmma(int64_t end, Site site);
  void check_async_end();
  void forget_async();
  Thread& self() { return *threads_[static_cast<size_t>(current_)]; }
  uint64_t random();

  const char* name_ = "";
  Dim3 grid_, size_, index_;
  int64_t shared_bytes_ = 0, shared_capacity_ = 0;
  struct Free {
    void operator()(char* pointer) const { std::free(pointer); }
  };
  std::unique_ptr<char, Free> shared_;
  Shadow shadow_;
  uint32_t epoch_ = 1;
  std::array<uint32_t, kMaxWarps> warp_clocks_{};  // the synchronizations of each warp, by any of its lanes
  int count_ = 0, current_ = -1, at_barrier_ = 0, exited_ = 0, votes_ = 0, vote_result_ = 0;
  std::vector<std::unique_ptr<Thread>> threads_;
  std::vector<int> ready_;
  std::vector<int> lanes_;  // of the collective that is ending
  std::vector<NamedBarrier> named_;
  std::vector<std::vector<std::unique_ptr<Collective>>> collectives_;  // open ones, by warp
  std::vector<std::unique_ptr<Collective>> spare_;
  std::unique_ptr<Async> async_;  // null until a block uses it
  uint64_t random_ = 0;
  bool stopping_ = false;
  std::string fault_;
};

// Sum, shuffle and vote are all of this form: `read` computes a lane's result from everybody's value.
template <class Result, class T, class Read>
Result collective(const char* what, uint32_t mask, T value, Site site, const Read& read,
                  MemoryOrder order = MemoryOrder::none) {
  static_assert(sizeof(T) <= sizeof(Collective::values[0]));
  Block& block = Block::current();
  const Collective& all = block.exchange(what, mask, &value, sizeof(T), site, order);
  const Result result = read(all);
  block.release(all);
  return result;
}

}  // namespace medfusion::simulator
