// The pieces of pooling_cpu.cpp, shared by its instruction sets.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "kernels/pooling/pooling.h"

namespace medfusion::kernels::pooling {

// One sample, channels next to each other. Strides in elements.
struct Image {
  const float* data;
  int64_t stride_row, stride_pixel;
  int64_t height, width, channels;
  const float* pixel(int64_t row, int64_t column) const {
    return data + row * stride_row + column * stride_pixel;
  }
};

// Along one axis, the part of a window that lies in the image: `count` pixels from `first` on, the first of
// which has index `offset` in the window.
struct Taps {
  int64_t first, count, offset;
};
// For every window of an axis of `size` pixels.
inline std::vector<Taps> taps(const PoolingWindow& p, int64_t size, int64_t windows) {
  std::vector<Taps> result;
  for (int64_t i = 0; i < windows; ++i) {
    const int64_t start = i * p.stride - p.padding;
    const int64_t first = std::max<int64_t>(0, start);
    result.push_back({first, std::min(size, start + p.kernel) - first, first - start});
  }
  return result;
}

struct Range {
  int64_t first, last;  // [first, last)
};
// For every pixel of an axis the windows that hold it.
inline std::vector<Range> windows_over(const PoolingWindow& p, int64_t size, int64_t windows) {
  std::vector<Range> result;
  for (int64_t i = 0; i < size; ++i) {
    const int64_t place = i + p.padding;  // window w holds it where w stride <= place < w stride + kernel
    const int64_t first = place < p.kernel ? 0 : (place - p.kernel) / p.stride + 1;
    result.push_back({first, std::min(windows, place / p.stride + 1)});
  }
  return result;
}

}  // namespace medfusion::kernels::pooling
