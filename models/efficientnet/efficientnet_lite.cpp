#include "models/efficientnet/efficientnet_lite.h"

#include "layers/dropout.h"
#include "layers/functional/activation.h"
#include "layers/functional/elementwise.h"

namespace medfusion::models {

using core::Variable;
using layers::Context;

namespace {

constexpr layers::BatchNormOptions kNorm{.eps = 1e-3, .momentum = 0.01};

struct Stage {
  int64_t count, kernel, stride, expand, out;
};
constexpr std::array<Stage, 7> kStages{{{1, 3, 1, 1, 16},
                                        {2, 3, 2, 6, 24},
                                        {2, 5, 2, 6, 40},
                                        {3, 3, 2, 6, 80},
                                        {3, 5, 1, 6, 112},
                                        {4, 5, 2, 6, 192},
                                        {1, 3, 1, 6, 320}}};
constexpr int64_t kLastBlock = 15, kStem = 32;

}  // namespace

EfficientNetLite0::Block::Block(const Shape& shape, double drop, const layers::TensorOptions& options)
    : skips_(shape.stride == 1 && shape.in == shape.out), drop_(drop) {
  const int64_t middle = shape.in * shape.expand;
  const bool expands = shape.expand != 1;
  int norm = 1;
  const auto next_norm = [&] { return fmt::format("bn{}", norm++); };
  if (expands) {
    add_child("conv_pw", expand_, shape.in, middle, layers::ConvolutionOptions{}, options);
    add_child(next_norm(), expand_norm_, middle, options, kNorm);
  }
  add_child("conv_dw", depthwise_, middle,
            layers::ConvolutionOptions{.kernel = shape.kernel, .stride = shape.stride, .same = true},
            options);
  add_child(next_norm(), depthwise_norm_, middle, options, kNorm);
  add_child(expands ? "conv_pwl" : "conv_pw", project_, middle, shape.out, layers::ConvolutionOptions{},
            options);
  add_child(next_norm(), project_norm_, shape.out, options, kNorm);
}

Variable EfficientNetLite0::Block::forward(const Variable& x, Context& context) {
  Variable y = x;
  if (expand_) y = layers::relu6(expand_norm_->forward(expand_->forward(y, context), context));
  y = layers::relu6(depthwise_norm_->forward(depthwise_->forward(y), context));
  y = project_norm_->forward(project_->forward(y, context), context);
  return skips_ ? x + layers::stochastic_depth(y, drop_, context) : y;
}

EfficientNetLite0::EfficientNetLite0(int64_t in_channels, double drop, const layers::TensorOptions& options)
    : stem_(in_channels, kStem, {.kernel = 3, .stride = 2, .same = true}, options),
      stem_norm_(kStem, options, kNorm),
      head_(kStages.back().out, channels().back(), {}, options),
      head_norm_(channels().back(), options, kNorm) {
  add_child("conv_stem", stem_);
  add_child("bn1", stem_norm_);
  int64_t current = kStem, number = 0;
  for (size_t stage = 0; stage < kStages.size(); ++stage) {
    const Stage& s = kStages[stage];
    for (int64_t i = 0; i < s.count; ++i, ++number) {
      const Block::Shape shape{current, s.out, s.kernel, i == 0 ? s.stride : 1, s.expand};
      const double own = drop * static_cast<double>(number) / static_cast<double>(kLastBlock);
      add_child(fmt::format("blocks.{}.{}", stage, i), stages_[stage], shape, own, options);
      current = s.out;
    }
  }
  add_child("conv_head", head_);
  add_child("bn2", head_norm_);
}

ImageLevels EfficientNetLite0::forward(const Variable& images, Context& context) {
  ImageLevels result;
  Variable x = cut(context, "image", images);
  x = layers::relu6(stem_norm_.forward(stem_.forward(x, context), context));
  size_t level = 0;
  for (size_t stage = 0; stage < stages_.size(); ++stage) {
    for (Block& block : stages_[stage]) x = block.forward(x, context);
    if (stage == 1 || stage == 2 || stage == 4) {
      x = result.backbone[level] = cut(context, fmt::format("C{}", level + 2), x);
      ++level;
    }
  }
  x = layers::relu6(head_norm_.forward(head_.forward(x, context), context));
  result.backbone[level] = cut(context, "C5", x);
  return result;
}

}  // namespace medfusion::models
