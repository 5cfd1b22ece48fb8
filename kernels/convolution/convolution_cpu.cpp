// Implicit products over strips of the image, on the register tiles of kernels/gemm: no column matrix of the
// image.
#include <algorithm>
#include <vector>

#include "core/threads.h"
#include "kernels/convolution/convolution.h"
#include "kernels/gemm/gemm.h"
#include "kernels/gemm/rows.h"
#include "kernels/gemm/strips.h"
#include "kernels/registry.h"

namespace medfusion::kernels {
namespace {

using core::Tensor;
using core::View;
using gemm::Image;
using gemm::Packed;
using gemm::Strip;
using gemm::Window;

constexpr int64_t kChannelBlock = 128;  // of a weight gradient per task
constexpr int64_t kChunkPixels = 512;   // at least, per partial weight gradient
constexpr int64_t kWeightTasks = 16;
constexpr int64_t kFewChannels = 16;  // below, a row of taps is one run of channels

// y (+)= convolution of the image with packed weights, plus bias.
void convolve(const Image& image, const Window& w, const Packed& weight, const float* bias, const View& y,
              bool accumulate) {
  const int64_t total = y.size(0) * w.out_height;
  const int64_t y_stride = y.row_stride();
  const bool in_place = w.kernel_rows == 1 && w.kernel_columns == 1 && w.stride == 1 && w.dilation == 1 &&
                        w.top == 0 && w.left == 0;
  core::parallel_for(0, total, gemm::rows_per_strip(total, w.out_width), [&](int64_t first, int64_t last) {
    Strip strip;
    std::vector<const float*> pixels;
    gemm::Indirect product{.taps = w.kernel_rows,
                           .channels = w.kernel_columns * image.channels,
                           .b = &weight,
                           .bias = bias,
                           .c = y.as<float>() + first * w.out_width * y_stride,
                           .c_stride = y_stride,
                           .accumulate = accumulate};
    if (in_place) {
      pixels.clear();
      for (int64_t r = first; r < last; ++r) {
        for (int64_t j = 0; j < image.width; ++j) {
          pixels.push_back(image.x.at(r / image.height, r % image.height, j));
        }
      }
      product.a = pixels.data();
    } else {
      strip.load(image, w, first, last, 0, image.channels, image.channels);
      product.a = strip.pointers(w, image.channels);
    }
    product.rows = product.a_stride = (last - first) * w.out_width;
    gemm::multiply(product);
  });
}

Window window_of(const View& weight, const View& y, int64_t stride, int64_t padding) {
  return {.kernel_rows = weight.size(2),
          .kernel_columns = weight.size(3),
          .stride = stride,
          .top = padding,
          .left = padding,
          .out_height = y.size(1),
          .out_width = y.size(2)};
}

void run_forward(const ConvolutionForward& c) {
  if (c.y.numel() == 0) return;
  const Packed weight = gemm::pack_weight(c.weight);
  convolve(gemm::image_of(c.x), window_of(c.weight, c.y, c.stride, c.padding), weight,
           c.bias.defined() ? c.bias.as<float>() : nullptr, c.y, false);
}

// The gradient of a convolution by x is a convolution of grad_y, spread out by the stride.
void input_gradient(const ConvolutionBackward& c) {
  if (c.grad_x.numel() == 0) return;
  const Window window{.kernel_rows = c.weight.size(2),
                      .kernel_columns = c.weight.size(3),
                      .top = c.weight.size(2) - 1 - c.padding,
                      .left = c.weight.size(3) - 1 - c.padding,
                      .dilation = c.stride,
                      .out_height = c.grad_x.size(1),
                      .out_width = c.grad_x.size(2)};
  convolve(gemm::image_of(c.grad_y), window, gemm::pack_weight_reversed(c.weight), nullptr, c.grad_x,
           c.accumulate_x);
}

// A block of the channels of x over a chunk of output rows: partial [taps, block, out].
struct WeightTask {
  int64_t first_row, last_row;
  int64_t first_channel, channels;
  float* partial;
};

void partial_weight_gradient(const Image& x, const Window& w, const View& grad_y, const WeightTask& task) {
  Strip strip;
  const int64_t out = grad_y.size(3);
  const int64_t g_stride = gemm::padded_stride(out);
  const bool few = x.channels < kFewChannels;
  const int64_t step = few ? task.channels : gemm::padded_stride(task.channels);
  const int64_t taps_per_row = few ? 1 : w.kernel_columns;
  const int64_t left_rows = few ? w.kernel_columns * task.channels : task.channels;
  const int64_t rows_at_once = gemm::rows_per_strip(grad_y.size(0) * w.out_height, w.out_width);
  const Tensor g_rows = Tensor::empty({rows_at_once * w.out_width, g_stride});
  const int64_t grad_stride = grad_y.row_stride();
  for (int64_t first = task.first_row; first < task.last_row; first += rows_at_once) {
    const int64_t last = std::min(task.last_row, first + rows_at_once);
    strip.load(x, w, first, last, task.first_channel, task.channels, step);
    gemm::copy_rows(grad_y.as<float>() + first * w.out_width * grad_stride, grad_stride,
                    (last - first) * w.out_width, out, g_rows.data<float>(), g_stride);
    for (const Strip::Part& part : strip.parts()) {
      for (int64_t t = 0; t < w.kernel_rows * taps_per_row; ++t) {
        const int64_t u = t / taps_per_row;
        const int64_t v = t % taps_per_row;
        gemm::multiply(gemm::Transposed{.a = part.data + u * part.row_stride + v * step,
                                        .a_segment = w.stride * part.row_stride,
                                        .a_step = w.stride * step,
                                        .b = g_rows.data<float>() + part.first * w.out_width * g_stride,
                                        .b_segment = w.out_width * g_stride,
                                        .b_step = g_stride,
                                        .segments = part.rows,
                                        .steps = w.out_width,
                                        .rows = left_rows,
                                        .columns = out,
                                        .c = task.partial + t * left_rows * out,
                                        .c_stride = out,
                                        .accumulate = true});
      }
    }
  }
}

void weight_gradient(const ConvolutionBackward& c) {
  const Image x = gemm::image_of(c.x);
  const Window w = window_of(c.weight, c.grad_y, c.stride, c.padding);
  const int64_t out = c.weight.size(0);
  const int64_t taps = w.kernel_rows * w.kernel_columns;
  const int64_t total = c.grad_y.size(0) * w.out_height;
  const int64_t blocks = (x.channels + kChannelBlock - 1) / kChannelBlock;
  const int64_t most_chunks = std::max<int64_t>(1, total * w.out_width / kChunkPixels);
  const int64_t wanted =
      blocks == 0 ? 1 : std::clamp<int64_t>((kWeightTasks + blocks - 1) / blocks, 1, most_chunks);
  const int64_t grain = std::max<int64_t>(1, (total + wanted - 1) / wanted);
  const int64_t chunks = (total + grain - 1) / grain;
  const Tensor partial = Tensor::zeros({chunks, taps * x.channels * out});
  auto* sums = partial.data<float>();
  core::parallel_for(0, chunks * blocks, 1, [&](int64_t task, int64_t) {
    const int64_t chunk = task / blocks;
    const int64_t channel = task % blocks * kChannelBlock;
    partial_weight_gradient(x, w, c.grad_y,
                            {.first_row = chunk * grain,
                             .last_row = std::min(total, (chunk + 1) * grain),
                             .first_channel = channel,
                             .channels = std::min(kChannelBlock, x.channels - channel),
                             .partial = sums + (chunk * x.channels + channel) * taps * out});
  });
  // Blocks lie one after another, [taps, channels of the block, out] each.
  auto* to = c.grad_weight.as<float>();
  core::parallel_for(0, x.channels, 16, [&](int64_t first, int64_t last) {
    for (int64_t channel = first; channel < last; ++channel) {
      const int64_t begin = channel / kChannelBlock * kChannelBlock;
      const int64_t width = std::min(kChannelBlock, x.channels - begin);
      for (int64_t t = 0; t < taps; ++t) {
        const float* from = sums + (begin * taps + t * width + channel - begin) * out;
        for (int64_t n = 0; n < out; ++n) {
          float sum = 0.0F;
          for (int64_t chunk = 0; chunk < chunks; ++chunk) sum += from[chunk * x.channels * taps * out + n];
          to[(n * x.channels + channel) * taps + t] = sum;
        }
      }
    }
  });
}

void bias_gradient(const View& grad_y, const View& grad_bias) {
  constexpr int64_t kPixels = 4096;
  const int64_t out = grad_bias.numel();
  const int64_t pixels = grad_y.size(0) * grad_y.size(1) * grad_y.size(2);
  const int64_t chunks = (pixels + kPixels - 1) / kPixels;
  std::vector<double> partial(static_cast<size_t>(chunks * out), 0.0);
  const int64_t stride = grad_y.row_stride();
  core::parallel_for(0, pixels, kPixels, [&](int64_t first, int64_t last) {
    double* sum = partial.data() + first / kPixels * out;
    for (int64_t p = first; p < last; ++p) {
      const float* g = grad_y.as<float>() + p * stride;
      for (int64_t n = 0; n < out; ++n) sum[n] += static_cast<double>(g[n]);
    }
  });
  for (int64_t n = 0; n < out; ++n) {
    double sum = 0.0;
    for (int64_t chunk = 0; chunk < chunks; ++chunk) sum += partial[static_cast<size_t>(chunk * out + n)];
    grad_bias.as<float>()[n] = static_cast<float>(sum);
  }
}

void run_backward(const ConvolutionBackward& c) {
  if (c.grad_weight.defined()) weight_gradient(c);
  if (c.grad_bias.defined()) bias_gradient(c.grad_y, c.grad_bias);
  if (c.grad_x.defined()) input_gradient(c);
}

const Register<ConvolutionForward> forward("cpu", kCpu, 10,
                                           {takes::f32,
                                            takes::adjacent_channels,
                                            {takes::uniform_pixels.text,
                                             &ConvolutionForward::uniform_products}},
                                           run_forward);
const Register<ConvolutionBackward> backward("cpu", kCpu, 10,
                                             {takes::f32,
                                              takes::adjacent_channels,
                                              {takes::uniform_pixels.text,
                                               &ConvolutionBackward::uniform_products}},
                                             run_backward);

}  // namespace
}  // namespace medfusion::kernels
