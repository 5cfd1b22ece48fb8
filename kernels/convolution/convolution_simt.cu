// Implicit products on the ordinary cores, for where cuDNN is missing: the operands gather the image as the
// product reads them. Weights go through copies with the channels last, all in bf16 through copies in f32.
#include "kernels/convolution/convolution.h"
#include "kernels/convolution/convolution_wide.cuh"
#include "kernels/gpu/floats.cuh"
#include "kernels/gpu/library_call.cuh"
#include "kernels/gpu/product.cuh"
#include "kernels/reduction/reduction.h"
#include "kernels/registry.h"

namespace medfusion::kernels {
namespace {

using namespace cuda;  // NOLINT(google-build-using-namespace): the vocabulary of device code
using core::Tensor;
using core::View;

// A row per pixel of a target image, and a column per (u, v, channel) of the window: the channels of the
// pixel of `image` that window (u, v) of the target pixel meets; 0 outside.
struct WindowSource {
  Image<const float> image;
  int height, width;  // of the target image
  int kernel_rows, kernel_columns, stride, padding;
  bool transposed;  // the image is the result of the convolution, the target what it reads

  template <int N>
  __device__ __forceinline__ Vector<float, N> get(int64_t i, int64_t j) const {
    const int pixel = static_cast<int>(i), column = static_cast<int>(j);
    const int tap = column / image.channels;
    const int u = tap / kernel_columns;
    const int v = tap - u * kernel_columns;
    const int line = pixel / width;
    const int b = line / height;
    if (b >= image.batch || u >= kernel_rows) return {};
    int row = line - b * height, at = pixel - line * width;
    if (transposed) {
      row += padding - u;
      at += padding - v;
      if (row % stride != 0 || at % stride != 0) return {};
      row /= stride;
      at /= stride;
    } else {
      row = row * stride + u - padding;
      at = at * stride + v - padding;
    }
    if (row < 0 || row >= image.height || at < 0 || at >= image.width) return {};
    return load<N>(image.data, image.at(b, row, at) + column - tap * image.channels);
  }
};

struct Setup {
  int64_t kernel_rows, kernel_columns, stride, padding;
  int64_t taps() const { return kernel_rows * kernel_columns; }
};

WindowSource windows_of(const View& image, const View& target, const Setup& s, bool transposed) {
  return {Image<const float>(image),          static_cast<int>(target.size(1)),
          static_cast<int>(target.size(2)),   static_cast<int>(s.kernel_rows),
          static_cast<int>(s.kernel_columns), static_cast<int>(s.stride),
          static_cast<int>(s.padding),        transposed};
}

// A contiguous copy of a weight [out, in, rows, columns] with its dimensions in this order.
Tensor reordered(const View& weight, const int (&order)[4]) {
  View v = weight;
  for (int i = 0; i < 4; ++i) {
    v.shape[i] = weight.shape[order[i]];
    v.strides[i] = weight.strides[order[i]];
  }
  const Tensor copy = Tensor::empty(v.shape, v.dtype, v.device);
  copy_view(v, copy.view());
  return copy;
}

PlainSource rows_of(const Tensor& t, int64_t columns) {
  return {t.view().as<float>(), columns, t.numel() / columns, static_cast<int>(columns)};
}

// Pixels as rows.
ProductTarget target_of(const View& image) {
  return {image.as<float>(), image.row_stride(), image.rows(), static_cast<int>(image.size(3))};
}

void convolve(const ConvolutionForward& c, const Setup& s) {
  const int64_t depth = s.taps() * c.x.size(3);
  const Tensor weight = reordered(c.weight, {0, 2, 3, 1});  // [out, taps x in]
  const bool wide = aligned_pixels(c.x, 4) && aligned_pixels(c.y, 4);
  const auto run = wide ? launch_product<4, Along::depth, Along::depth, WindowSource, PlainSource>
                        : launch_product<1, Along::depth, Along::depth, WindowSource, PlainSource>;
  run("convolution_forward", c.y.device, windows_of(c.x, c.y, s, false), rows_of(weight, depth),
      target_of(c.y), depth);
}

void convolve_back_x(const ConvolutionBackward& c, const Setup& s) {
  const int64_t out = c.weight.size(0);
  const Tensor weight = reordered(c.weight, {2, 3, 0, 1});  // [taps x out, in]
  const bool wide = aligned_pixels(c.grad_y, 4) && aligned_pixels(c.grad_x, 4);
  const auto run = wide ? launch_product<4, Along::depth, Along::side, WindowSource, PlainSource>
                        : launch_product<1, Along::depth, Along::side, WindowSource, PlainSource>;
  ProductTarget to = target_of(c.grad_x);
  to.accumulate = c.accumulate_x;
  run("convolution_backward_x", c.grad_y.device, windows_of(c.grad_y, c.grad_x, s, true),
      rows_of(weight, c.weight.size(1)), to, s.taps() * out);
}

void convolve_back_weight(const ConvolutionBackward& c, const Setup& s) {
  const int64_t out = c.weight.size(0), in = c.weight.size(1);
  const int64_t columns = s.taps() * in;
  const Tensor total =
      Tensor::empty({out, s.kernel_rows, s.kernel_columns, in}, core::DType::f32, c.x.device);
  const bool wide = aligned_pixels(c.grad_y, 4) && aligned_pixels(c.x, 4);
  const auto run = wide ? launch_deep_product<4, Along::side, Along::side, PlainSource, WindowSource>
                        : launch_deep_product<1, Along::side, Along::side, PlainSource, WindowSource>;
  const PlainSource g{c.grad_y.as<float>(), c.grad_y.row_stride(), c.grad_y.rows(), static_cast<int>(out)};
  run("convolution_backward_weight", c.x.device, g, windows_of(c.x, c.grad_y, s, false),
      {total.view().as<float>(), columns, out, static_cast<int>(columns)}, c.grad_y.rows());
  View target = total.view();  // [out, in, rows, columns]
  target.shape = c.grad_weight.shape;
  target.strides = {columns, 1, s.kernel_columns * in, in};
  copy_view(target, c.grad_weight);
}

constexpr TensorRequirement kTypes{"f32, or bf16 through f32", takes::f32_or_bf16.holds};
constexpr const char* kSizes = "fewer than 2^30 pixels and weights";
template <class Args>
bool fits(const Args& c) {
  constexpr int64_t kMost = int64_t{1} << 30;  // pixels, or columns of the product
  const auto few = [](const View& x) { return x.size(0) * x.size(1) * x.size(2) < kMost; };
  return takes::each(c.tensors(), few) && c.weight.numel() < kMost;
}

void run_forward(const ConvolutionForward& c) {
  if (c.y.dtype == core::DType::bf16) return convolution::forward_in_f32(c, run_forward);
  if (c.y.numel() == 0) return;
  if (c.weight.numel() > 0) convolve(c, {c.weight.size(2), c.weight.size(3), c.stride, c.padding});
  set_bias(c.y, c.bias, c.weight.numel() > 0);
}

void run_backward(const ConvolutionBackward& c) {
  if (c.grad_y.dtype == core::DType::bf16) return convolution::backward_in_f32(c, run_backward);
  const Setup setup{c.weight.size(2), c.weight.size(3), c.stride, c.padding};
  const bool nothing = c.grad_y.numel() == 0 || c.weight.numel() == 0;
  if (c.grad_weight.defined()) {
    if (nothing) {
      set_bias(flat(c.grad_weight), {}, false);
    } else {
      convolve_back_weight(c, setup);
    }
  }
  if (c.grad_x.defined()) {
    if (!nothing) {
      convolve_back_x(c, setup);
    } else if (!c.accumulate_x) {
      set_bias(c.grad_x, {}, false);
    }
  }
  if (c.grad_bias.defined()) {
    dispatch<ReduceForward>({Reduction::sum, c.grad_y, flat(c.grad_bias), {}}, kDevice);
  }
}

const Register<ConvolutionForward> forward("simt", kDevice, 5,
                                           {kTypes,
                                            takes::adjacent_channels,
                                            {takes::uniform_pixels.text,
                                             &ConvolutionForward::uniform_products},
                                            {kSizes, fits<ConvolutionForward>}},
                                           run_forward);
const Register<ConvolutionBackward> backward("simt", kDevice, 5,
                                             {kTypes,
                                              takes::adjacent_channels,
                                              {takes::uniform_pixels.text,
                                               &ConvolutionBackward::uniform_products},
                                              {kSizes, fits<ConvolutionBackward>}},
                                             run_backward);

}  // namespace
}  // namespace medfusion::kernels
