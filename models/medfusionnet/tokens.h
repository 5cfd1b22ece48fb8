// What the attention branch of MedFusionNet attends to: labels, image, table and text as tokens
// (docs/medfusionnet.md, tokens).
#pragma once

#include <algorithm>
#include <array>
#include <deque>
#include <optional>
#include <utility>
#include <vector>

#include "layers/attention.h"
#include "layers/feature_tokens.h"
#include "layers/functional/concat.h"
#include "layers/functional/elementwise.h"
#include "layers/functional/reduction.h"
#include "layers/functional/view.h"
#include "layers/trace.h"
#include "models/network.h"

namespace medfusion::models {

// Which modalities each sample has: [B] bool each.
struct Presence {
  core::Tensor image, table, text;
  core::Tensor other;  // the second image, which is hidden with the first
};

// Prepared::own of MedFusionNet.
enum Own : size_t {
  kImageKeys,  // [B, 1] bool: the sample's image may be attended to
  kTableKeys,  // [B, 1] bool
  kTextKeys,   // [B, W] bool: neither absent nor padding; [B, 1] where the words' mean is the token: any word
  kTextWeights,  // [B, W, 1] of the network's dtype: weights of the words' mean
  kGateBias,     // [B, branches, 1] of the network's dtype: -inf for a branch without its image
  kOtherKeys,    // [B, 1] bool: the second image may be attended to; undefined without second images
  kTableVector,  // [B, inputs] of the network's dtype: what the linear model of the table reads
  kOwnCount
};

// Pixels of the listed levels, with level embedding and position code.
class ImageTokens : public layers::Module {
 public:
  struct Level {
    core::Variable tokens;  // [B, height * width, D]
    int64_t level, height, width;
  };

  ImageTokens(const NetworkOptions& options, const std::array<int64_t, 4>& backbone_channels)
      : levels_(options.token_levels) {
    for (const int64_t level : levels_) {
      const int64_t in = options.branches.pyramid ? options.pyramid_channels
                                                  : backbone_channels[static_cast<size_t>(level - 2)];
      add_child(fmt::format("projection{}", level), projections_, in, options.dim,
                layers::Init::xavier_uniform(), options.parameters());
    }
    if (options.other_images) {
      other_embedding = add_parameter("other_embedding", {1, options.dim}, layers::Init::normal(0.02),
                                      options.parameters());
    }
    level_embedding = add_parameter("level_embedding", {static_cast<int64_t>(levels_.size()), options.dim},
                                    layers::Init::normal(0.02), options.parameters());
  }

  // Of the pyramid where there is one.
  std::vector<Level> forward(const ImageLevels& image, const layers::Context& context) {
    return forward(image.pyramid.back().defined() ? image.pyramid : image.backbone, {}, context);
  }
  // Of the second images; none where there are none.
  std::vector<Level> forward_other(const ImageLevels& image, const layers::Context& context) {
    if (!image.other_backbone.back().defined()) return {};
    return forward(image.other_pyramid.back().defined() ? image.other_pyramid : image.other_backbone,
                   other_embedding, context);
  }

  core::Variable level_embedding;  // [levels, D]
  core::Variable other_embedding;  // [1, D], of second images

 private:
  std::vector<Level> forward(const std::array<core::Variable, 4>& maps, const core::Variable& embedding,
                             const layers::Context& context) {
    std::vector<Level> result;
    for (size_t n = 0; n < levels_.size(); ++n) {
      const core::Variable& x = maps[static_cast<size_t>(levels_[n] - 2)];
      const int64_t height = x.size(1), width = x.size(2), row = static_cast<int64_t>(n);
      const core::Variable pixels = layers::reshape(x, {x.size(0), height * width, x.size(3)});
      const core::Variable code(codes_.get({height, width}, x.value().device(), [&] {
        return layers::position_code(height, width, level_embedding.size(1), level_embedding.dtype());
      }));
      core::Variable place = code + layers::slice(level_embedding, 0, row, row + 1);
      if (embedding.defined()) place = place + embedding;
      result.push_back({projections_[n].forward(pixels, context) + place, levels_[n], height, width});
    }
    return result;
  }

  std::vector<int64_t> levels_;
  std::deque<layers::Linear> projections_;
  layers::DeviceConstants codes_;  // by height and width
};

// Words with their places, [B, W, D], or their mean, [B, 1, D].
class TextTokens : public layers::Module {
 public:
  explicit TextTokens(const NetworkOptions& options)
      : mean_(options.text_tokens == TextForm::mean),
        words_(options.vocabulary, options.dim, layers::Init::normal(0.02), options.parameters()),
        position_(options.text_length, options.dim, layers::Init::normal(0.02), options.parameters(),
                  "position") {
    add_child("embedding", words_);
    add_child("", position_);
  }

