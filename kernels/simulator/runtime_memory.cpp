// Memory and copies of the sim runtime.
#include <algorithm>
#include <cstring>

#include "kernels/simulator/runtime.h"

namespace medfusion::simulator {

using namespace core;  // NOLINT(google-build-using-namespace): it implements the interface of core/runtime.h

// Points that all streams pass once they have run what is queued now.
std::vector<std::shared_ptr<SimRecord>> SimRuntime::records_of_all() {
  std::vector<std::shared_ptr<SimRecord>> records;
  for (auto& [id, queue] : queues_) {
    records.push_back(std::make_shared<SimRecord>());
    push(queue, {"record on " + queue.label, nullptr, {}, {}, records.back()});
  }
  return records;
}

void* SimRuntime::allocate(int64_t bytes, Stream stream) {
  enter("allocate");
  const auto make = [&]() -> std::shared_ptr<SimBlock> {
    const std::lock_guard lock(mutex_);
    SimQueue& queue = queue_of(stream);
    forbid_in_capture(queue, "allocate");
    const int64_t limit = sim_memory_limit(device_.index);
    // No host has so much, and sanitizers end the program when asked for more.
    constexpr int64_t kMost = int64_t{1} << 39;
    if (bytes > kMost || (limit > 0 && held_ + bytes > limit)) return nullptr;
    auto block = make_sim_block(bytes, owner_);
    if (!block) return nullptr;
    held_ += bytes;
    push(queue, {});
    block->write = {fmt::format("'allocate' on {}", queue.label), queue.id, queue.clock.at(queue.id)};
    return block;
  };
  auto block = make();
  if (!block) {  // frees may be queued
    {
      const std::lock_guard running(run_mutex_);
      run_until([&] { return pending_ == 0; });
    }
    block = make();
  }
  if (!block) {
    const std::lock_guard lock(mutex_);
    const int64_t limit = sim_memory_limit(device_.index);
    throw OutOfMemory(fmt::format("sim:{}: out of memory, {} bytes asked, {} bytes held{}", device_.index,
                                  bytes, held_,
                                  limit > 0 ? fmt::format(", {} bytes free", limit - held_) : ""));
  }
  return block->begin;
}

MemoryInfo SimRuntime::memory() {
  const std::lock_guard lock(mutex_);
  const int64_t limit = sim_memory_limit(device_.index);
  return limit > 0 ? MemoryInfo{limit - held_, limit} : MemoryInfo{};
}

void SimRuntime::free(void* pointer, int64_t bytes, Stream stream) noexcept {
  if (pointer == nullptr) return;
  try {
    const std::lock_guard lock(mutex_);
    const auto block = find_sim_block(pointer);
    if (!block || block->begin != pointer || block->owner != owner_) {
      fail("free of {}, which is not an allocation of the device", pointer);
    }
    if (block->free.tick != 0)
      fail("free of allocation {}, already freed by {}", block->id, block->free.what);
    if (block->bytes != bytes) {
      fail("free of allocation {} with {} bytes as if it had {}", block->id, block->bytes, bytes);
    }
    const auto found = queues_.find(stream.id);
    if (found == queues_.end()) fail("free: stream {} does not exist", stream.id);
    SimQueue& queue = found->second;
    const std::string what = fmt::format("'free' on {}", queue.label);
    std::exception_ptr error;
    try {
      if (queue.destroyed) fail("free of allocation {}: {} was destroyed", block->id, queue.label);
      forbid_in_capture(queue, "free");
      SimClock clock = queue.clock;
      clock.join(host_clock_);
      check_order(what, clock, {block, true});
    } catch (...) {
      error = std::current_exception();
    }
    std::vector<std::shared_ptr<SimRecord>> after;
    if (error) after = records_of_all();  // it is reported; what still uses the memory shall not crash
    push(queue, {what,
                 [this, block, what](void*) {
                   std::exception_ptr damage;
                   try {
                     check_sim_guards(*block, what);
                   } catch (...) {
                     damage = std::current_exception();
                   }
                   retire_sim_block(block);
                   {
                     const std::lock_guard held(mutex_);
                     held_ -= block->bytes;
                   }
                   if (damage) std::rethrow_exception(damage);
                 },
                 {},
                 std::move(after),
                 nullptr});
    block->free = {what, queue.id, queue.clock.at(queue.id)};
    if (error && !deferred_) deferred_ = error;
  } catch (...) {
    defer(std::current_exception());
  }
}

std::shared_ptr<SimHostCopy> SimRuntime::plan_host_copy(SimQueue& queue, const char* name, const void* host,
                                                        int64_t bytes) {
  forbid_in_capture(queue, name);
  const auto copy = std::make_shared<SimHostCopy>();
  copy->owner = owner_;
  copy->host = static_cast<char*>(const_cast<void*>(host));
  copy->bytes = bytes;
  copy->use.what = fmt::format("'{}' on {}", name, queue.label);
  if (find_sim_block(host)) fail("{} takes device memory for the host's", copy->use.what);
  // Memory that a queued copy to the host writes must not be touched by unordered copies.
  SimClock clock = queue.clock;
  clock.join(host_clock_);
  for (const auto& other : sim_host_copies(owner_, host, bytes, true)) {
    if (!other->use.known_to(clock)) {
      fail("{} touches host memory that {} writes, without a wait between them", copy->use.what,
           other->use.what);
    }
  }
  return copy;
}

void SimRuntime::copy_to_device(void* device, const void* host, int64_t bytes, Stream stream) {
  enter("copy_to_device");
  if (bytes <= 0) return;
  const std::lock_guard lock(mutex_);
  SimQueue& queue = queue_of(stream);
  const SimAccess to = resolve(queue, "copy_to_device", device, true);
  check_range(queue, "copy_to_device", to, device, bytes);
  const auto copy = plan_host_copy(queue, "copy_to_device", host, bytes);
  // Copies to the host that come first in the stream have written the source by then.
  const auto earlier = sim_host_copies(owner_, host, bytes, true);
  submit(queue, "copy_to_device", {to}, [device, bytes, copy, earlier](void*) {
    end_sim_host_copy(copy);
    for (const auto& other : earlier) {
      if (other->arrived && !other->lost) {
        std::memcpy(other->host, other->staged.data(), other->staged.size());
      }
    }
    std::memcpy(device, copy->host, static_cast<size_t>(bytes));
  });
  add_sim_host_copy(copy);
}

void SimRuntime::copy_to_host(void* host, const void* device, int64_t bytes, Stream stream) {
  enter("copy_to_host");
  if (bytes <= 0) return;
  const std::lock_guard lock(mutex_);
  SimQueue& queue = queue_of(stream);
  const SimAccess from = resolve(queue, "copy_to_host", device, false);
  check_range(queue, "copy_to_host", from, device, bytes);
  const auto copy = plan_host_copy(queue, "copy_to_host", host, bytes);
  copy->to_host = true;
  submit(queue, "copy_to_host", {from}, [copy, device, bytes](void*) {
    const char* const begin = static_cast<const char*>(device);
    copy->staged.assign(begin, begin + bytes);
    copy->arrived = true;
  });
  copy->use.stream = queue.id;
  copy->use.tick = queue.clock.at(queue.id);
  // Copies to the device that come first still need what is there.
  if (sim_host_copies(owner_, host, bytes, false).empty()) {
    std::memset(host, 0xFF, static_cast<size_t>(bytes));
  }
  add_sim_host_copy(copy);
}

void SimRuntime::copy_on_device(void* to, const void* from, int64_t bytes, Stream stream) {
  enter("copy_on_device");
  if (bytes <= 0) return;
  const std::lock_guard lock(mutex_);
  SimQueue& queue = queue_of(stream);
  const SimAccess written = resolve(queue, "copy", to, true);
  const SimAccess read = resolve(queue, "copy", from, false);
  check_range(queue, "copy", written, to, bytes);
  check_range(queue, "copy", read, from, bytes);
  submit(queue, "copy", {written, read}, [=](void*) { std::memmove(to, from, static_cast<size_t>(bytes)); });
}

void SimRuntime::fill_bytes(void* device, uint8_t value, int64_t bytes, Stream stream) {
  enter("fill_bytes");
  if (bytes <= 0) return;
  const std::lock_guard lock(mutex_);
  SimQueue& queue = queue_of(stream);
  const SimAccess written = resolve(queue, "fill", device, true);
  check_range(queue, "fill", written, device, bytes);
  submit(queue, "fill", {written}, [=](void*) { std::memset(device, value, static_cast<size_t>(bytes)); });
}

}  // namespace medfusion::simulator
