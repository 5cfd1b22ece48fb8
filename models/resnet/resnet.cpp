#include "models/resnet/resnet.h"

#include <vector>

#include "layers/functional/activation.h"
#include "layers/functional/elementwise.h"
#include "layers/functional/pooling.h"

namespace medfusion::models {

using core::Variable;
using layers::Context;

ResNet::Block::Block(int64_t in, int64_t width, int64_t stride, bool bottleneck,
                     const layers::TensorOptions& options)
    : out_(bottleneck ? 4 * width : width) {
  const std::vector<int64_t> kernels =
      bottleneck ? std::vector<int64_t>{1, 3, 1} : std::vector<int64_t>{3, 3};
  int64_t current = in;
  for (size_t i = 0; i < kernels.size(); ++i) {
    const bool last = i + 1 == kernels.size(), strides = i == (bottleneck ? 1 : 0);
    const int64_t next = last ? out_ : width;
    const layers::ConvolutionOptions window{
        .kernel = kernels[i], .stride = strides ? stride : 1, .padding = kernels[i] / 2};
    add_child(fmt::format("conv{}", i + 1), conv_, current, next, window, options);
    add_child(fmt::format("bn{}", i + 1), bn_, next, options);
    current = next;
  }
  if (stride == 1 && in == out_) return;
  add_child("downsample.0", downsample_conv_, in, out_, layers::ConvolutionOptions{.stride = stride},
            options);
  add_child("downsample.1", downsample_bn_, out_, options);
}

Variable ResNet::Block::forward(const Variable& x, const Context& context) {
  Variable y = x;
  for (size_t i = 0; i < conv_.size(); ++i)
    y = bn_[i].forward(conv_[i].forward(y, context), context, i + 1 < conv_.size());
  const Variable shortcut =
      downsample_conv_ ? downsample_bn_->forward(downsample_conv_->forward(x, context), context) : x;
  return layers::relu(y + shortcut);
}

ResNet::ResNet(const ResNetSize& size, int64_t in_channels, const layers::TensorOptions& options)
    : stem_("conv1", "bn1", in_channels, 64, {.kernel = 7, .stride = 2, .padding = 3}, options) {
  add_child("", stem_);
  int64_t current = 64;
  for (size_t stage = 0; stage < stages_.size(); ++stage) {
    for (int64_t block = 0; block < size.blocks[stage]; ++block) {
      add_child(fmt::format("layer{}.{}", stage + 1, block), stages_[stage], current, int64_t{64} << stage,
                stage > 0 && block == 0 ? 2 : 1, size.bottleneck, options);
      current = stages_[stage].back().out();
    }
    channels_[stage] = current;
  }
}

ImageLevels ResNet::forward(const Variable& images, Context& context) {
  ImageLevels result;
  Variable x = stem_.forward(cut(context, "image", images), context);
  x = layers::max_pool(x, {.kernel = 3, .stride = 2, .padding = 1});
  for (size_t stage = 0; stage < stages_.size(); ++stage) {
    for (Block& block : stages_[stage]) x = block.forward(x, context);
    x = result.backbone[stage] = cut(context, fmt::format("C{}", stage + 2), x);
  }
  return result;
}

}  // namespace medfusion::models
