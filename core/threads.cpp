#include "core/threads.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/start_threads.h"

namespace medfusion::core {
namespace {

// One parallel_for call: workers take chunks by an atomic counter.
struct Job {
  const std::function<void(int64_t, int64_t)>* body;
  int64_t begin, end, grain, chunks;
  std::atomic<int64_t> next{0};
  std::atomic<int64_t> done{0};
  std::mutex error_mutex;
  std::exception_ptr error;
};

thread_local bool inside_parallel_for = false;

void run_chunks(Job& job) {
  inside_parallel_for = true;
  for (;;) {
    const int64_t chunk = job.next.fetch_add(1, std::memory_order_relaxed);
    if (chunk >= job.chunks) break;
    try {
      const int64_t first = job.begin + chunk * job.grain;
      (*job.body)(first, std::min(job.end, first + job.grain));
    } catch (...) {
      const std::lock_guard lock(job.error_mutex);
      if (!job.error) job.error = std::current_exception();
    }
    job.done.fetch_add(1, std::memory_order_acq_rel);
  }
  inside_parallel_for = false;
}

class Pool {
 public:
  ~Pool() { stop(); }

  void resize(int count) {
    const std::lock_guard call_lock(call_mutex_);
    stop();
    count_ = count;
  }

  int count() const { return count_; }

  void run(Job& job) {
    std::unique_lock call_lock(call_mutex_, std::try_to_lock);
    if (!call_lock.owns_lock()) {  // another thread (e.g. a data loader) uses the workers: run here
      run_chunks(job);
      return;
    }
    start();
    {
      const std::lock_guard lock(mutex_);
      job_ = &job;
      ++generation_;
    }
    wake_.notify_all();
    run_chunks(job);
    std::unique_lock lock(mutex_);
    job_ = nullptr;
    idle_.wait(lock, [&] { return active_ == 0; });
  }

 private:
  void start() {
    if (!workers_.empty()) return;
    stopping_ = false;
    workers_ = start_threads(count_ - 1, [this, seen = generation_] { work(seen); });
    count_ = static_cast<int>(workers_.size()) + 1;  // what the system started
  }

  void stop() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_all();
    for (auto& worker : workers_) worker.join();
    workers_.clear();
  }

  void work(uint64_t seen) {
    std::unique_lock lock(mutex_);
    for (;;) {
      wake_.wait(lock, [&] { return stopping_ || (generation_ != seen && job_ != nullptr); });
      if (stopping_) return;
      seen = generation_;
      Job* job = job_;
      ++active_;
      lock.unlock();
      run_chunks(*job);
      lock.lock();
      if (--active_ == 0) idle_.notify_all();
    }
  }

  std::atomic<int> count_ = static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
  std::mutex call_mutex_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::condition_variable idle_;
  std::vector<std::thread> workers_;
  Job* job_ = nullptr;
  uint64_t generation_ = 0;
  int active_ = 0;
  bool stopping_ = false;
};

Pool& pool() {
  static Pool instance;
  return instance;
}

}  // namespace

void set_num_threads(int count) {
  MEDFUSION_CHECK(count >= 1, "set_num_threads: expected at least 1 thread, got {}", count);
  pool().resize(count);
}

int num_threads() { return pool().count(); }

SerialGuard::SerialGuard() : before_(std::exchange(inside_parallel_for, true)) {}
SerialGuard::~SerialGuard() { inside_parallel_for = before_; }

void parallel_for(int64_t begin, int64_t end, int64_t grain,
                  const std::function<void(int64_t, int64_t)>& body) {
  if (end <= begin) return;
  grain = std::max<int64_t>(1, grain);
  const int64_t chunks = (end - begin + grain - 1) / grain;
  if (inside_parallel_for || chunks == 1 || num_threads() == 1) {
    std::exception_ptr error;
    for (int64_t chunk = 0; chunk < chunks; ++chunk) {
      const int64_t first = begin + chunk * grain;
      try {
        body(first, std::min(end, first + grain));
      } catch (...) {
        if (!error) error = std::current_exception();
      }
    }
    if (error) std::rethrow_exception(error);
    return;
  }
  Job job{&body, begin, end, grain, chunks, {}, {}, {}, {}};
  pool().run(job);
  if (job.error) std::rethrow_exception(job.error);
}

}  // namespace medfusion::core
