#include "optim/metrics.h"

#include <cmath>
#include <set>

#include "core/error.h"
#include "data/statistics/confusion.h"
#include "data/statistics/samples.h"

namespace medfusion::optim {
namespace {

MetricValue value_or(double value, const std::string& why) {
  return std::isnan(value) ? MetricValue::undefined(why) : MetricValue::of(value);
}

// Column `label` of a [samples, labels] tensor.
std::vector<double> column(const core::Tensor& matrix, int64_t label) {
  const core::Tensor values = matrix.slice(1, label, label + 1).to(core::DType::f64).to_contiguous();
  return {values.data<double>(), values.data<double>() + values.numel()};
}

void check_matrices(const core::Tensor& scores, const core::Tensor& targets) {
  MEDFUSION_CHECK(scores.rank() == 2 && scores.shape() == targets.shape(),
                  "metrics: scores and targets are [samples, labels], got {} and {}", scores.shape().str(),
                  targets.shape().str());
  MEDFUSION_CHECK(core::is_floating(scores.dtype()) && core::is_floating(targets.dtype()),
                  "metrics: scores and targets are floating, got {} and {}", core::name_of(scores.dtype()),
                  core::name_of(targets.dtype()));
}

LabelMetrics metrics_of(const std::string& name, const std::vector<double>& scores,
                        const std::vector<double>& ranking, const std::vector<double>& labels,
                        const MetricValue& threshold, const std::vector<double>& decisions) {
  LabelMetrics result;
  const data::RankedScores ranked = data::rank_scores(ranking, labels);
  result.name = name;
  result.positives = ranked.positives;
  result.negatives = ranked.negatives;
  result.unknown = static_cast<int64_t>(labels.size()) - ranked.known();
  result.threshold = threshold;
  const auto put = [&](Metric metric, double value, const std::string& why) {
    result.values[static_cast<size_t>(metric)] = value_or(value, why);
  };
  std::string why = ranked.obstacle();
  put(Metric::auroc, data::auroc(ranked.groups), why);
  put(Metric::auprc, data::average_precision(ranked.groups), why);
  data::Confusion counts;  // of nothing, of which nothing is defined
  if (ranked.not_numbers == 0 && !decisions.empty()) {
    counts = data::confusion_at(decisions, labels, 0.5);
  } else if (ranked.not_numbers == 0 && threshold.defined()) {
    counts = data::confusion_at(scores, labels, *threshold.value);
  } else if (ranked.not_numbers == 0) {
    why = "no threshold: " + threshold.reason;
  }
  put(Metric::f1, data::f1(counts), counts.all() > 0 ? why + ", and none predicted" : why);
  put(Metric::gmean, data::gmean(counts), why);
  put(Metric::sensitivity, data::sensitivity(counts), why);
  put(Metric::specificity, data::specificity(counts), why);
  put(Metric::accuracy, data::accuracy(counts), why);
  return result;
}

MacroMetric macro_of(const std::vector<LabelMetrics>& labels, Metric metric) {
  MacroMetric result;
  data::Mean mean;
  for (const LabelMetrics& label : labels) {
    const MetricValue& value = label[metric];
    if (value.defined()) {
      mean.add(*value.value);
      result.averaged.push_back(label.name);
    } else {
      result.left_out.push_back({label.name, value.reason});
    }
  }
  result.mean = value_or(mean.value(), fmt::format("undefined for each of {} labels", labels.size()));
  return result;
}

void put_json(nlohmann::ordered_json& object, const std::string& key, const MetricValue& value) {
  object[key] = value.defined() ? nlohmann::ordered_json(*value.value) : nlohmann::ordered_json(nullptr);
  if (!value.defined()) object["undefined"][key] = value.reason;
}

}  // namespace

const char* name_of(Metric metric) {
  static constexpr std::array kNames{"auroc",       "auprc",       "f1",      "gmean",
                                     "sensitivity", "specificity", "accuracy"};
  static_assert(kNames.size() == kMetrics.size());
  return kNames.at(static_cast<size_t>(metric));
}

std::vector<MetricValue> choose_thresholds(const core::Tensor& scores, const core::Tensor& targets,
                                           data::ThresholdRule rule) {
  check_matrices(scores, targets);
  std::vector<MetricValue> thresholds;
  for (int64_t label = 0; label < scores.size(1); ++label) {
    const data::RankedScores ranked = data::rank_scores(column(scores, label), column(targets, label));
    thresholds.push_back(value_or(data::choose_threshold(ranked.groups, rule), ranked.obstacle()));
  }
  return thresholds;
}

core::Tensor most_probable(const core::Tensor& scores) {
  const int64_t labels = scores.size(1);
  const core::Tensor result = core::Tensor::zeros(scores.shape());
  for (int64_t row = 0; row < scores.size(0); ++row) {
    int64_t best = 0;
    for (int64_t label = 1; label < labels; ++label) {
      if (scores.at(row * labels + label) > scores.at(row * labels + best)) best = label;
    }
    result.data<float>()[row * labels + best] = 1.0F;
  }
  return result;
}

Metrics compute_metrics(const core::Tensor& scores, const core::Tensor& targets,
                        const std::vector<std::string>& names, const std::vector<MetricValue>& thresholds,
                        const core::Tensor& decisions, const core::Tensor& ranking) {
  check_matrices(scores, targets);
  MEDFUSION_CHECK(!decisions.defined() || decisions.shape() == scores.shape(),
                  "metrics: decisions {} for scores {}", decisions.shape().str(), scores.shape().str());
  const core::Tensor& ranked_by = ranking.defined() ? ranking : scores;
  check_matrices(ranked_by, targets);
  const auto count = static_cast<size_t>(scores.size(1));
  MEDFUSION_CHECK(names.size() == count && thresholds.size() == count,
                  "metrics: {} names and {} thresholds for {} labels", names.size(), thresholds.size(),
                  count);
  MEDFUSION_CHECK(std::set<std::string>(names.begin(), names.end()).size() == count,
                  "metrics: two labels of the same name");
  Metrics metrics;
  for (size_t i = 0; i < count; ++i) {
    const auto label = static_cast<int64_t>(i);
    metrics.labels.push_back(
        metrics_of(names[i], column(scores, label), column(ranked_by, label), column(targets, label),
                   thresholds[i], decisions.defined() ? column(decisions, label) : std::vector<double>()));
  }
  for (const Metric metric : kMetrics) {
    metrics.macro[static_cast<size_t>(metric)] = macro_of(metrics.labels, metric);
  }
  return metrics;
}

nlohmann::ordered_json to_json(const Metrics& metrics) {
  nlohmann::ordered_json macro = nlohmann::ordered_json::object();
  nlohmann::ordered_json averaged = nlohmann::ordered_json::object();
  nlohmann::ordered_json left_out = nlohmann::ordered_json::object();
  for (const Metric metric : kMetrics) {
    const MacroMetric& value = metrics[metric];
    put_json(macro, name_of(metric), value.mean);
    averaged[name_of(metric)] = value.averaged.size();
    for (const auto& [label, reason] : value.left_out) left_out[name_of(metric)][label] = reason;
  }
  macro["averaged"] = averaged;
  macro["left_out"] = left_out;
  nlohmann::ordered_json labels = nlohmann::ordered_json::object();
  for (const LabelMetrics& label : metrics.labels) {
    nlohmann::ordered_json& object = labels[label.name];
    for (const Metric metric : kMetrics) put_json(object, name_of(metric), label[metric]);
    put_json(object, "threshold", label.threshold);
    object["positives"] = label.positives;
    object["negatives"] = label.negatives;
    object["unknown"] = label.unknown;
  }
  return {{"macro", macro}, {"labels", labels}};
}

}  // namespace medfusion::optim
