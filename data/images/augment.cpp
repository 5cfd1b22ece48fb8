#include "data/images/augment.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

#include "core/random.h"

namespace medfusion::data {
namespace {

using core::Tensor;

constexpr uint64_t kAugmentKey = 0x6175676D656E7421U;  // keeps these draws apart from others of the same seed

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

Tensor warp(const Tensor& image, const Augmentation& a) {
  const int64_t height = image.size(0), width = image.size(1), channels = image.size(2);
  const double angle = a.rotation * std::numbers::pi / 180.0;
  const double cosine = std::cos(angle) / a.scale, sine = std::sin(angle) / a.scale;
  const double center_x = 0.5 * static_cast<double>(width), center_y = 0.5 * static_cast<double>(height);
  Tensor result = Tensor::empty(image.shape());
  const float* in = image.data<float>();
  float* out = result.data<float>();
  for (int64_t y = 0; y < height; ++y) {
    for (int64_t x = 0; x < width; ++x) {
      // The place in the input of this output pixel: the inverse of flip, scale, turn, shift, in that order.
      const double dx = static_cast<double>(x) + 0.5 - center_x - a.shift_x * static_cast<double>(width);
      const double dy = static_cast<double>(y) + 0.5 - center_y - a.shift_y * static_cast<double>(height);
      const double from_x = (a.flip ? -1.0 : 1.0) * (cosine * dx + sine * dy);
      const double from_y = cosine * dy - sine * dx;
      const Neighbours sx = neighbours_of(from_x + center_x - 0.5, width);
      const Neighbours sy = neighbours_of(from_y + center_y - 0.5, height);
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

void change_intensity(const Tensor& image, const Augmentation& a) {
  float* values = image.data<float>();
  const int64_t count = image.numel();
  const auto gamma = static_cast<float>(a.gamma);
  double sum = 0.0;
  for (int64_t i = 0; i < count; ++i) {
    values[i] = std::clamp(values[i], 0.0F, 1.0F);
    if (gamma != 1.0F) values[i] = std::pow(values[i], gamma);
    sum += values[i];
  }
  const auto contrast = static_cast<float>(a.contrast);
  const auto offset =
      static_cast<float>((1.0 - a.contrast) * sum / static_cast<double>(count) + a.brightness);
  for (int64_t i = 0; i < count; ++i) values[i] = std::clamp(contrast * values[i] + offset, 0.0F, 1.0F);
}

}  // namespace

Augmentation draw_augmentation(const AugmentOptions& options, uint64_t seed, int64_t epoch, int64_t row) {
  constexpr uint64_t kDraws = 8;
  const core::Philox philox(seed ^ kAugmentKey, static_cast<uint64_t>(row));
  const uint64_t first = static_cast<uint64_t>(epoch) * kDraws;
  const auto symmetric = [&](uint64_t draw) {
    return 2.0 * static_cast<double>(philox.uniform(first + draw)) - 1.0;
  };
  Augmentation a;
  a.shift_x = options.shift * symmetric(0);
  a.shift_y = options.shift * symmetric(1);
  a.scale = 1.0 + options.scale * symmetric(2);
  a.rotation = options.rotation * symmetric(3);
  a.brightness = options.brightness * symmetric(4);
  a.contrast = 1.0 + options.contrast * symmetric(5);
  a.gamma = std::exp(options.gamma * symmetric(6));
  a.flip = static_cast<double>(philox.uniform(first + 7)) < options.horizontal_flip;
  return a;
}

Tensor augment(const Tensor& image, const Augmentation& augmentation) {
  MEDFUSION_CHECK(image.rank() == 3 && image.numel() > 0,
                  "augment: expected [height, width, channels], got {}", image.shape().str());
  const Tensor result = warp(image.to_contiguous(), augmentation);
  change_intensity(result, augmentation);
  return result;
}

}  // namespace medfusion::data
