// The one interface through which host code reaches a device: memory, copies, streams, events, graph capture.
// `cpu` runs everything at once in the calling thread; other devices implement the same calls asynchronously
// and register themselves.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/device.h"

namespace medfusion::core {

// Handles are small integers owned by the runtime that made them. Stream 0 is the default stream.
struct Stream {
  uint64_t id = 0;
};
struct Event {
  uint64_t id = 0;
};
struct Graph {
  uint64_t id = 0;
};

// Memory that queued work touches. A simulated device finds missing waits and uses after a free by it; the
// others ignore it.
struct Access {
  const void* data = nullptr;  // anywhere in a device allocation; null is ignored
  bool written = false;
};

// What a device has, in bytes; total 0: not known.
struct MemoryInfo {
  int64_t free = 0;
  int64_t total = 0;
};

// What kernels and measurements must know of a device, in bytes; 0: no limit, or not known.
struct DeviceLimits {
  int64_t shared_per_block = 0;  // the most dynamic shared memory that a block can ask for
  int64_t cache_bytes = 0;       // of its last level
};

class Runtime {
 public:
  virtual ~Runtime() = default;
  virtual Device device() const = 0;
  virtual DeviceLimits limits() const { return {}; }

  // Why this process cannot use the device any more: an error that every later call answers with ("sticky" in
  // CUDA; a new process can use the device again). Empty while the device works. Waits for all its work.
  virtual std::string lost() { return {}; }

  // Stream-ordered memory, aligned to at least 64 bytes: valid for work queued on `stream` from now on, and
  // for other streams once they wait for it; free() takes effect after the work queued on `stream` so far.
  // Throws OutOfMemory when there is none, saying how much was asked.
  virtual void* allocate(int64_t bytes, Stream stream) = 0;
  virtual void free(void* pointer, int64_t bytes, Stream stream) noexcept = 0;
  // Of the device, all processes on it counted; memory whose free is still queued counts as used.
  virtual MemoryInfo memory() { return {}; }
  // True where blocks should be neither rounded up nor kept for reuse, so that every byte past a tensor and
  // every use after its end is found.
  virtual bool exact_allocations() const { return false; }

  // Host memory, aligned to at least 64 bytes, from and to which this device copies while other work of it
  // goes on (pinned, on a GPU); ordinary memory elsewhere. Throws OutOfMemory.
  virtual void* allocate_pinned(int64_t bytes);
  virtual void free_pinned(void* pointer) noexcept;

  // Ordered within the stream. Host pointers must stay valid until the stream has run the copy.
  virtual void copy_to_device(void* device, const void* host, int64_t bytes, Stream stream) = 0;
  virtual void copy_to_host(void* host, const void* device, int64_t bytes, Stream stream) = 0;
  virtual void copy_on_device(void* to, const void* from, int64_t bytes, Stream stream) = 0;
  virtual void fill_bytes(void* device, uint8_t value, int64_t bytes, Stream stream) = 0;

  // Queues `work` (the launch of one kernel, named for errors) on the stream. It is called with the device's
  // own stream handle (null where it has none), at once or when the stream gets to it.
  using Work = std::function<void(void* native_stream)>;
  virtual void launch(Stream stream, const char* name, const std::vector<Access>& accesses, Work work) = 0;

  virtual Stream create_stream() = 0;
  virtual void destroy_stream(Stream stream) = 0;
  virtual void synchronize(Stream stream) = 0;  // waits until the stream has run all its work
  virtual Event create_event() = 0;
  virtual void destroy_event(Event event) = 0;
  virtual void record(Event event, Stream stream) = 0;
  virtual void wait(Stream stream, Event event) = 0;  // later work of the stream runs after the event

  // Between begin and end, work queued on the stream is recorded instead of run. Synchronizing, allocating
  // and host copies are errors while a capture is under way.
  virtual void begin_capture(Stream stream) = 0;
  virtual Graph end_capture(Stream stream) = 0;
  virtual void replay(Graph graph, Stream stream) = 0;
  virtual void destroy_graph(Graph graph) = 0;
};

// The runtime of a device; throws Error where this build or machine has none.
Runtime& runtime(Device device);
bool is_present(Device device);  // whether it has one
// Makes a device type known, and says how its runtimes are made, before the first use of one; replaces an
// earlier factory. A factory throws Error for an index that the machine does not have.
using RuntimeFactory = std::unique_ptr<Runtime> (*)(int index);
void register_runtime(DeviceType type, RuntimeFactory factory);
inline constexpr int kMaxDevices = 16;  // of one type
// The types that have a runtime, by number; `cpu` is the first.
std::vector<DeviceType> device_types();
// The device that a text such as "cpu" or "NAME:1" names (without a number: the first); nothing where no
// registered type has the name, or the number is none. Whether the device is there, runtime() tells.
std::optional<Device> parse_device(std::string_view text);

// The stream of a device that tensors and kernels of the calling thread use; the default stream unless set.
Stream current_stream(Device device);
// Sets it for the lifetime of the object.
class StreamGuard {
 public:
  StreamGuard(Device device, Stream stream);
  ~StreamGuard();
  StreamGuard(const StreamGuard&) = delete;
  StreamGuard& operator=(const StreamGuard&) = delete;

 private:
  Device device_;
  Stream before_;
};

std::unique_ptr<Runtime> make_cpu_runtime();

}  // namespace medfusion::core
