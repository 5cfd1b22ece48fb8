// A simulated device behind a layer that a test overrides in parts.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "core/runtime.h"
#include "kernels/simulator/runtime.h"

namespace medfusion::optim {

class WrappedSim : public core::Runtime {
 public:
  explicit WrappedSim(int index) : sim_(simulator::make_sim_runtime(index)) {}
  core::Device device() const override { return sim_->device(); }
  core::DeviceLimits limits() const override { return sim_->limits(); }
  bool exact_allocations() const override { return true; }
  void* allocate(int64_t bytes, core::Stream stream) override { return sim_->allocate(bytes, stream); }
  void free(void* pointer, int64_t bytes, core::Stream stream) noexcept override {
    sim_->free(pointer, bytes, stream);
  }
  core::MemoryInfo memory() override { return sim_->memory(); }
  void copy_to_device(void* to, const void* from, int64_t bytes, core::Stream stream) override {
    sim_->copy_to_device(to, from, bytes, stream);
  }
  void copy_to_host(void* to, const void* from, int64_t bytes, core::Stream stream) override {
    sim_->copy_to_host(to, from, bytes, stream);
  }
  void copy_on_device(void* to, const void* from, int64_t bytes, core::Stream stream) override {
    sim_->copy_on_device(to, from, bytes, stream);
  }
  void fill_bytes(void* to, uint8_t value, int64_t bytes, core::Stream stream) override {
    sim_->fill_bytes(to, value, bytes, stream);
  }
  void launch(core::Stream stream, const char* name, const std::vector<core::Access>& accesses,
              Work work) override {
    sim_->launch(stream, name, accesses, std::move(work));
  }
  core::Stream create_stream() override { return sim_->create_stream(); }
  void destroy_stream(core::Stream stream) override { sim_->destroy_stream(stream); }
  void synchronize(core::Stream stream) override { sim_->synchronize(stream); }
  core::Event create_event() override { return sim_->create_event(); }
  void destroy_event(core::Event event) override { sim_->destroy_event(event); }
  void record(core::Event event, core::Stream stream) override { sim_->record(event, stream); }
  void wait(core::Stream stream, core::Event event) override { sim_->wait(stream, event); }
  void begin_capture(core::Stream stream) override { sim_->begin_capture(stream); }
  core::Graph end_capture(core::Stream stream) override { return sim_->end_capture(stream); }
  void replay(core::Graph graph, core::Stream stream) override { sim_->replay(graph, stream); }
  void destroy_graph(core::Graph graph) override { sim_->destroy_graph(graph); }

 private:
  const std::unique_ptr<core::Runtime> sim_;
};

}  // namespace medfusion::optim
