// EfficientNet-Lite0: EfficientNet-B0 (Tan and Le, "EfficientNet: Rethinking model scaling for convolutional
// neural networks", ICML 2019) without squeeze and excitation and with ReLU6, as TensorFlow published it in
// 2020. Names are timm's; padding is TensorFlow's.
#pragma once

#include <array>
#include <deque>
#include <optional>

#include "layers/convolution.h"
#include "models/backbone.h"

namespace medfusion::models {

// C5 is what the classifier pools: the last 1x1 convolution with its norm.
class EfficientNetLite0 : public Backbone {
 public:
  // `drop` is the probability of stochastic depth in the last block; it falls to 0 at the first.
  EfficientNetLite0(int64_t in_channels, double drop, const layers::TensorOptions& options);
  ImageLevels forward(const core::Variable& images, layers::Context& context) override;
  std::array<int64_t, 4> channels() const override { return {24, 40, 112, 1280}; }

 private:
  // An inverted residual block (Sandler et al. 2018, "MobileNetV2").
  class Block : public layers::Module {
   public:
    struct Shape {
      int64_t in, out, kernel, stride, expand;
    };
    // `drop` is the probability of stochastic depth.
    Block(const Shape& shape, double drop, const layers::TensorOptions& options);
    core::Variable forward(const core::Variable& x, layers::Context& context);

   private:
    const bool skips_;
    const double drop_;
    std::optional<layers::Convolution> expand_;
    std::optional<layers::BatchNorm> expand_norm_;
    std::optional<layers::DepthwiseConvolution> depthwise_;
    std::optional<layers::BatchNorm> depthwise_norm_;
    std::optional<layers::Convolution> project_;
    std::optional<layers::BatchNorm> project_norm_;
  };

  layers::Convolution stem_;
  layers::BatchNorm stem_norm_;
  std::array<std::deque<Block>, 7> stages_;
  layers::Convolution head_;
  layers::BatchNorm head_norm_;
};

}  // namespace medfusion::models
