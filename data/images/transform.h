// From decoded pixels to the input of a network; docs/image-pipeline.md repeats it in torchvision.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "core/settings.h"
#include "core/tensor.h"

namespace medfusion::data {

inline constexpr std::array kNormalizations{"fixed", "image"};
enum class Normalization : uint8_t {
  fixed,  // by mean and std of the format
  image,  // each image by its own, over all its pixels and channels (std of the population, at least 0.001)
};
constexpr core::Names names_of(Normalization) { return kNormalizations; }

struct ImageFormat {
  int64_t size = 64;  // the network's images are size x size
  int64_t channels = 1;
  Normalization normalize = Normalization::fixed;
  std::vector<double> mean = {0.5};
  std::vector<double> std = {0.25};
  bool round_pixels = false;  // resized pixels to 8 bits

  void visit_fields(core::FieldVisitor& visit) {
    using core::Range;
    visit("image_size", size, Range::in(16, 4096), "Height and width that images are resized to, in pixels.");
    visit("channels", channels, Range::in(1, 3),
          "Channels of the network's input, 1 or 3. Gray images are repeated for 3, colors are averaged for "
          "1.");
    visit("normalize", normalize,
          "How pixels in [0, 1] are normalized: `fixed` by `data.mean` and `data.std`, `image` by each "
          "image's own mean and standard deviation.");
    visit("mean", mean,
          "This is subtracted from pixels in [0, 1]; one value, or one per channel. Empty means 0.");
    visit("std", std, Range::above(0),
          "After the mean is subtracted, pixels are divided by this; one value, or one per channel. Empty "
          "means 1.");
    visit("round_pixels", round_pixels,
          "Whether resized pixels are rounded to whole numbers of 0 to 255 before anything else is done with "
          "them, as a pack (`data.pack`) holds them.");
  }
  void check_rules(const core::Require& require) const;
};

// Throws core::Error where a field is out of range.
void check(const ImageFormat& format);

// Decoded pixels [height, width, 1..4], u8 or i32 (16 bit), to f32 in [0, 1]: alpha is dropped; for a network
// of 1 channel RGB becomes its mean. The result has 1 channel, or 3 where both the image and the network have
// color.
core::Tensor to_unit_range(const core::Tensor& pixels, int64_t channels);

// Bilinear resize of f32 [height, width, channels] with half-pixel centres, antialiased: where an axis
// shrinks, the triangle filter is widened by that factor. The result is [new_height, new_width, channels].
core::Tensor resize(const core::Tensor& image, int64_t new_height, int64_t new_width);

// u8 [height, width, channels]: a picture of three channels that are equal everywhere has one.
core::Tensor without_equal_channels(const core::Tensor& levels);

// What a pack holds of decoded pixels: to_unit_range and resize, rounded to the nearest of 256 levels,
// without equal channels. u8 [size, size, 1 or 3].
core::Tensor packable_image(const core::Tensor& pixels, const ImageFormat& format);

// What a network sees of decoded pixels before augmentation and normalization, f32 [size, size, 1 or 3] in
// [0, 1]: to_unit_range and resize, or with format.round_pixels the packable image in [0, 1] again.
core::Tensor resized_image(const core::Tensor& pixels, const ImageFormat& format);

// Writes (image - mean) / std, the format's or with per_image the image's own, of f32 [size, size, 1 or
// format.channels] to `out`, f32 [size, size, format.channels] and contiguous; a single channel is repeated.
void normalize(const core::Tensor& image, const ImageFormat& format, const core::Tensor& out);

// All of it: resized_image and normalize. The result is f32 [size, size, channels].
core::Tensor transform_image(const core::Tensor& pixels, const ImageFormat& format);

}  // namespace medfusion::data
