// The parts of a DenseNet: dense blocks and the transitions between them.
#pragma once

#include <deque>
#include <vector>

#include "layers/convolution.h"
#include "layers/functional/dense_block.h"
#include "layers/norm.h"

namespace medfusion::layers {

// `count` dense layers on one buffer, named denselayer1, denselayer2, ...; each has `middle` channels between
// its convolutions and adds `growth`. Frozen batch norms are as in layers/norm.h.
class DenseBlock : public Module {
 public:
  DenseBlock(int64_t count, int64_t in, int64_t growth, int64_t middle, const TensorOptions& options);
  // [B, H, W, in] -> [B, H, W, in + count * growth]
  core::Variable forward(const core::Variable& x, const Context& context);

 private:
  struct Layer : Module {
    Layer(int64_t in, int64_t growth, int64_t middle, const TensorOptions& options);
    // [B, H, W, in] -> [B, H, W, in + growth], where only one of the norms is frozen, or shards meet.
    core::Variable forward_composed(const core::Variable& x, const Context& context);
    bool half_frozen() const { return norm1.frozen() != norm2.frozen(); }
    BatchNorm norm1, norm2;
    core::Variable conv1, conv2;  // [middle, in, 1, 1], [growth, middle, 3, 3]
  };
  std::deque<Layer> layers_;
  std::vector<DenseLayer> parameters_;
};

// Batch norm and ReLU, then a 1x1 convolution and an average of 2 x 2 pixels.
class Transition : public Module {
 public:
  Transition(int64_t in, int64_t out, const TensorOptions& options);
  core::Variable normalize(const core::Variable& x, const Context& context);
  core::Variable reduce(const core::Variable& normalized, const Context& context);

 private:
  BatchNorm norm_;
  Convolution conv_;
};

}  // namespace medfusion::layers
