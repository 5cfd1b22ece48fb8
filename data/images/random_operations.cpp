#include "data/images/random_operations.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

#include "data/images/warp.h"

namespace medfusion::data {
namespace {

using core::Tensor;

constexpr int64_t kLevels = 256;

int64_t level_of(float value) { return std::lround(std::clamp(value, 0.0F, 1.0F) * (kLevels - 1)); }

// other + factor (image - other), within [0, 1].
Tensor blend(const Tensor& image, const Tensor& other, double factor) {
  Tensor result = Tensor::empty(image.shape());
  const auto f = static_cast<float>(factor);
  std::transform(image.data<float>(), image.data<float>() + image.numel(), other.data<float>(),
                 result.data<float>(),
                 [f](float a, float b) { return std::clamp(b + f * (a - b), 0.0F, 1.0F); });
  return result;
}

// The gray of each pixel in all its channels.
Tensor gray(const Tensor& image) {
  Tensor result = Tensor::empty(image.shape());
  const int64_t channels = image.size(2);
  const float* in = image.data<float>();
  float* out = result.data<float>();
  for (int64_t pixel = 0; pixel < image.numel() / channels; ++pixel, in += channels, out += channels) {
    float sum = 0.0F;
    for (int64_t c = 0; c < channels; ++c) sum += in[c];
    const float value =
        channels == 3 ? 0.299F * in[0] + 0.587F * in[1] + 0.114F * in[2] : sum / static_cast<float>(channels);
    std::fill(out, out + channels, value);
  }
  return result;
}

Tensor mean_gray(const Tensor& image) {
  const Tensor each = gray(image);
  double sum = 0.0;
  for (int64_t i = 0; i < each.numel(); ++i) sum += each.data<float>()[i];
  return Tensor::full(image.shape(), sum / static_cast<double>(each.numel()));
}

// Each pixel off the edge becomes (its eight neighbours + 5 times itself) / 13.
Tensor smoothed(const Tensor& image) {
  Tensor result = image.clone();
  const int64_t height = image.size(0), width = image.size(1), channels = image.size(2);
  const float* in = image.data<float>();
  for (int64_t y = 1; y + 1 < height; ++y) {
    for (int64_t x = 1; x + 1 < width; ++x) {
      for (int64_t c = 0; c < channels; ++c) {
        const auto at = [&](int64_t row, int64_t column) {
          return in[(row * width + column) * channels + c];
        };
        float sum = 4.0F * at(y, x);
        for (int64_t dy = -1; dy <= 1; ++dy) {
          for (int64_t dx = -1; dx <= 1; ++dx) sum += at(y + dy, x + dx);
        }
        result.data<float>()[(y * width + x) * channels + c] = sum / 13.0F;
      }
    }
  }
  return result;
}

template <class Function>
Tensor each_value(const Tensor& image, const Function& function) {
  Tensor result = Tensor::empty(image.shape());
  std::transform(image.data<float>(), image.data<float>() + image.numel(), result.data<float>(), function);
  return result;
}

Tensor auto_contrast(const Tensor& image) {
  Tensor result = image.clone();
  const int64_t channels = image.size(2);
  float* const values = result.data<float>();
  for (int64_t c = 0; c < channels; ++c) {
    float least = values[c], greatest = values[c];
    for (int64_t i = c; i < image.numel(); i += channels) {
      least = std::min(least, values[i]);
      greatest = std::max(greatest, values[i]);
    }
    for (int64_t i = c; i < image.numel() && greatest > least; i += channels)
      values[i] = (values[i] - least) / (greatest - least);
  }
  return result;
}

// What Pillow's ImageOps.equalize does: level v becomes (pixels below v + half a step) / step, where a step
// is the number of pixels, those of the greatest level left out, / 255.
Tensor equalize(const Tensor& image) {
  Tensor result = image.clone();
  const int64_t channels = image.size(2);
  float* const values = result.data<float>();
  for (int64_t c = 0; c < channels; ++c) {
    std::vector<int64_t> counts(kLevels);
    int64_t greatest = 0, all = 0;
    for (int64_t i = c; i < image.numel(); i += channels, ++all) {
      const int64_t level = level_of(values[i]);
      ++counts[static_cast<size_t>(level)];
      greatest = std::max(greatest, level);
    }
    const int64_t step = (all - counts[static_cast<size_t>(greatest)]) / (kLevels - 1);
    if (step == 0) continue;
    std::vector<float> mapped(kLevels);
    int64_t below = step / 2;
    for (size_t level = 0; level < mapped.size(); ++level) {
      mapped[level] = static_cast<float>(std::min<int64_t>(below / step, kLevels - 1)) / (kLevels - 1);
      below += counts[level];
    }
    for (int64_t i = c; i < image.numel(); i += channels)
      values[i] = mapped[static_cast<size_t>(level_of(values[i]))];
  }
  return result;
}

}  // namespace

Tensor apply(ImageOperation operation, const Tensor& image, double level) {
  const double size = std::abs(level), factor = 1.0 + 0.9 * level;
  switch (operation) {
    case ImageOperation::identity:
      return image;
    case ImageOperation::auto_contrast:
      return auto_contrast(image);
    case ImageOperation::equalize:
      return equalize(image);
    case ImageOperation::rotate: {
      const double angle = 30.0 * level * std::numbers::pi / 180.0;
      return warp(image, {std::cos(angle), std::sin(angle), -std::sin(angle), std::cos(angle)});
    }
    case ImageOperation::solarize: {
      const auto threshold = static_cast<float>(1.0 - size);
      return each_value(image, [=](float x) { return x < threshold ? x : 1.0F - x; });
    }
    case ImageOperation::posterize: {
      const int64_t step = int64_t{1} << std::lround(4.0 * size);
      return each_value(image, [=](float x) {
        return static_cast<float>(level_of(x) / step * step) / static_cast<float>(kLevels - 1);
      });
    }
    case ImageOperation::color:
      return blend(image, gray(image), factor);
    case ImageOperation::contrast:
      return blend(image, mean_gray(image), factor);
    case ImageOperation::brightness:
      return blend(image, Tensor::zeros(image.shape()), factor);
    case ImageOperation::sharpness:
      return blend(image, smoothed(image), factor);
    case ImageOperation::shear_x:
      return warp(image, {.xy = 0.3 * level});
    case ImageOperation::shear_y:
      return warp(image, {.yx = 0.3 * level});
    case ImageOperation::translate_x:
      return warp(image, {.shift_x = 0.45 * level});
    case ImageOperation::translate_y:
      return warp(image, {.shift_y = 0.45 * level});
  }
  return image;
}

}  // namespace medfusion::data
