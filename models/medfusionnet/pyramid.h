// The pyramid branch of MedFusionNet (docs/medfusionnet.md).
#pragma once

#include <array>
#include <deque>

#include "layers/convolution.h"
#include "layers/functional/activation.h"
#include "layers/functional/upsample_add.h"
#include "models/network.h"

namespace medfusion::models {

// C2..C5 -> P2..P5, each [B, h, w, pyramid_channels].
class Pyramid : public layers::Module {
 public:
  using Levels = std::array<core::Variable, 4>;

  Pyramid(const std::array<int64_t, 4>& channels, const NetworkOptions& options)
      : upsampling_{.bilinear = options.upsample == Upsampling::bilinear,
                    .align_corners = options.align_corners} {
    const int64_t width = options.pyramid_channels;
    const layers::ConvolutionOptions one{.kernel = 1, .bias = true};
    const layers::ConvolutionOptions three{.kernel = 3, .padding = 1, .bias = true};
    for (size_t i = 0; i < channels.size(); ++i) {
      add_child(fmt::format("lateral{}", i + 2), lateral_, channels[i], width, one, options.parameters());
      add_child(fmt::format("smooth{}", i + 2), smooth_, width, width, three, options.parameters());
    }
  }

  Levels forward(const Levels& levels, const layers::Context& context) {
    Levels result;
    core::Variable top;
    for (size_t i = levels.size(); i-- > 0;) {
      const core::Variable lateral = lateral_[i].forward(levels[i], context);
      top = top.defined() ? layers::upsample_add(top, lateral, upsampling_) : lateral;
      result[i] = layers::relu(smooth_[i].forward(top, context));
    }
    return result;
  }

 private:
  layers::UpsampleOptions upsampling_;
  std::deque<layers::Convolution> lateral_, smooth_;
};

}  // namespace medfusion::models
