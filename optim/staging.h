// Brings tensors from the host to a device beside the device's other work: through pinned memory, on a stream
// of its own, with events between that stream and the one that computes.
#pragma once

#include <vector>

#include "core/runtime.h"
#include "core/tensor.h"

namespace medfusion::optim {

// One set of tensors at a time: put(), take(), release(), put(), ... The device's copy is overwritten by the
// next put() once the computing stream has passed release(); so while that stream computes with what it took
// for itself, the next set is already on its way.
class Staging {
 public:
  explicit Staging(core::Device device);
  ~Staging();
  Staging(const Staging&) = delete;
  Staging& operator=(const Staging&) = delete;

  // Queues the copies of `tensors` (on the host; undefined ones stay undefined), whose memory may change as
  // soon as it returns. Waits for the copies of the put() before, not for anything else.
  void put(const std::vector<core::Tensor>& tensors);
  // The device's copies. The current stream waits for them; read them on it, before release() only.
  const std::vector<core::Tensor>& take();
  // Says that the current stream has queued all that reads them.
  void release();

 private:
  struct Pinned {
    void* data = nullptr;
    int64_t bytes = 0;
  };
  void* pinned(size_t index, int64_t bytes);

  const core::Device device_;
  core::Runtime& runtime_;
  core::Stream stream_;  // of the copies
  core::Event copied_, released_;
  std::vector<Pinned> pinned_;        // per tensor
  std::vector<core::Tensor> copies_;  // allocated for stream_
};

}  // namespace medfusion::optim
