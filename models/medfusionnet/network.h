// MedFusionNet: dense, pyramid and attention branches over image, table and text, gated per label, and a
// linear model of the table beside them. What it computes is written down in docs/medfusionnet.md; parameter
// names are those given there.
#pragma once

#include <cmath>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/random.h"
#include "layers/functional/pooling.h"
#include "models/backbone.h"
#include "models/medfusionnet/gate.h"
#include "models/medfusionnet/pyramid.h"
#include "models/medfusionnet/tokens.h"
#include "models/table_head.h"

namespace medfusion::models {

class MedFusionNet : public Network {
 public:
  explicit MedFusionNet(const NetworkOptions& options) : options_(options), dropout_(options.dropout) {
    if (options.modalities.image) features_ = make_backbone(options.backbone, options);
    const std::array<int64_t, 4> channels = features_ ? features_->channels() : std::array<int64_t, 4>{};
    const layers::TensorOptions made = options.parameters();
    const auto& [dense, pyramid, attention, table] = options.branches;
    const int64_t labels = options.labels, dim = options.dim;
    const layers::Init head = layers::Init::normal(0.01);
    if (features_) add_child("features", *features_);
    if (options.modalities.image && pyramid) add_child("pyramid", pyramid_, channels, options);
    if (attention) {
      label_queries = add_parameter("label_queries", {labels, dim}, layers::Init::normal(0.02), made);
      add_child("", tokens_, options, channels);
      const auto hidden = std::lround(options.mlp_ratio * static_cast<double>(dim));
      add_child("encoder", encoder_, options.layers, dim, options.heads, hidden, options.dropout, made);
      add_child("attention_head", attention_head_, labels, dim, made);
      branches_.emplace_back("attention");
    }
    if (dense) {
      add_child("dense_head", dense_head_, features_->features(), labels, head, made);
      branches_.emplace_back("dense");
    }
    if (pyramid) {
      add_child("pyramid_head", pyramid_head_, 8 * options.pyramid_channels, labels, head, made);
      branches_.emplace_back("pyramid");
    }
    if (table && options.table_features > 0) {
      add_child("table_head", table_head_, labels, options.table_features, options.table_bins,
                options.selection, made);
    }
    const auto count = static_cast<int64_t>(branches_.size());
    if (count > 1) add_child("gate", gate_, count, labels, attention ? dim : 0, made);
  }

  core::Device device() const override { return options_.device; }
  TableHead* table_head() override { return table_head_ ? &*table_head_ : nullptr; }

  void set_prior(const core::Tensor& logits) override {
    if (attention_head_) attention_head_->bias.value().copy_from(logits);
    if (dense_head_) dense_head_->bias.value().copy_from(logits);
    if (pyramid_head_) pyramid_head_->bias.value().copy_from(logits);
  }

  Prepared prepare(const core::Batch& batch, layers::Context& context) const override {
    const Presence present = presence(batch, context);
    Prepared result;
    result.own.resize(kOwnCount);
    if (options_.modalities.image) result.images = batch.images;
    if (options_.other_images) result.other_images = batch.other_images;
    if (tokens_) tokens_->prepare(batch, present, result);
    if (gate_) result.own[kGateBias] = gate_bias(present.image);
    if (table_head_) result.own[kTableVector] = table_head_->prepare(batch, present.table);
    return result;
  }

  ImageLevels image_levels(const Prepared& batch, layers::Context& context) override {
    ImageLevels levels;
    if (!features_) return levels;
    const bool two = batch.other_images.defined();
    levels = features_->forward(core::Variable(two ? both(batch) : batch.images), context);
    if (pyramid_) levels.pyramid = pyramid_->forward(levels.backbone, context);
    if (!two) return levels;
    const int64_t samples = batch.images.size(0);
    const auto divide = [samples](core::Variable& own, core::Variable& other) {
      if (!own.defined()) return;
      other = layers::slice(own, 0, samples, 2 * samples);
      own = layers::slice(own, 0, 0, samples);
    };
    core::Variable none;
    divide(levels.class_token, none);
    for (size_t i = 0; i < levels.backbone.size(); ++i) {
      divide(levels.backbone[i], levels.other_backbone[i]);
      divide(levels.pyramid[i], levels.other_pyramid[i]);
    }
    return levels;
  }

