#include "kernels/gpu/runtime_cuda.h"

#include <cuda_runtime_api.h>

#include <array>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/planted_fault.h"
#include "core/runtime.h"
#include "kernels/gpu/device_type.h"
#include "kernels/gpu/staging_cuda.h"
#include "kernels/gpu/status_cuda.h"

namespace medfusion::kernels::cuda {

using namespace core;  // NOLINT(google-build-using-namespace): it implements the interface of core/runtime.h

void cuda_check(cudaError_t status, int index, const char* call) {
  if (status == cudaSuccess) [[likely]]
    return;
  cudaGetLastError();  // so that nobody else finds it
  throw Error(
      fmt::format("cuda:{}: {}: {} ({})", index, call, cudaGetErrorString(status), cudaGetErrorName(status)));
}

void cuda_note(cudaError_t status, int index, const char* call) noexcept {
  if (status == cudaSuccess || status == cudaErrorCudartUnloading) return;
  cudaGetLastError();  // so that nobody else finds it
  static std::atomic_flag noted = ATOMIC_FLAG_INIT;
  if (noted.test_and_set()) return;
  std::fprintf(stderr, "cuda:%d: %s: %s (%s)\n", index, call, cudaGetErrorString(status),
               cudaGetErrorName(status));
}

namespace {

// The handles of one kind: small numbers for the rest of the program, native ones for CUDA.
template <class Native>
class Handles {
 public:
  uint64_t add(Native native) {
    const std::unique_lock lock(mutex_);
    natives_.emplace(++last_, native);
    return last_;
  }
  Native get(uint64_t id, int index, const char* kind) const {
    const std::shared_lock lock(mutex_);
    const auto found = natives_.find(id);
    MEDFUSION_CHECK(found != natives_.end(), "cuda:{}: {} {} does not exist", index, kind, id);
    return found->second;
  }
  Native take(uint64_t id, int index, const char* kind) {
    const std::unique_lock lock(mutex_);
    const auto found = natives_.find(id);
    MEDFUSION_CHECK(found != natives_.end(), "cuda:{}: {} {} does not exist", index, kind, id);
    const Native native = found->second;
    natives_.erase(found);
    return native;
  }

