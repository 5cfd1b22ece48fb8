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
#include "layers/linear.h"
#include "models/network.h"

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
class DenseFeatures : public layers::Module {
 public:
  DenseFeatures(const DenseNetSize& size, int64_t in_channels, const layers::TensorOptions& options);

  // images [B, H, W, in_channels] -> C2..C5, each [B, h, w, channels], normalized and rectified
  // (docs/medfusionnet.md, dense branch). Each can be cut by its name, "C2" to "C5" (layers/trace.h).
  std::array<core::Variable, 4> forward(const core::Variable& images, const layers::Context& context);

 private:
  DenseNetSize size_;
  layers::ConvNorm stem_;
  std::deque<layers::DenseBlock> blocks_;
  std::deque<layers::Transition> transitions_;
  std::optional<layers::BatchNorm> norm5_;
};

// The plain classifier: global average of C5, then `classifier`.
class DenseNet : public Network {
 public:
  explicit DenseNet(const NetworkOptions& options);
  Prepared prepare(const core::Batch& batch, layers::Context& context) const override;
  ImageLevels image_levels(const Prepared& batch, layers::Context& context) override;
  core::Variable forward_from(const ImageLevels& levels, const Prepared& batch,
                              layers::Context& context) override;
  core::Device device() const override { return device_; }
  void set_prior(const core::Tensor& logits) override;

 private:
  core::Device device_;
  DenseFeatures features_;
  layers::Linear classifier_;
};

}  // namespace medfusion::models