  // Text, keys and weights. Throws core::Error on an id outside of the vocabulary.
  void prepare(const core::Tensor& ids, const core::Tensor& present, Prepared& batch) const {
    const int64_t samples = ids.size(0), length = position_.weight.size(0);
    const core::Tensor words = present.reshape({samples, 1}).expand({samples, length}).clone();
    for (int64_t i = 0; i < words.numel(); ++i) {
      const double id = ids.at(i);
      MEDFUSION_CHECK(id >= 0 && id < static_cast<double>(words_.weight.size(0)),
                      "text: token id {} is outside the vocabulary of {}", id, words_.weight.size(0));
      words.data<bool>()[i] &= id != 0.0;
    }
    batch.text = ids;
    batch.own[kTextKeys] = words;
    if (!mean_) return;
    const core::Tensor any = core::Tensor::zeros({samples, 1}, core::DType::boolean);
    const core::Tensor weights = core::Tensor::zeros({samples, length, 1}, words_.weight.dtype());
    for (int64_t b = 0; b < samples; ++b) {
      const bool* known = words.data<bool>() + b * length;
      const auto count = std::count(known, known + length, true);
      any.data<bool>()[b] = count > 0;
      for (int64_t w = 0; w < length; ++w) {
        if (known[w]) weights.slice(0, b, b + 1).slice(1, w, w + 1).fill(1.0 / static_cast<double>(count));
      }
    }
    batch.own[kTextKeys] = any;
    batch.own[kTextWeights] = weights;
  }

  core::Variable forward(const Prepared& batch) {
    const core::Variable words = words_.forward(batch.text) + position_.weight;
    return mean_ ? layers::sum(words * core::Variable(batch.own[kTextWeights]), {1}, true) : words;
  }

 private:
  bool mean_;
  layers::Embedding words_, position_;  // [V, D], [W, D]
};

// The whole sequence: labels, image, table, text.
class Tokens : public layers::Module {
 public:
  Tokens(const NetworkOptions& options, const std::array<int64_t, 4>& backbone_channels) : options_(options) {
    if (options.modalities.image) add_child("image_tokens", image_, options, backbone_channels);
    if (options.table_features > 0) {
      add_child("table_tokens", table_, options.table_features, options.dim, options.table_bins,
                options.parameters());
    }
    if (options.vocabulary > 0) add_child("text_tokens", text_, options);
  }

  void prepare(const core::Batch& given, const Presence& present, Prepared& batch) const {
    const core::Shape column{given.size(), 1};
    if (image_) batch.own[kImageKeys] = present.image.reshape(column);
    if (image_ && batch.other_images.defined()) batch.own[kOtherKeys] = present.other.reshape(column);
    if (table_) batch.own[kTableKeys] = present.table.reshape(column);
    if (table_) batch.table = table_->prepare(given.table);
    if (text_) text_->prepare(given.text, present.text, batch);
  }

  // label_queries [L, D] -> tokens [B, S, D], and what they may attend to.
  std::pair<core::Variable, layers::AttentionMasks> forward(const core::Variable& label_queries,
                                                            const ImageLevels& image, const Prepared& batch,
                                                            layers::Context& context) {
    using Group = layers::Trace::Tokens;
    const int64_t samples = batch.size();
    int64_t count = 0;
    std::vector<core::Variable> parts;
    std::vector<core::Tensor> keys;
    std::vector<Group> groups;
    const auto append = [&](Group group, const core::Variable& tokens, const core::Tensor& seen) {
      group.first = std::exchange(count, count + tokens.size(1));
      group.count = tokens.size(1);
      groups.push_back(group);
      parts.push_back(tokens);
      keys.push_back(seen.expand({samples, group.count}));
    };
    const auto bools = [&](int64_t width) {
      return core::Tensor::full({samples, width}, 1.0, core::DType::boolean, options_.device);
    };
    append({.kind = Group::Kind::labels},
           layers::expand(label_queries, {samples, options_.labels, options_.dim}), bools(1));
    if (image_) {
      for (const auto& [tokens, level, height, width] : image_->forward(image, context))
        append({Group::Kind::image, 0, 0, level, height, width}, tokens, batch.own[kImageKeys]);
      for (const auto& [tokens, level, height, width] : image_->forward_other(image, context))
        append({Group::Kind::other_image, 0, 0, level, height, width}, tokens, batch.own[kOtherKeys]);
    }
    const int64_t table_begin = count;
    if (table_) append({.kind = Group::Kind::table}, table_->forward(batch.table), batch.own[kTableKeys]);
    if (text_) append({.kind = Group::Kind::text}, text_->forward(batch), batch.own[kTextKeys]);

    layers::AttentionMasks masks{bools(count), {}};
    for (size_t part = 0; part < parts.size(); ++part) {
      const int64_t first = groups[part].first;
      masks.keys.slice(1, first, first + groups[part].count).copy_from(keys[part]);
    }
    if (table_ && options_.selection.defined()) {
      masks.pairs = pair_masks_.get({count}, options_.device, [&] { return pair_mask(count, table_begin); });
    }
    if (context.trace != nullptr) context.trace->tokens = groups;
    return {layers::concat(parts, 1), masks};
  }

 private:
  // [S, S] bool: a label and a table token see each other only where stage one selected the feature for the
  // label.
  core::Tensor pair_mask(int64_t count, int64_t table_begin) const {
    const core::Tensor mask = core::Tensor::full({count, count}, 1.0, core::DType::boolean);
    for (int64_t label = 0; label < options_.labels; ++label) {
      for (int64_t feature = 0; feature < options_.table_features; ++feature) {
        const int64_t token = table_begin + feature;
        const bool selected = options_.selection.at(label * options_.table_features + feature) != 0.0;
        mask.data<bool>()[label * count + token] = mask.data<bool>()[token * count + label] = selected;
      }
    }
    return mask;
  }

  NetworkOptions options_;
  std::optional<ImageTokens> image_;
  std::optional<layers::FeatureTokens> table_;
  std::optional<TextTokens> text_;
  layers::DeviceConstants pair_masks_;  // by the number of tokens
};

}  // namespace medfusion::models
