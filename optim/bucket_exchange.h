// Adds up parts of a sum over ranks while the backward pass goes on.
#pragma once

#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "core/communicator.h"
#include "core/runtime.h"
#include "core/tensor.h"

namespace medfusion::optim {

// Each rank calls start() with its branches of the same parts in the same order. On the cpu a thread
// exchanges them; where the ranks queue on the device, that is work of a stream of its own, which a graph
// captures with the rest; elsewhere start() exchanges at once. Between start() and finish() `ranks` is
// not called for anything else.
class BucketExchange {
 public:
  // `ranks` outlives the object.
  BucketExchange(core::Communicator& ranks, core::Device device);
  ~BucketExchange();  // waits for what was started, as long as no rank has failed
  BucketExchange(const BucketExchange&) = delete;
  BucketExchange& operator=(const BucketExchange&) = delete;

  // `sum` becomes the sum over the ranks, added along the tree (optim/shard_sum.h). `chunks`, [ranks,
  // elements of sum / ranks], is room for it. Neither may be touched before finish().
  void start(const core::Tensor& sum, const core::Tensor& chunks);
  // Waits, or has the current stream wait. Rethrows what an exchange threw.
  void finish();

 private:
  void exchange(const core::Tensor& sum, const core::Tensor& chunks) const;
  void work();

  core::Communicator& ranks_;
  const core::Device device_;

  // Where the ranks queue on the device.
  const bool queues_;
  core::Stream stream_;
  core::Event ready_, done_;

  // On the cpu.
  std::vector<std::thread> worker_;  // one, or none where the system starts none
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::pair<core::Tensor, core::Tensor>> waiting_;  // the first is at work
  std::exception_ptr error_;
  bool ends_ = false;
};

}  // namespace medfusion::optim
