#include "data/images/warp.h"

#include <algorithm>

namespace medfusion::data {
namespace {

// Where along an axis two neighbours are read, and the weight of the second.
struct Neighbours {
  int64_t first = 0, second = 0;
  float weight = 0.0F;
};

Neighbours neighbours_of(double position, int64_t size) {
  const double clamped = std::clamp(position, 0.0, static_cast<double>(size - 1));
  const auto first = static_cast<int64_t>(clamped);
  return {first, std::min(first + 1, size - 1), static_cast<float>(clamped - static_cast<double>(first))};
}

}  // namespace

core::Tensor warp(const core::Tensor& image, const AffineMap& map) {
  const int64_t height = image.size(0), width = image.size(1), channels = image.size(2);
  const double center_x = 0.5 * static_cast<double>(width), center_y = 0.5 * static_cast<double>(height);
  core::Tensor result = core::Tensor::empty(image.shape());
  const float* in = image.data<float>();
  float* out = result.data<float>();
  for (int64_t y = 0; y < height; ++y) {
    for (int64_t x = 0; x < width; ++x) {
      const double dx = static_cast<double>(x) + 0.5 - center_x - map.shift_x * static_cast<double>(width);
      const double dy = static_cast<double>(y) + 0.5 - center_y - map.shift_y * static_cast<double>(height);
      const Neighbours sx = neighbours_of(map.xx * dx + map.xy * dy + center_x - 0.5, width);
      const Neighbours sy = neighbours_of(map.yy * dy + map.yx * dx + center_y - 0.5, height);
      for (int64_t c = 0; c < channels; ++c) {
        const auto at = [&](int64_t row, int64_t column) {
          return in[(row * width + column) * channels + c];
        };
        const float above =
            at(sy.first, sx.first) + sx.weight * (at(sy.first, sx.second) - at(sy.first, sx.first));
        const float below =
            at(sy.second, sx.first) + sx.weight * (at(sy.second, sx.second) - at(sy.second, sx.first));
        *out++ = above + sy.weight * (below - above);
      }
    }
  }
  return result;
}

}  // namespace medfusion::data
