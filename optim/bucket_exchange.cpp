#include "optim/bucket_exchange.h"

#include "core/start_threads.h"
#include "core/threads.h"
#include "kernels/elementwise/elementwise.h"
#include "kernels/registry.h"

namespace medfusion::optim {

using core::Tensor;

BucketExchange::BucketExchange(core::Communicator& ranks, core::Device device)
    : ranks_(ranks), device_(device), queues_(ranks.queues_on(device.type)) {
  if (queues_) {
    core::Runtime& runtime = core::runtime(device_);
    stream_ = runtime.create_stream();
    ready_ = runtime.create_event();
    done_ = runtime.create_event();
  } else if (device.type == core::DeviceType::cpu) {
    worker_ = core::start_threads(1, [this] { work(); });
  }
}

BucketExchange::~BucketExchange() {
  if (queues_) {
    core::Runtime& runtime = core::runtime(device_);
    try {
      runtime.synchronize(stream_);
    } catch (...) {  // of earlier work, which its own caller has heard of
    }
    try {
      runtime.destroy_event(done_);
      runtime.destroy_event(ready_);
      runtime.destroy_stream(stream_);
    } catch (...) {  // the device is lost, and with it what is on it
    }
  }
  {
    const std::lock_guard lock(mutex_);
    ends_ = true;
  }
  changed_.notify_all();
  for (std::thread& thread : worker_) thread.join();
}

void BucketExchange::start(const Tensor& sum, const Tensor& chunks) {
  if (queues_) {
    core::Runtime& runtime = core::runtime(device_);
    runtime.record(ready_, core::current_stream(device_));
    runtime.wait(stream_, ready_);
    const core::StreamGuard on_stream(device_, stream_);
    return exchange(sum, chunks);
  }
  if (worker_.empty()) return exchange(sum, chunks);
  const std::lock_guard lock(mutex_);
  waiting_.emplace_back(sum, chunks);
  changed_.notify_all();
}

void BucketExchange::finish() {
  if (queues_) {
    core::Runtime& runtime = core::runtime(device_);
    runtime.record(done_, stream_);
    return runtime.wait(core::current_stream(device_), done_);
  }
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return waiting_.empty(); });
  if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
}

// What stands in `sum` on every rank is one branch. Each rank adds up its chunk of all, in the order of the
// tree, and all get it from there.
void BucketExchange::exchange(const Tensor& sum, const Tensor& chunks) const {
  const int64_t ranks = ranks_.size();
  ranks_.all_to_all(sum, chunks);
  for (int64_t step = 1; step < ranks; step *= 2) {
    for (int64_t rank = 0; rank + step < ranks; rank += 2 * step) {
      const Tensor to = chunks.slice(0, rank, rank + 1), from = chunks.slice(0, rank + step, rank + step + 1);
      kernels::dispatch<kernels::BinaryForward>({kernels::Binary::add, to.view(), from.view(), to.view()},
                                                device_.type);
    }
  }
  ranks_.all_gather(chunks.slice(0, 0, 1), sum);
}

// After a failure the rest is passed over: the other ranks fail with it.
void BucketExchange::work() {
  const core::SerialGuard alone;  // the other threads compute
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [&] { return ends_ || !waiting_.empty(); });
    if (waiting_.empty()) return;
    const auto [sum, chunks] = waiting_.front();
    if (!error_) {
      lock.unlock();
      std::exception_ptr error;
      try {
        exchange(sum, chunks);
      } catch (...) {
        error = std::current_exception();
      }
      lock.lock();
      error_ = error;
    }
    waiting_.pop_front();
    changed_.notify_all();
  }
}

}  // namespace medfusion::optim
