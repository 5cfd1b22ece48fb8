// Where in the image the evidence for a label lies: maps from a layer's activations and the gradient of the
// label's logit with respect to them, and from attention.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "core/tensor.h"

namespace medfusion::tools {

inline constexpr std::array kMapMethods{"gradcam", "gradcam++", "hirescam", "integrated",
                                        "guided",  "attention", "occlusion"};
// For activations A and gradients G of one layer, sums over its channels c and pixels:
enum class MapMethod : uint8_t {
  // sum_c w_c A_c with w_c = mean of G_c over the pixels (Selvaraju et al., "Grad-CAM", ICCV 2017).
  gradcam,
  // The same with w_c = sum over the pixels of alpha G_c^+, alpha = G^2 / (2 G^2 + G^3 sum A_c) (Chattopadhay
  // et al., "Grad-CAM++", WACV 2018, equation 19, for an exponential of the logit).
  gradcam_pp,
  // sum_c G_c A_c, pixel by pixel: for what depends on a layer linearly exactly what each pixel adds to the
  // logit (Draelos and Carin, "HiResCAM", 2020).
  hirescam,
  // What the pixels' difference to the image's blur adds to the logit (integrated_gradients.h), without
  // negative values, smoothed by a Gaussian of 2/64 of the width; no level.
  integrated,
  // integrated times the map by hirescam, smoothed by 4/64 of the width, over its largest value: pixels that
  // count, where a level sees the evidence (after Guided Grad-CAM of the same paper as gradcam, there with
  // guided backpropagation).
  guided,
  // What the label's token attends to among the image's, by rollout; no gradient.
  attention,
  // What covering a place of the image takes from the logit (occlusion.h); no gradient, no level.
  occlusion,
};

// The method of that name; throws core::InputError where there is none.
MapMethod map_method(const std::string& name);
inline const char* name_of(MapMethod method) { return kMapMethods.at(static_cast<size_t>(method)); }

// By one of the first three, or for `guided` by hirescam. activations, gradient [h, w, C] f32 on the host ->
// [h, w] f32, negative values cut off.
core::Tensor saliency_map(MapMethod method, const core::Tensor& activations, const core::Tensor& gradient);

// [h, w] -> [height, width], bilinear with half-pixel centres. With `density` divided by the factor by which
// the number of pixels grows, so that the sum stays about the same.
core::Tensor upsample_map(const core::Tensor& map, int64_t height, int64_t width, bool density = false);

// The place of the largest value, the first in row-major order of equal ones.
struct Peak {
  int64_t row = 0, column = 0;
  float value = 0.0F;
};
Peak peak_of(const core::Tensor& map);

}  // namespace medfusion::tools
