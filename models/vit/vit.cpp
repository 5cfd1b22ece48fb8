#include "models/vit/vit.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "layers/dropout.h"
#include "layers/functional/activation.h"
#include "layers/functional/attention.h"
#include "layers/functional/concat.h"
#include "layers/functional/elementwise.h"
#include "layers/functional/matmul.h"
#include "layers/functional/pooling.h"
#include "layers/functional/view.h"

namespace medfusion::models {

using core::Tensor;
using core::Variable;
using layers::Context;

namespace {

constexpr int64_t kWidth = 384, kHeads = 6, kPatch = 16, kDepth = 12, kSide = 14;  // of 224 pixels
constexpr double kNormEps = 1e-6;

// Keys' cubic convolution with a = -0.5.
double cubic(double x) {
  x = std::abs(x);
  if (x < 1.0) return (1.5 * x - 2.5) * x * x + 1.0;
  return x < 2.0 ? ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0 : 0.0;
}

// [to, from], row by row.
std::vector<double> line_interpolation(int64_t from, int64_t to) {
  const double scale = static_cast<double>(from) / static_cast<double>(to), width = std::max(1.0, scale);
  std::vector<double> weights(static_cast<size_t>(from * to), 0.0);
  for (int64_t i = 0; i < to; ++i) {
    const double center = (static_cast<double>(i) + 0.5) * scale;
    const auto first = std::max<int64_t>(0, static_cast<int64_t>(center - 2.0 * width + 0.5));
    const auto last = std::min(from, static_cast<int64_t>(center + 2.0 * width + 0.5));
    double sum = 0.0;
    for (int64_t j = first; j < last; ++j) {
      double& weight = weights[static_cast<size_t>(i * from + j)];
      sum += weight = cubic((static_cast<double>(j) - center + 0.5) / width);
    }
    for (int64_t j = first; j < last; ++j) weights[static_cast<size_t>(i * from + j)] /= sum;
  }
  return weights;
}

// [B, h, w, 4 C] -> [B, 2 h, 2 w, C].
Variable spread(const Variable& x) {
  const int64_t batch = x.size(0), height = x.size(1), width = x.size(2), channels = x.size(3) / 4;
  const Variable parts = layers::reshape(x, {batch * height, width, 2, 2 * channels});
  return layers::reshape(layers::transpose(parts, 1, 2), {batch, 2 * height, 2 * width, channels});
}

// [to^2, from^2] f64: bicubic interpolation of a grid of from x from places to one of to x to, smoothed where
// it shrinks, as torch's interpolate(mode="bicubic", antialias=True) does, of which timm makes use.
Tensor grid_interpolation(int64_t from, int64_t to) {
  const std::vector<double> line = line_interpolation(from, to);
  const Tensor grid = Tensor::empty({to * to, from * from}, core::DType::f64);
  double* out = grid.data<double>();
  for (int64_t i = 0; i < to * to; ++i) {
    for (int64_t j = 0; j < from * from; ++j)
      *out++ = line[static_cast<size_t>(i / to * from + j / from)] *
               line[static_cast<size_t>(i % to * from + j % from)];
  }
  return grid;
}

}  // namespace

ViTSmall::Block::Block(double drop, const layers::TensorOptions& options)
    : drop_(drop),
      norm1_(kWidth, options, kNormEps),
      norm2_(kWidth, options, kNormEps),
      qkv_(kWidth, 3 * kWidth, layers::Init::xavier_uniform(), options),
      proj_(kWidth, kWidth, layers::Init::xavier_uniform(), options),
      mlp_(kWidth, 4 * kWidth, options) {
  add_child("norm1", norm1_);
  add_child("attn.qkv", qkv_);
  add_child("attn.proj", proj_);
  add_child("norm2", norm2_);
  add_child("mlp", mlp_);
}

Variable ViTSmall::Block::forward(const Variable& x, Context& context) {
  const Variable qkv = qkv_.forward(norm1_.forward(x), context);
  const Variable attended = proj_.forward(layers::self_attention(qkv, kHeads, x.size(1)), context);
  const Variable y = x + layers::stochastic_depth(attended, drop_, context);
  return y + layers::stochastic_depth(mlp_.forward(norm2_.forward(y), context), drop_, context);
}

ViTSmall::ViTSmall(int64_t in_channels, bool levels, double drop, const layers::TensorOptions& options)
    : cls_token(add_parameter("cls_token", {1, 1, kWidth}, layers::Init::normal(0.02), options)),
      pos_embed(
          add_parameter("pos_embed", {1, 1 + kSide * kSide, kWidth}, layers::Init::normal(0.02), options)),
      patch_embed_(in_channels, kWidth, {.kernel = kPatch, .stride = kPatch, .bias = true}, options),
      norm_(kWidth, options, kNormEps) {
  add_child("patch_embed.proj", patch_embed_);
  for (int64_t i = 0; i < kDepth; ++i)
    add_child(fmt::format("blocks.{}", i), blocks_,
              drop * static_cast<double>(i) / static_cast<double>(kDepth - 1), options);
  add_child("norm", norm_);
  if (!levels) return;
  const layers::Init init = layers::Init::xavier_uniform();
  add_child("simple_pyramid.up3", up3_, kWidth, 4 * channels()[1], init, options);
  add_child("simple_pyramid.up2", up2_, channels()[1], 4 * channels()[0], init, options);
}

// [1, 1 + side^2, 384]
Variable ViTSmall::positions(int64_t side) {
  if (side == kSide) return pos_embed;
  const Variable grid =
      layers::reshape(layers::slice(pos_embed, 1, 1, 1 + kSide * kSide), {kSide * kSide, kWidth});
  const Variable matrix(interpolations_.get({side}, pos_embed.value().device(), [&] {
    return grid_interpolation(kSide, side).to(pos_embed.dtype());
  }));
  const Variable moved = layers::reshape(layers::matmul(matrix, grid), {1, side * side, kWidth});
  return layers::concat({layers::slice(pos_embed, 1, 0, 1), moved}, 1);
}

ImageLevels ViTSmall::forward(const Variable& images, Context& context) {
  const int64_t batch = images.size(0), side = images.size(1) / kPatch, step = up3_ ? 2 * kPatch : kPatch;
  MEDFUSION_CHECK(images.size(1) == images.size(2) && images.size(1) % step == 0 && side > 0,
                  "vit_small: expected square images of a multiple of {} pixels, got {} x {}", step,
                  images.size(1), images.size(2));
  const Variable patches = layers::reshape(patch_embed_.forward(cut(context, "image", images), context),
                                           {batch, side * side, kWidth});
  Variable x = layers::concat({layers::expand(cls_token, {batch, 1, kWidth}), patches}, 1) + positions(side);
  for (Block& block : blocks_) x = block.forward(x, context);
  x = norm_.forward(x);
  ImageLevels result;
  result.class_token = layers::reshape(layers::slice(x, 1, 0, 1), {batch, kWidth});
  const Variable map = layers::reshape(layers::slice(x, 1, 1, 1 + side * side), {batch, side, side, kWidth});
  auto& [c2, c3, c4, c5] = result.backbone;
  c4 = cut(context, "C4", map);
  if (!up3_) return result;
  c3 = cut(context, "C3", layers::gelu(spread(up3_->forward(c4, context))));
  c2 = cut(context, "C2", layers::gelu(spread(up2_->forward(c3, context))));
  c5 = cut(context, "C5", layers::max_pool(c4, {.kernel = 2, .stride = 2}));
  return result;
}

}  // namespace medfusion::models
