// Images seen through an affine map.
#pragma once

#include "core/tensor.h"

namespace medfusion::data {

// From the output to the input, both about the centre of the image: in = M (out - shift), positions in
// pixels.
struct AffineMap {
  double xx = 1.0, xy = 0.0, yx = 0.0, yy = 1.0;  // M, rows first
  double shift_x = 0.0, shift_y = 0.0;            // in fractions of the size; positive moves right, down
};

// f32 [height, width, channels] to the same. One bilinear resampling; outside the image its nearest edge
// pixel counts.
core::Tensor warp(const core::Tensor& image, const AffineMap& map);

}  // namespace medfusion::data
