#include "tools/medfusion/run/explain_json.h"

#include <cmath>

#include "data/statistics/intervals.h"
#include "data/text/tokenizer.h"

namespace medfusion::tools {
namespace {

using core::Tensor;
using Json = nlohmann::ordered_json;
using Tokens = layers::Trace::Tokens;

Tensor row_of(const Tensor& rows, int64_t sample, int64_t label) {
  return rows.slice(0, sample, sample + 1).squeeze(0).slice(0, label, label + 1).squeeze(0);
}

double sum_over(const Tensor& row, const Tokens& tokens) {
  double sum = 0.0;
  for (int64_t i = 0; i < tokens.count; ++i) sum += row.at(tokens.first + i);
  return sum;
}

std::string group_name(const Tokens& tokens, bool pyramid) {
  switch (tokens.kind) {
    case Tokens::Kind::labels:
      return "labels";
    case Tokens::Kind::image:
      return fmt::format("{}{}", pyramid ? 'P' : 'C', tokens.level);
    case Tokens::Kind::other_image:
      return fmt::format("other image {}{}", pyramid ? 'P' : 'C', tokens.level);
    case Tokens::Kind::table:
      return "table";
    default:
      return "text";
  }
}

// Change of logit and probability: with it minus without it.
Json change(const Contribution& contribution, const Explanation& explanation, int64_t sample, int64_t label,
            const TrainedRun& run) {
  const bool present = contribution.present[static_cast<size_t>(sample)];
  const auto probability = [&](const Tensor& logits) {
    return probabilities_of(logits.slice(0, sample, sample + 1), run).at(label);
  };
  const int64_t at = sample * explanation.logits.size(1) + label;
  if (!present) return {{"present", false}, {"probability", 0.0}, {"logit", 0.0}};
  return {{"present", true},
          {"probability", number(probability(explanation.logits) - probability(contribution.logits))},
          {"logit", number(explanation.logits.at(at) - contribution.logits.at(at))}};
}

Json features_json(const Explanation& explanation, int64_t sample, int64_t label, const TrainedRun& run) {
  Json features = Json::array();
  const std::vector<std::string> names = run.preprocessing.token_names();
  for (size_t f = 0; f < explanation.features.size(); ++f) {
    Json feature;
    feature["name"] = names.at(f);
    feature.update(change(explanation.features[f], explanation, sample, label, run));
    for (const Tokens& tokens : explanation.tokens) {
      if (tokens.kind != Tokens::Kind::table) continue;
      feature["attention"] =
          number(row_of(explanation.rollout, sample, label).at(tokens.first + static_cast<int64_t>(f)));
    }
    features.push_back(feature);
  }
  return features;
}

Json words_json(const Tensor& row, const Tokens& tokens, const std::string& text, const TrainedRun& run) {
  Json words = Json::array();
  if (run.config.model.text_tokens == models::TextForm::mean) {
    words.push_back({{"word", text}, {"attention", number(row.at(tokens.first))}});
    return words;
  }
  const std::vector<std::string> split = run.preprocessing.text->words_of(text);
  for (int64_t w = 0; w < tokens.count && w < static_cast<int64_t>(split.size()); ++w) {
    words.push_back(
        {{"word", split[static_cast<size_t>(w)]}, {"attention", number(row.at(tokens.first + w))}});
  }
  return words;
}

Json attention_json(const Explanation& explanation, int64_t sample, int64_t label, const TrainedRun& run,
                    const std::string& text) {
  const Tensor row = row_of(explanation.rollout, sample, label);
  Json json;
  for (const Tokens& tokens : explanation.tokens) {
    const std::string name = group_name(tokens, run.config.model.branches.pyramid);
    json["share"][name] = number(sum_over(row, tokens));
    if (tokens.kind == Tokens::Kind::labels) {
      for (size_t l = 0; l < run.labels.size(); ++l) {
        json["labels"][run.labels[l]] = number(row.at(static_cast<int64_t>(l)));
      }
    } else if (tokens.kind == Tokens::Kind::image) {
      Json values = Json::array();
      for (int64_t i = 0; i < tokens.count; ++i) values.push_back(number(row.at(tokens.first + i)));
      json["levels"].push_back(
          {{"level", name}, {"height", tokens.height}, {"width", tokens.width}, {"values", values}});
    } else if (tokens.kind == Tokens::Kind::text) {
      json["words"] = words_json(row, tokens, text, run);
    }
  }
  return json;
}

Json share_json(int64_t hits, int64_t count) {
  const data::Estimate share = data::wilson(hits, count);
  return {{"hits", hits},
          {"value", number(share.value)},
          {"low", number(share.low)},
          {"high", number(share.high)}};
}

}  // namespace

Tensor probabilities_of(const Tensor& logits, const TrainedRun& run) {
  return calibrated_probabilities(logits, run.config.model.output, run.preprocessing.calibration);
}

Json number(double value) {
  if (!std::isfinite(value)) return {};
  const double rounded = std::round(value * 1e6) / 1e6;
  return rounded == 0.0 ? 0.0 : rounded;  // no -0
}

Json label_json(const Explanation& explanation, int64_t sample, int64_t label, const TrainedRun& run,
                const std::string& text) {
  Json json = Json::object();
  const bool plain = explanation.tokens.empty();  // such a network cannot do without the image
  if (!plain || !explanation.features.empty()) {
    for (const Modality modality : kModalities) {
      const Contribution& contribution = explanation.modalities[static_cast<size_t>(modality)];
      if (!contribution.logits.defined() || (plain && modality == Modality::image)) continue;
      json["contributions"][name_of(modality)] = change(contribution, explanation, sample, label, run);
    }
    if (!explanation.features.empty()) {
      json["features"] = features_json(explanation, sample, label, run);
    }
  }
  if (explanation.gate.defined()) {
    const auto count = static_cast<int64_t>(explanation.branches.size());
    for (int64_t n = 0; n < count; ++n) {
      json["branches"][explanation.branches[static_cast<size_t>(n)]] =
          number(explanation.gate.at((sample * explanation.gate.size(1) + label) * count + n));
    }
  }
  if (explanation.rollout.defined()) {
    json["attention"] = attention_json(explanation, sample, label, run, text);
  }
  return json;
}

void AttentionAverage::add(const Explanation& explanation, int64_t samples) {
  if (!explanation.rollout.defined()) return;
  std::vector<Tensor> parts = explanation.attention;
  parts.push_back(explanation.rollout);
  tokens_ = explanation.tokens;
  labels_ = explanation.rollout.size(1), width_ = explanation.rollout.size(2);
  const auto size = static_cast<size_t>(labels_ * width_);
  rows_.resize(parts.size(), std::vector<double>(size, 0.0));
  for (size_t p = 0; p < parts.size(); ++p) {
    const float* from = parts[p].data<float>();
    for (int64_t b = 0; b < samples; ++b) {
      for (size_t i = 0; i < size; ++i) rows_[p][i] += from[static_cast<size_t>(b) * size + i];
    }
  }
  samples_ += samples;
}

Json AttentionAverage::to_json(const std::vector<std::string>& labels) const {
  if (samples_ == 0) return {};
  Json json;
  json["samples"] = samples_;
  json["labels"] = labels;
  for (size_t p = 0; p < rows_.size(); ++p) {
    Json part;
    part["name"] = p + 1 == rows_.size() ? "rollout" : fmt::format("layer {}", p + 1);
    Json shares = Json::array(), matrix = Json::array();
    for (int64_t l = 0; l < labels_; ++l) {
      const double* row = rows_[p].data() + l * width_;
      Json share, others = Json::array();
      for (const Tokens& tokens : tokens_) {
        double sum = 0.0;
        for (int64_t i = 0; i < tokens.count; ++i) sum += row[tokens.first + i];
        const std::string name = tokens.kind == Tokens::Kind::image         ? "image"
                                 : tokens.kind == Tokens::Kind::other_image ? "other image"
                                                                            : group_name(tokens, false);
        share[name] = number((share.contains(name) ? share[name].get<double>() : 0.0) +
                             sum / static_cast<double>(samples_));
      }
      for (int64_t k = 0; k < labels_; ++k) others.push_back(number(row[k] / static_cast<double>(samples_)));
      shares.push_back(share);
      matrix.push_back(others);
    }
    part["share"] = shares;
    part["label_label"] = matrix;
    json["maps"].push_back(part);
  }
  return json;
}

Json localization_json(const std::vector<LocalizationScore>& scores,
                       const std::vector<LocalizationCase>& cases) {
  Json json;
  for (const LocalizationScore& s : scores) {
    Json entry = {{"label", s.label},
                  {"cases", s.count},
                  {"pointing_game", share_json(s.hits, s.count)},
                  {"with_tolerance", share_json(s.near, s.count)},
                  {"chance", number(s.chance)},
                  {"peak_of_another", share_json(s.elsewhere, s.count)},
                  {"mean_iou", number(s.mean_iou)}};
    for (size_t k = 0; k < kOverlaps.size(); ++k) {
      entry["iou"][fmt::format("{:.1f}", kOverlaps[k])] = share_json(s.overlapping[k], s.count);
    }
    json["scores"].push_back(entry);
  }
  for (const LocalizationCase& each : cases) {
    Json boxes = Json::array();
    for (const FindingBox& box : each.boxes) {
      boxes.push_back({number(box.left), number(box.top), number(box.right), number(box.bottom)});
    }
    json["cases"].push_back({{"id", each.id},
                             {"label", each.label},
                             {"probability", number(each.probability)},
                             {"peak", {number(each.x), number(each.y)}},
                             {"hit", each.hit},
                             {"iou", number(each.iou)},
                             {"boxes", boxes}});
  }
  return json;
}

}  // namespace medfusion::tools
