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

// Writes (image - mean) / std, the format's or with per_image the image's own, of f32 [size, size, 1 or
// format.channels] to `out`, f32 [size, size, format.channels] and contiguous; a single channel is repeated.
void normalize(const core::Tensor& image, const ImageFormat& format, const core::Tensor& out);

// All of it: to_unit_range, resize, normalize. The result is f32 [size, size, channels].
core::Tensor transform_image(const core::Tensor& pixels, const ImageFormat& format);

}  // namespace medfusion::data
