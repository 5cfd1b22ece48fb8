// Metrics of multi-label classification: per label and macro. A label that is unknown for a sample leaves
// that sample out; a value that does not exist (no positive, no negative, nothing known) is undefined and
// carries its reason.
#pragma once

#include <array>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/tensor.h"

namespace medfusion::optim {

// A number, or the reason why there is none.
struct MetricValue {
  std::optional<double> value;
  std::string reason;  // empty where there is a value

  static MetricValue of(double number) { return {number, {}}; }
  static MetricValue undefined(std::string why) { return {std::nullopt, std::move(why)}; }
  bool defined() const { return value.has_value(); }
};

// Functions of one label: scores (higher means more likely positive) and labels (1 positive, 0 negative, NaN
// or -1 unknown; anything else throws core::Error), one of each per sample.

// Area under the ROC curve: the share of (positive, negative) pairs in the right order, ties counting half
// (Mann-Whitney; Hanley and McNeil, Radiology 143, 1982). Exact: pairs are counted in integers. Needs both
// classes.
MetricValue auroc(std::span<const double> scores, std::span<const double> labels);

// Average precision: sum over the distinct scores, from the highest, of (recall step) x (precision), without
// interpolation, as sklearn.metrics.average_precision_score. Needs both classes: with positives alone it
// would be 1 whatever the scores.
MetricValue average_precision(std::span<const double> scores, std::span<const double> labels);

// A sample is predicted positive where score >= threshold.
struct Confusion {
  int64_t true_positives = 0;
  int64_t false_positives = 0;
  int64_t true_negatives = 0;
  int64_t false_negatives = 0;
};
// A score that is not a number throws core::Error.
Confusion confusion_at(std::span<const double> scores, std::span<const double> labels, double threshold);

MetricValue sensitivity(const Confusion& counts);  // TP / (TP + FN)
MetricValue specificity(const Confusion& counts);  // TN / (TN + FP)
MetricValue gmean(const Confusion& counts);        // sqrt(sensitivity x specificity)
MetricValue f1(const Confusion& counts);           // 2 TP / (2 TP + FP + FN)
MetricValue accuracy(const Confusion& counts);     // (TP + TN) / all

// Which threshold to take, among the scores themselves: the one of highest sensitivity + specificity - 1
// (Youden, Cancer 3, 1950), or of highest F1. Of equal ones the highest. Needs both classes. Meant for the
// validation part.
enum class ThresholdRule : uint8_t { youden, f1 };
MetricValue choose_threshold(std::span<const double> scores, std::span<const double> labels,
                             ThresholdRule rule);

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

// One threshold per label. scores, targets: [samples, labels], floating.
std::vector<MetricValue> choose_thresholds(const core::Tensor& scores, const core::Tensor& targets,
                                           ThresholdRule rule = ThresholdRule::youden);

// All metrics. scores, targets: [samples, labels], floating; names and thresholds: one per label, names
// distinct. Where a label has no threshold, what depends on it is undefined.
Metrics compute_metrics(const core::Tensor& scores, const core::Tensor& targets,
                        const std::vector<std::string>& names, const std::vector<MetricValue>& thresholds);

// {"macro": {"auroc": 0.8, ..., "averaged": {"auroc": 12, ...}, "left_out": {"auroc": {"Hernia": "no positive
// ..."}}},
//  "labels": {"Mass": {"auroc": 0.8, ..., "threshold": 0.1, "positives": 3, "negatives": 9, "unknown": 0}}}.
// An undefined value is null, and "undefined" beside it holds its reason.
nlohmann::ordered_json to_json(const Metrics& metrics);

}  // namespace medfusion::optim
