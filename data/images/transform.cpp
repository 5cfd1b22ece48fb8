#include "data/images/transform.h"

#include <algorithm>
#include <cmath>

namespace medfusion::data {
namespace {

using core::DType;
using core::Tensor;

// Divides by `limit`, and averages or picks the color channels, of `count` pixels.
template <class T>
void convert(const T* pixels, int64_t count, int64_t from, int64_t to, float limit, float* out) {
  if (from == to) {  // the same, in a loop that the compiler makes wide
    for (int64_t i = 0; i < count * to; ++i) out[i] = static_cast<float>(pixels[i]) / limit;
    return;
  }
  for (int64_t i = 0; i < count; ++i, pixels += from, out += to) {
    if (to == 3 || from < 3) {
      for (int64_t c = 0; c < to; ++c) out[c] = static_cast<float>(pixels[c]) / limit;
    } else {
      const float sum =
          static_cast<float>(pixels[0]) + static_cast<float>(pixels[1]) + static_cast<float>(pixels[2]);
      out[0] = sum / (3.0F * limit);
    }
  }
}

// The input pixels [first, first + weights.size()) that make one output pixel of an axis.
struct Taps {
  int64_t first = 0;
  std::vector<float> weights;
};

std::vector<Taps> triangle_taps(int64_t in, int64_t out) {
  const double scale = static_cast<double>(in) / static_cast<double>(out);
  const double support = std::max(1.0, scale);
  std::vector<Taps> taps(static_cast<size_t>(out));
  for (int64_t i = 0; i < out; ++i) {
    Taps& tap = taps[static_cast<size_t>(i)];
    const double center = scale * (static_cast<double>(i) + 0.5);
    tap.first = std::max<int64_t>(0, static_cast<int64_t>(std::floor(center - support + 0.5)));
    const int64_t last = std::min<int64_t>(in, static_cast<int64_t>(std::floor(center + support + 0.5)));
    double sum = 0.0;
    for (int64_t j = tap.first; j < last; ++j) {
      const double distance = std::abs(static_cast<double>(j) + 0.5 - center) / support;
      tap.weights.push_back(static_cast<float>(std::max(0.0, 1.0 - distance)));
      sum += tap.weights.back();
    }
    for (float& weight : tap.weights) weight = static_cast<float>(weight / sum);
  }
  return taps;
}

struct Moments {
  float mean = 0.0F;
  float deviation = 1.0F;
};

Moments moments(const Tensor& image) {
  const float* x = image.data<float>();
  const auto count = static_cast<double>(image.numel());
  double sum = 0.0, squares = 0.0;
  for (int64_t i = 0; i < image.numel(); ++i) sum += x[i];
  const double mean = sum / count;
  for (int64_t i = 0; i < image.numel(); ++i) squares += (x[i] - mean) * (x[i] - mean);
  return {static_cast<float>(mean), static_cast<float>(std::max(1e-3, std::sqrt(squares / count)))};
}

// The value of channel `c`, from one value for all or one for each.
float of_channel(const std::vector<double>& values, int64_t c, float otherwise) {
  if (values.empty()) return otherwise;
  return static_cast<float>(values.size() == 1 ? values.front() : values[static_cast<size_t>(c)]);
}

}  // namespace

void ImageFormat::check_rules(const core::Require& require) const {
  require(channels != 2, {"data.channels"}, "expected 1 or 3, got 2");
  const auto check = [&](const char* key, size_t values) {
    require(values <= 1 || values == static_cast<size_t>(channels), {key, "data.channels"},
            fmt::format("expected one value, or one for each of {} channels, got {}", channels, values));
  };
  check("data.mean", mean.size());
  check("data.std", std.size());
}

void check(const ImageFormat& format) {
  MEDFUSION_CHECK(format.size > 0, "image format: expected a positive size, got {}", format.size);
  MEDFUSION_CHECK(format.channels >= 1 && format.channels <= 3,
                  "image format: expected 1 or 3 channels, got {}", format.channels);
  for (const double deviation : format.std)
    MEDFUSION_CHECK(deviation > 0.0, "image format: expected a positive standard deviation, got {}",
                    deviation);
  format.check_rules([](bool condition, const std::vector<std::string>& keys, const std::string& message) {
    MEDFUSION_CHECK(condition, "image format: {}: {}", keys.front(), message);
  });
}

Tensor to_unit_range(const Tensor& pixels, int64_t channels) {
  MEDFUSION_CHECK(pixels.defined() && pixels.rank() == 3 && pixels.size(2) >= 1 && pixels.size(2) <= 4 &&
                      (pixels.dtype() == DType::u8 || pixels.dtype() == DType::i32),
                  "to_unit_range: expected u8 or i32 [height, width, 1..4], got {} {}",
                  name_of(pixels.dtype()), pixels.shape().str());
  const Tensor dense = pixels.to_contiguous();
  const int64_t height = dense.size(0), width = dense.size(1), from = dense.size(2);
  const int64_t to = channels == 3 && from >= 3 ? 3 : 1;
  Tensor result = Tensor::empty({height, width, to});
  if (dense.dtype() == DType::u8) {
    convert(dense.data<uint8_t>(), height * width, from, to, 255.0F, result.data<float>());
  } else {
    convert(dense.data<int32_t>(), height * width, from, to, 65535.0F, result.data<float>());
  }
  return result;
}

Tensor resize(const Tensor& image, int64_t new_height, int64_t new_width) {
  MEDFUSION_CHECK(image.rank() == 3 && image.numel() > 0 && new_height > 0 && new_width > 0,
                  "resize: expected a non-empty image and a positive size, got {} and {}x{}",
                  image.shape().str(), new_height, new_width);
  const Tensor dense = image.to_contiguous();
  const int64_t width = dense.size(1), channels = dense.size(2), row = width * channels;
  const float* in = dense.data<float>();
  const std::vector<Taps> columns = triangle_taps(width, new_width);
  std::vector<float> sums(static_cast<size_t>(row));
  Tensor result = Tensor::empty({new_height, new_width, channels});
  float* out = result.data<float>();
  for (const Taps& taps : triangle_taps(dense.size(0), new_height)) {
    std::fill(sums.begin(), sums.end(), 0.0F);
    for (size_t k = 0; k < taps.weights.size(); ++k) {
      const float weight = taps.weights[k];
      const float* from = in + (taps.first + static_cast<int64_t>(k)) * row;
      for (int64_t i = 0; i < row; ++i) sums[static_cast<size_t>(i)] += weight * from[i];
    }
    for (const Taps& column : columns) {
      for (int64_t c = 0; c < channels; ++c) {
        const float* from = sums.data() + column.first * channels + c;
        float sum = 0.0F;
        for (size_t k = 0; k < column.weights.size(); ++k) {
          sum += column.weights[k] * from[static_cast<int64_t>(k) * channels];
        }
        *out++ = sum;
      }
    }
  }
  return result;
}

namespace {

// f32 in [0, 1] to the nearest of 256 levels: u8 of the same shape.
Tensor to_levels(const Tensor& image) {
  const Tensor dense = image.to_contiguous();
  Tensor result = Tensor::empty(dense.shape(), DType::u8);
  const float* in = dense.data<float>();
  std::transform(in, in + dense.numel(), result.data<uint8_t>(), [](float value) {
    return static_cast<uint8_t>(std::clamp(value * 255.0F + 0.5F, 0.0F, 255.0F));
  });
  return result;
}

}  // namespace

Tensor without_equal_channels(const Tensor& levels) {
  if (levels.size(2) != 3) return levels;
  const Tensor dense = levels.to_contiguous();
  const auto* pixels = dense.data<uint8_t>();
  const int64_t count = dense.size(0) * dense.size(1);
  for (int64_t i = 0; i < count; ++i) {
    if (pixels[3 * i] != pixels[3 * i + 1] || pixels[3 * i] != pixels[3 * i + 2]) return dense;
  }
  Tensor gray = Tensor::empty({dense.size(0), dense.size(1), 1}, DType::u8);
  for (int64_t i = 0; i < count; ++i) gray.data<uint8_t>()[i] = pixels[3 * i];
  return gray;
}

Tensor packable_image(const Tensor& pixels, const ImageFormat& format) {
  const Tensor image = resize(to_unit_range(pixels, format.channels), format.size, format.size);
  return without_equal_channels(to_levels(image));
}

Tensor resized_image(const Tensor& pixels, const ImageFormat& format) {
  if (format.round_pixels) return to_unit_range(packable_image(pixels, format), format.channels);
  return resize(to_unit_range(pixels, format.channels), format.size, format.size);
}

void normalize(const Tensor& image, const ImageFormat& format, const Tensor& out) {
  const int64_t from = image.size(2), to = format.channels, count = image.size(0) * image.size(1);
  MEDFUSION_CHECK((from == 1 || from == to) && out.numel() == count * to && out.contiguous(),
                  "normalize: cannot write {} as {}", image.shape().str(), out.shape().str());
  const Tensor dense = image.to_contiguous();
  const bool per_image = format.normalize == Normalization::image;
  const Moments own = per_image ? moments(dense) : Moments{};
  for (int64_t c = 0; c < to; ++c) {
    float mean = of_channel(format.mean, c, 0.0F);
    float deviation = of_channel(format.std, c, 1.0F);
    if (per_image) {
      mean = own.mean;
      deviation = own.deviation;
    }
    const float* x = dense.data<float>() + (from == 1 ? 0 : c);
    float* y = out.data<float>() + c;
    if (to == 1) {  // the same, in a loop that the compiler makes wide
      for (int64_t i = 0; i < count; ++i) y[i] = (x[i] - mean) / deviation;
      continue;
    }
    for (int64_t i = 0; i < count; ++i) y[i * to] = (x[i * from] - mean) / deviation;
  }
}

Tensor transform_image(const Tensor& pixels, const ImageFormat& format) {
  check(format);
  Tensor result = Tensor::empty({format.size, format.size, format.channels});
  normalize(resized_image(pixels, format), format, result);
  return result;
}

}  // namespace medfusion::data
