#include "models/medfusionnet/medfusionnet.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/random.h"
#include "layers/functional/concat.h"
#include "layers/functional/elementwise.h"
#include "layers/functional/pooling.h"
#include "layers/functional/reduction.h"
#include "layers/functional/softmax.h"
#include "layers/functional/view.h"
#include "layers/trace.h"
#include "models/medfusionnet/parts.h"

namespace medfusion::models {

using core::Shape;
using core::Tensor;
using core::Variable;
using layers::Context;
using layers::Init;

namespace {

int64_t batch_size(const Prepared& batch) {
  return batch.images.defined()  ? batch.images.size(0)
         : batch.table.defined() ? batch.table.size(0)
                                 : batch.tokens.size(0);
}

}  // namespace

MedFusionNet::MedFusionNet(const NetworkOptions& options) : options_(options) {
  const DenseNetSize size = densenet_size(options.size);
  const auto channels = size.block_channels();
  const core::DType dtype = options.dtype;
  const int64_t dim = options.dim;
  const bool attention = options.branches.attention;
  if (options.modalities.image) {
    features_ = std::make_unique<DenseFeatures>(size, options.image_channels, dtype);
    add_child("features", *features_);
    if (options.branches.pyramid) {
      pyramid_ =
          std::make_unique<Pyramid>(channels, options.pyramid_channels,
                                    options.upsample == Upsampling::bilinear, options.align_corners, dtype);
      add_child("pyramid", *pyramid_);
    }
  }
  if (attention) {
    label_queries_ = add_parameter("label_queries", {options.labels, dim}, Init::normal(0.02), dtype);
    if (options.modalities.image) {
      image_tokens_ = std::make_unique<ImageTokens>(options, channels);
      add_child("image_tokens", *image_tokens_);
    }
    if (options.table_features > 0) {
      table_tokens_ = std::make_unique<TableTokens>(options.table_features, options.table_bins, dim, dtype);
      add_child("table_tokens", *table_tokens_);
    }
    if (options.vocabulary > 0) {
      text_tokens_ = std::make_unique<TextTokens>(options.vocabulary, options.text_length, dim, dtype);
      add_child("text_tokens", *text_tokens_);
    }
    encoder_ = std::make_unique<Encoder>(options);
    add_child("encoder", *encoder_);
    attention_head_ = std::make_unique<LabelHead>(options.labels, dim, dtype);
    add_child("attention_head", *attention_head_);
  }
  if (options.branches.dense) {
    dense_head_ =
        std::make_unique<layers::Linear>(channels.back(), options.labels, Init::normal(0.01), dtype);
    add_child("dense_head", *dense_head_);
  }
  if (options.branches.pyramid) {
    pyramid_head_ = std::make_unique<layers::Linear>(8 * options.pyramid_channels, options.labels,
                                                     Init::normal(0.01), dtype);
    add_child("pyramid_head", *pyramid_head_);
  }
  const int64_t branches =
      int64_t{options.branches.dense} + int64_t{options.branches.pyramid} + int64_t{attention};
  if (branches > 1) {
    gate_ = std::make_unique<Gate>(branches, options.labels, attention ? dim : 0, dtype);
    add_child("gate", *gate_);
  }
}

MedFusionNet::~MedFusionNet() = default;

void MedFusionNet::set_prior(const Tensor& logits) const {
  if (attention_head_) attention_head_->bias.value().copy_from(logits);
  if (dense_head_) dense_head_->bias().copy_from(logits);
  if (pyramid_head_) pyramid_head_->bias().copy_from(logits);
}

MedFusionNet::Presence MedFusionNet::presence(const Inputs& inputs, Context& context) const {
  const int64_t batch = inputs.images.defined()  ? inputs.images.size(0)
                        : inputs.table.defined() ? inputs.table.size(0)
                                                 : inputs.tokens.size(0);
  Presence result{Tensor::full({batch}, 1.0, core::DType::boolean),
                  Tensor::full({batch}, 1.0, core::DType::boolean),
                  Tensor::full({batch}, 1.0, core::DType::boolean)};
  if (inputs.image_present.defined()) result.image.copy_from(inputs.image_present);
  if (inputs.table_present.defined()) result.table.copy_from(inputs.table_present);
  if (!context.training || options_.modality_dropout <= 0.0) return result;
  // Hide each modality of each sample with the given chance, but never the last one that is left.
  const core::Philox philox(context.seed, context.next_stream());
  struct Modality {
    bool on;
    const Tensor& present;
  };
  const Modality modalities[] = {{image_tokens_ != nullptr, result.image},
                                 {table_tokens_ != nullptr, result.table},
                                 {text_tokens_ != nullptr, result.text}};
  for (int64_t b = 0; b < batch; ++b) {
    int left = 0;
    for (const auto& m : modalities) left += m.on && m.present.data<bool>()[b] ? 1 : 0;
    for (uint64_t m = 0; m < 3; ++m) {
      bool& present = modalities[m].present.data<bool>()[b];
      if (!modalities[m].on || !present || left <= 1) continue;
      if (static_cast<double>(philox.uniform(static_cast<uint64_t>(b) * 3 + m)) >= options_.modality_dropout)
        continue;
      present = false;
      --left;
    }
  }
  return result;
}

// [S, S] bool: a label and a table token see each other only where stage one selected the feature for the
// label.
Tensor MedFusionNet::pair_mask(int64_t tokens, int64_t table_begin) const {
  if (!table_tokens_ || !options_.selection.defined()) return {};
  Tensor mask = Tensor::full({tokens, tokens}, 1.0, core::DType::boolean);
  for (int64_t label = 0; label < options_.labels; ++label) {
    for (int64_t feature = 0; feature < options_.table_features; ++feature) {
      const bool selected = options_.selection.at(label * options_.table_features + feature) != 0.0;
      const int64_t token = table_begin + feature;
      mask.data<bool>()[label * tokens + token] = selected;
      mask.data<bool>()[token * tokens + label] = selected;
    }
  }
  return mask;
}

// -inf for the branches that need an image, in samples without one: [B, branches, 1].
Tensor MedFusionNet::gate_bias(const Presence& present) const {
  const int64_t batch = present.image.size(0);
  std::vector<bool> needs_image;  // in the order of the branches
  if (options_.branches.attention) needs_image.push_back(false);
  if (dense_head_) needs_image.push_back(true);
  if (pyramid_head_) needs_image.push_back(true);
  Tensor result = Tensor::zeros({batch, static_cast<int64_t>(needs_image.size()), 1}, options_.dtype);
  for (int64_t b = 0; b < batch; ++b) {
    for (size_t n = 0; n < needs_image.size(); ++n) {
      const auto branch = static_cast<int64_t>(n);
      if (needs_image[n] && !present.image.data<bool>()[b]) {
        result.slice(0, b, b + 1).slice(1, branch, branch + 1).fill(-std::numeric_limits<double>::infinity());
      }
    }
  }
  return result;
}

void MedFusionNet::prepare_text(const Inputs& inputs, const Presence& present, Prepared& batch) const {
  text_tokens_->check(inputs.tokens);
  batch.tokens = inputs.tokens;
  const int64_t samples = inputs.tokens.size(0), length = options_.text_length;
  batch.text_keys = present.text.reshape({samples, 1}).expand({samples, length}).clone();
  for (int64_t i = 0; i < batch.text_keys.numel(); ++i) {
    batch.text_keys.data<bool>()[i] &= inputs.tokens.at(i) != 0.0;
  }
  if (options_.text_tokens != TextForm::mean) return;
  const Tensor words = batch.text_keys;
  batch.text_keys = Tensor::zeros({samples, 1}, core::DType::boolean);
  batch.text_weights = Tensor::zeros({samples, length, 1}, options_.dtype);
  for (int64_t b = 0; b < samples; ++b) {
    const bool* known = words.data<bool>() + b * length;
    const auto count = std::count(known, known + length, true);
    batch.text_keys.data<bool>()[b] = count > 0;
    for (int64_t w = 0; w < length; ++w) {
      if (known[w])
        batch.text_weights.slice(0, b, b + 1).slice(1, w, w + 1).fill(1.0 / static_cast<double>(count));
    }
  }
}

Prepared MedFusionNet::prepare(const Inputs& inputs, Context& context) const {
  const Presence present = presence(inputs, context);
  const int64_t batch = present.image.size(0);
  Prepared result;
  if (options_.modalities.image) result.images = inputs.images;
  if (image_tokens_) result.image_keys = present.image.reshape({batch, 1});
  if (table_tokens_) {
    const Shape column{batch, options_.table_features, 1};
    result.table = inputs.table.to(options_.dtype).reshape(column);
    result.table_bins = table_tokens_->bin_rows(inputs.table_bins, inputs.table_missing);
    result.table_keys = present.table.reshape({batch, 1});
    if (inputs.table_missing.defined()) {
      result.table = result.table.clone();
      for (int64_t i = 0; i < result.table.numel(); ++i) {
        if (!inputs.table_missing.data<bool>()[i] || !std::isnan(result.table.at(i))) continue;
        core::visit_dtype(options_.dtype,
                          [&](auto type) { result.table.data<decltype(type)>()[i] = decltype(type){}; });
      }
      result.table_missing = inputs.table_missing.to(options_.dtype).reshape(column);
    }
  }
  if (text_tokens_) prepare_text(inputs, present, result);
  if (gate_) result.gate_bias = gate_bias(present);
  return result;
}

// What the sequence is made of, in order.
std::vector<layers::Trace::Tokens> MedFusionNet::token_groups(
    const std::map<int64_t, Variable>& levels) const {
  using Tokens = layers::Trace::Tokens;
  std::vector<Tokens> groups;
  int64_t first = 0;
  const auto append = [&](Tokens group) {
    group.first = first;
    first += group.count;
    groups.push_back(group);
  };
  append({.kind = Tokens::Kind::labels, .count = options_.labels});
  if (image_tokens_) {
    for (const int64_t level : options_.token_levels) {
      const Variable& x = levels.at(level);
      append({Tokens::Kind::image, 0, x.size(1) * x.size(2), level, x.size(1), x.size(2)});
    }
  }
  if (table_tokens_) append({.kind = Tokens::Kind::table, .count = options_.table_features});
  if (text_tokens_) {
    append({.kind = Tokens::Kind::text,
            .count = options_.text_tokens == TextForm::mean ? 1 : options_.text_length});
  }
  return groups;
}

// h [B, L, D]: what the label tokens are after the encoder.
Variable MedFusionNet::attend(const Prepared& batch, const std::map<int64_t, Variable>& levels,
                              Context& context) const {
  const int64_t samples = batch_size(batch);
  std::vector<Variable> sequence{layers::expand(label_queries_, {samples, options_.labels, options_.dim})};
  std::vector<Tensor> keys{Tensor::full({samples, 1}, 1.0, core::DType::boolean, options_.device)};
  if (image_tokens_) {
    sequence.push_back(image_tokens_->forward(levels));
    keys.push_back(batch.image_keys);
  }
  int64_t table_begin = 0;
  for (const Variable& tokens : sequence) table_begin += tokens.size(1);
  if (table_tokens_) {
    sequence.push_back(table_tokens_->forward(batch.table, batch.table_missing, batch.table_bins));
    keys.push_back(batch.table_keys);
  }
  if (text_tokens_) {
    sequence.push_back(text_tokens_->forward(batch.tokens, batch.text_weights));
    keys.push_back(batch.text_keys);
  }
  const Variable tokens = layers::concat(sequence, 1);
  const int64_t count = tokens.size(1);
  layers::AttentionMasks masks{Tensor::empty({samples, count}, core::DType::boolean, options_.device), {}};
  int64_t first = 0;
  for (size_t part = 0; part < keys.size(); ++part) {
    const int64_t width = sequence[part].size(1);
    masks.keys.slice(1, first, first + width).copy_from(keys[part].expand({samples, width}));
    first += width;
  }
  if (table_tokens_ && options_.selection.defined()) {
    masks.pairs = pair_masks_.get({count}, options_.device, [&] { return pair_mask(count, table_begin); });
  }
  if (context.trace != nullptr) context.trace->tokens = token_groups(levels);
  return encoder_->forward(tokens, options_.labels, masks, context);
}

ImageLevels MedFusionNet::image_levels(const Prepared& batch, Context& context) const {
  ImageLevels levels;
  if (!features_) return levels;
  levels.backbone = features_->forward(Variable(batch.images), context);
  if (pyramid_) levels.pyramid = pyramid_->forward(levels.backbone);
  return levels;
}

Variable MedFusionNet::forward_from(const ImageLevels& levels, const Prepared& batch,
                                    Context& context) const {
  const auto& [backbone, pyramid] = levels;
  std::map<int64_t, Variable> token_sources;
  if (features_) {
    for (const int64_t level : options_.token_levels) {
      token_sources[level] = (pyramid_ ? pyramid : backbone)[static_cast<size_t>(level - 2)];
    }
  }
  const auto drop = [&](const Variable& v) { return drop_out(v, options_.dropout, context); };
  Variable h;
  std::vector<Variable> branch_logits;  // each [B, L]
  if (options_.branches.attention) {
    h = attend(batch, token_sources, context);
    branch_logits.push_back(attention_head_->forward(h));
  }
  if (dense_head_) {
    branch_logits.push_back(dense_head_->forward(drop(layers::global_average_pool(backbone.back()))));
  }
  if (pyramid_head_) {
    std::vector<Variable> pooled;
    for (const Variable& level : pyramid) pooled.push_back(layers::global_average_pool(level));
    for (const Variable& level : pyramid) pooled.push_back(layers::global_max_pool(level));
    branch_logits.push_back(pyramid_head_->forward(drop(layers::concat(pooled, 1))));
  }
  if (context.trace != nullptr) {
    auto& names = context.trace->branches;
    names.clear();
    if (options_.branches.attention) names.emplace_back("attention");
    if (dense_head_) names.emplace_back("dense");
    if (pyramid_head_) names.emplace_back("pyramid");
  }
  if (!gate_) return branch_logits.front();
  return gate_->forward(h, branch_logits, batch.gate_bias, context.trace);
}

}  // namespace medfusion::models
