// DenseNet (Huang, Liu, van der Maaten, Weinberger, "Densely connected convolutional networks", CVPR 2017):
// `densenet121` exactly as published, with torchvision's parameter names, and two smaller sizes for small
// images.
#pragma once

#include <array>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "layers/dense_block.h"
#include "models/backbone.h"

namespace medfusion::models {

struct DenseNetSize {
  int64_t growth_rate;
  int64_t initial_channels;
  std::array<int64_t, 4> layers;  // dense layers per block
  int64_t bottleneck;             // the 1x1 convolution gives bottleneck * growth_rate channels
  bool published_stem;            // 7x7 stride 2 and a max pool; otherwise 3x3 stride 2

  // Channels of C2, C3, C4, C5: what each block gives.
  std::array<int64_t, 4> block_channels() const;
  // Height or width of C5, of images of this height or width.
  int64_t last_side(int64_t image_side) const;
};

// "densenet121", "small" or "tiny"; throws core::InputError on another name.
DenseNetSize densenet_size(const std::string& name);

// Everything before the classifier, named as torchvision's `features`.
class DenseFeatures : public Backbone {
 public:
  DenseFeatures(const DenseNetSize& size, int64_t in_channels, const layers::TensorOptions& options);

  // Levels are normalized and rectified (docs/medfusionnet.md, dense branch).
  ImageLevels forward(const core::Variable& images, layers::Context& context) override;
  std::array<int64_t, 4> channels() const override { return size_.block_channels(); }

 private:
  DenseNetSize size_;
  layers::ConvNorm stem_;
  std::deque<layers::DenseBlock> blocks_;
  std::deque<layers::Transition> transitions_;
  std::optional<layers::BatchNorm> norm5_;
};

}  // namespace medfusion::models
