// A thread per output pixel and up to 16 bytes of channels; backward gathers. Global pooling: 32 channels to
// a block, whose warps share the pixels.
#include "kernels/gpu/device.cuh"
#include "kernels/gpu/floats.cuh"
#include "kernels/gpu/image.cuh"
#include "kernels/pooling/pooling.h"
#include "kernels/registry.h"

namespace medfusion::kernels {
namespace {

using namespace cuda;  // NOLINT(google-build-using-namespace): the vocabulary of device code

constexpr int kThreads = 128;
constexpr int kFloatTerms = 128;  // of a mean are added in float, the rest in double

struct Window {
  int kernel, stride, padding;
  explicit Window(const PoolingWindow& w)
      : kernel(static_cast<int>(w.kernel)),
        stride(static_cast<int>(w.stride)),
        padding(static_cast<int>(w.padding)) {}
};

__device__ __forceinline__ int least(int a, int b) { return a < b ? a : b; }
__device__ __forceinline__ int greatest(int a, int b) { return a > b ? a : b; }

// [first, last) of an axis.
struct Range {
  int first, last;
};
// The pixels of window `index` that lie in the image.
__device__ __forceinline__ Range pixels_of(const Window& w, int index, int size) {
  const int start = index * w.stride - w.padding;
  return {greatest(0, start), least(size, start + w.kernel)};
}
// The windows that hold pixel `index`.
__device__ __forceinline__ Range windows_of(const Window& w, int index, int windows) {
  const int place = index + w.padding;  // window k holds it where k stride <= place < k stride + kernel
  return {place < w.kernel ? 0 : (place - w.kernel) / w.stride + 1, least(windows, place / w.stride + 1)};
}

__device__ __forceinline__ bool wins(float value, float best) {
  return value > best || (isnan(value) && !isnan(best));
}

template <int N, class T>
__global__ void __launch_bounds__(kThreads)
    max_pool_forward(Image<const T> x, Image<T> y, Global<uint8_t> argmax, Window w) {
  for_pixels<N>(y, [&](int b, int i, int j, int c) {
    const Range rows = pixels_of(w, i, x.height);
    const Range columns = pixels_of(w, j, x.width);
    const int corner = (i * w.stride - w.padding) * w.kernel + j * w.stride - w.padding;
    Vector<float, N> best = load_floats<N>(x.data, x.at(b, rows.first, columns.first) + c);
    Vector<uint8_t, N> place;
#pragma unroll
    for (int k = 0; k < N; ++k)
      place[k] = static_cast<uint8_t>(rows.first * w.kernel + columns.first - corner);
    for (int row = rows.first; row < rows.last; ++row) {
      for (int column = columns.first; column < columns.last; ++column) {
        const auto v = load_pack<N>(x.data, x.at(b, row, column) + c);
        const auto here = static_cast<uint8_t>(row * w.kernel + column - corner);
#pragma unroll
        for (int k = 0; k < N; ++k) {
          if (!wins(v[k], best[k])) continue;
          best[k] = v[k];
          place[k] = here;
        }
      }
    }
    store_floats<N>(y.data, y.at(b, i, j) + c, best);
    store<N>(argmax, ((int64_t{b} * y.height + i) * y.width + j) * y.channels + c, place);
  });
}

template <int N, class T>
__global__ void __launch_bounds__(kThreads) average_pool_forward(Image<const T> x, Image<T> y, Window w) {
  for_pixels<N>(y, [&](int b, int i, int j, int c) {
    const Range rows = pixels_of(w, i, x.height);
    const Range columns = pixels_of(w, j, x.width);
    Vector<float, N> sum{};
#pragma unroll 1
    for (int row = rows.first; row < rows.last; ++row) {
      for (int column = columns.first; column < columns.last; ++column) {
        const auto v = load_pack<N>(x.data, x.at(b, row, column) + c);
#pragma unroll
        for (int k = 0; k < N; ++k) sum[k] += v[k];
      }
    }
    const auto count = static_cast<float>((rows.last - rows.first) * (columns.last - columns.first));
#pragma unroll
    for (int k = 0; k < N; ++k) sum[k] /= count;
    store_floats<N>(y.data, y.at(b, i, j) + c, sum);
  });
}

template <int N, class T>
__global__ void __launch_bounds__(kThreads)
    max_pool_backward(Image<const T> grad_y, Global<const uint8_t> argmax, Image<T> grad_x, Window w) {
  for_pixels<N>(grad_x, [&](int b, int i, int j, int c) {
    const Range rows = windows_of(w, i, grad_y.height);
    const Range columns = windows_of(w, j, grad_y.width);
    Vector<float, N> sum{};
#pragma unroll 1
    for (int row = rows.first; row < rows.last; ++row) {
      for (int column = columns.first; column < columns.last; ++column) {
        const int here = (i + w.padding - row * w.stride) * w.kernel + j + w.padding - column * w.stride;
        const auto g = load_pack<N>(grad_y.data, grad_y.at(b, row, column) + c);
        const auto place = load<N>(
            argmax, ((int64_t{b} * grad_y.height + row) * grad_y.width + column) * grad_y.channels + c);
#pragma unroll
        for (int k = 0; k < N; ++k) {
          if (place[k] == here) sum[k] += g[k];
        }
      }
    }
    store_floats<N>(grad_x.data, grad_x.at(b, i, j) + c, sum);
  });
}

template <int N, class T>
__global__ void __launch_bounds__(kThreads)
    average_pool_backward(Image<const T> grad_y, Image<T> grad_x, Window w) {
  for_pixels<N>(grad_x, [&](int b, int i, int j, int c) {
    const Range rows = windows_of(w, i, grad_y.height);
    const Range columns = windows_of(w, j, grad_y.width);
    Vector<float, N> sum{};
#pragma unroll 1
    for (int row = rows.first; row < rows.last; ++row) {
      const Range held_rows = pixels_of(w, row, grad_x.height);
      for (int column = columns.first; column < columns.last; ++column) {
        const Range held = pixels_of(w, column, grad_x.width);
        const auto count = static_cast<float>((held_rows.last - held_rows.first) * (held.last - held.first));
        const float share = __fdividef(1.0F, count);
        const auto g = load_pack<N>(grad_y.data, grad_y.at(b, row, column) + c);
#pragma unroll
        for (int k = 0; k < N; ++k) sum[k] += g[k] * share;
      }
    }
    store_floats<N>(grad_x.data, grad_x.at(b, i, j) + c, sum);
  });
}

// Blocks: 32 channels of one sample. A lane keeps its channel, the warps take the pixels in turn.
constexpr int kMostWarps = 32;

__device__ __forceinline__ int warps() { return static_cast<int>(blockDim.x) / kWarp; }

template <class T>
__global__ void __launch_bounds__(kMostWarps* kWarp)
    global_max_forward(Image<const T> x, Global<float> y, Global<int32_t> argmax, int64_t y_stride) {
  SharedMemory memory;
  Shared<float> values = memory.take<float>(blockDim.x);
  Shared<int32_t> places = memory.take<int32_t>(blockDim.x);
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int b = static_cast<int>(blockIdx.y);
  const int c = static_cast<int>(blockIdx.x) * kWarp + lane;
  const int pixels = x.height * x.width;
  float best = 0.0F;
  int place = -1;  // none seen
  for (int p = warp; c < x.channels && p < pixels; p += warps()) {
    const float v = load_floats<1>(x.data, x.at(b, p / x.width, p % x.width) + c)[0];
    if (place >= 0 && !wins(v, best)) continue;
    best = v;
    place = p;
  }
  values[threadIdx.x] = best;
  places[threadIdx.x] = place;
  __syncthreads();
  if (warp != 0 || c >= x.channels) return;
  for (int other = 1; other < warps(); ++other) {
    const float v = values[other * kWarp + lane];
    const int32_t p = places[other * kWarp + lane];
    if (p < 0 || (!wins(v, best) && (wins(best, v) || place < p))) continue;  // the first of equals
    best = v;
    place = p;
  }
  y[b * y_stride + c] = best;
  argmax[int64_t{b} * x.channels + c] = place;
}

template <class T>
__global__ void __launch_bounds__(kMostWarps* kWarp)
    global_average_forward(Image<const T> x, Global<float> y, int64_t y_stride) {
  SharedMemory memory;
  Shared<double> sums = memory.take<double>(blockDim.x);
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int b = static_cast<int>(blockIdx.y);
  const int c = static_cast<int>(blockIdx.x) * kWarp + lane;
  const int pixels = x.height * x.width;
  double sum = 0.0;
  for (int p = warp; c < x.channels && p < pixels;) {
    float part = 0.0F;
    for (int n = 0; n < kFloatTerms && p < pixels; ++n, p += warps()) {
      part += load_floats<1>(x.data, x.at(b, p / x.width, p % x.width) + c)[0];
    }
    sum += static_cast<double>(part);
  }
  sums[threadIdx.x] = sum;
  __syncthreads();
  if (warp != 0 || c >= x.channels) return;
  for (int other = 1; other < warps(); ++other) sum += static_cast<double>(sums[other * kWarp + lane]);
  y[b * y_stride + c] = static_cast<float>(sum / static_cast<double>(pixels));
}

// argmax is null for the mean.
template <int N, class T>
__global__ void __launch_bounds__(kThreads)
    global_pool_backward(Global<const float> grad_y, Global<const int32_t> argmax, Image<T> grad_x,
                         int64_t grad_y_stride) {
  const auto count = static_cast<float>(grad_x.height * grad_x.width);
  for_pixels<N>(grad_x, [&](int b, int i, int j, int c) {
    auto g = load_floats<N>(grad_y, b * grad_y_stride + c);
    if (argmax != nullptr) {
      const auto place = load_parts<N, int32_t>(argmax, int64_t{b} * grad_x.channels + c);
#pragma unroll
      for (int k = 0; k < N; ++k) {
        if (place[k] != i * grad_x.width + j) g[k] = 0.0F;
      }
    } else {
#pragma unroll
      for (int k = 0; k < N; ++k) g[k] /= count;
    }
    store_floats<N>(grad_x.data, grad_x.at(b, i, j) + c, g);
  });
}

bool aligned(const core::View& v, uintptr_t bytes) {
  return !v.defined() || reinterpret_cast<uintptr_t>(v.data) % bytes == 0;
}

void run_forward(const PoolingForward& a) {
  if (a.y.numel() == 0) return;
  visit_floats(a.x.dtype, [&]<class T>(T /*element*/) {
    constexpr int kN = kWide<T>;
    const bool wide = aligned_pixels(a.x, kN) && aligned_pixels(a.y, kN) && aligned(a.argmax, kN);
    const dim3 grid = image_grid(a.y, wide ? kN : 1, kThreads);
    const Image<const T> x(a.x);
    const Image<T> y(a.y);
    const Window window(a.window);
    if (a.function == Pooling::max) {
      launch({"max_pool_forward", a.x.device, grid, dim3(kThreads)},
             wide ? max_pool_forward<kN, T> : max_pool_forward<1, T>, x, y, a.argmax.as<uint8_t>(), window);
    } else {
      launch({"average_pool_forward", a.x.device, grid, dim3(kThreads)},
             wide ? average_pool_forward<kN, T> : average_pool_forward<1, T>, x, y, window);
    }
  });
}

void run_backward(const PoolingBackward& a) {
  if (a.grad_x.numel() == 0) return;
  visit_floats(a.grad_x.dtype, [&]<class T>(T /*element*/) {
    constexpr int kN = kWide<T>;
    const bool wide = aligned_pixels(a.grad_x, kN) && aligned_pixels(a.grad_y, kN) && aligned(a.argmax, kN);
    const dim3 grid = image_grid(a.grad_x, wide ? kN : 1, kThreads);
    const Image<const T> grad_y(a.grad_y);
    const Image<T> grad_x(a.grad_x);
    const Window window(a.window);
    if (a.function == Pooling::max) {
      launch({"max_pool_backward", a.grad_x.device, grid, dim3(kThreads)},
             wide ? max_pool_backward<kN, T> : max_pool_backward<1, T>, grad_y, a.argmax.as<uint8_t>(),
             grad_x, window);
    } else {
      launch({"average_pool_backward", a.grad_x.device, grid, dim3(kThreads)},
             wide ? average_pool_backward<kN, T> : average_pool_backward<1, T>, grad_y, grad_x, window);
    }
  });
}

void run_global_forward(const GlobalPoolingForward& a) {
  if (a.y.numel() == 0) return;
  const dim3 grid = grid_of(ceil_div(a.x.size(3), kWarp), a.x.size(0));
  // Few pixels to a warp: each waits for one at a time.
  const auto warps = std::clamp<int64_t>(ceil_div(a.x.size(1) * a.x.size(2), 16), 1, kMostWarps);
  const dim3 block(static_cast<unsigned>(warps * kWarp));
  visit_floats(a.x.dtype, [&]<class T>(T /*element*/) {
    const Image<const T> x(a.x);
    if (a.function == Pooling::max) {
      launch({"global_max_forward", a.x.device, grid, block, block.x * 8}, global_max_forward<T>, x,
             a.y.as<float>(), a.argmax.as<int32_t>(), a.y.stride(0));
    } else {
      launch({"global_average_forward", a.x.device, grid, block, block.x * 8}, global_average_forward<T>, x,
             a.y.as<float>(), a.y.stride(0));
    }
  });
}

void run_global_backward(const GlobalPoolingBackward& a) {
  if (a.grad_x.numel() == 0) return;
  visit_floats(a.grad_x.dtype, [&]<class T>(T /*element*/) {
    constexpr int kN = kWide<T>;
    const bool wide = aligned_pixels(a.grad_x, kN) && aligned_rows<16>(a.grad_y) && aligned(a.argmax, 16);
    launch({"global_pool_backward", a.grad_x.device, image_grid(a.grad_x, wide ? kN : 1, kThreads),
            dim3(kThreads)},
           wide ? global_pool_backward<kN, T> : global_pool_backward<1, T>, a.grad_y.as<float>(),
           a.function == Pooling::max ? a.argmax.as<int32_t>() : nullptr, Image<T>(a.grad_x),
           a.grad_y.stride(0));
  });
}

constexpr const char* kGlobalTypes = "f32 or bf16, with results in f32";
bool global_types(const core::View& image, const core::View& pooled) {
  return is_f32_or_bf16(image.dtype) && pooled.dtype == core::DType::f32;
}
constexpr TensorRequirement kGlobalSizes{"fewer than 2^30 pixels", [](Tensors tensors) {
                                           return takes::each(tensors, [](const core::View& x) {
                                             return x.rank() != 4 || x.size(1) * x.size(2) < int64_t{1} << 30;
                                           });
                                         }};

const Register<PoolingForward> forward("simt", kDevice, 10, {takes::f32_or_bf16, takes::adjacent_channels},
                                       run_forward);
const Register<PoolingBackward> backward("simt", kDevice, 10, {takes::f32_or_bf16, takes::adjacent_channels},
                                         run_backward);
const Register<GlobalPoolingForward> global_forward(
    "simt", kDevice, 10,
    {{kGlobalTypes, [](const GlobalPoolingForward& a) { return global_types(a.x, a.y); }},
     takes::adjacent_channels,
     kGlobalSizes},
    run_global_forward);
const Register<GlobalPoolingBackward> global_backward(
    "simt", kDevice, 10,
    {{kGlobalTypes, [](const GlobalPoolingBackward& a) { return global_types(a.grad_x, a.grad_y); }},
     takes::adjacent_channels,
     kGlobalSizes},
    run_global_backward);

}  // namespace
}  // namespace medfusion::kernels
