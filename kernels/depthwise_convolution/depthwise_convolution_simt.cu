// A thread per pixel and up to 16 bytes of channels, with the weights copied so that those of neighboring
// channels lie side by side; the gradient of the image gathers. The gradient of the weights in two stages: a
// thread adds up one tap of one channel over a chunk of rows, then another adds the chunks in order, in
// double.
#include "core/tensor.h"
#include "kernels/depthwise_convolution/depthwise_convolution.h"
#include "kernels/gpu/device.cuh"
#include "kernels/gpu/floats.cuh"
#include "kernels/gpu/image.cuh"
#include "kernels/registry.h"

namespace medfusion::kernels {
namespace {

using namespace cuda;  // NOLINT(google-build-using-namespace): the vocabulary of device code

constexpr int kThreads = 128;
constexpr int64_t kMostChunks = 128;  // of rows, for the gradient of the weights

struct Window {
  int rows, columns, stride, padding;
  Window(const core::View& weight, int64_t stride_, int64_t padding_)
      : rows(static_cast<int>(weight.size(2))),
        columns(static_cast<int>(weight.size(3))),
        stride(static_cast<int>(stride_)),
        padding(static_cast<int>(padding_)) {}
  __device__ __forceinline__ int taps() const { return rows * columns; }
};

// weight [channels, taps] -> [taps, channels].
__global__ void __launch_bounds__(kThreads)
    depthwise_by_taps(Global<const float> weight, Global<float> by_taps, int taps, int channels) {
  const int c = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x), tap = static_cast<int>(blockIdx.y);
  if (c < channels) by_taps[int64_t{tap} * channels + c] = weight[int64_t{c} * taps + tap];
}

core::Tensor by_taps(const core::View& weight) {
  const int64_t channels = weight.size(0), taps = weight.size(2) * weight.size(3);
  const core::Tensor result = core::Tensor::empty({taps, channels}, core::DType::f32, weight.device);
  launch({"depthwise_by_taps", weight.device,
          dim3(static_cast<unsigned>(ceil_div(channels, kThreads)), static_cast<unsigned>(taps)),
          dim3(kThreads)},
         depthwise_by_taps, weight.as<float>(), result.view().as<float>(), static_cast<int>(taps),
         static_cast<int>(channels));
  return result;
}

template <int N>
__global__ void __launch_bounds__(kThreads)
    depthwise_forward(Image<const float> x, Global<const float> weight, Global<const float> bias,
                      Image<float> y, Window w) {
  for_pixels<N>(y, [&](int b, int i, int j, int c) {
    Vector<float, N> sum{};
    if (bias != nullptr) sum = load_floats<N>(bias, c);
#pragma unroll 1
    for (int u = 0; u < w.rows; ++u) {
      const int row = i * w.stride + u - w.padding;
      if (row < 0 || row >= x.height) continue;
#pragma unroll 1
      for (int v = 0; v < w.columns; ++v) {
        const int column = j * w.stride + v - w.padding;
        if (column < 0 || column >= x.width) continue;
        const auto value = load_floats<N>(x.data, x.at(b, row, column) + c);
        const auto factor = load_floats<N>(weight, (u * w.columns + v) * x.channels + c);
#pragma unroll
        for (int k = 0; k < N; ++k) sum[k] = fmaf(value[k], factor[k], sum[k]);
      }
    }
    store_floats<N>(y.data, y.at(b, i, j) + c, sum);
  });
}

template <int N>
__global__ void __launch_bounds__(kThreads)
    depthwise_grad_x(Image<const float> grad_y, Global<const float> weight, Image<float> grad_x, Window w) {
  for_pixels<N>(grad_x, [&](int b, int row, int column, int c) {
    Vector<float, N> sum{};
#pragma unroll 1
    for (int u = 0; u < w.rows; ++u) {
      const int above = row + w.padding - u;
      const int i = above / w.stride;
      if (above < 0 || above % w.stride != 0 || i >= grad_y.height) continue;
#pragma unroll 1
      for (int v = 0; v < w.columns; ++v) {
        const int left = column + w.padding - v;
        const int j = left / w.stride;
        if (left < 0 || left % w.stride != 0 || j >= grad_y.width) continue;
        const auto g = load_floats<N>(grad_y.data, grad_y.at(b, i, j) + c);
        const auto factor = load_floats<N>(weight, (u * w.columns + v) * grad_y.channels + c);
#pragma unroll
        for (int k = 0; k < N; ++k) sum[k] = fmaf(g[k], factor[k], sum[k]);
      }
    }
    store_floats<N>(grad_x.data, grad_x.at(b, row, column) + c, sum);
  });
}

// sums [chunks, taps + 1, channels]: tap number `taps` is the bias. A block has `rows_each` rows of grad_y,
// of all samples, and neighboring channels.
__global__ void __launch_bounds__(kThreads)
    depthwise_grad_weight(Image<const float> grad_y, Image<const float> x, Global<float> sums, Window w,
                          int rows_each) {
  const int c = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (c >= grad_y.channels) return;
  const int chunk = static_cast<int>(blockIdx.y), tap = static_cast<int>(blockIdx.z);
  const int u = tap / w.columns, v = tap % w.columns;
  const bool is_bias = tap == w.taps();
  const int first = chunk * rows_each, all = grad_y.batch * grad_y.height;
  float sum = 0.0F;
  for (int r = first; r < first + rows_each && r < all; ++r) {
    const int b = r / grad_y.height, i = r % grad_y.height;
    const int row = i * w.stride + u - w.padding;
    if (!is_bias && (row < 0 || row >= x.height)) continue;
    float part = 0.0F;
    for (int j = 0; j < grad_y.width; ++j) {
      const int column = j * w.stride + v - w.padding;
      if (!is_bias && (column < 0 || column >= x.width)) continue;
      const float g = grad_y.data[grad_y.at(b, i, j) + c];
      part = is_bias ? part + g : fmaf(g, x.data[x.at(b, row, column) + c], part);
    }
    sum += part;
  }
  sums[(int64_t{chunk} * (w.taps() + 1) + tap) * grad_y.channels + c] = sum;
}

__global__ void __launch_bounds__(kThreads)
    depthwise_add_chunks(Global<const float> sums, Global<float> grad_weight, Global<float> grad_bias,
                         int chunks, int taps, int channels) {
  const int c = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x), tap = static_cast<int>(blockIdx.y);
  if (c >= channels) return;
  double sum = 0.0;
  for (int chunk = 0; chunk < chunks; ++chunk)
    sum += static_cast<double>(sums[(int64_t{chunk} * (taps + 1) + tap) * channels + c]);
  if (tap < taps && grad_weight != nullptr) grad_weight[int64_t{c} * taps + tap] = static_cast<float>(sum);
  if (tap == taps && grad_bias != nullptr) grad_bias[c] = static_cast<float>(sum);
}

