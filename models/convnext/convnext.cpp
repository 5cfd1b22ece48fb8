#include "models/convnext/convnext.h"

#include "layers/dropout.h"
#include "layers/functional/elementwise.h"
#include "layers/functional/pooling.h"

namespace medfusion::models {

using core::Variable;
using layers::Context;

namespace {

constexpr double kEps = 1e-6;
constexpr std::array<int64_t, 4> kCounts{3, 3, 9, 3};
constexpr int64_t kLastConvNeXtBlock = 17;

}  // namespace

ConvNeXtTiny::Block::Block(int64_t dim, double drop, const layers::TensorOptions& options)
    : gamma(add_parameter("gamma", {dim}, layers::Init::constant(1e-6), options)),
      drop_(drop),
      conv_dw_(dim, {.kernel = 7, .padding = 3, .bias = true}, options),
      norm_(dim, options, kEps),
      mlp_(dim, 4 * dim, options) {
  add_child("conv_dw", conv_dw_);
  add_child("norm", norm_);
  add_child("mlp", mlp_);
}

Variable ConvNeXtTiny::Block::forward(const Variable& x, Context& context) {
  const Variable y = mlp_.forward(norm_.forward(conv_dw_.forward(x)), context) * gamma;
  return x + layers::stochastic_depth(y, drop_, context);
}

ConvNeXtTiny::ConvNeXtTiny(int64_t in_channels, double drop, const layers::TensorOptions& options)
    : head_norm_(channels().back(), options, kEps) {
  const std::array<int64_t, 4> dims = channels();
  int64_t number = 0;
  for (size_t stage = 0; stage < dims.size(); ++stage) {
    auto& [norm, conv] = downsamples_[stage];
    const bool first = stage == 0;
    const int64_t before = first ? in_channels : dims[stage - 1], side = first ? 4 : 2;
    const std::string name = first ? "stem" : fmt::format("stages.{}.downsample", stage);
    const layers::ConvolutionOptions window{.kernel = side, .stride = side, .bias = true};
    add_child(name + (first ? ".0" : ".1"), conv, before, dims[stage], window, options);
    add_child(name + (first ? ".1" : ".0"), norm, first ? dims[stage] : before, options, kEps);
    for (int64_t i = 0; i < kCounts[stage]; ++i, ++number) {
      const double own = drop * static_cast<double>(number) / static_cast<double>(kLastConvNeXtBlock);
      add_child(fmt::format("stages.{}.blocks.{}", stage, i), stages_[stage], dims[stage], own, options);
    }
  }
  add_child("head.norm", head_norm_);
}

ImageLevels ConvNeXtTiny::forward(const Variable& images, Context& context) {
  ImageLevels result;
  Variable x = cut(context, "image", images);
  for (size_t stage = 0; stage < stages_.size(); ++stage) {
    auto& [norm, conv] = downsamples_[stage];
    x = stage == 0 ? norm->forward(conv->forward(x, context)) : conv->forward(norm->forward(x), context);
    for (Block& block : stages_[stage]) x = block.forward(x, context);
    x = result.backbone[stage] = cut(context, fmt::format("C{}", stage + 2), x);
  }
  return result;
}

Variable ConvNeXtTiny::pooled(const ImageLevels& levels) {
  return head_norm_.forward(layers::global_average_pool(levels.backbone.back()));
}

}  // namespace medfusion::models
