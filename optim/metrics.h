// Metrics of multi-label classification: per label and macro, by data/statistics/. A label that is unknown
// for a sample leaves that sample out; a value that does not exist (no positive, no negative, nothing known)
// is undefined and carries its reason.
#pragma once

#include <array>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "core/tensor.h"
#include "data/statistics/ranking.h"

namespace medfusion::optim {

// A number, or the reason why there is none.
struct MetricValue {
  std::optional<double> value;
  std::string reason;  // empty where there is a value

  static MetricValue of(double number) { return {number, {}}; }
  static MetricValue undefined(std::string why) { return {std::nullopt, std::move(why)}; }
  bool defined() const { return value.has_value(); }
};

enum class Metric : uint8_t { auroc, auprc, f1, gmean, sensitivity, specificity, accuracy };
inline constexpr std::array kMetrics{Metric::auroc,       Metric::auprc,       Metric::f1,      Metric::gmean,
                                     Metric::sensitivity, Metric::specificity, Metric::accuracy};
const char* name_of(Metric metric);

struct LabelMetrics {
  std::string name;
  int64_t positives = 0;
  int64_t negatives = 0;
  int64_t unknown = 0;
  MetricValue threshold;
  std::array<MetricValue, kMetrics.size()> values;

  const MetricValue& operator[](Metric metric) const { return values[static_cast<size_t>(metric)]; }
};

// The mean over the labels that have a value, and which those are.
struct MacroMetric {
  struct LeftOut {
    std::string label;
    std::string reason;
  };
  MetricValue mean;
  std::vector<std::string> averaged;
  std::vector<LeftOut> left_out;
};

struct Metrics {
  std::vector<LabelMetrics> labels;
  std::array<MacroMetric, kMetrics.size()> macro;

  const MacroMetric& operator[](Metric metric) const { return macro[static_cast<size_t>(metric)]; }
};

// One threshold per label, undefined where a class is missing; meant for the validation part. scores,
// targets: [samples, labels], floating; a target is 1, 0, or NaN or -1 for unknown, anything else throws
// core::Error.
std::vector<MetricValue> choose_thresholds(const core::Tensor& scores, const core::Tensor& targets,
                                           data::ThresholdRule rule = data::ThresholdRule::youden);

// 1 for the highest score of each row, the first of equal ones, and 0 for the others; of labels of which
// exactly one is true. scores: [samples, labels], floating.
core::Tensor most_probable(const core::Tensor& scores);

// Why labels of which exactly one is true have no threshold.
inline constexpr const char* kMostProbable = "the most probable label is predicted";

// All metrics. scores, targets: [samples, labels], floating; names and thresholds: one per label, names
// distinct. Where a label has no threshold, what depends on it is undefined. decisions: 1 or 0 in the shape
// of scores, in place of the thresholds; undefined: by those. ranking: orders the samples as the scores do
// but tells apart what rounds to one score; undefined: the scores.
Metrics compute_metrics(const core::Tensor& scores, const core::Tensor& targets,
                        const std::vector<std::string>& names, const std::vector<MetricValue>& thresholds,
                        const core::Tensor& decisions = {}, const core::Tensor& ranking = {});

// {"macro": {"auroc": 0.8, ..., "averaged": {"auroc": 12, ...}, "left_out": {"auroc": {"Hernia": "no positive
// ..."}}},
//  "labels": {"Mass": {"auroc": 0.8, ..., "threshold": 0.1, "positives": 3, "negatives": 9, "unknown": 0}}}.
// An undefined value is null, and "undefined" beside it holds its reason.
nlohmann::ordered_json to_json(const Metrics& metrics);

}  // namespace medfusion::optim
