#include "data/images/augment.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/random.h"
#include "data/images/warp.h"

namespace medfusion::data {
namespace {

using core::Tensor;

constexpr uint64_t kAugmentKey = 0x6175676D656E7421U;  // keeps these draws apart from others of the same seed
constexpr uint64_t kOperationsKey = 0x6F7065726174696FU;  // and these

AffineMap map_of(const Augmentation& a) {
  // The inverse of flips, scale, turn, shift, in that order.
  const double angle = a.rotation * std::numbers::pi / 180.0;
  const double cosine = std::cos(angle) / a.scale, sine = std::sin(angle) / a.scale;
  const double across = a.flip ? -1.0 : 1.0, down = a.flip_rows ? -1.0 : 1.0;
  return {across * cosine, across * sine, -down * sine, down * cosine, a.shift_x, a.shift_y};
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
  constexpr uint64_t kMoreDraws = 1 + 2 * kMostOperations;
  const core::Philox more(seed ^ kOperationsKey, static_cast<uint64_t>(row));
  uint64_t next = static_cast<uint64_t>(epoch) * kMoreDraws;
  const auto uniform = [&] { return static_cast<double>(more.uniform(next++)); };
  a.flip_rows = uniform() < options.vertical_flip;
  for (int64_t i = 0; i < options.operations; ++i) {
    const auto choice = std::min(static_cast<int64_t>(uniform() * kImageOperations), kImageOperations - 1);
    const double level = uniform() < 0.5 ? -options.magnitude : options.magnitude;
    a.operations.emplace_back(static_cast<ImageOperation>(choice), level);
  }
  return a;
}

Tensor augment(const Tensor& image, const Augmentation& augmentation) {
  MEDFUSION_CHECK(image.rank() == 3 && image.numel() > 0,
                  "augment: expected [height, width, channels], got {}", image.shape().str());
  Tensor result = warp(image.to_contiguous(), map_of(augmentation));
  change_intensity(result, augmentation);
  for (const auto& [operation, level] : augmentation.operations) result = apply(operation, result, level);
  return result;
}

}  // namespace medfusion::data