  core::Variable forward_from(const ImageLevels& image, const Prepared& batch,
                              layers::Context& context) override {
    core::Variable h;                    // [B, L, D]
    std::vector<core::Variable> logits;  // [B, L] of each branch
    if (tokens_) {
      const auto [tokens, masks] = tokens_->forward(label_queries, image, batch, context);
      h = encoder_->forward(tokens, options_.labels, masks, context);
      logits.push_back(attention_head_->forward(h));
    }
    if (dense_head_) {
      logits.push_back(dense_head_->forward(dropout_.forward(features_->pooled(image), context), context));
    }
    if (pyramid_head_) {
      std::vector<core::Variable> pooled;
      for (const auto& level : image.pyramid) pooled.push_back(layers::global_average_pool(level));
      for (const auto& level : image.pyramid) pooled.push_back(layers::global_max_pool(level));
      logits.push_back(pyramid_head_->forward(dropout_.forward(layers::concat(pooled, 1), context), context));
    }
    if (context.trace != nullptr) context.trace->branches = branches_;
    const core::Variable mixed =
        gate_ ? gate_->forward(h, logits, batch.own[kGateBias], context) : logits.front();
    if (!table_head_) return mixed;
    return mixed + table_head_->forward(core::Variable(batch.own[kTableVector]), context);
  }

  core::Variable label_queries;  // [L, D]

 private:
  // The images of the samples, then the second ones.
  static core::Tensor both(const Prepared& batch) {
    const int64_t samples = batch.images.size(0);
    core::Shape shape = batch.images.shape();
    shape[0] = 2 * samples;
    const core::Tensor result = core::Tensor::empty(shape, batch.images.dtype(), batch.images.device());
    result.slice(0, 0, samples).copy_from(batch.images);
    result.slice(0, samples, 2 * samples).copy_from(batch.other_images);
    return result;
  }

  // After modality dropout.
  Presence presence(const core::Batch& batch, layers::Context& context) const {
    const auto given = [count = batch.size()](const core::Tensor& present) {
      return present.defined() ? present.clone() : core::Tensor::full({count}, 1.0, core::DType::boolean);
    };
    Presence result{given(batch.image_present), given(batch.table_present), given({}), {}};
    hide(result, batch, context);
    if (batch.other_images.defined()) {  // goes with the first image
      result.other = given(batch.other_present);
      for (int64_t b = 0; b < batch.size(); ++b) result.other.data<bool>()[b] &= result.image.data<bool>()[b];
    }
    return result;
  }

  // Modality dropout hides each modality of each sample with the given chance, but never the last one left.
  void hide(const Presence& result, const core::Batch& batch, layers::Context& context) const {
    if (!context.training || options_.modality_dropout <= 0.0) return;
    const core::Philox philox(context.seed, context.next_stream());
    bool* const present[] = {result.image.data<bool>(), result.table.data<bool>(), result.text.data<bool>()};
    const bool on[] = {options_.modalities.image, options_.table_features > 0, options_.vocabulary > 0};
    for (int64_t b = 0; tokens_ && b < batch.size(); ++b) {
      int left = 0;
      for (size_t m = 0; m < 3; ++m) left += on[m] && present[m][b] ? 1 : 0;
      for (size_t m = 0; m < 3; ++m) {
        if (!on[m] || !present[m][b] || left <= 1) continue;
        const auto draw = static_cast<double>(philox.uniform(static_cast<uint64_t>(b) * 3 + m));
        if (draw >= options_.modality_dropout) continue;
        present[m][b] = false;
        --left;
      }
    }
  }

  // -inf for the branches that need an image, in samples without one: [B, branches, 1].
  core::Tensor gate_bias(const core::Tensor& image_present) const {
    const auto branches = static_cast<int64_t>(branches_.size());
    const core::Tensor result = core::Tensor::zeros({image_present.size(0), branches, 1}, options_.dtype);
    for (int64_t i = 0; i < result.numel(); ++i) {
      if (image_present.data<bool>()[i / branches] || branches_[i % branches] == "attention") continue;
      result.reshape({-1}).slice(0, i, i + 1).fill(-std::numeric_limits<double>::infinity());
    }
    return result;
  }

  NetworkOptions options_;
  std::vector<std::string> branches_;  // attention, dense, pyramid: those that are on
  std::unique_ptr<Backbone> features_;
  std::optional<Pyramid> pyramid_;
  std::optional<Tokens> tokens_;
  std::optional<layers::Encoder> encoder_;
  std::optional<LabelHead> attention_head_;
  std::optional<layers::Linear> dense_head_, pyramid_head_;
  std::optional<Gate> gate_;
  std::optional<TableHead> table_head_;
  layers::Dropout dropout_;
};

}  // namespace medfusion::models