 private:
  mutable std::shared_mutex mutex_;
  std::unordered_map<uint64_t, Native> natives_;
  uint64_t last_ = 0;
};

class CudaRuntime final : public Runtime {
 public:
  explicit CudaRuntime(int index) : index_(index), upload_(index), download_(index) {
    cuda_device_info(index);  // throws where it cannot be used
    const CudaDeviceGuard guard(index_);
    // The legacy default stream can be neither captured nor overlapped: stream 0 is one of our own.
    check(cudaStreamCreateWithFlags(&default_stream_, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
  }

  Device device() const override { return {kDeviceType, index_}; }
  DeviceLimits limits() const override {
    const CudaDeviceInfo& info = cuda_device_info(index_);
    return {.shared_per_block = info.shared_per_block, .cache_bytes = info.cache_bytes};
  }

  std::string lost() override;
  void* allocate(int64_t bytes, Stream stream) override;
  void free(void* pointer, int64_t bytes, Stream stream) noexcept override;
  MemoryInfo memory() override;
  void* allocate_pinned(int64_t bytes) override;
  void free_pinned(void* pointer) noexcept override {
    cuda_note(cudaFreeHost(pointer), index_, "cudaFreeHost");
  }

  void copy_to_device(void* device, const void* host, int64_t bytes, Stream stream) override;
  void copy_to_host(void* host, const void* device, int64_t bytes, Stream stream) override;
  void copy_on_device(void* to, const void* from, int64_t bytes, Stream stream) override;
  void fill_bytes(void* device, uint8_t value, int64_t bytes, Stream stream) override;
  void launch(Stream stream, const char* name, const std::vector<Access>& accesses, Work work) override;

  Stream create_stream() override;
  void destroy_stream(Stream stream) override;
  void synchronize(Stream stream) override;
  Event create_event() override;
  void destroy_event(Event event) override;
  void record(Event event, Stream stream) override;
  void wait(Stream stream, Event event) override;

  void begin_capture(Stream stream) override;
  Graph end_capture(Stream stream) override;
  void replay(Graph graph, Stream stream) override;
  void destroy_graph(Graph graph) override;

 private:
  void check(cudaError_t status, const char* call) const { cuda_check(status, index_, call); }
  cudaStream_t native(Stream stream) const {
    return stream.id == 0 ? default_stream_ : streams_.get(stream.id, index_, "stream");
  }
  bool capturing(cudaStream_t stream) const {
    cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
    check(cudaStreamIsCapturing(stream, &status), "cudaStreamIsCapturing");
    return status != cudaStreamCaptureStatusNone;
  }
  void forbid_in_capture(cudaStream_t stream, const char* call) const {
    MEDFUSION_CHECK(!capturing(stream), "cuda:{}: {} is not allowed during capture", index_, call);
  }
  static bool pageable(const void* host) {
    cudaPointerAttributes attributes{};
    if (cudaPointerGetAttributes(&attributes, host) != cudaSuccess) {
      cudaGetLastError();
      return true;
    }
    return attributes.type == cudaMemoryTypeUnregistered;
  }
  void release_later_frees();

  const int index_;
  const bool blocking_ = std::getenv("MEDFUSION_CUDA_BLOCKING") != nullptr;
  cudaStream_t default_stream_ = nullptr;
  Handles<cudaStream_t> streams_;
  Handles<cudaEvent_t> events_;
  Handles<cudaGraphExec_t> graphs_;
  CudaStaging upload_, download_;  // two, so that a read of results does not hold up the loader
  std::mutex capture_mutex_;
  int captures_ = 0;                // under way
  std::vector<void*> later_frees_;  // freed meanwhile
};

// An error of one call is over when it was read; a sticky one comes again.
std::string CudaRuntime::lost() {
  if (std::string planted = planted_loss(); !planted.empty()) return planted;
  const CudaDeviceGuard guard(index_);
  if (cudaDeviceSynchronize() == cudaSuccess) return {};
  cudaGetLastError();
  const cudaError_t again = cudaDeviceSynchronize();
  if (again == cudaSuccess) return {};
  return fmt::format("{} ({})", cudaGetErrorString(again), cudaGetErrorName(again));
}

// The caching allocator above keeps blocks, so plain cudaMalloc is called rarely; its memory is valid for all
// streams at once, which is more than is asked.
void* CudaRuntime::allocate(int64_t bytes, Stream stream) {
  if (bytes <= 0) return nullptr;
  const CudaDeviceGuard guard(index_);
  forbid_in_capture(native(stream), "allocating device memory");
  void* pointer = nullptr;
  const cudaError_t status = cudaMalloc(&pointer, static_cast<size_t>(bytes));
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    const MemoryInfo info = memory();
    throw OutOfMemory(
        fmt::format("cuda:{}: out of memory, {} bytes asked; the device has {} bytes free of {}", index_,
                    bytes, info.free, info.total));
  }
  check(status, "cudaMalloc");
  return pointer;
}

MemoryInfo CudaRuntime::memory() {
  const CudaDeviceGuard guard(index_);
  size_t free_bytes = 0, total_bytes = 0;
  check(cudaMemGetInfo(&free_bytes, &total_bytes), "cudaMemGetInfo");
  return {static_cast<int64_t>(free_bytes), static_cast<int64_t>(total_bytes)};
}

void CudaRuntime::free(void* pointer, int64_t /*bytes*/, Stream stream) noexcept {
  if (pointer == nullptr) return;
  try {
    {
      // A free would break the capture off; and what was captured may use the memory until it is over.
      const std::lock_guard lock(capture_mutex_);
      if (captures_ > 0) {
        later_frees_.push_back(pointer);
        return;
      }
    }
    const CudaDeviceGuard guard(index_);
    cuda_note(cudaStreamSynchronize(native(stream)), index_, "cudaStreamSynchronize before a free");
    cuda_note(cudaFree(pointer), index_, "cudaFree");
  } catch (...) {  // a stream that is gone: cudaFree waits for the whole device
    cuda_note(cudaFree(pointer), index_, "cudaFree");
  }
}

void CudaRuntime::release_later_frees() {
  std::vector<void*> pointers;
  {
    const std::lock_guard lock(capture_mutex_);
    if (captures_ > 0) return;
    pointers.swap(later_frees_);
  }
  if (pointers.empty()) return;
  check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
  for (void* const pointer : pointers) check(cudaFree(pointer), "cudaFree");
}

void* CudaRuntime::allocate_pinned(int64_t bytes) {
  if (bytes <= 0) return nullptr;
  const CudaDeviceGuard guard(index_);
  void* pointer = nullptr;
  const cudaError_t status = cudaHostAlloc(&pointer, static_cast<size_t>(bytes), cudaHostAllocPortable);
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    throw OutOfMemory(fmt::format("cuda:{}: the host has no {} bytes of memory to pin", index_, bytes));
  }
  check(status, "cudaHostAlloc");
  return pointer;
}

void CudaRuntime::copy_to_device(void* device, const void* host, int64_t bytes, Stream stream) {
  if (bytes <= 0) return;
  const CudaDeviceGuard guard(index_);
  forbid_in_capture(native(stream), "a host copy");
  if (pageable(host)) return upload_.to_device(device, host, bytes, native(stream));
  check(cudaMemcpyAsync(device, host, static_cast<size_t>(bytes), cudaMemcpyHostToDevice, native(stream)),
        "cudaMemcpyAsync to the device");
}

void CudaRuntime::copy_to_host(void* host, const void* device, int64_t bytes, Stream stream) {
  if (bytes <= 0) return;
  const CudaDeviceGuard guard(index_);
  forbid_in_capture(native(stream), "a host copy");
  if (pageable(host)) return download_.to_host(host, device, bytes, native(stream));
  check(cudaMemcpyAsync(host, device, static_cast<size_t>(bytes), cudaMemcpyDeviceToHost, native(stream)),
        "cudaMemcpyAsync to the host");
}

void CudaRuntime::copy_on_device(void* to, const void* from, int64_t bytes, Stream stream) {
  if (bytes <= 0) return;
  const CudaDeviceGuard guard(index_);
  check(cudaMemcpyAsync(to, from, static_cast<size_t>(bytes), cudaMemcpyDeviceToDevice, native(stream)),
        "cudaMemcpyAsync on the device");
}

void CudaRuntime::fill_bytes(void* device, uint8_t value, int64_t bytes, Stream stream) {
  if (bytes <= 0) return;
  const CudaDeviceGuard guard(index_);
  check(cudaMemsetAsync(device, value, static_cast<size_t>(bytes), native(stream)), "cudaMemsetAsync");
}

// Errors of running kernels surface at a later call. MEDFUSION_CUDA_BLOCKING in the environment makes every
// launch wait for its kernel, so that the error names it.
void CudaRuntime::launch(Stream stream, const char* name, const std::vector<Access>& /*accesses*/,
                         Work work) {
  planted_fault(name);
  const CudaDeviceGuard guard(index_);
  const cudaStream_t on = native(stream);
  work(on);
  if (blocking_ && !capturing(on)) check(cudaStreamSynchronize(on), name);
}

Stream CudaRuntime::create_stream() {
  const CudaDeviceGuard guard(index_);
  cudaStream_t stream = nullptr;
  check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
  return {streams_.add(stream)};
}
void CudaRuntime::destroy_stream(Stream stream) {
  const CudaDeviceGuard guard(index_);
  check(cudaStreamDestroy(streams_.take(stream.id, index_, "stream")), "cudaStreamDestroy");
}
void CudaRuntime::synchronize(Stream stream) {
  const CudaDeviceGuard guard(index_);
  forbid_in_capture(native(stream), "synchronizing");
  check(cudaStreamSynchronize(native(stream)), "cudaStreamSynchronize");
}

Event CudaRuntime::create_event() {
  const CudaDeviceGuard guard(index_);
  cudaEvent_t event = nullptr;
  check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "cudaEventCreateWithFlags");
  return {events_.add(event)};
}
void CudaRuntime::destroy_event(Event event) {
  const CudaDeviceGuard guard(index_);
  check(cudaEventDestroy(events_.take(event.id, index_, "event")), "cudaEventDestroy");
}
void CudaRuntime::record(Event event, Stream stream) {
  const CudaDeviceGuard guard(index_);
  check(cudaEventRecord(events_.get(event.id, index_, "event"), native(stream)), "cudaEventRecord");
}
void CudaRuntime::wait(Stream stream, Event event) {
  const CudaDeviceGuard guard(index_);
  check(cudaStreamWaitEvent(native(stream), events_.get(event.id, index_, "event"), cudaEventWaitDefault),
        "cudaStreamWaitEvent");
}

// Thread-local: what other threads do meanwhile, the loader for one, cannot break the capture off.
void CudaRuntime::begin_capture(Stream stream) {
  const CudaDeviceGuard guard(index_);
  const cudaStream_t on = native(stream);
  MEDFUSION_CHECK(!capturing(on), "cuda:{}: stream {} is already captured", index_, stream.id);
  {
    const std::lock_guard lock(capture_mutex_);
    ++captures_;
  }
  const cudaError_t status = cudaStreamBeginCapture(on, cudaStreamCaptureModeThreadLocal);
  if (status != cudaSuccess) {
    const std::lock_guard lock(capture_mutex_);
    --captures_;
  }
  check(status, "cudaStreamBeginCapture");
}

Graph CudaRuntime::end_capture(Stream stream) {
  const CudaDeviceGuard guard(index_);
  const cudaStream_t on = native(stream);
  MEDFUSION_CHECK(capturing(on), "cuda:{}: stream {} is not captured", index_, stream.id);
  cudaGraph_t graph = nullptr;
  const cudaError_t ended = cudaStreamEndCapture(on, &graph);
  {
    const std::lock_guard lock(capture_mutex_);
    --captures_;
  }
  check(ended, "cudaStreamEndCapture");
  cudaGraphExec_t executable = nullptr;
  const cudaError_t made = cudaGraphInstantiate(&executable, graph, 0);
  cuda_note(cudaGraphDestroy(graph), index_, "cudaGraphDestroy");
  check(made, "cudaGraphInstantiate");
  const Graph result{graphs_.add(executable)};
  release_later_frees();
  return result;
}

void CudaRuntime::replay(Graph graph, Stream stream) {
  const CudaDeviceGuard guard(index_);
  check(cudaGraphLaunch(graphs_.get(graph.id, index_, "graph"), native(stream)), "cudaGraphLaunch");
}
void CudaRuntime::destroy_graph(Graph graph) {
  const CudaDeviceGuard guard(index_);
  check(cudaGraphExecDestroy(graphs_.take(graph.id, index_, "graph")), "cudaGraphExecDestroy");
}

int attribute(int index, cudaDeviceAttr which) {
  int value = 0;
  cuda_check(cudaDeviceGetAttribute(&value, which, index), index, "cudaDeviceGetAttribute");
  return value;
}

CudaDeviceInfo ask_device(int index) {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status == cudaErrorInsufficientDriver) {
    cudaGetLastError();
    throw Error(
        fmt::format("device cuda:{} is not available: this machine has no NVIDIA driver, or one older "
                    "than CUDA {} needs",
                    index, cuda_runtime_version()));
  }
  if (status == cudaErrorNoDevice || (status == cudaSuccess && count == 0)) {
    cudaGetLastError();
    throw Error(fmt::format("device cuda:{} is not available: the NVIDIA driver sees no GPU", index));
  }
  cuda_check(status, index, "cudaGetDeviceCount");
  MEDFUSION_CHECK(index >= 0 && index < count, "device cuda:{} does not exist, the last is cuda:{}", index,
                  count - 1);
  cudaDeviceProp properties{};
  cuda_check(cudaGetDeviceProperties(&properties, index), index, "cudaGetDeviceProperties");
  CudaDeviceInfo info;
  info.name = properties.name;
  info.compute_capability = 10 * properties.major + properties.minor;
  info.multiprocessors = properties.multiProcessorCount;
  info.memory_bytes = static_cast<int64_t>(properties.totalGlobalMem);
  info.cache_bytes = properties.l2CacheSize;
  info.shared_per_block = attribute(index, cudaDevAttrMaxSharedMemoryPerBlockOptin);
  MEDFUSION_CHECK(info.compute_capability >= 80,
                  "cuda:{} ({}) has compute capability {}.{}; the kernels need 8.0 or later", index,
                  info.name, properties.major, properties.minor);
  return info;
}

