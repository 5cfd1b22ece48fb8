#include "models/densenet/densenet.h"

#include <numeric>

#include "layers/functional/dense_block.h"
#include "layers/functional/pooling.h"
#include "layers/trace.h"

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

DenseNetSize densenet_size(const std::string& name) {
  if (name == "densenet121") return {32, 64, {6, 12, 24, 16}, 4, true};
  if (name == "small") return {16, 32, {4, 6, 8, 6}, 4, false};
  if (name == "tiny") return {8, 16, {2, 2, 2, 2}, 4, false};
  throw core::InputError(fmt::format("model size: expected densenet121, small or tiny, got '{}'", name));
}

// One dense block on one buffer; its layers are named denselayer1, denselayer2, ...
class DenseBlock : public layers::Module {
 public:
  DenseBlock(int64_t count, int64_t in_channels, int64_t growth_rate, int64_t bottleneck, core::DType dtype) {
    for (int64_t i = 0; i < count; ++i) {
      layers_.push_back(
          std::make_unique<Layer>(in_channels + i * growth_rate, growth_rate, bottleneck, dtype));
      add_child(fmt::format("denselayer{}", i + 1), *layers_.back());
      parameters_.push_back(layers_.back()->parameters_of_layer());
    }
  }

  // [B, H, W, in] -> [B, H, W, in + count * growth_rate]
  Variable forward(const Variable& x, bool training) const {
    return layers::dense_block(x, parameters_, training);
  }

 private:
  class Layer : public layers::Module {
   public:
    Layer(int64_t in, int64_t growth_rate, int64_t bottleneck, core::DType dtype)
        : norm1_(in, dtype), norm2_(bottleneck * growth_rate, dtype) {
      const int64_t middle = bottleneck * growth_rate;
      add_child("norm1", norm1_);
      conv1_ = add_parameter("conv1.weight", {middle, in, 1, 1}, layers::Init::kaiming_normal(), dtype);
      add_child("norm2", norm2_);
      conv2_ =
          add_parameter("conv2.weight", {growth_rate, middle, 3, 3}, layers::Init::kaiming_normal(), dtype);
    }
    layers::DenseLayer parameters_of_layer() const {
      return {norm1_.weight, norm1_.bias, norm1_.running_mean, norm1_.running_var, conv1_,
              norm2_.weight, norm2_.bias, norm2_.running_mean, norm2_.running_var, conv2_};
    }

   private:
    layers::BatchNorm norm1_, norm2_;
    Variable conv1_, conv2_;
  };

  std::vector<std::unique_ptr<Layer>> layers_;
  std::vector<layers::DenseLayer> parameters_;
};

class Transition : public layers::Module {
 public:
  Transition(int64_t in, int64_t out, core::DType dtype) : norm_(in, dtype), conv_(in, out, {}, dtype) {
    add_child("norm", norm_);
    add_child("conv", conv_);
  }
  Variable normalize(const Variable& x, bool training) const { return norm_.forward(x, training, true); }
  // The 1x1 convolution and the average are both linear and commute: averaging first costs a quarter.
  Variable reduce(const Variable& normalized) const {
    return conv_.forward(layers::average_pool(normalized, {.kernel = 2, .stride = 2, .padding = 0}));
  }

 private:
  layers::BatchNorm norm_;
  layers::Convolution conv_;
};

namespace {

layers::ConvolutionOptions stem(const DenseNetSize& size) {
  return size.published_stem ? layers::ConvolutionOptions{7, 2, 3, false}
                             : layers::ConvolutionOptions{3, 2, 1, false};
}

}  // namespace

DenseFeatures::DenseFeatures(const DenseNetSize& size, int64_t in_channels, core::DType dtype)
    : size_(size),
      conv0_(in_channels, size.initial_channels, stem(size), dtype),
      norm0_(size.initial_channels, dtype) {
  add_child("conv0", conv0_);
  add_child("norm0", norm0_);
  const auto channels = size.block_channels();
  int64_t current = size.initial_channels;
  for (size_t i = 0; i < channels.size(); ++i) {
    blocks_.push_back(
        std::make_unique<DenseBlock>(size.layers[i], current, size.growth_rate, size.bottleneck, dtype));
    add_child(fmt::format("denseblock{}", i + 1), *blocks_.back());
    if (i + 1 == channels.size()) break;
    current = channels[i] / 2;
    transitions_.push_back(std::make_unique<Transition>(channels[i], current, dtype));
    add_child(fmt::format("transition{}", i + 1), *transitions_.back());
  }
  norm5_ = std::make_unique<layers::BatchNorm>(channels.back(), dtype);
  add_child("norm5", *norm5_);
}

DenseFeatures::~DenseFeatures() = default;

std::array<Variable, 4> DenseFeatures::forward(const Variable& images, const Context& context) const {
  std::array<Variable, 4> levels;
  const Variable pixels = context.trace != nullptr ? context.trace->cut("image", images) : images;
  Variable x = norm0_.forward(conv0_.forward(pixels), context.training, true);
  if (size_.published_stem) x = layers::max_pool(x, {.kernel = 3, .stride = 2, .padding = 1});
  for (size_t i = 0; i < levels.size(); ++i) {
    x = blocks_[i]->forward(x, context.training);
    levels[i] = i < transitions_.size() ? transitions_[i]->normalize(x, context.training)
                                        : norm5_->forward(x, context.training, true);
    if (context.trace != nullptr) levels[i] = context.trace->cut(fmt::format("C{}", i + 2), levels[i]);
    if (i < transitions_.size()) x = transitions_[i]->reduce(levels[i]);
  }
  return levels;
}

DenseNet::DenseNet(const NetworkOptions& options)
    : device_(options.device),
      features_(densenet_size(options.size), options.image_channels, options.dtype),
      classifier_(densenet_size(options.size).block_channels().back(), options.labels,
                  layers::Init::xavier_uniform(), options.dtype) {
  add_child("features", features_);
  add_child("classifier", classifier_);
}

Prepared DenseNet::prepare(const Inputs& inputs, Context& /*context*/) const {
  Prepared batch;
  batch.images = inputs.images;
  return batch;
}

ImageLevels DenseNet::image_levels(const Prepared& batch, Context& context) const {
  return {features_.forward(Variable(batch.images), context), {}};
}

Variable DenseNet::forward_from(const ImageLevels& levels, const Prepared& /*batch*/,
                                Context& /*context*/) const {
  return classifier_.forward(layers::global_average_pool(levels.backbone.back()));
}

void DenseNet::set_prior(const core::Tensor& logits) const { classifier_.bias().copy_from(logits); }

}  // namespace medfusion::models
