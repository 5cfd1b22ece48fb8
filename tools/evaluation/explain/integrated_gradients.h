// Where in the image the evidence for labels lies, by the gradient with respect to its pixels: of the image
// itself and not of a layer, whose units may lie beside what they answer to.
#pragma once

#include <cstdint>
#include <vector>

#include "core/tensor.h"
#include "models/network.h"

namespace medfusion::tools {

// Integrated gradients (Sundararajan, Taly and Yan, "Axiomatic attribution for deep networks", ICML 2017)
// from the image's blur (a Gaussian of 1.25/64 of the width) to the image x, by the midpoint rule with eight
// steps:
//   (x - blur) mean_t d logit / d x at blur + t (x - blur),
// summed over the channels; over all pixels together about what the logit has gained. inputs.images: f32
// [B, H, W, C] on the host. Returns [B][labels.size()] maps [H, W] f32, negative values included; undefined
// where wanted[b][l] is false (empty: all are wanted). Eight passes with backward for each label that a
// sample wants, samples side by side. Parameters' gradients are overwritten.
std::vector<std::vector<core::Tensor>> integrated_gradients(
    models::Network& network, const core::Batch& inputs, const std::vector<int64_t>& labels,
    const std::vector<std::vector<bool>>& wanted = {});

}  // namespace medfusion::tools
