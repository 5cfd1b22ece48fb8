// Random changes of training images: where things lie, and how bright they are. Labels keep their meaning.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "core/settings.h"
#include "core/tensor.h"
#include "data/images/random_operations.h"

namespace medfusion::data {

// Ranges to draw from, each uniform; 0 switches one off.
struct AugmentOptions {
  double shift = 0.05;
  double scale = 0.1;
  double rotation = 5.0;
  double brightness = 0.1;
  double contrast = 0.15;
  double gamma = 0.15;
  double horizontal_flip = 0.0;
  double vertical_flip = 0.0;
  int64_t operations = 0;
  double magnitude = 0.3;
  int64_t test_copies = 0;

  void visit_fields(core::FieldVisitor& visit) {
    using core::Range;
    visit("shift", shift, Range::below(0, 1),
          "Training images are shifted by at most this fraction of their size along each axis.");
    visit("scale", scale, Range::below(0, 1),
          "Training images are scaled by a factor in [1 - scale, 1 + scale].");
    visit("rotation", rotation, Range::in(0, 180),
          "Training images are rotated by at most this many degrees.");
    visit("brightness", brightness, Range::in(0, 1),
          "A value in [-brightness, brightness] is added to pixels in [0, 1].");
    visit("contrast", contrast, Range::below(0, 1),
          "The differences of pixels from their mean are multiplied by a factor in [1 - contrast, 1 + "
          "contrast].");
    visit("gamma", gamma, Range::in(0, 2), "Pixels are raised to the power e^g, with g in [-gamma, gamma].");
    visit("horizontal_flip", horizontal_flip, Range::in(0, 1),
          "Probability of mirroring left to right; 0 by default, because the heart lies on the left.");
    visit("vertical_flip", vertical_flip, Range::in(0, 1),
          "Probability of turning a training image upside down.");
    visit("operations", operations, Range::in(0, kMostOperations),
          "So many of 14 operations are drawn for each training image, as RandAugment does "
          "(docs/image-pipeline.md); 0 switches this off.");
    visit("magnitude", magnitude, Range::in(0, 1), "How strongly `augment.operations` change an image.");
    visit(
        "test_copies", test_copies, Range::in(0, 64),
        "Predictions and evaluations after training average the logits of the image as it is and of so many "
        "copies, changed as in training.");
  }
};

// One draw.
struct Augmentation {
  double shift_x = 0.0, shift_y = 0.0;  // in fractions of the size; positive moves right, down
  double scale = 1.0;
  double rotation = 0.0;   // degrees, clockwise as seen
  bool flip = false;       // mirrored left to right before the rest
  bool flip_rows = false;  // turned upside down before the rest
  double brightness = 0.0, contrast = 1.0, gamma = 1.0;
  std::vector<std::pair<ImageOperation, double>> operations = {};  // after all else, with their levels
};

// Depends on its arguments only; each parameter has its own draw, so changing one option moves no other
// parameter.
Augmentation draw_augmentation(const AugmentOptions& options, uint64_t seed, int64_t epoch, int64_t row);

// f32 [size, size, channels] in [0, 1] to the same. One bilinear resampling of the affine map about the
// image's centre (outside the image its nearest edge pixel counts), then clamp(contrast * (x^gamma - m) + m +
// brightness, 0, 1), m being the mean of x^gamma over all pixels and channels. Then the operations in order.
core::Tensor augment(const core::Tensor& image, const Augmentation& augmentation);

}  // namespace medfusion::data
