#include "optim/staging.h"

#include <cstring>

namespace medfusion::optim {

using core::Tensor;

Staging::Staging(core::Device device)
    : device_(device),
      runtime_(core::runtime(device)),
      stream_(runtime_.create_stream()),
      copied_(runtime_.create_event()),
      released_(runtime_.create_event()) {}

Staging::~Staging() {
  try {
    runtime_.wait(stream_, released_);  // the memory of the copies goes in the order of stream_
    copies_.clear();
    runtime_.synchronize(stream_);
  } catch (...) {  // of earlier work, which its own caller has heard of
  }
  for (const Pinned& each : pinned_) {
    core::note_host_free(each.data, each.bytes);
    runtime_.free_pinned(each.data);
  }
  runtime_.destroy_event(released_);
  runtime_.destroy_event(copied_);
  runtime_.destroy_stream(stream_);
}

void* Staging::pinned(size_t index, int64_t bytes) {
  if (pinned_.size() <= index) pinned_.resize(index + 1);
  Pinned& each = pinned_[index];
  if (each.bytes < bytes) {
    runtime_.free_pinned(each.data);
    each = {};
    each = {runtime_.allocate_pinned(bytes), bytes};
  }
  return each.data;
}

void Staging::put(const std::vector<Tensor>& tensors) {
  runtime_.synchronize(stream_);  // its copies read the pinned memory
  runtime_.wait(stream_, released_);
  const core::StreamGuard on_stream(device_, stream_);
  copies_.resize(tensors.size());
  for (size_t i = 0; i < tensors.size(); ++i) {
    Tensor& copy = copies_[i];
    if (!tensors[i].defined()) {
      copy = {};
      continue;
    }
    const Tensor source = tensors[i].to_contiguous();
    if (!copy.defined() || copy.shape() != source.shape() || copy.dtype() != source.dtype()) {
      copy = {};
      copy = Tensor::empty(source.shape(), source.dtype(), device_);
    }
    if (source.numel() == 0) continue;
    void* const host = pinned(i, source.bytes());
    std::memcpy(host, source.view().data, static_cast<size_t>(source.bytes()));
    runtime_.copy_to_device(copy.view().data, host, source.bytes(), stream_);
  }
  runtime_.record(copied_, stream_);
}

const std::vector<Tensor>& Staging::take() {
  runtime_.wait(core::current_stream(device_), copied_);
  return copies_;
}

void Staging::release() { runtime_.record(released_, core::current_stream(device_)); }

}  // namespace medfusion::optim
