#include "models/densenet/densenet.h"

#include "layers/functional/pooling.h"

namespace medfusion::models {

using core::Variable;
using layers::Context;

std::array<int64_t, 4> DenseNetSize::block_channels() const {
  std::array<int64_t, 4> channels{};
  int64_t current = initial_channels;
  for (size_t i = 0; i < channels.size(); ++i) {
    channels[i] = current + layers[i] * growth_rate;
    current = channels[i] / 2;
  }
  return channels;
}

int64_t DenseNetSize::last_side(int64_t image_side) const {
  const auto half = [](int64_t side) { return (side + 1) / 2; };  // of the stem's convolution and pool
  const int64_t first = published_stem ? half(half(image_side)) : half(image_side);
  return first / 8;  // three transitions, which drop an odd row
}

DenseNetSize densenet_size(const std::string& name) {
  if (name == "densenet121") return {32, 64, {6, 12, 24, 16}, 4, true};
  if (name == "small") return {16, 32, {4, 6, 8, 6}, 4, false};
  if (name == "tiny") return {8, 16, {2, 2, 2, 2}, 4, false};
  throw core::InputError(fmt::format("model size: expected densenet121, small or tiny, got '{}'", name));
}

namespace {

layers::ConvolutionOptions stem(const DenseNetSize& size) {
  return size.published_stem ? layers::ConvolutionOptions{7, 2, 3, false}
                             : layers::ConvolutionOptions{3, 2, 1, false};
}

}  // namespace

DenseFeatures::DenseFeatures(const DenseNetSize& size, int64_t in_channels,
                             const layers::TensorOptions& options)
    : size_(size), stem_("conv0", "norm0", in_channels, size.initial_channels, stem(size), options) {
  add_child("", stem_);
  const auto channels = size.block_channels();
  int64_t current = size.initial_channels;
  for (size_t i = 0; i < channels.size(); ++i) {
    add_child(fmt::format("denseblock{}", i + 1), blocks_, size.layers[i], current, size.growth_rate,
              size.bottleneck * size.growth_rate, options);
    if (i + 1 == channels.size()) break;
    current = channels[i] / 2;
    add_child(fmt::format("transition{}", i + 1), transitions_, channels[i], current, options);
  }
  add_child("norm5", norm5_, channels.back(), options);
}

ImageLevels DenseFeatures::forward(const Variable& images, Context& context) {
  ImageLevels result;
  Variable x = stem_.forward(cut(context, "image", images), context);
  if (size_.published_stem) x = layers::max_pool(x, {.kernel = 3, .stride = 2, .padding = 1});
  for (size_t i = 0; i < result.backbone.size(); ++i) {
    const bool last = i == transitions_.size();
    x = blocks_[i].forward(x, context);
    const Variable level = last ? norm5_->forward(x, context, true) : transitions_[i].normalize(x, context);
    result.backbone[i] = cut(context, fmt::format("C{}", i + 2), level);
    if (!last) x = transitions_[i].reduce(result.backbone[i], context);
  }
  return result;
}

}  // namespace medfusion::models
