// Vectors run over channels. One task is a row of pixels of y (forward) or of grad_x (backward, which
// gathers: every pixel is written by one task alone). Both are sums of taps: pixels of another image at one
// step, times a weight for each channel. The gradient of the weights is added up by chunks of rows, whose
// number depends on the shapes alone, and these in order.
#include <algorithm>
#include <vector>

#include "core/threads.h"
#include "kernels/depthwise_convolution/depthwise_convolution.h"
#include "kernels/registry.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/depthwise_convolution/depthwise_convolution_cpu.cpp"
#include "kernels/simd.h"  // first: sets the instruction sets, then foreach_target and highway

#ifndef MEDFUSION_DEPTHWISE_TAPS_
#define MEDFUSION_DEPTHWISE_TAPS_
namespace medfusion::kernels::depthwise {

// What pixels [first, last) of a row take: pixel t takes image[t * step + c] * weight[c].
struct Tap {
  const float* image;
  const float* weight;
  int64_t first, last;
};
struct Row {
  float* out;
  int64_t out_step;  // from pixel to pixel, in elements
  int64_t step;      // of the images of taps
  int64_t pixels, channels;
  const float* bias;  // null: none
};
// Of one row of grad_y: tap (v) of pixel j reads x[(j * stride + v) * x_step + c].
struct WeightRow {
  const float* grad_y;
  const float* x;  // of tap 0 of pixel 0, which may lie before the row
  int64_t grad_step, x_step, stride;
  int64_t pixels, channels;
};

}  // namespace medfusion::kernels::depthwise
#endif

HWY_BEFORE_NAMESPACE();
namespace medfusion::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;
using depthwise::Row;
using depthwise::Tap;
using depthwise::WeightRow;

constexpr int64_t kBlock = 64;  // channels at a time, so that what taps share stays in the first-level cache
constexpr int64_t kTile = 6;    // pixels whose sums are in registers

// `count` pixels from `t` on, which every tap has.
template <int64_t count>
HWY_INLINE void tile(const Row& row, const Tap* taps, int64_t n, int64_t t, int64_t first, int64_t last) {
  for_vectors(last - first, [&](auto d, int64_t i) {
    const int64_t c = first + i;
    hn::Vec<decltype(d)> sums[count];
    const auto start = row.bias != nullptr ? hn::LoadU(d, row.bias + c) : hn::Zero(d);
    for (int64_t k = 0; k < count; ++k) sums[k] = start;
    for (int64_t tap = 0; tap < n; ++tap) {
      const auto weight = hn::LoadU(d, taps[tap].weight + c);
      const float* image = taps[tap].image + t * row.step + c;
      for (int64_t k = 0; k < count; ++k)
        sums[k] = hn::MulAdd(weight, hn::LoadU(d, image + k * row.step), sums[k]);
    }
    for (int64_t k = 0; k < count; ++k) hn::StoreU(sums[k], d, row.out + (t + k) * row.out_step + c);
  });
}

void add_taps(const Row& row, const Tap* taps, int64_t n) {
  int64_t inner = 0, inner_end = row.pixels;  // pixels that every tap has
  for (int64_t tap = 0; tap < n; ++tap) {
    inner = std::max(inner, taps[tap].first);
    inner_end = std::min(inner_end, taps[tap].last);
  }
  inner = std::min(inner, row.pixels);
  inner_end = std::max(inner, inner_end);
  std::vector<Tap> some(static_cast<size_t>(n));
  for (int64_t first = 0; first < row.channels; first += kBlock) {
    const int64_t last = std::min(row.channels, first + kBlock);
    const auto edge = [&](int64_t t) {
      const auto end = std::copy_if(taps, taps + n, some.begin(),
                                    [t](const Tap& tap) { return tap.first <= t && t < tap.last; });
      tile<1>(row, some.data(), end - some.begin(), t, first, last);
    };
    for (int64_t t = 0; t < inner; ++t) edge(t);
    int64_t t = inner;
    for (; t + kTile <= inner_end; t += kTile) tile<kTile>(row, taps, n, t, first, last);
    for (; t + 2 <= inner_end; t += 2) tile<2>(row, taps, n, t, first, last);
    for (; t < inner_end; ++t) tile<1>(row, taps, n, t, first, last);
    for (; t < row.pixels; ++t) edge(t);
  }
}

