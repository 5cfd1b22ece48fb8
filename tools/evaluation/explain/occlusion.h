// Where the evidence for labels lies, by covering places of the image and looking at the logits: slower than
// maps from gradients, but of the image itself and not of a layer that sees more of it than its own place.
#pragma once

#include <cstdint>
#include <vector>

#include "core/tensor.h"
#include "models/network.h"

namespace medfusion::tools {

// After Zeiler and Fergus, "Visualizing and understanding convolutional networks", ECCV 2014, with soft
// windows: window m (a Gaussian of 3/64 of the width, at every 16th of each side) replaces the image by its
// blur (a Gaussian of 1/8 of the width) to the degree m, and the map of a label is the mean of the logits'
// drops, weighted by m, negative values cut off. 256 forward passes of the batch. inputs.images: f32 [B, H,
// W, C] on the host. Returns [B][labels.size()] maps [H, W] f32.
std::vector<std::vector<core::Tensor>> occlusion_maps(models::Network& network, const core::Batch& inputs,
                                                      const std::vector<int64_t>& labels);

// Images under a Gaussian of `sigma` pixels, edges repeated: f32 [..., H, W, C].
core::Tensor gaussian_blur(const core::Tensor& images, double sigma);

}  // namespace medfusion::tools
