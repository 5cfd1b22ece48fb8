// What every .cu file starts from. nvcc compiles it for the `cuda` device; the host compiler, through
// kernels/simulator, for the `sim` device. Kernels take Global<T> and Shared<T>, plain pointers for nvcc and
// checked ones for the simulator, and are started by launch().
#pragma once

#include <cstdint>
#include <tuple>
#include <vector>

#ifdef __CUDACC__
#include <cuda_runtime.h>
#define MEDFUSION_GPU gpu  // the two compilations of one function must not meet in the linker
#else
#include "kernels/simulator/cuda.h"
#include "kernels/simulator/device_type.h"
#define MEDFUSION_GPU sim
#endif

#include "core/device.h"
#include "core/error.h"
#include "core/runtime.h"
#include "core/view.h"
#include "kernels/gpu/device_type.h"
#include "kernels/registry.h"

namespace medfusion::kernels::cuda {
inline namespace MEDFUSION_GPU {

constexpr unsigned kFullWarp = 0xffffffffU;
constexpr int kWarp = 32;

#ifdef __CUDACC__

inline constexpr core::DeviceType kDevice = kDeviceType;

template <class T>
using Global = T*;
template <class T>
using Shared = T*;
using At = int64_t;

// Hands out the dynamic shared memory of the launch, from its beginning, aligned to 16 bytes (or what is
// asked, up to 1024). Every thread makes the same calls.
class SharedMemory {
 public:
  template <class T>
  __device__ T* take(int64_t count, int64_t alignment = 16) {
    extern __shared__ __align__(1024) unsigned char shared_memory_of_the_launch[];
    next_ = (next_ + alignment - 1) / alignment * alignment;
    T* const begin = reinterpret_cast<T*>(shared_memory_of_the_launch + next_);
    next_ += count * static_cast<int64_t>(sizeof(T));
    return begin;
  }

 private:
  int64_t next_ = 0;
};

#else

inline constexpr core::DeviceType kDevice = simulator::kDeviceType;

using simulator::At;
using simulator::Global;
using simulator::Shared;
using simulator::SharedMemory;

#endif

// N elements that move together, as one access of up to 16 bytes.
template <class T, int N>
struct alignas(sizeof(T) * N) Vector {
  T v[N];
  __host__ __device__ T& operator[](int i) { return v[i]; }
  __host__ __device__ const T& operator[](int i) const { return v[i]; }
};

#ifdef __CUDACC__

template <int N, class T>
__device__ __forceinline__ Vector<std::remove_const_t<T>, N> load(T* x, At i) {
  return *reinterpret_cast<const Vector<std::remove_const_t<T>, N>*>(x + i);
}
template <int N, class T>
__device__ __forceinline__ void store(T* y, At i, const Vector<T, N>& value) {
  *reinterpret_cast<Vector<T, N>*>(y + i) = value;
}

#else

template <int N, class T>
Vector<std::remove_const_t<T>, N> load(const Global<T>& x, At i) {
  Vector<std::remove_const_t<T>, N> result;
  std::memcpy(static_cast<void*>(&result), x.check(i, N), sizeof(result));
  return result;
}
template <int N, class T>
void store(const Global<T>& y, At i, const Vector<T, N>& value) {
  std::memcpy(static_cast<void*>(y.check(i, N)), &value, sizeof(value));
}
template <int N, class T>
Vector<T, N> load(const Shared<T>& x, At i) {
  const T* at = x.check(i, N);
  simulator::Block::current().shared_read(at, sizeof(T) * N, i.site);
  Vector<T, N> result;
  std::memcpy(static_cast<void*>(&result), at, sizeof(result));
  return result;
}
template <int N, class T>
void store(const Shared<T>& y, At i, const Vector<T, N>& value) {
  T* at = y.check(i, N);
  simulator::Block::current().shared_write(at, sizeof(T) * N, i.site);
  std::memcpy(static_cast<void*>(at), &value, sizeof(value));
}

#endif

// One launch: its name is that of every error about it.
struct Launch {
  const char* name;
  core::Device device;
  dim3 grid, block;
  int64_t shared_bytes = 0;
};

constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Blocks for `work` items at `per_block` each, at most `most`: kernels stride over what is left.
inline dim3 grid_for(int64_t work, int64_t per_block, int64_t most = int64_t{1} << 16) {
  const int64_t blocks = ceil_div(work, per_block);
  return dim3(static_cast<unsigned>(blocks < most ? blocks : most));
}

inline dim3 grid_of(int64_t x, int64_t y = 1, int64_t z = 1) {
  MEDFUSION_CHECK(x <= 0x7fffffff && y <= 65535 && z <= 65535, "launch: a grid of {} x {} x {} is too large",
                  x, y, z);
  return dim3(static_cast<unsigned>(x), static_cast<unsigned>(y), static_cast<unsigned>(z));
}

// Whether a block of the device can ask for so much dynamic shared memory: cards differ (163 KiB on 8.0, 99
// on 8.6, 8.9 and 12.0, 227 on 9.0). A variant that needs more supports nothing there, so that the next one
// is taken.
inline bool fits_shared(core::Device device, int64_t bytes) {
  const int64_t most = core::runtime(device).limits().shared_per_block;
  return most == 0 || bytes <= most;
}

// Whether every row of the view (see rows_uniform) starts at a multiple of `Bytes`: then whole vectors can be
// moved.
template <int Bytes>
bool aligned_rows(const core::View& v) {
  return reinterpret_cast<uintptr_t>(v.data) % Bytes == 0 &&
         v.row_stride() * core::size_of(v.dtype) % Bytes == 0;
}

#ifdef __CUDACC__
// Starts a kernel on a stream of the CUDA runtime, and checks that it took it.
struct Submission {
  const Launch* config;
  const void* kernel;
  void** arguments;

  void operator()(void* native_stream) const {
    constexpr int64_t kWithoutAsking = 48 * 1024;
    cudaError_t status = cudaSuccess;
    if (config->shared_bytes > kWithoutAsking) {
      status = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                    static_cast<int>(config->shared_bytes));
    }
    if (status == cudaSuccess) {
      status = cudaLaunchKernel(kernel, config->grid, config->block, arguments,
                                static_cast<size_t>(config->shared_bytes),
                                static_cast<cudaStream_t>(native_stream));
    }
    MEDFUSION_CHECK(status == cudaSuccess, "{}: {} ({})", config->name, cudaGetErrorString(status),
                    cudaGetErrorName(status));
  }
};
#endif

// Queues kernel(args...) on the current stream of the device. A grid without blocks queues nothing. Throws
// core::Error, naming the launch, where the device refuses it.
template <class... P, class... A>
void launch(const Launch& config, void (*kernel)(P...), const A&... args) {
  if (config.grid.x == 0 || config.grid.y == 0 || config.grid.z == 0) return;
  core::Runtime& runtime = core::runtime(config.device);
  const core::Stream stream = core::current_stream(config.device);
#ifdef __CUDACC__
  std::tuple<std::decay_t<P>...> bound(args...);
  std::vector<void*> pointers;
  std::apply([&](auto&... each) { (pointers.push_back(&each), ...); }, bound);
  runtime.launch(stream, config.name, {},
                 Submission{&config, reinterpret_cast<const void*>(kernel), pointers.data()});
#else
  std::tuple<std::decay_t<P>...> bound(args...);
  std::vector<core::Access> accesses;
  {
    simulator::CopiedGlobals copied;
    [[maybe_unused]] const auto copy = bound;
    accesses = std::move(copied.accesses);
  }
  std::vector<std::shared_ptr<const simulator::SimAllocation> > keep;
  for (const core::Access& access : accesses) keep.push_back(simulator::find_sim_allocation(access.data));
  runtime.launch(stream, config.name, accesses, [=, keep = std::move(keep)](void* /*native_stream*/) {
    simulator::run(config.name, config.grid, config.block, config.shared_bytes,
                   [&] { std::apply(kernel, bound); });
  });
#endif
}

}  // namespace MEDFUSION_GPU
}  // namespace medfusion::kernels::cuda
