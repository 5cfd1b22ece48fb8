#include "core/runtime.h"

#include <sys/mman.h>

#include <array>
#include <atomic>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "core/error.h"

namespace medfusion::core {
namespace {

class CpuRuntime final : public Runtime {
 public:
  Device device() const override { return {}; }
#ifdef MEDFUSION_EXACT_MEMORY  // for a sanitizer that is to see where each tensor ends
  bool exact_allocations() const override { return true; }
#endif

  void* allocate(int64_t bytes, Stream stream) override {
    MEDFUSION_CHECK(!captures_.contains(stream.id), "cpu: allocate is not allowed during capture");
    constexpr int64_t kHugePage = int64_t{2} << 20;
    const int64_t alignment = bytes >= 2 * kHugePage ? kHugePage : 64;
    void* pointer = nullptr;
    if (::posix_memalign(&pointer, static_cast<size_t>(alignment), static_cast<size_t>(bytes)) != 0)
      throw OutOfMemory(fmt::format("cpu: out of memory, {} bytes asked", bytes));
    // Channel slices step through large buffers a page or so at a time: huge pages save most of the page
    // walks.
    if (alignment == kHugePage) madvise(pointer, static_cast<size_t>(bytes), MADV_HUGEPAGE);
    return pointer;
  }
  void free(void* pointer, int64_t /*bytes*/, Stream /*stream*/) noexcept override { std::free(pointer); }

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
      launch(stream, "copy", {}, [=](void*) { std::memmove(to, from, static_cast<size_t>(bytes)); });
    }
  }
  void fill_bytes(void* device, uint8_t value, int64_t bytes, Stream stream) override {
    if (bytes > 0) {
      launch(stream, "fill", {}, [=](void*) { std::memset(device, value, static_cast<size_t>(bytes)); });
    }
  }

  void launch(Stream stream, const char* /*name*/, const std::vector<Access>& /*accesses*/,
              Work work) override {
    const auto capture = captures_.find(stream.id);
    if (capture == captures_.end()) {
      work(nullptr);
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
    MEDFUSION_CHECK(captures_.emplace(stream.id, Recorded{}).second, "cpu: stream {} is already captured",
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
    for (const auto& work : found->second) launch(stream, "replay", {}, work);
  }
  void destroy_graph(Graph graph) override { graphs_.erase(graph.id); }

 private:
  using Recorded = std::vector<Work>;
  std::map<uint64_t, Recorded> captures_;  // stream -> what it has recorded
  std::map<uint64_t, Recorded> graphs_;
  uint64_t last_id_ = 0;
};

std::unique_ptr<Runtime> make_cpu(int index) {
  if (index != 0) throw Error(fmt::format("device cpu:{} does not exist, only cpu:0", index));
  return make_cpu_runtime();
}

struct Runtimes {
  std::mutex mutex;
  struct Registered {
    DeviceType type;
    RuntimeFactory factory;
  };
  std::map<size_t, Registered> registered{{DeviceType::cpu.number(), {DeviceType::cpu, make_cpu}}};
  // Made on first use and never destroyed: tensors in statics may outlive every other static.
  std::array<std::array<std::atomic<Runtime*>, kMaxDevices>, kMaxDeviceTypes> made{};
};

Runtimes& runtimes() {
  static auto* const instance = new Runtimes;
  return *instance;
}

uint64_t& current_stream_id(Device device) {
  thread_local std::array<std::array<uint64_t, kMaxDevices>, kMaxDeviceTypes> ids{};
  MEDFUSION_CHECK(device.index >= 0 && device.index < kMaxDevices, "device {}:{} does not exist",
                  name_of(device.type), device.index);
  return ids[device.type.number()][static_cast<size_t>(device.index)];
}

}  // namespace

void* Runtime::allocate_pinned(int64_t bytes) {
  if (bytes <= 0) return nullptr;
  constexpr int64_t kAlignment = 64;
  const int64_t rounded = (bytes + kAlignment - 1) / kAlignment * kAlignment;
  void* const pointer = std::aligned_alloc(kAlignment, static_cast<size_t>(rounded));
  if (pointer == nullptr) throw OutOfMemory(fmt::format("host: out of memory, {} bytes asked", bytes));
  return pointer;
}
void Runtime::free_pinned(void* pointer) noexcept { std::free(pointer); }

std::unique_ptr<Runtime> make_cpu_runtime() { return std::make_unique<CpuRuntime>(); }

Runtime& runtime(Device device) {
  if (device.index < 0 || device.index >= kMaxDevices) {  // said to users: without the place in the source
    throw Error(fmt::format("device {}:{} does not exist", name_of(device.type), device.index));
  }
  std::atomic<Runtime*>& slot = runtimes().made[device.type.number()][static_cast<size_t>(device.index)];
  if (Runtime* const made = slot.load(std::memory_order_acquire)) return *made;
  const std::lock_guard lock(runtimes().mutex);
  if (Runtime* const made = slot.load(std::memory_order_relaxed)) return *made;
  const auto found = runtimes().registered.find(device.type.number());
  if (found == runtimes().registered.end()) {
    throw Error(
        fmt::format("device {}:{} is not available in this build", name_of(device.type), device.index));
  }
  slot.store(found->second.factory(device.index).release(), std::memory_order_release);
  return *slot.load(std::memory_order_relaxed);
}

bool is_present(Device device) {
  try {
    runtime(device);
    return true;
  } catch (const Error&) {
    return false;
  }
}

void register_runtime(DeviceType type, RuntimeFactory factory) {
  MEDFUSION_CHECK(type.number() < kMaxDeviceTypes, "device type {}: number {} is not below {}", type.name(),
                  type.number(), kMaxDeviceTypes);
  const std::lock_guard lock(runtimes().mutex);
  Runtimes::Registered& entry =
      runtimes().registered.try_emplace(type.number(), Runtimes::Registered{type, factory}).first->second;
  MEDFUSION_CHECK(std::string_view(entry.type.name()) == type.name(),
                  "device types {} and {} have the same number {}", entry.type.name(), type.name(),
                  type.number());
  entry.factory = factory;
}

std::vector<DeviceType> device_types() {
  const std::lock_guard lock(runtimes().mutex);
  std::vector<DeviceType> types;
  for (const auto& [number, entry] : runtimes().registered) types.push_back(entry.type);
  return types;
}

std::optional<Device> parse_device(std::string_view text) {
  const size_t colon = text.find(':');
  Device device;
  if (colon != std::string_view::npos) {
    const char* const end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data() + colon + 1, end, device.index);
    if (stop != end || error != std::errc() || device.index < 0) return {};
  }
  for (const DeviceType type : device_types()) {
    if (text.substr(0, colon) != type.name()) continue;
    device.type = type;
    return device;
  }
  return {};
}

Stream current_stream(Device device) { return {current_stream_id(device)}; }

StreamGuard::StreamGuard(Device device, Stream stream) : device_(device), before_(current_stream(device)) {
  current_stream_id(device) = stream.id;
}
StreamGuard::~StreamGuard() { current_stream_id(device_) = before_.id; }

}  // namespace medfusion::core
