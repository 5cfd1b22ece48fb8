// Random changes of training images: where things lie, and how bright they are. Labels keep their meaning.
#pragma once

#include <cstdint>

#include "core/tensor.h"

namespace medfusion::data {

// Ranges to draw from, each uniform; 0 switches one off.
struct AugmentOptions {
  double shift = 0.05;      // each axis moves by at most this fraction of the size
  double scale = 0.1;       // grows or shrinks by a factor in [1 - scale, 1 + scale]
  double rotation = 5.0;    // turns by at most this many degrees
  double brightness = 0.1;  // adds a value in [-brightness, brightness]
  double contrast = 0.15;   // stretches about the image's mean by a factor in [1 - contrast, 1 + contrast]
  double gamma = 0.15;      // raises to a power e^g, g in [-gamma, gamma]
  double horizontal_flip = 0.0;  // probability; off, because the heart lies on the left
};

// Throws core::Error where a field is out of range.
void check(const AugmentOptions& options);

// One draw.
struct Augmentation {
  double shift_x = 0.0, shift_y = 0.0;  // in fractions of the size; positive moves right, down
  double scale = 1.0;
  double rotation = 0.0;  // degrees, clockwise as seen
  bool flip = false;      // mirrored left to right before the rest
  double brightness = 0.0, contrast = 1.0, gamma = 1.0;
};

// Depends on its arguments only; each parameter has its own draw, so changing one option moves no other
// parameter.
Augmentation draw_augmentation(const AugmentOptions& options, uint64_t seed, int64_t epoch, int64_t row);

// f32 [size, size, channels] in [0, 1] to the same. One bilinear resampling of the affine map about the
// image's centre (outside the image its nearest edge pixel counts), then clamp(contrast * (x^gamma - m) + m +
// brightness, 0, 1), m being the mean of x^gamma over all pixels and channels.
core::Tensor augment(const core::Tensor& image, const Augmentation& augmentation);

}  // namespace medfusion::data