// sums[v * channels + c] += what the pixels [begin, end) give to `count` taps from v on.
template <int64_t count>
HWY_INLINE void add_columns(const WeightRow& row, int64_t v, int64_t begin, int64_t end, float* sums) {
  for_vectors(row.channels, [&](auto d, int64_t c) {
    hn::Vec<decltype(d)> own[count];
    for (int64_t k = 0; k < count; ++k) own[k] = hn::Zero(d);
    for (int64_t j = begin; j < end; ++j) {
      const auto g = hn::LoadU(d, row.grad_y + j * row.grad_step + c);
      const float* x = row.x + (j * row.stride + v) * row.x_step + c;
      for (int64_t k = 0; k < count; ++k) own[k] = hn::MulAdd(g, hn::LoadU(d, x + k * row.x_step), own[k]);
    }
    for (int64_t k = 0; k < count; ++k) {
      float* const sum = sums + (v + k) * row.channels + c;
      hn::StoreU(hn::Add(hn::LoadU(d, sum), own[k]), d, sum);
    }
  });
}

// [first[v], last[v]): the pixels that tap v has, of `kernel` taps.
void add_weight_row(const WeightRow& row, int64_t kernel, const int64_t* first, const int64_t* last,
                    float* sums) {
  const int64_t inner = *std::max_element(first, first + kernel);
  const int64_t inner_end = std::max(inner, *std::min_element(last, last + kernel));
  for (int64_t v = 0; v < kernel; ++v) {
    if (first[v] < std::min(inner, last[v])) add_columns<1>(row, v, first[v], std::min(inner, last[v]), sums);
    if (std::max(inner_end, first[v]) < last[v])
      add_columns<1>(row, v, std::max(inner_end, first[v]), last[v], sums);
  }
  if (inner == inner_end) return;
  int64_t v = 0;
  for (; v + 5 <= kernel; v += 5) add_columns<5>(row, v, inner, inner_end, sums);
  for (; v + 3 <= kernel; v += 3) add_columns<3>(row, v, inner, inner_end, sums);
  for (; v < kernel; ++v) add_columns<1>(row, v, inner, inner_end, sums);
}

