#include "models/medfusionnet/parts.h"

#include <cmath>

#include "layers/functional/activation.h"
#include "layers/functional/concat.h"
#include "layers/functional/dropout.h"
#include "layers/functional/elementwise.h"
#include "layers/functional/embedding.h"
#include "layers/functional/reduction.h"
#include "layers/functional/softmax.h"
#include "layers/functional/upsample_add.h"
#include "layers/functional/view.h"
#include "layers/trace.h"

namespace medfusion::models {

using core::Shape;
using core::Tensor;
using core::Variable;
using layers::Context;
using layers::Init;

std::vector<Tensor*> Prepared::all() {
  return {&images,     &table,      &table_missing, &table_bins,   &tokens,
          &image_keys, &table_keys, &text_keys,     &text_weights, &gate_bias};
}

Prepared Prepared::to(core::Device device) const {
  Prepared result = *this;
  for (Tensor* const tensor : result.all()) {
    if (tensor->defined()) *tensor = tensor->to(device);
  }
  return result;
}

Tensor DeviceConstants::get(const Shape& key, core::Device device,
                            const std::function<Tensor()>& make) const {
  const std::lock_guard lock(mutex_);
  for (const Entry& entry : entries_) {
    if (entry.key == key) return entry.tensor;
  }
  return entries_.emplace_back(Entry{key, make().to(device)}).tensor;
}

Variable drop_out(const Variable& x, double rate, Context& context) {
  return context.training && rate > 0.0
             ? layers::dropout(x, rate, context.seed, context.next_stream(), context.base)
             : x;
}

MedFusionNet::Pyramid::Pyramid(const std::array<int64_t, 4>& channels, int64_t width, bool bilinear,
                               bool align_corners, core::DType dtype)
    : bilinear_(bilinear), align_corners_(align_corners) {
  for (size_t i = 0; i < channels.size(); ++i) {
    lateral_[i] = std::make_unique<layers::Convolution>(
        channels[i], width, layers::ConvolutionOptions{.kernel = 1, .bias = true}, dtype);
    smooth_[i] = std::make_unique<layers::Convolution>(
        width, width, layers::ConvolutionOptions{.kernel = 3, .padding = 1, .bias = true}, dtype);
    add_child(fmt::format("lateral{}", i + 2), *lateral_[i]);
    add_child(fmt::format("smooth{}", i + 2), *smooth_[i]);
  }
}

std::array<Variable, 4> MedFusionNet::Pyramid::forward(const std::array<Variable, 4>& levels) const {
  std::array<Variable, 4> result;
  Variable top;
  for (size_t i = levels.size(); i-- > 0;) {
    const Variable lateral = lateral_[i]->forward(levels[i]);
    if (!top.defined()) {
      top = lateral;
    } else {
      top = layers::upsample_add(top, lateral, {.bilinear = bilinear_, .align_corners = align_corners_});
    }
    result[i] = layers::relu(smooth_[i]->forward(top));
  }
  return result;
}

Tensor position_code(int64_t height, int64_t width, int64_t dim, core::DType dtype) {
  const int64_t quarter = dim / 4;
  Tensor code = Tensor::empty({height * width, dim}, core::DType::f64);
  for (int64_t row = 0; row < height; ++row) {
    for (int64_t column = 0; column < width; ++column) {
      double* at = code.data<double>() + (row * width + column) * dim;
      const double y = (static_cast<double>(row) + 0.5) * 32.0 / static_cast<double>(height);
      const double x = (static_cast<double>(column) + 0.5) * 32.0 / static_cast<double>(width);
      for (int64_t k = 0; k < quarter; ++k) {
        const double w = std::pow(10000.0, -static_cast<double>(k) / static_cast<double>(quarter));
        at[k] = std::sin(y * w);
        at[quarter + k] = std::cos(y * w);
        at[2 * quarter + k] = std::sin(x * w);
        at[3 * quarter + k] = std::cos(x * w);
      }
    }
  }
  return code.to(dtype);
}

MedFusionNet::ImageTokens::ImageTokens(const NetworkOptions& options,
                                       const std::array<int64_t, 4>& backbone_channels)
    : dim_(options.dim), levels_(options.token_levels) {
  for (const int64_t level : levels_) {
    const int64_t in = options.branches.pyramid ? options.pyramid_channels
                                                : backbone_channels[static_cast<size_t>(level - 2)];
    projections_.push_back(std::make_unique<layers::Linear>(in, dim_, Init::xavier_uniform(), options.dtype));
    add_child(fmt::format("projection{}", level), *projections_.back());
  }
  level_embedding_ = add_parameter("level_embedding", {static_cast<int64_t>(levels_.size()), dim_},
                                   Init::normal(0.02), options.dtype);
}

Variable MedFusionNet::ImageTokens::forward(const std::map<int64_t, Variable>& levels) const {
  std::vector<Variable> parts;
  for (size_t n = 0; n < levels_.size(); ++n) {
    const Variable& level = levels.at(levels_[n]);
    const int64_t batch = level.size(0), height = level.size(1), width = level.size(2);
    const Variable pixels = layers::reshape(level, {batch, height * width, level.size(3)});
    const auto row = static_cast<int64_t>(n);
    const Tensor code = codes_.get({height, width}, level.value().device(), [&] {
      return position_code(height, width, dim_, level_embedding_.dtype());
    });
    const Variable place = layers::add(Variable(code), layers::slice(level_embedding_, 0, row, row + 1));
    parts.push_back(layers::add(projections_[n]->forward(pixels), place));
  }
  return parts.size() == 1 ? parts.front() : layers::concat(parts, 1);
}

MedFusionNet::TableTokens::TableTokens(int64_t features, const std::vector<int64_t>& bins, int64_t dim,
                                       core::DType dtype)
    : weight_(add_parameter("weight", {features, dim}, Init::normal(0.2), dtype)),
      bias_(add_parameter("bias", {features, dim}, Init::normal(0.02), dtype)),
      missing_(add_parameter("missing", {features, dim}, Init::normal(0.02), dtype)) {
  if (bins.empty()) return;
  first_bin_.push_back(1);
  for (const int64_t count : bins) first_bin_.push_back(first_bin_.back() + count);
  bin_ = add_parameter("bin", {first_bin_.back(), dim}, Init::normal(0.02), dtype);
}

// Which rows of `bin` the bins are; missing may be undefined.
Tensor MedFusionNet::TableTokens::bin_rows(const Tensor& bins, const Tensor& missing) const {
  if (first_bin_.empty()) return {};
  const auto features = static_cast<int64_t>(first_bin_.size()) - 1;
  MEDFUSION_CHECK(
      bins.defined() && bins.dtype() == core::DType::i64 && bins.rank() == 2 && bins.size(1) == features,
      "table tokens: expected the bins of {} features, [batch, {}] i64", features, features);
  const Tensor rows = Tensor::zeros(bins.shape(), core::DType::i64);
  for (int64_t i = 0; i < rows.numel(); ++i) {
    if (missing.defined() && missing.data<bool>()[i]) continue;
    const auto feature = static_cast<size_t>(i % features);
    const int64_t bin = bins.data<int64_t>()[i];
    const int64_t count = first_bin_[feature + 1] - first_bin_[feature];
    MEDFUSION_CHECK(bin >= 0 && bin < count, "table tokens: bin {} of feature {} with {} bins", bin, feature,
                    count);
    rows.data<int64_t>()[i] = first_bin_[feature] + bin;
  }
  return rows;
}

Variable MedFusionNet::TableTokens::forward(const Tensor& values, const Tensor& missing,
                                            const Tensor& bins) const {
  Variable token = layers::mul(Variable(values), weight_);
  if (missing.defined()) token = layers::add(token, layers::mul(Variable(missing), missing_));
  token = layers::add(token, bias_);
  return bin_.defined() ? layers::add(token, layers::embedding(bin_, bins)) : token;
}

MedFusionNet::TextTokens::TextTokens(int64_t vocabulary, int64_t length, int64_t dim, core::DType dtype)
    : embedding_(add_parameter("embedding.weight", {vocabulary, dim}, Init::normal(0.02), dtype)),
      position_(add_parameter("position", {length, dim}, Init::normal(0.02), dtype)) {}

void MedFusionNet::TextTokens::check(const Tensor& ids) const {
  for (int64_t i = 0; i < ids.numel(); ++i) {
    const double id = ids.at(i);
    MEDFUSION_CHECK(id >= 0 && id < static_cast<double>(embedding_.size(0)),
                    "text: token id {} is outside the vocabulary of {}", id, embedding_.size(0));
  }
}

Variable MedFusionNet::TextTokens::forward(const Tensor& ids, const Tensor& weights) const {
  const Variable words = layers::add(layers::embedding(embedding_, ids), position_);
  return weights.defined() ? layers::sum(layers::mul(words, Variable(weights)), {1}, true) : words;
}

MedFusionNet::Encoder::Encoder(const NetworkOptions& options) : norm_(options.dim, options.dtype) {
  const auto hidden = static_cast<int64_t>(std::lround(options.mlp_ratio * static_cast<double>(options.dim)));
  for (int64_t i = 0; i < options.layers; ++i) {
    layers_.push_back(std::make_unique<layers::EncoderLayer>(options.dim, options.heads, hidden,
                                                             options.dropout, options.dtype));
    add_child(std::to_string(i), *layers_.back());
  }
  add_child("norm", norm_);
}

Variable MedFusionNet::Encoder::forward(const Variable& tokens, int64_t queries,
                                        const layers::AttentionMasks& masks, Context& context) const {
  Variable x = tokens;
  for (size_t i = 0; i < layers_.size(); ++i) {
    const bool last = i + 1 == layers_.size();
    layers::AttentionMasks seen = masks;
    if (last && masks.pairs.defined()) seen.pairs = masks.pairs.slice(0, 0, queries);
    x = layers_[i]->forward(x, last ? queries : x.size(1), seen, context);
  }
  return norm_.forward(layers_.empty() ? layers::slice(x, 1, 0, queries) : x);
}

MedFusionNet::LabelHead::LabelHead(int64_t labels, int64_t dim, core::DType dtype)
    : weight(add_parameter("weight", {labels, dim}, Init::normal(0.02), dtype)),
      bias(add_parameter("bias", {labels}, Init::constant(0.0), dtype)) {}

Variable MedFusionNet::LabelHead::forward(const Variable& h) const {
  return layers::add(layers::sum(layers::mul(h, weight), {2}, false), bias);
}

MedFusionNet::Gate::Gate(int64_t branches, int64_t labels, int64_t dim, core::DType dtype)
    : branches_(branches), labels_(labels) {
  // Zero scores: every branch has the same say at first.
  if (dim > 0) weight_ = add_parameter("weight", {branches, labels, dim}, Init::constant(0.0), dtype);
  bias_ = add_parameter("bias", {branches, labels}, Init::constant(0.0), dtype);
}

Variable MedFusionNet::Gate::forward(const Variable& h, const std::vector<Variable>& logits,
                                     const Tensor& shift, layers::Trace* trace) const {
  const int64_t batch = logits.front().size(0);
  // Scores [B, n, L]; the softmax runs over n.
  Variable scores = layers::expand(bias_, {batch, branches_, labels_});
  if (h.defined()) {
    const Variable per_branch = layers::reshape(h, {batch, 1, labels_, h.size(2)});
    scores = layers::add(layers::sum(layers::mul(per_branch, weight_), {3}, false), bias_);
  }
  scores = layers::transpose(layers::add(scores, Variable(shift)), 1, 2);
  const Variable weights = layers::softmax(scores);  // [B, L, n]
  if (trace != nullptr) trace->gate = weights.value();
  std::vector<Variable> columns;
  columns.reserve(logits.size());
  for (const Variable& z : logits) columns.push_back(layers::reshape(z, {batch, labels_, 1}));
  return layers::sum(layers::mul(weights, layers::concat(columns, 2)), {2}, false);
}

}  // namespace medfusion::models
