// Single changes of an image, of which training draws some, as RandAugment does (Cubuk et al., "RandAugment:
// practical automated data augmentation with a reduced search space", NeurIPS 2020).
#pragma once

#include <array>
#include <cstdint>

#include "core/tensor.h"

namespace medfusion::data {

// What each does at a level m in [-1, 1]; those without "m" do the same at every level.
enum class ImageOperation : uint8_t {
  identity,
  auto_contrast,  // each channel is stretched so that its least value becomes 0 and its greatest 1
  equalize,       // each channel's histogram of 256 levels is made flat
  rotate,         // by 30 m degrees, clockwise as seen
  solarize,       // x becomes 1 - x where it is at least 1 - |m|
  posterize,      // to 8 - round(4 |m|) bits
  color,          // the difference from the pixel's gray is multiplied by 1 + 0.9 m
  contrast,       // the difference from the image's mean gray is multiplied by 1 + 0.9 m
  brightness,     // multiplied by 1 + 0.9 m
  sharpness,      // the difference from the smoothed image is multiplied by 1 + 0.9 m
  shear_x,        // by 0.3 m
  shear_y,
  translate_x,  // by 0.45 m of the width
  translate_y,
};
inline constexpr int64_t kImageOperations = 14;
inline constexpr int64_t kMostOperations = 8;  // that one image gets

// f32 [height, width, channels] in [0, 1] to the same; what leaves [0, 1] is clamped. Gray is 0.299 R + 0.587
// G + 0.114 B of three channels, else their mean.
core::Tensor apply(ImageOperation operation, const core::Tensor& image, double level);

}  // namespace medfusion::data