void add_row(const float* x, float* sums, int64_t channels) {
  for_vectors(channels, [&](auto d, int64_t c) {
    hn::StoreU(hn::Add(hn::LoadU(d, sums + c), hn::LoadU(d, x + c)), d, sums + c);
  });
}

}  // namespace medfusion::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace medfusion::kernels {
namespace {

using core::View;
using depthwise::Row;
using depthwise::Tap;
using depthwise::WeightRow;

HWY_EXPORT(add_taps);
HWY_EXPORT(add_weight_row);
HWY_EXPORT(add_row);

constexpr int64_t kGrain = 1 << 15;  // multiply-adds per task
constexpr int64_t kMostChunks = 64;  // of rows, for the gradient of the weights

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
float* row_of(const View& v, int64_t sample, int64_t row) {
  return v.as<float>() + sample * v.strides[0] + row * v.strides[1];
}

// [taps, channels] of weight [channels, 1, taps].
std::vector<float> by_taps(const View& weight) {
  const int64_t channels = weight.size(0), taps = weight.size(2) * weight.size(3);
  std::vector<float> result(static_cast<size_t>(weight.numel()));
  for (int64_t c = 0; c < channels; ++c) {
    for (int64_t tap = 0; tap < taps; ++tap)
      result[static_cast<size_t>(tap * channels + c)] = weight.as<float>()[c * taps + tap];
  }
  return result;
}

// Calls body(sample, row) for the rows of an image, in parallel.
template <class Body>
void for_rows(const View& image, int64_t taps, const Body& body) {
  const int64_t height = image.size(1), work = std::max<int64_t>(1, image.size(2) * image.size(3) * taps);
  core::parallel_for(0, image.size(0) * height, std::max<int64_t>(1, kGrain / work),
                     [&](int64_t first, int64_t last) {
                       for (int64_t i = first; i < last; ++i) body(i / height, i % height);
                     });
}

void run_forward(const DepthwiseConvolutionForward& a) {
  if (a.y.numel() == 0) return;
  const int64_t rows = a.weight.size(2), columns = a.weight.size(3), channels = a.y.size(3);
  const std::vector<float> weight = by_taps(a.weight);
  for_rows(a.y, rows * columns, [&](int64_t sample, int64_t i) {
    std::vector<Tap> taps;
    for (int64_t u = 0; u < rows; ++u) {
      const int64_t row = i * a.stride + u - a.padding;
      if (row < 0 || row >= a.x.size(1)) continue;
      for (int64_t v = 0; v < columns; ++v) {
        const int64_t place = v - a.padding;  // of pixel 0
        const int64_t first = place >= 0 ? 0 : ceil_div(-place, a.stride);
        const int64_t last = std::min(a.y.size(2), ceil_div(a.x.size(2) - place, a.stride));
        if (first < last)
          taps.push_back({row_of(a.x, sample, row) + place * a.x.strides[2],
                          weight.data() + (u * columns + v) * channels, first, last});
      }
    }
    const Row row{row_of(a.y, sample, i),
                  a.y.strides[2],
                  a.stride * a.x.strides[2],
                  a.y.size(2),
                  channels,
                  a.bias.defined() ? a.bias.as<float>() : nullptr};
    HWY_DYNAMIC_DISPATCH(add_taps)(row, taps.data(), static_cast<int64_t>(taps.size()));
  });
}

// Columns `phase`, phase + stride, ... of grad_x: the same taps hold them all, and they take neighboring
// pixels of grad_y.
void grad_x_columns(const DepthwiseConvolutionBackward& a, const float* weight, int64_t sample, int64_t row,
                    int64_t phase) {
  const int64_t rows = a.weight.size(2), columns = a.weight.size(3), channels = a.grad_x.size(3);
  const int64_t pixels = ceil_div(a.grad_x.size(2) - phase, a.stride);
  std::vector<Tap> taps;
  for (int64_t u = 0; u < rows; ++u) {
    const int64_t above = row + a.padding - u;
    if (above < 0 || above % a.stride != 0 || above / a.stride >= a.grad_y.size(1)) continue;
    for (int64_t v = 0; v < columns; ++v) {
      const int64_t left = phase + a.padding - v;
      if (((left % a.stride) + a.stride) % a.stride != 0) continue;
      const int64_t place = left / a.stride;  // of pixel 0; exact
      const int64_t first = std::max<int64_t>(0, -place), last = std::min(pixels, a.grad_y.size(2) - place);
      if (first < last)
        taps.push_back({row_of(a.grad_y, sample, above / a.stride) + place * a.grad_y.strides[2],
                        weight + (u * columns + v) * channels, first, last});
    }
  }
  const Row out{row_of(a.grad_x, sample, row) + phase * a.grad_x.strides[2],
                a.stride * a.grad_x.strides[2],
                a.grad_y.strides[2],
                pixels,
                channels,
                nullptr};
  HWY_DYNAMIC_DISPATCH(add_taps)(out, taps.data(), static_cast<int64_t>(taps.size()));
}

void run_grad_x(const DepthwiseConvolutionBackward& a) {
  if (a.grad_x.numel() == 0) return;
  const std::vector<float> weight = by_taps(a.weight);
  for_rows(a.grad_x, a.weight.size(2) * a.weight.size(3), [&](int64_t sample, int64_t row) {
    for (int64_t phase = 0; phase < std::min(a.stride, a.grad_x.size(2)); ++phase)
      grad_x_columns(a, weight.data(), sample, row, phase);
  });
}

// Adds what one row of grad_y gives to sums [taps, channels], and to `bias` where it is not null.
void add_to_weight(const DepthwiseConvolutionBackward& a, int64_t sample, int64_t i, float* sums,
                   float* bias) {
  const int64_t rows = a.weight.size(2), columns = a.weight.size(3), channels = a.grad_y.size(3);
  const float* const grad_y = row_of(a.grad_y, sample, i);
  for (int64_t j = 0; bias != nullptr && j < a.grad_y.size(2); ++j)
    HWY_DYNAMIC_DISPATCH(add_row)(grad_y + j * a.grad_y.strides[2], bias, channels);
  if (!a.grad_weight.defined()) return;
  std::vector<int64_t> first(static_cast<size_t>(columns)), last(first.size());
  for (int64_t v = 0; v < columns; ++v) {
    const int64_t place = v - a.padding;
    first[static_cast<size_t>(v)] = std::min(a.grad_y.size(2), place >= 0 ? 0 : ceil_div(-place, a.stride));
    last[static_cast<size_t>(v)] =
        std::clamp(ceil_div(a.x.size(2) - place, a.stride), first[static_cast<size_t>(v)], a.grad_y.size(2));
  }
  for (int64_t u = 0; u < rows; ++u) {
    const int64_t row = i * a.stride + u - a.padding;
    if (row < 0 || row >= a.x.size(1)) continue;
    const WeightRow each{grad_y,
                         row_of(a.x, sample, row) - a.padding * a.x.strides[2],
                         a.grad_y.strides[2],
                         a.x.strides[2],
                         a.stride,
                         a.grad_y.size(2),
                         channels};
    HWY_DYNAMIC_DISPATCH(add_weight_row)
    (each, columns, first.data(), last.data(), sums + u * columns * channels);
  }
}

void run_grad_weight(const DepthwiseConvolutionBackward& a) {
  const int64_t taps = a.weight.size(2) * a.weight.size(3), channels = a.weight.size(0);
  const int64_t rows = a.grad_y.size(0) * a.grad_y.size(1), width = (taps + 1) * channels;
  const int64_t each = std::max<int64_t>(1, ceil_div(rows, kMostChunks)), chunks = ceil_div(rows, each);
  std::vector<float> sums(static_cast<size_t>(chunks * width), 0.0F);
  core::parallel_for(0, chunks, 1, [&](int64_t chunk, int64_t /*end*/) {
    float* const own = sums.data() + chunk * width;
    for (int64_t i = chunk * each; i < std::min(rows, (chunk + 1) * each); ++i)
      add_to_weight(a, i / a.grad_y.size(1), i % a.grad_y.size(1), own,
                    a.grad_bias.defined() ? own + taps * channels : nullptr);
  });
  core::parallel_for(0, channels, 64, [&](int64_t first, int64_t last) {
    for (int64_t c = first; c < last; ++c) {
      for (int64_t tap = 0; tap <= taps; ++tap) {
        double sum = 0.0;
        for (int64_t chunk = 0; chunk < chunks; ++chunk)
          sum += static_cast<double>(sums[static_cast<size_t>(chunk * width + tap * channels + c)]);
        if (tap < taps && a.grad_weight.defined())
          a.grad_weight.as<float>()[c * taps + tap] = static_cast<float>(sum);
        if (tap == taps && a.grad_bias.defined()) a.grad_bias.as<float>()[c] = static_cast<float>(sum);
      }
    }
  });
}

void run_backward(const DepthwiseConvolutionBackward& a) {
  if (a.grad_x.defined()) run_grad_x(a);
  if (a.grad_weight.defined() || a.grad_bias.defined()) run_grad_weight(a);
}

const Register<DepthwiseConvolutionForward> forward("cpu", kCpu, 10, {takes::f32, takes::adjacent_channels},
                                                    run_forward);
const Register<DepthwiseConvolutionBackward> backward("cpu", kCpu, 10, {takes::f32, takes::adjacent_channels},
                                                      run_backward);

}  // namespace
}  // namespace medfusion::kernels
#endif  // HWY_ONCE
