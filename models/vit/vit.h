// ViT-S/16 (Dosovitskiy et al., "An image is worth 16x16 words", ICLR 2021; Touvron et al., "Training
// data-efficient image transformers", ICML 2021: DeiT-S) with timm's names.
#pragma once

#include <array>
#include <deque>
#include <optional>

#include "layers/convolution.h"
#include "layers/embedding.h"
#include "layers/linear.h"
#include "models/backbone.h"

namespace medfusion::models {

// All blocks work at a 16th of the image's size. C4 is what the last block gives, normalized; the other
// levels are made of it as by the simple pyramid of ViTDet (Li et al., "Exploring plain vision transformer
// backbones for object detection", ECCV 2022): C3 and C2 by one and two linear layers whose results are
// spread over 2 x 2 pixels, C5 by a maximum over 2 x 2. What published weights do not have lies in
// "simple_pyramid".
class ViTSmall : public Backbone {
 public:
  // Without `levels` there is C4 alone.
  ViTSmall(int64_t in_channels, bool levels, double drop, const layers::TensorOptions& options);
  // The image's height and width are equal multiples of 32 (of 16 without levels). Throws core::Error for
  // others.
  ImageLevels forward(const core::Variable& images, layers::Context& context) override;
  std::array<int64_t, 4> channels() const override { return {96, 192, 384, 384}; }
  core::Variable pooled(const ImageLevels& levels) override { return levels.class_token; }

  core::Variable cls_token, pos_embed;  // [1, 1, 384], [1, 1 + 14 x 14, 384]: the class token comes first

 private:
  class Block : public layers::Module {
   public:
    Block(double drop, const layers::TensorOptions& options);
    core::Variable forward(const core::Variable& x, layers::Context& context);

   private:
    const double drop_;
    layers::LayerNorm norm1_, norm2_;
    layers::Linear qkv_, proj_;
    layers::Mlp mlp_;
  };

  core::Variable positions(int64_t side);

  layers::Convolution patch_embed_;
  std::deque<Block> blocks_;
  layers::LayerNorm norm_;
  std::optional<layers::Linear> up3_, up2_;
  layers::DeviceConstants interpolations_;  // by side
};

}  // namespace medfusion::models
