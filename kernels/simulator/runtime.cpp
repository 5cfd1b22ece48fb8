#include "kernels/simulator/runtime.h"

#include <algorithm>
#include <atomic>

#include "kernels/simulator/device_type.h"

namespace medfusion::simulator {

using namespace core;  // NOLINT(google-build-using-namespace): it implements the interface of core/runtime.h
namespace {

constexpr size_t kMostPending = 256;

thread_local bool running_work = false;

uint64_t next_owner() {
  static std::atomic<uint64_t> last{0};
  return ++last;
}

}  // namespace

bool in_sim_work() { return running_work; }

std::unique_ptr<Runtime> make_sim_runtime(int index) { return std::make_unique<SimRuntime>(index); }

[[maybe_unused]] static const bool registered = [] {
  register_runtime(kDeviceType, make_sim_runtime);
  return true;
}();

SimRuntime::SimRuntime(int index) : device_{kDeviceType, index}, owner_(next_owner()) {
  add_queue("stream 0");
}

SimRuntime::~SimRuntime() {
  {
    const std::lock_guard running(run_mutex_);
    run_until([&] { return pending_ == 0; });
  }
  forget_sim_host_copies(owner_);
}

// ---- running ----

void SimRuntime::enter(const char* call) {
  if (running_work) fail("{} is not allowed from within queued work", call);
  size_t pending = 0;
  {
    const std::lock_guard lock(mutex_);
    pending = pending_;
  }
  if (pending >= kMostPending) {
    const std::lock_guard running(run_mutex_);
    run_until([&] { return pending_ <= kMostPending / 2; });
  }
  throw_deferred();
}

void SimRuntime::throw_deferred() {
  std::exception_ptr error;
  {
    const std::lock_guard lock(mutex_);
    std::swap(error, deferred_);
  }
  if (error) std::rethrow_exception(error);
}

void SimRuntime::defer(std::exception_ptr error) {
  const std::lock_guard lock(mutex_);
  if (!deferred_) deferred_ = std::move(error);
}

void SimRuntime::run_until(const std::function<bool()>& enough) {
  for (;;) {
    SimItem item;
    SimQueue* queue = nullptr;
    {
      const std::lock_guard lock(mutex_);
      if (enough()) return;
      queue = pick();
      item = std::move(queue->items.front());
      queue->items.pop_front();
      --pending_;
    }
    execute(item);
    const std::lock_guard lock(mutex_);
    ++queue->run;
    if (item.record) item.record->done = true;
  }
}

// A stream whose head may run: often the same again, so that some streams fall far behind.
SimQueue* SimRuntime::pick() {
  if (!order_ || order_version_ != sim_seed_version()) {
    order_version_ = sim_seed_version();
    order_.emplace(sim_seed(), static_cast<uint64_t>(device_.index));
  }
  std::vector<SimQueue*> ready;
  for (auto& [id, queue] : queues_) {
    if (queue.items.empty()) continue;
    const auto& after = queue.items.front().after;
    if (!std::all_of(after.begin(), after.end(), [](const auto& record) { return record->done; })) continue;
    ready.push_back(&queue);
  }
  if (ready.empty()) fail("no queued work can run");  // events only wait for what was queued before
  const auto last =
      std::find_if(ready.begin(), ready.end(), [&](const SimQueue* queue) { return queue->id == last_run_; });
  SimQueue* chosen = nullptr;
  if (last != ready.end() && order_->below(4) != 0) {
    chosen = *last;
  } else {
    chosen = ready[static_cast<size_t>(order_->below(static_cast<int64_t>(ready.size())))];
  }
  last_run_ = chosen->id;
  return chosen;
}

void SimRuntime::execute(SimItem& item) {
  running_work = true;
  try {
    if (item.work) item.work(nullptr);
    for (const SimAccess& access : item.accesses) check_sim_guards(*access.block, item.what);
  } catch (...) {
    defer(std::current_exception());
  }
  running_work = false;
  item.work = nullptr;  // what it holds goes before others see the item as done
}

void SimRuntime::synchronize(Stream stream) {
  if (running_work) fail("synchronize is not allowed from within queued work");
  SimQueue* queue = nullptr;
  uint64_t target = 0;
  SimClock clock;
  {
    const std::lock_guard lock(mutex_);
    queue = &queue_of(stream);
    forbid_in_capture(*queue, "synchronize");
    target = queue->queued;
    clock = queue->clock;
  }
  {
    const std::lock_guard running(run_mutex_);
    run_until([&] { return queue->run >= target; });
  }
  {
    const std::lock_guard lock(mutex_);
    host_clock_.join(clock);
    clock = host_clock_;
  }
  try {
    deliver_sim_host_copies(owner_, clock);
  } catch (...) {
    defer(std::current_exception());
  }
  throw_deferred();
}

// ---- queueing ----

SimQueue& SimRuntime::add_queue(std::string label) {
  const uint64_t id = queues_.size();
  SimQueue& queue = queues_[id];
  queue.id = id;
  queue.label = std::move(label);
  return queue;
}

SimQueue& SimRuntime::queue_of(Stream stream) {
  const auto found = queues_.find(stream.id);
  if (found == queues_.end()) fail("stream {} does not exist", stream.id);
  if (found->second.destroyed) fail("stream {} was destroyed", stream.id);
  return found->second;
}

SimEvent& SimRuntime::event_of(Event event) {
  const auto found = events_.find(event.id);
  if (found == events_.end()) fail("event {} does not exist", event.id);
  return found->second;
}

void SimRuntime::forbid_in_capture(SimQueue& queue, const char* call) {
  if (!queue.capture) return;
  if (queue.capture->invalid.empty()) queue.capture->invalid = call;
  fail("{} is not allowed while {} is captured", call, queue.label);
}

SimAccess SimRuntime::resolve(const SimQueue& queue, const std::string& name, const void* data,
                              bool written) const {
  SimAccess access{find_sim_block(data), written};
  if (!access.block) {
    fail("'{}' on {} {} {}, which is not memory of the device", name, queue.label,
         written ? "writes" : "reads", data);
  }
  if (access.block->owner != owner_) {
    fail("'{}' on {} {} allocation {} of another device", name, queue.label, written ? "writes" : "reads",
         access.block->id);
  }
  return access;
}

void SimRuntime::check_range(const SimQueue& queue, const std::string& name, const SimAccess& access,
                             const void* data, int64_t bytes) const {
  const int64_t offset = static_cast<const char*>(data) - access.block->begin;
  if (offset + bytes > access.block->bytes) {
    fail("'{}' on {} {} {} bytes from byte {} on of allocation {}, which has {} bytes", name, queue.label,
         access.written ? "writes" : "reads", bytes, offset, access.block->id, access.block->bytes);
  }
}

void SimRuntime::check_order(const std::string& what, const SimClock& clock, const SimAccess& access) const {
  const SimBlock& block = *access.block;
  const char* const verb = access.written ? "writes" : "reads";
  if (block.free.tick != 0) {
    fail("{} {} allocation {} after {}: use after a stream-ordered free", what, verb, block.id,
         block.free.what);
  }
  if (!block.write.known_to(clock)) {
    if (block.fresh) {
      fail("{} {} allocation {} made by {}, without a wait between them", what, verb, block.id,
           block.write.what);
    }
    fail("{} {} allocation {} that {} writes, without a wait between them", what, verb, block.id,
         block.write.what);
  }
  if (!access.written) return;
  for (const SimUse& read : block.reads) {
    if (!read.known_to(clock)) {
      fail("{} writes allocation {} that {} reads, without a wait between them", what, block.id, read.what);
    }
  }
}

void SimRuntime::push(SimQueue& queue, SimItem item) {
  queue.clock.join(host_clock_);
  for (const auto& record : item.after) queue.clock.join(record->clock);
  queue.clock.set(queue.id, queue.clock.at(queue.id) + 1);
  if (item.record) item.record->clock = queue.clock;
  queue.items.push_back(std::move(item));
  ++queue.queued;
  ++pending_;
}

// Records the work where the stream is captured; otherwise checks its order against all earlier work, then
// queues it. Changes nothing when it throws.
void SimRuntime::submit(SimQueue& queue, const std::string& name, std::vector<SimAccess> accesses, Work work,
                        std::vector<std::shared_ptr<SimRecord>> after, std::shared_ptr<SimRecord> record) {
  const std::string what = fmt::format("'{}' on {}", name, queue.label);
  if (queue.capture) {
    for (const SimAccess& access : accesses) {
      if (access.block->free.tick != 0) check_order(what, {}, access);
    }
    queue.capture->add({queue.id, name, std::move(accesses), std::move(work), {}});
    return;
  }
  SimClock clock = queue.clock;
  clock.join(host_clock_);
  for (const auto& earlier : after) clock.join(earlier->clock);
  for (const SimAccess& access : accesses) check_order(what, clock, access);

  push(queue, {what, std::move(work), accesses, std::move(after), std::move(record)});
  const SimUse use{what, queue.id, queue.clock.at(queue.id)};
  for (const SimAccess& access : accesses) {
    if (access.written) continue;
    auto& reads = access.block->reads;
    std::erase_if(reads, [&](const SimUse& read) { return read.stream == use.stream; });
    reads.push_back(use);
  }
  for (const SimAccess& access : accesses) {
    if (!access.written) continue;
    access.block->write = use;
    access.block->fresh = false;
    access.block->reads.clear();
  }
}

void SimRuntime::launch(Stream stream, const char* name, const std::vector<Access>& accesses, Work work) {
  enter("launch");
  planted_fault(name);
  const std::lock_guard lock(mutex_);
  SimQueue& queue = queue_of(stream);
  std::vector<SimAccess> resolved;
  for (const Access& access : accesses) {
    if (access.data != nullptr) resolved.push_back(resolve(queue, name, access.data, access.written));
  }
  submit(queue, name, std::move(resolved), std::move(work));
}

}  // namespace medfusion::simulator