void run_forward(const DepthwiseConvolutionForward& a) {
  if (a.y.numel() == 0) return;
  const bool wide = aligned_pixels(a.x, 4) && aligned_pixels(a.y, 4) &&
                    (!a.bias.defined() || reinterpret_cast<uintptr_t>(a.bias.data) % 16 == 0);
  const core::Tensor weight = by_taps(a.weight);
  launch({"depthwise_forward", a.x.device, image_grid(a.y, wide ? 4 : 1, kThreads), dim3(kThreads)},
         wide ? depthwise_forward<4> : depthwise_forward<1>, Image<const float>(a.x),
         weight.view().as<float>(), a.bias.defined() ? a.bias.as<float>() : nullptr, Image<float>(a.y),
         Window(a.weight, a.stride, a.padding));
}

void run_grad_x(const DepthwiseConvolutionBackward& a) {
  if (a.grad_x.numel() == 0) return;
  const bool wide = aligned_pixels(a.grad_x, 4) && aligned_pixels(a.grad_y, 4);
  const core::Tensor weight = by_taps(a.weight);
  launch({"depthwise_grad_x", a.grad_x.device, image_grid(a.grad_x, wide ? 4 : 1, kThreads), dim3(kThreads)},
         wide ? depthwise_grad_x<4> : depthwise_grad_x<1>, Image<const float>(a.grad_y),
         weight.view().as<float>(), Image<float>(a.grad_x), Window(a.weight, a.stride, a.padding));
}

void run_grad_weight(const DepthwiseConvolutionBackward& a) {
  const int64_t taps = a.weight.size(2) * a.weight.size(3), channels = a.weight.size(0);
  const int64_t rows = a.grad_y.size(0) * a.grad_y.size(1);
  const int64_t each = std::max<int64_t>(1, ceil_div(rows, kMostChunks)), chunks = ceil_div(rows, each);
  if (channels == 0) return;
  const core::Tensor sums = core::Tensor::empty({std::max<int64_t>(1, chunks), taps + 1, channels},
                                                core::DType::f32, a.weight.device);
  const auto blocks = static_cast<unsigned>(ceil_div(channels, kThreads));
  const core::View& image = a.grad_weight.defined() ? a.x : a.grad_y;  // only the bias: not read
  if (chunks > 0) {
    launch({"depthwise_grad_weight", a.grad_y.device,
            dim3(blocks, static_cast<unsigned>(chunks), static_cast<unsigned>(taps + 1)), dim3(kThreads)},
           depthwise_grad_weight, Image<const float>(a.grad_y), Image<const float>(image),
           sums.view().as<float>(), Window(a.weight, a.stride, a.padding), static_cast<int>(each));
  }
  launch({"depthwise_add_chunks", a.grad_y.device, dim3(blocks, static_cast<unsigned>(taps + 1)),
          dim3(kThreads)},
         depthwise_add_chunks, sums.view().as<float>(),
         a.grad_weight.defined() ? a.grad_weight.as<float>() : nullptr,
         a.grad_bias.defined() ? a.grad_bias.as<float>() : nullptr, static_cast<int>(chunks),
         static_cast<int>(taps), static_cast<int>(channels));
}

void run_backward(const DepthwiseConvolutionBackward& a) {
  if (a.grad_x.defined()) run_grad_x(a);
  if (a.grad_weight.defined() || a.grad_bias.defined()) run_grad_weight(a);
}

const Register<DepthwiseConvolutionForward> forward("simt", kDevice, 10,
                                                    {takes::f32, takes::adjacent_channels}, run_forward);
const Register<DepthwiseConvolutionBackward> backward("simt", kDevice, 10,
                                                      {takes::f32, takes::adjacent_channels}, run_backward);

}  // namespace
}  // namespace medfusion::kernels
