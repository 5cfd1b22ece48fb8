// ConvNeXt-Tiny (Liu, Mao, Wu, Feichtenhofer, Darrell, Xie, "A ConvNet for the 2020s", CVPR 2022) with timm's
// names.
#pragma once

#include <array>
#include <deque>
#include <optional>

#include "layers/convolution.h"
#include "layers/linear.h"
#include "models/backbone.h"

namespace medfusion::models {

class ConvNeXtTiny : public Backbone {
 public:
  // `drop` is the probability of stochastic depth in the last block; it falls to 0 at the first.
  ConvNeXtTiny(int64_t in_channels, double drop, const layers::TensorOptions& options);
  ImageLevels forward(const core::Variable& images, layers::Context& context) override;
  std::array<int64_t, 4> channels() const override { return {96, 192, 384, 768}; }
  // The mean of C5, normalized.
  core::Variable pooled(const ImageLevels& levels) override;

 private:
  class Block : public layers::Module {
   public:
    Block(int64_t dim, double drop, const layers::TensorOptions& options);
    core::Variable forward(const core::Variable& x, layers::Context& context);
    core::Variable gamma;  // [dim]: layer scale

   private:
    const double drop_;
    layers::DepthwiseConvolution conv_dw_;
    layers::LayerNorm norm_;
    layers::Mlp mlp_;
  };
  // Norm, then a convolution of 2 x 2 pixels; in the first stage the stem, the other way round.
  struct Downsample {
    std::optional<layers::LayerNorm> norm;
    std::optional<layers::Convolution> conv;
  };

  std::array<Downsample, 4> downsamples_;
  std::array<std::deque<Block>, 4> stages_;
  layers::LayerNorm head_norm_;
};

}  // namespace medfusion::models
