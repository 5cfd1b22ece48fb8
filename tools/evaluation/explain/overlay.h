// Pictures of maps over images.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "core/tensor.h"
#include "tools/evaluation/explain/localization.h"

namespace medfusion::tools {

// The color of a value in [0, 1] (others are clamped), sRGB: dark violet, red, orange, light yellow. The
// lightness grows evenly along the Oklab scale (Ottosson 2020), so that equal steps of a map look equal.
std::array<uint8_t, 3> map_color(double value);

struct OverlayOptions {
  std::vector<std::string> lines;  // of the legend; what is not printable ASCII becomes '?'
  std::vector<FindingBox> boxes;   // outlined in cyan
  bool mark_peak = true;           // a cross on the map's largest value
  int64_t pixels = 320;            // width of each of the two pictures
};

// Left the image with the boxes, right the same under the map (opaque where the map is large, clear where it
// is 0), below the legend with the color scale from 0 to the map's largest value. image: f32
// [h, w, 1 or 3] in [0, 1]; map: f32 [any, any], not negative; undefined: the image alone and the legend.
// Returns u8 [height, width, 3].
core::Tensor draw_overlay(const core::Tensor& image, const core::Tensor& map, const OverlayOptions& options);

}  // namespace medfusion::tools
