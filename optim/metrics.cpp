#include "optim/metrics.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "core/error.h"
#include "data/roc.h"

namespace medfusion::optim {
namespace {

// The samples whose label is known, by descending score.
struct Ranking {
  struct Sample {
    double score;
    bool positive;
  };
  std::vector<Sample> samples;
  int64_t positives = 0;
  int64_t negatives = 0;
  int64_t not_numbers = 0;  // scores

  // Why the two classes cannot be ranked, or empty.
  std::string obstacle() const;
  // Calls visit(score, true positives, false positives) after each group of equal scores, from the highest.
  template <class Visit>
  void for_each_threshold(Visit&& visit) const;
};

enum class Known : uint8_t { no, negative, positive };

Known known(double label) {
  if (std::isnan(label) || label == -1.0) return Known::no;
  MEDFUSION_CHECK(label == 0.0 || label == 1.0, "metrics: a label is 0, 1, -1 or NaN, got {}", label);
  return label == 1.0 ? Known::positive : Known::negative;
}

void check_sizes(std::span<const double> scores, std::span<const double> labels) {
  MEDFUSION_CHECK(scores.size() == labels.size(), "metrics: {} scores for {} labels", scores.size(),
                  labels.size());
}

Ranking rank(std::span<const double> scores, std::span<const double> labels) {
  check_sizes(scores, labels);
  Ranking ranking;
  for (size_t i = 0; i < scores.size(); ++i) {
    const Known state = known(labels[i]);
    if (state == Known::no) continue;
    const bool positive = state == Known::positive;
    (positive ? ranking.positives : ranking.negatives) += 1;
    if (std::isnan(scores[i])) {
      ++ranking.not_numbers;
      continue;
    }
    ranking.samples.push_back({scores[i], positive});
  }
  std::sort(ranking.samples.begin(), ranking.samples.end(),
            [](const auto& a, const auto& b) { return a.score > b.score; });
  return ranking;
}

std::string missing_class(int64_t positives, int64_t negatives) {
  if (positives + negatives == 0) return "no known label";
  if (positives == 0) return fmt::format("no positive among {} known labels", negatives);
  if (negatives == 0) return fmt::format("no negative among {} known labels", positives);
  return {};
}

std::string Ranking::obstacle() const {
  if (not_numbers > 0) {
    return fmt::format("{} of {} scores are not numbers", not_numbers, positives + negatives);
  }
  return missing_class(positives, negatives);
}

template <class Visit>
void Ranking::for_each_threshold(Visit&& visit) const {
  int64_t true_positives = 0;
  int64_t false_positives = 0;
  for (size_t i = 0; i < samples.size();) {
    const double score = samples[i].score;
    for (; i < samples.size() && samples[i].score == score; ++i) {
      (samples[i].positive ? true_positives : false_positives) += 1;
    }
    visit(score, true_positives, false_positives);
  }
}

MetricValue ratio(int64_t part, int64_t whole) {
  return MetricValue::of(static_cast<double>(part) / static_cast<double>(whole));
}

MetricValue auroc_of(const Ranking& ranking) {
  if (const std::string why = ranking.obstacle(); !why.empty()) return MetricValue::undefined(why);
  std::vector<data::ScoreGroup> groups;
  int64_t positives_above = 0;
  int64_t negatives_above = 0;
  ranking.for_each_threshold([&](double score, int64_t true_positives, int64_t false_positives) {
    groups.push_back({score, true_positives - positives_above, false_positives - negatives_above});
    positives_above = true_positives;
    negatives_above = false_positives;
  });
  std::reverse(groups.begin(), groups.end());
  return MetricValue::of(data::auroc(groups));
}

MetricValue average_precision_of(const Ranking& ranking) {
  if (const std::string why = ranking.obstacle(); !why.empty()) return MetricValue::undefined(why);
  double sum = 0.0;
  int64_t positives_above = 0;
  ranking.for_each_threshold([&](double, int64_t true_positives, int64_t false_positives) {
    const double precision =
        static_cast<double>(true_positives) / static_cast<double>(true_positives + false_positives);
    sum += static_cast<double>(true_positives - positives_above) * precision;
    positives_above = true_positives;
  });
  return MetricValue::of(sum / static_cast<double>(ranking.positives));
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
                        const std::vector<double>& labels, const MetricValue& threshold) {
  LabelMetrics result;
  const Ranking ranking = rank(scores, labels);
  result.name = name;
  result.positives = ranking.positives;
  result.negatives = ranking.negatives;
  result.unknown = static_cast<int64_t>(labels.size()) - ranking.positives - ranking.negatives;
  result.threshold = threshold;
  const auto put = [&](Metric metric, MetricValue value) {
    result.values[static_cast<size_t>(metric)] = std::move(value);
  };
  put(Metric::auroc, auroc_of(ranking));
  put(Metric::auprc, average_precision_of(ranking));
  std::string why;
  if (!threshold.defined()) why = "no threshold: " + threshold.reason;
  if (ranking.not_numbers > 0) why = ranking.obstacle();
  if (!why.empty()) {
    for (const Metric metric :
         {Metric::f1, Metric::gmean, Metric::sensitivity, Metric::specificity, Metric::accuracy}) {
      put(metric, MetricValue::undefined(why));
    }
    return result;
  }
  const Confusion counts = confusion_at(scores, labels, *threshold.value);
  put(Metric::f1, f1(counts));
  put(Metric::gmean, gmean(counts));
  put(Metric::sensitivity, sensitivity(counts));
  put(Metric::specificity, specificity(counts));
  put(Metric::accuracy, accuracy(counts));
  return result;
}

MacroMetric macro_of(const std::vector<LabelMetrics>& labels, Metric metric) {
  MacroMetric result;
  double sum = 0.0;
  for (const LabelMetrics& label : labels) {
    const MetricValue& value = label[metric];
    if (value.defined()) {
      sum += *value.value;
      result.averaged.push_back(label.name);
    } else {
      result.left_out.push_back({label.name, value.reason});
    }
  }
  result.mean = result.averaged.empty()
                    ? MetricValue::undefined(fmt::format("undefined for each of {} labels", labels.size()))
                    : MetricValue::of(sum / static_cast<double>(result.averaged.size()));
  return result;
}

void put_json(nlohmann::ordered_json& object, const std::string& key, const MetricValue& value) {
  object[key] = value.defined() ? nlohmann::ordered_json(*value.value) : nlohmann::ordered_json(nullptr);
  if (!value.defined()) object["undefined"][key] = value.reason;
}

}  // namespace

MetricValue auroc(std::span<const double> scores, std::span<const double> labels) {
  return auroc_of(rank(scores, labels));
}

MetricValue average_precision(std::span<const double> scores, std::span<const double> labels) {
  return average_precision_of(rank(scores, labels));
}

Confusion confusion_at(std::span<const double> scores, std::span<const double> labels, double threshold) {
  check_sizes(scores, labels);
  Confusion counts;
  for (size_t i = 0; i < scores.size(); ++i) {
    const Known state = known(labels[i]);
    if (state == Known::no) continue;
    MEDFUSION_CHECK(!std::isnan(scores[i]), "metrics: score {} is not a number", i);
    if (state == Known::positive) {
      (scores[i] >= threshold ? counts.true_positives : counts.false_negatives) += 1;
    } else {
      (scores[i] >= threshold ? counts.false_positives : counts.true_negatives) += 1;
    }
  }
  return counts;
}

MetricValue sensitivity(const Confusion& counts) {
  const int64_t positives = counts.true_positives + counts.false_negatives;
  const int64_t negatives = counts.true_negatives + counts.false_positives;
  if (positives == 0) return MetricValue::undefined(missing_class(positives, negatives));
  return ratio(counts.true_positives, positives);
}

MetricValue specificity(const Confusion& counts) {
  const int64_t positives = counts.true_positives + counts.false_negatives;
  const int64_t negatives = counts.true_negatives + counts.false_positives;
  if (negatives == 0) return MetricValue::undefined(missing_class(positives, negatives));
  return ratio(counts.true_negatives, negatives);
}

MetricValue gmean(const Confusion& counts) {
  const MetricValue first = sensitivity(counts);
  const MetricValue second = specificity(counts);
  if (!first.defined()) return first;
  if (!second.defined()) return second;
  return MetricValue::of(std::sqrt(*first.value * *second.value));
}

MetricValue f1(const Confusion& counts) {
  const int64_t whole = 2 * counts.true_positives + counts.false_positives + counts.false_negatives;
  if (whole > 0) return ratio(2 * counts.true_positives, whole);
  if (counts.true_negatives == 0) return MetricValue::undefined("no known label");
  return MetricValue::undefined(
      fmt::format("no positive among {} known labels, and none predicted", counts.true_negatives));
}

MetricValue accuracy(const Confusion& counts) {
  const int64_t right = counts.true_positives + counts.true_negatives;
  const int64_t all = right + counts.false_positives + counts.false_negatives;
  if (all == 0) return MetricValue::undefined("no known label");
  return ratio(right, all);
}

MetricValue choose_threshold(std::span<const double> scores, std::span<const double> labels,
                             ThresholdRule rule) {
  const Ranking ranking = rank(scores, labels);
  if (const std::string why = ranking.obstacle(); !why.empty()) return MetricValue::undefined(why);
  std::optional<double> best;
  // The objective as a fraction of integers, compared by cross-multiplication: rounding never decides between
  // equals.
  __extension__ using Wide = __int128;
  Wide best_numerator = 0;
  Wide best_denominator = 1;
  ranking.for_each_threshold([&](double score, int64_t true_positives, int64_t false_positives) {
    Wide numerator = 0;
    Wide denominator = 1;
    if (rule == ThresholdRule::youden) {  // J x positives x negatives
      numerator = Wide{true_positives} * ranking.negatives - Wide{false_positives} * ranking.positives;
    } else {  // F1 / 2; 2 TP + FP + FN = TP + FP + positives
      numerator = true_positives;
      denominator = true_positives + false_positives + ranking.positives;
    }
    if (!best || numerator * best_denominator > best_numerator * denominator) {
      best = score;
      best_numerator = numerator;
      best_denominator = denominator;
    }
  });
  return MetricValue::of(*best);
}

const char* name_of(Metric metric) {
  switch (metric) {
    case Metric::auroc:
      return "auroc";
    case Metric::auprc:
      return "auprc";
    case Metric::f1:
      return "f1";
    case Metric::gmean:
      return "gmean";
    case Metric::sensitivity:
      return "sensitivity";
    case Metric::specificity:
      return "specificity";
    case Metric::accuracy:
      return "accuracy";
  }
  return "?";
}

std::vector<MetricValue> choose_thresholds(const core::Tensor& scores, const core::Tensor& targets,
                                           ThresholdRule rule) {
  check_matrices(scores, targets);
  std::vector<MetricValue> thresholds;
  for (int64_t label = 0; label < scores.size(1); ++label) {
    thresholds.push_back(choose_threshold(column(scores, label), column(targets, label), rule));
  }
  return thresholds;
}

Metrics compute_metrics(const core::Tensor& scores, const core::Tensor& targets,
                        const std::vector<std::string>& names, const std::vector<MetricValue>& thresholds) {
  check_matrices(scores, targets);
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
        metrics_of(names[i], column(scores, label), column(targets, label), thresholds[i]));
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
