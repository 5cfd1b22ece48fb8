#include "core/runtime.h"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <map>
#include <utility>
#include <vector>

#include "core/error.h"

namespace medfusion::core {
namespace {

class CpuRuntime final : public Runtime {
 public:
  Device device() const override { return {}; }

  void* allocate(int64_t bytes) override {
    MEDFUSION_CHECK(captures_.empty(), "cpu: allocate is not allowed while a capture is under way");
    constexpr int64_t kHugePage = int64_t{2} << 20;
    const int64_t alignment = bytes >= 2 * kHugePage ? kHugePage : 64;
    const int64_t rounded = (bytes + alignment - 1) / alignment * alignment;
    void* pointer = std::aligned_alloc(static_cast<size_t>(alignment), static_cast<size_t>(rounded));
    MEDFUSION_CHECK(pointer != nullptr, "cpu: out of memory, {} bytes asked", bytes);
    // Channel slices step through large buffers a page or so at a time: huge pages save most of the page
    // walks.
    if (alignment == kHugePage) madvise(pointer, static_cast<size_t>(bytes), MADV_HUGEPAGE);
    return pointer;
  }
  void free(void* pointer, int64_t /*bytes*/) noexcept override { std::free(pointer); }

  void copy_to_device(void* device, const void* host, int64_t bytes, Stream stream) override {
    MEDFUSION_CHECK(!captures_.contains(stream.id), "cpu: a host copy is not allowed during capture");
    copy_on_device(device, host, bytes, stream);
  }
  void copy_to_host(void* host, const void* device, int64_t bytes, Stream stream) override {
    MEDFUSION_CHECK(!captures_.contains(stream.id), "cpu: a host copy is not allowed during capture");
    copy_on_device(host, device, bytes, stream);
  }
  void copy_on_device(void* to, const void* from, int64_t bytes, Stream stream) override {
    if (bytes > 0) {
      launch(stream, "copy", [=] { std::memmove(to, from, static_cast<size_t>(bytes)); });
    }
  }
  void fill_bytes(void* device, uint8_t value, int64_t bytes, Stream stream) override {
    if (bytes > 0) {
      launch(stream, "fill", [=] { std::memset(device, value, static_cast<size_t>(bytes)); });
    }
  }

  void launch(Stream stream, const char* /*name*/, std::function<void()> work) override {
    const auto capture = captures_.find(stream.id);
    if (capture == captures_.end()) {
      work();
    } else {
      capture->second.push_back(std::move(work));
    }
  }

  Stream create_stream() override { return {++last_id_}; }
  void destroy_stream(Stream stream) override { captures_.erase(stream.id); }
  void synchronize(Stream stream) override {
    MEDFUSION_CHECK(!captures_.contains(stream.id), "cpu: synchronize is not allowed during capture");
  }
  Event create_event() override { return {++last_id_}; }
  void destroy_event(Event /*event*/) override {}
  void record(Event /*event*/, Stream /*stream*/) override {}
  void wait(Stream /*stream*/, Event /*event*/) override {}

  void begin_capture(Stream stream) override {
    MEDFUSION_CHECK(captures_.emplace(stream.id, Work{}).second, "cpu: stream {} is already captured",
                    stream.id);
  }
  Graph end_capture(Stream stream) override {
    const auto capture = captures_.find(stream.id);
    MEDFUSION_CHECK(capture != captures_.end(), "cpu: stream {} is not captured", stream.id);
    const Graph graph{++last_id_};
    graphs_[graph.id] = std::move(capture->second);
    captures_.erase(capture);
    return graph;
  }
  void replay(Graph graph, Stream stream) override {
    const auto found = graphs_.find(graph.id);
    MEDFUSION_CHECK(found != graphs_.end(), "cpu: graph {} does not exist", graph.id);
    for (const auto& work : found->second) launch(stream, "replay", work);
  }
  void destroy_graph(Graph graph) override { graphs_.erase(graph.id); }

 private:
  using Work = std::vector<std::function<void()>>;
  std::map<uint64_t, Work> captures_;  // stream -> what it has recorded
  std::map<uint64_t, Work> graphs_;
  uint64_t last_id_ = 0;
};

}  // namespace

std::unique_ptr<Runtime> make_cpu_runtime() { return std::make_unique<CpuRuntime>(); }

Runtime& runtime(Device device) {
  MEDFUSION_CHECK(device.type == DeviceType::cpu && device.index == 0,
                  "device {}:{} is not available in this build", name_of(device.type), device.index);
  static const auto cpu = make_cpu_runtime().release();  // lives as long as any tensor in a static
  return *cpu;
}

}  // namespace medfusion::core
