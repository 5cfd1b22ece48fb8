#include "layers/functional/batch_norm.h"
#include "layers/functional/concat.h"
#include "layers/functional/convolution.h"
#include "layers/functional/dense_block.h"

namespace medfusion::layers {

core::Variable dense_block_composed(const core::Variable& x, const std::vector<DenseLayer>& layers,
                                    bool training) {
  core::Variable features = x;
  for (const DenseLayer& layer : layers) {
    const core::Variable normalized =
        batch_norm(features, layer.norm1_weight, layer.norm1_bias, layer.norm1_mean, layer.norm1_var,
                   training, 0.1, 1e-5, true);
    const core::Variable bottleneck = convolution(normalized, layer.conv1);
    const core::Variable rectified = batch_norm(bottleneck, layer.norm2_weight, layer.norm2_bias,
                                                layer.norm2_mean, layer.norm2_var, training, 0.1, 1e-5, true);
    features = concat({features, convolution(rectified, layer.conv2, {}, 1, 1)}, 3);
  }
  return features;
}

}  // namespace medfusion::layers
