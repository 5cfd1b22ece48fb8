// The runtime of the simulated device: streams are queues that run lazily, in a seeded random order of what
// their events allow, and every use of memory is checked to be ordered after the ones it depends on.
//
// - Work runs in synchronize(), and when many entries are queued; which streams get ahead is random.
// - Stream 0 is an ordinary stream like CUDA's per-thread default stream: it waits for no other.
// - Order is judged when work is queued, from the Access lists and per whole allocation, so that a missing
//   wait is found whichever order the work would have run in. What the host has synchronized with counts as
//   done for everything queued later, by any thread.
// - An error of queued work surfaces at the synchronize or the queueing call that ran it; all other work
//   still runs, and only the first error is kept. Errors of free(), which cannot throw, surface at the next
//   call.
// - A copy to the device reads the host's memory when the stream gets to it, so a source changed too early
//   shows. The destination of a copy to the host is 0xFF from the call on and gets its data when the host
//   synchronizes, never before.
#pragma once

#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/planted_fault.h"
#include "core/random.h"
#include "core/runtime.h"
#include "kernels/simulator/capture.h"
#include "kernels/simulator/device_block.h"
#include "kernels/simulator/device_memory.h"

namespace medfusion::simulator {

// A point in a stream that others wait for.
struct SimRecord {
  bool done = false;
  SimClock clock;
};

// An entry of a stream: it may run once all of `after` are done.
struct SimItem {
  std::string what;
  core::Runtime::Work work;  // may be empty
  std::vector<SimAccess> accesses;
  std::vector<std::shared_ptr<SimRecord>> after;
  std::shared_ptr<SimRecord> record;  // may be null
};

struct SimQueue {
  uint64_t id = 0;
  std::string label;
  std::deque<SimItem> items;
  uint64_t queued = 0;  // items so far
  uint64_t run = 0;
  SimClock clock;  // of its last item
  bool destroyed = false;
  std::shared_ptr<SimCapture> capture;
};

struct SimEvent {
  std::shared_ptr<SimRecord> record;  // null: never recorded
  uint64_t capture = 0;               // recorded in this capture, after these nodes
  std::vector<size_t> nodes;
};

struct SimGraph {
  std::shared_ptr<SimCapture> captured;
  std::map<uint64_t, uint64_t> lanes;  // captured stream -> the stream that replays it
  std::shared_ptr<SimRecord> end;      // of the last replay
};

class SimRuntime final : public core::Runtime {
 public:
  explicit SimRuntime(int index);
  ~SimRuntime() override;
  SimRuntime(const SimRuntime&) = delete;
  SimRuntime& operator=(const SimRuntime&) = delete;

  core::Device device() const override { return device_; }
  core::DeviceLimits limits() const override { return {.shared_per_block = sim_shared_limit()}; }
  bool exact_allocations() const override { return true; }
  std::string lost() override { return core::planted_loss(); }

  void* allocate(int64_t bytes, core::Stream stream) override;
  void free(void* pointer, int64_t bytes, core::Stream stream) noexcept override;
  core::MemoryInfo memory() override;
  void copy_to_device(void* device, const void* host, int64_t bytes, core::Stream stream) override;
  void copy_to_host(void* host, const void* device, int64_t bytes, core::Stream stream) override;
  void copy_on_device(void* to, const void* from, int64_t bytes, core::Stream stream) override;
  void fill_bytes(void* device, uint8_t value, int64_t bytes, core::Stream stream) override;
  void launch(core::Stream stream, const char* name, const std::vector<core::Access>& accesses,
              Work work) override;

  core::Stream create_stream() override;
  void destroy_stream(core::Stream stream) override;
  void synchronize(core::Stream stream) override;
  core::Event create_event() override;
  void destroy_event(core::Event event) override;
  void record(core::Event event, core::Stream stream) override;
  void wait(core::Stream stream, core::Event event) override;

  void begin_capture(core::Stream stream) override;
  core::Graph end_capture(core::Stream stream) override;
  void replay(core::Graph graph, core::Stream stream) override;
  void destroy_graph(core::Graph graph) override;

 private:
  template <class... Args>
  [[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) const {
    throw core::Error(
        fmt::format("sim:{}: {}", device_.index, fmt::format(format, std::forward<Args>(args)...)));
  }

  // Before a call: not from queued work, no error left over, not too much queued.
  void enter(const char* call);
  void throw_deferred();
  void defer(std::exception_ptr error);
  // With run_mutex_ held: runs single items until `enough`.
  void run_until(const std::function<bool()>& enough);
  SimQueue* pick();
  void execute(SimItem& item);

  // With mutex_ held.
  SimQueue& add_queue(std::string label);
  SimQueue& queue_of(core::Stream stream);
  SimEvent& event_of(core::Event event);
  void forbid_in_capture(SimQueue& queue, const char* call);
  SimAccess resolve(const SimQueue& queue, const std::string& name, const void* data, bool written) const;
  void check_range(const SimQueue& queue, const std::string& name, const SimAccess& access, const void* data,
                   int64_t bytes) const;
  void check_order(const std::string& what, const SimClock& clock, const SimAccess& access) const;
  std::shared_ptr<SimHostCopy> plan_host_copy(SimQueue& queue, const char* name, const void* host,
                                              int64_t bytes);
  std::vector<std::shared_ptr<SimRecord>> records_of_all();
  void push(SimQueue& queue, SimItem item);
  void submit(SimQueue& queue, const std::string& name, std::vector<SimAccess> accesses, Work work,
              std::vector<std::shared_ptr<SimRecord>> after = {},
              std::shared_ptr<SimRecord> record = nullptr);
  SimQueue& lane_of(SimGraph& state, core::Graph graph, uint64_t captured, SimQueue& replaying);

  const core::Device device_;
  const uint64_t owner_;  // of its allocations
  std::mutex run_mutex_;  // held by the thread that runs queued work; taken before mutex_
  std::mutex mutex_;      // everything below; never held while work runs
  std::map<uint64_t, SimQueue> queues_;
  std::map<uint64_t, SimEvent> events_;
  std::map<uint64_t, SimGraph> graphs_;
  std::map<uint64_t, std::shared_ptr<SimCapture>> captures_;  // under way
  uint64_t last_event_ = 0;
  uint64_t last_graph_ = 0;  // also counts captures
  size_t pending_ = 0;
  int64_t held_ = 0;
  SimClock host_clock_;  // what the host has synchronized with
  std::exception_ptr deferred_;
  std::optional<core::Generator> order_;
  uint64_t order_version_ = 0;
  uint64_t last_run_ = 0;
};

// For core::register_runtime.
std::unique_ptr<core::Runtime> make_sim_runtime(int index);

}  // namespace medfusion::simulator
