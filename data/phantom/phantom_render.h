// The pixels of the phantom data.
#pragma once

#include <cstdint>
#include <vector>

#include "core/tensor.h"
#include "data/phantom/phantom_population.h"

namespace medfusion::data {

// In pixels: columns [left, right), rows [top, bottom).
struct Box {
  Finding finding = Finding::nodule;
  int64_t left = 0, top = 0, right = 0, bottom = 0;
};

struct Radiograph {
  core::Tensor pixels;  // u8 [size, size, 1]
  std::vector<Box> boxes;
};

// Draws the image of a visit. `stream` tells apart the images of one seed; pose, anatomy, exposure and noise
// follow from (seed, stream).
Radiograph render(const Visit& visit, int64_t size, uint64_t seed, uint64_t stream);

}  // namespace medfusion::data