std::string version_text(int version) { return fmt::format("{}.{}", version / 1000, version % 1000 / 10); }

[[maybe_unused]] const bool registered = [] {
  register_runtime(kDeviceType, [](int index) -> std::unique_ptr<Runtime> {
    return std::make_unique<CudaRuntime>(index);
  });
  return true;
}();

}  // namespace

int cuda_device_count() noexcept {
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess) {
    cudaGetLastError();
    return 0;
  }
  return count;
}

const CudaDeviceInfo& cuda_device_info(int index) {
  MEDFUSION_CHECK(index >= 0 && index < kMaxDevices, "device cuda:{} does not exist", index);
  static std::mutex mutex;
  static auto* const asked = new std::array<std::unique_ptr<CudaDeviceInfo>, kMaxDevices>;
  const std::lock_guard lock(mutex);
  auto& info = (*asked)[static_cast<size_t>(index)];
  if (info == nullptr) info = std::make_unique<CudaDeviceInfo>(ask_device(index));
  return *info;
}

std::string cuda_runtime_version() { return version_text(CUDART_VERSION); }

std::string cuda_driver_version() {
  int version = 0;
  if (cudaDriverGetVersion(&version) != cudaSuccess || version == 0) {
    cudaGetLastError();
    return "none";
  }
  return version_text(version);
}

}  // namespace medfusion::kernels::cuda
