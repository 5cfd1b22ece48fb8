// ResNet (He, Zhang, Ren, Sun, "Deep residual learning for image recognition", CVPR 2016) with torchvision's
// names and layout: the stride of a bottleneck is in its 3x3 convolution ("v1.5").
#pragma once

#include <array>
#include <deque>
#include <optional>

#include "layers/convolution.h"
#include "models/backbone.h"

namespace medfusion::models {

struct ResNetSize {
  std::array<int64_t, 4> blocks;
  bool bottleneck;  // 1x1, 3x3, 1x1 to four times the width; otherwise two 3x3
};
inline constexpr ResNetSize kResNet18{{2, 2, 2, 2}, false};
inline constexpr ResNetSize kResNet50{{3, 4, 6, 3}, true};

class ResNet : public Backbone {
 public:
  ResNet(const ResNetSize& size, int64_t in_channels, const layers::TensorOptions& options);
  ImageLevels forward(const core::Variable& images, layers::Context& context) override;
  std::array<int64_t, 4> channels() const override { return channels_; }

 private:
  class Block : public layers::Module {
   public:
    Block(int64_t in, int64_t width, int64_t stride, bool bottleneck, const layers::TensorOptions& options);
    core::Variable forward(const core::Variable& x, const layers::Context& context);
    int64_t out() const { return out_; }

   private:
    int64_t out_;
    std::deque<layers::Convolution> conv_;
    std::deque<layers::BatchNorm> bn_;
    std::optional<layers::Convolution> downsample_conv_;  // where x has another shape than the result
    std::optional<layers::BatchNorm> downsample_bn_;
  };

  std::array<int64_t, 4> channels_{};
  layers::ConvNorm stem_;
  std::array<std::deque<Block>, 4> stages_;
};

}  // namespace medfusion::models
