// The orientation that a camera writes beside the pixels (Exif 2.32, tag 0x0112).
#pragma once

#include <cstdint>
#include <span>

#include "core/tensor.h"

namespace medfusion::data {

// The orientation in a TIFF block, as Exif keeps it: 1 to 8. Where none is there, or the block is damaged, 1:
// upright.
int exif_orientation(std::span<const uint8_t> tiff);

// Pixels [height, width, channels] u8 or i32, stored with `orientation` 1 to 8, upright: 2 is mirrored, 3
// turned by 180 degrees, 4 both; 5 to 8 exchange height and width (6 is turned clockwise, 8
// counterclockwise).
core::Tensor upright(const core::Tensor& pixels, int orientation);

}  // namespace medfusion::data
