#include "tools/evaluation/measures/evaluation.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "core/error.h"
#include "data/statistics/calibration_error.h"
#include "data/statistics/confusion.h"
#include "data/statistics/curves.h"
#include "data/statistics/delong.h"
#include "data/statistics/samples.h"
#include "tools/evaluation/measures/decision_intervals.h"
#include "tools/evaluation/measures/overall_accuracy.h"

namespace medfusion::tools {
namespace {

using Json = nlohmann::ordered_json;

// Some of the rows.
EvaluationInput rows_of(const EvaluationInput& input, const std::vector<int64_t>& rows) {
  const auto pick = [&](const auto& values) {
    std::decay_t<decltype(values)> result;
    if (values.empty()) return result;
    for (const int64_t row : rows) result.push_back(values.at(static_cast<size_t>(row)));
    return result;
  };
  EvaluationInput part{pick(input.patients), {}, {}, {}};
  for (const LabelPredictions& label : input.labels) {
    part.labels.push_back({.name = label.name,
                           .probabilities = pick(label.probabilities),
                           .logits = pick(label.logits),
                           .targets = pick(label.targets),
                           .predicted = pick(label.predicted),
                           .threshold = label.threshold});
  }
  return part;
}

// Measures with their intervals, for all labels.
class Summary {
 public:
  Summary(const EvaluationInput& input, const EvaluationOptions& options)
      : input_(input),
        bootstrap_(input.patients, options.resamples, options.seed, options.ranks),
        ranked_(ranked_labels(input, bootstrap_, options.bins)),
        resampled_(ranked_, bootstrap_) {}

  int64_t patients() const { return bootstrap_.patients(); }
  const PatientBootstrap& bootstrap() const { return bootstrap_; }
  const std::vector<uint32_t>& patient_of_row() const { return bootstrap_.patient_of_row(); }
  const RankedLabel& ranked(size_t label) const { return ranked_[label]; }

  Json of_label(size_t label, Measure measure) const {
    const auto at = static_cast<int64_t>(label);
    const double value = resampled_.full(at)[measure];
    Json json = resampled_json(value, resampled_.draws(at, measure));
    if (!json["low"].is_null() && json["low"] == json["high"])
      json.update(interval_json(without_resampling(value, input_.labels[label], measure)));
    if (json["value"].is_null())
      json["undefined"] = ranked_[label].why_undefined(measure, input_.labels[label].threshold.reason);
    return json;
  }

  Json of_macro(Measure measure) const {
    const double value = resampled_.macro(measure);
    Json json = resampled_json(value, resampled_.macro_draws(measure));
    if (!json["low"].is_null() && json["low"] == json["high"]) json["low"] = json["high"] = nullptr;
    const auto members = resampled_.averaged(measure);
    json["labels"] = members.size();
    if (members.empty())
      json["undefined"] = fmt::format("undefined for each of {} labels", input_.labels.size());
    return json;
  }

 private:
  // Where every resample gives the value: of a proportion that is 0 or 1, Wilson's interval, each patient
  // counting once; of others none.
  data::Estimate without_resampling(double value, const LabelPredictions& label, Measure measure) const {
    std::set<uint32_t> patients;  // of the rows that the proportion counts
    const bool proportion = measure == Measure::sensitivity || measure == Measure::specificity ||
                            measure == Measure::ppv || measure == Measure::npv ||
                            measure == Measure::accuracy;
    for (size_t row = 0; proportion && row < label.predicted.size(); ++row) {
      const double target = label.targets[row];
      const bool positive = label.predicted[row] == 1;
      const bool counts = measure == Measure::sensitivity   ? target == 1.0
                          : measure == Measure::specificity ? target == 0.0
                          : measure == Measure::accuracy    ? true
                                                            : positive == (measure == Measure::ppv);
      if (counts && !std::isnan(target)) patients.insert(bootstrap_.patient_of_row()[row]);
    }
    if (patients.empty() || (value != 0.0 && value != 1.0)) return {value, kUndefined, kUndefined};
    const auto trials = static_cast<int64_t>(patients.size());
    return data::wilson(value == 1.0 ? trials : 0, trials);
  }

  const EvaluationInput& input_;
  PatientBootstrap bootstrap_;
  std::vector<RankedLabel> ranked_;
  ResampledMeasures resampled_;
};

constexpr int64_t kEceDraws = 50, kShuffles = 100;

// The threshold of a point as the probability of the sample that ranks there.
Json to_json(const std::vector<data::CurvePoint>& points, const LabelPredictions& label) {
  std::map<double, double> probability_of;
  for (size_t row = 0; row < label.probabilities.size(); ++row) {
    if (!std::isnan(label.targets[row]))
      probability_of.emplace(label.ranking()[row], label.probabilities[row]);
  }
  auto list = Json::array();
  for (const data::CurvePoint& point : points) {
    const auto found = probability_of.find(point.threshold);
    list.push_back({point.x, point.y, found == probability_of.end() ? Json() : Json(found->second)});
  }
  return list;
}

Json to_json(const std::vector<data::CalibrationBin>& bins) {
  auto list = Json::array();
  for (const data::CalibrationBin& bin : bins) {
    const data::Estimate observed = bin.observed();
    list.push_back({{"lower", bin.lower},
                    {"upper", bin.upper},
                    {"count", bin.count},
                    {"mean_probability", bin.mean_probability()},
                    {"observed", observed.value},
                    {"low", observed.low},
                    {"high", observed.high}});
  }
  return list;
}

Json calibration_json(const std::vector<double>& probabilities, const std::vector<double>& targets,
                      const std::vector<uint32_t>& patients, const EvaluationOptions& options) {
  const auto equal_width = data::calibration_bins(probabilities, targets, options.bins, true);
  const auto equal_mass = data::calibration_bins(probabilities, targets, options.bins, false);
  const Recalibration recalibration = recalibrate(probabilities, targets, patients);
  const MeasureValues values =
      RankedLabel(probabilities, targets, patients, {}, options.bins)
          .measures(std::vector<uint32_t>(probabilities.empty() ? 1 : probabilities.size(), 1));
  Json intercept = interval_json(recalibration.intercept), slope = interval_json(recalibration.slope);
  if (!recalibration.undefined.empty()) intercept["undefined"] = slope["undefined"] = recalibration.undefined;
  return {{"intercept", intercept},
          {"slope", slope},
          {"brier", number_or_null(values[Measure::brier])},
          {"brier_scaled", number_or_null(values[Measure::brier_scaled])},
          {"log_loss", number_or_null(values[Measure::log_loss])},
          {"ece", number_or_null(data::expected_calibration_error(equal_width))},
          {"ece_equal_mass", number_or_null(data::expected_calibration_error(equal_mass))},
          {"ece_when_calibrated", number_or_null(data::expected_error_when_calibrated(
                                      probabilities, targets, options.bins, kEceDraws, options.seed))},
          {"bins", options.bins},
          {"equal_width", to_json(equal_width)},
          {"equal_mass", to_json(equal_mass)}};
}

Json risk_json(const LabelPredictions& label) {
  Json json{{"cutoffs", label.cutoffs ? label.cutoffs->to_json() : Json()}, {"levels", Json::array()}};
  if (label.levels.empty()) return json;
  for (const RiskGroup& group : risk_groups(label.levels, label.probabilities, label.targets)) {
    Json entry{{"level", name_of(group.level)}, {"count", group.count}, {"positives", group.positives}};
    entry["mean_probability"] = number_or_null(group.mean_probability);
    entry["observed"] = number_or_null(group.observed.value);
    entry["low"] = number_or_null(group.observed.low);
    entry["high"] = number_or_null(group.observed.high);
    json["levels"].push_back(entry);
  }
  int64_t positive_at_low = 0, negative_at_high = 0;
  for (size_t row = 0; row < label.predicted.size(); ++row) {
    positive_at_low += label.predicted[row] == 1 && label.levels[row] == RiskLevel::low ? 1 : 0;
    negative_at_high += label.predicted[row] == 0 && label.levels[row] == RiskLevel::high ? 1 : 0;
  }
  json["positive_at_low"] = positive_at_low;
  json["negative_at_high"] = negative_at_high;
  return json;
}

Json delong_json(const LabelPredictions& label) {
  const data::DelongAuroc result = data::delong(label.ranking(), label.targets);
  if (!result.undefined.empty()) return {{"auroc", nullptr}, {"undefined", result.undefined}};
  return {{"auroc", result.auroc},
          {"standard_error", result.standard_error},
          {"low", result.low},
          {"high", result.high}};
}

std::vector<double> decision_thresholds() {
  std::vector<double> thresholds;
  for (int i = 1; i < 100; ++i) thresholds.push_back(i / 100.0);
  return thresholds;
}

Json decision_json(const LabelPredictions& label, const PatientBootstrap& bootstrap) {
  const auto curve = data::decision_curve(label.probabilities, label.targets, decision_thresholds());
  const auto intervals = decision_intervals(curve, label.probabilities, label.targets, bootstrap);
  auto list = Json::array();
  for (size_t i = 0; i < curve.size(); ++i) {
    list.push_back({curve[i].threshold, curve[i].model, curve[i].all, 0.0, number_or_null(intervals[i].low),
                    number_or_null(intervals[i].high)});
  }
  return list;
}

Json confusion_json(const LabelPredictions& label) {
  if (label.predicted.empty()) return nullptr;
  const std::vector<double> decisions(label.predicted.begin(), label.predicted.end());
  const auto counts = data::confusion_at(decisions, label.targets, 0.5);
  return {{"true_positives", counts.true_positives},
          {"false_positives", counts.false_positives},
          {"true_negatives", counts.true_negatives},
          {"false_negatives", counts.false_negatives}};
}

Json label_json(const EvaluationInput& input, size_t at, const Summary& summary,
                const EvaluationOptions& options) {
  const LabelPredictions& label = input.labels[at];
  const RankedLabel& ranked = summary.ranked(at);
  const int64_t unknown =
      static_cast<int64_t>(label.targets.size()) - ranked.positives() - ranked.negatives();
  Json json{{"positives", ranked.positives()}, {"negatives", ranked.negatives()}, {"unknown", unknown}};
  json["threshold"] = label.threshold.defined() ? Json(*label.threshold.value) : Json();
  if (!label.threshold.defined()) json["no_threshold"] = label.threshold.reason;
  for (const Measure measure : kMeasures) json["measures"][name_of(measure)] = summary.of_label(at, measure);
  json["confusion"] = confusion_json(label);
  json["delong"] = delong_json(label);
  json["calibrator"] = label.calibrator ? label.calibrator->to_json() : Json();
  json["calibration"] =
      calibration_json(label.probabilities, label.targets, summary.patient_of_row(), options);
  if (!label.raw.empty()) {
    json["calibration_raw"] = calibration_json(label.raw, label.targets, summary.patient_of_row(), options);
  }
  json["risk"] = risk_json(label);
  json["roc"] = to_json(data::roc_curve(label.ranking(), label.targets), label);
  json["precision_recall"] = to_json(data::precision_recall_curve(label.ranking(), label.targets), label);
  json["decision"] = decision_json(label, summary.bootstrap());
  return json;
}

// The measures of subgroups that are told apart by more than their prevalence.
constexpr std::array kSubgroupMeasures{Measure::auroc,       Measure::auprc, Measure::sensitivity,
                                       Measure::specificity, Measure::brier, Measure::ece};

Json subgroup_json(const Subgroup& group, const EvaluationInput& input, const EvaluationOptions& options) {
  const EvaluationInput part = rows_of(input, group.rows);
  const Summary summary(part, options);
  Json json{{"name", group.name}, {"samples", group.rows.size()}, {"patients", summary.patients()}};
  for (const Measure measure : kSubgroupMeasures) json["macro"][name_of(measure)] = summary.of_macro(measure);
  json["labels"] = Json::object();
  for (size_t i = 0; i < input.labels.size(); ++i) {
    Json& label = json["labels"][input.labels[i].name];
    label = {{"positives", summary.ranked(i).positives()}, {"negatives", summary.ranked(i).negatives()}};
    for (const Measure measure : kSubgroupMeasures) label[name_of(measure)] = summary.of_label(i, measure);
  }
  return json;
}

Json control_json(const Control& control, const EvaluationInput& input, const EvaluationOptions& options) {
  Json json{{"name", control.name}, {"description", control.description}};
  if (!control.undefined.empty()) {
    json["undefined"] = control.undefined;
    return json;
  }
  EvaluationInput replaced{input.patients, {}, {}, {}};
  for (size_t i = 0; i < input.labels.size(); ++i) {
    replaced.labels.push_back({.name = input.labels[i].name,
                               .probabilities = control.scores.at(i),
                               .targets = input.labels[i].targets});
  }
  const Summary summary(replaced, options);
  json["macro"]["auroc"] = summary.of_macro(Measure::auroc);
  for (size_t i = 0; i < input.labels.size(); ++i) {
    json["labels"][input.labels[i].name]["auroc"] = summary.of_label(i, Measure::auroc);
  }
  return json;
}

// The mean over the shuffles, and the interval that holds 95% of them.
Json spread_json(const std::vector<double>& draws) {
  const Interval interval = percentile_interval(draws);
  return interval_json({data::mean(draws), interval.low, interval.high});
}

Json shuffled_json(const EvaluationInput& input, const EvaluationOptions& options) {
  std::vector<std::vector<double>> scores, targets;
  for (const LabelPredictions& label : input.labels) {
    scores.push_back(label.ranking());
    targets.push_back(label.targets);
  }
  const ShuffledAuroc shuffled = shuffled_auroc(scores, targets, kShuffles, options.seed);
  Json json{{"name", "labels_shuffled"},
            {"description",
             fmt::format("The network's predictions against labels shuffled among the rows: mean and spread "
                         "of {} shuffles.",
                         kShuffles)}};
  json["macro"]["auroc"] = spread_json(shuffled.macro);
  for (size_t i = 0; i < input.labels.size(); ++i) {
    json["labels"][input.labels[i].name]["auroc"] = spread_json(shuffled.labels[i]);
  }
  return json;
}

void check(const EvaluationInput& input) {
  MEDFUSION_CHECK(!input.patients.empty(), "evaluation: no rows");
  std::set<std::string> names;
  for (const LabelPredictions& label : input.labels) {
    const bool fits = label.probabilities.size() == input.patients.size() &&
                      label.targets.size() == input.patients.size() &&
                      (label.logits.empty() || label.logits.size() == input.patients.size()) &&
                      (label.raw.empty() || label.raw.size() == input.patients.size()) &&
                      (label.predicted.empty() || label.predicted.size() == input.patients.size()) &&
                      (label.levels.empty() || label.levels.size() == input.patients.size());
    MEDFUSION_CHECK(fits && names.insert(label.name).second,
                    "evaluation: label '{}' is there twice, or not for each of {} rows", label.name,
                    input.patients.size());
  }
}

}  // namespace

void EvaluationOptions::check_rules(const core::Require& require) const {
  require(std::adjacent_find(age_bands.begin(), age_bands.end(), std::greater_equal<>()) == age_bands.end(),
          {"evaluation.age_bands"}, "expected ascending numbers");
  for (const std::string& name : controls)
    require(std::find(kControlNames.begin(), kControlNames.end(), name) != kControlNames.end(),
            {"evaluation.controls"},
            "expected labels_shuffled, table_only, view_only or missing_only, got '" + name + "'");
}

Json number_or_null(double value) { return std::isnan(value) ? Json() : Json(value); }

Json interval_json(const data::Estimate& estimate) {
  return {{"value", number_or_null(estimate.value)},
          {"low", number_or_null(estimate.low)},
          {"high", number_or_null(estimate.high)}};
}

Json resampled_json(double value, const std::vector<double>& draws) {
  const Interval interval = interval_around(value, draws);
  Json json = interval_json({value, interval.low, interval.high});
  if (interval.undefined > 0) json["undefined_resamples"] = interval.undefined;
  return json;
}

Json paired_json(double first, double second, const std::vector<double>& first_draws,
                 const std::vector<double>& second_draws) {
  std::vector<double> differences;
  for (size_t i = 0; i < first_draws.size(); ++i) differences.push_back(first_draws[i] - second_draws[i]);
  Json json{{"first", resampled_json(first, first_draws)},
            {"second", resampled_json(second, second_draws)},
            {"difference", resampled_json(first - second, differences)}};
  // Draws that give no interval give no p-value either.
  Json& difference = json["difference"];
  difference["p_value"] =
      difference["low"].is_null() ? Json() : number_or_null(bootstrap_p_value(differences));
  return json;
}

std::vector<RankedLabel> ranked_labels(const EvaluationInput& input, const PatientBootstrap& bootstrap,
                                       int64_t bins) {
  std::vector<RankedLabel> ranked;
  for (const LabelPredictions& label : input.labels) {
    ranked.emplace_back(label.probabilities, label.targets, bootstrap.patient_of_row(), label.predicted, bins,
                        label.logits);
  }
  return ranked;
}

Json evaluation_json(const EvaluationInput& input, const EvaluationOptions& options) {
  check(input);
  const Summary summary(input, options);
  Json json{
      {"samples", input.patients.size()}, {"patients", summary.patients()}, {"resamples", options.resamples},
      {"confidence", data::kConfidence},  {"seed", options.seed},           {"macro", Json::object()},
      {"labels", Json::object()},         {"subgroups", Json::array()},     {"controls", Json::array()}};
  json["acc"] = overall_accuracy_json(input, summary.bootstrap());
  if (input.exclusive) json["confusion_matrix"] = confusion_matrix_json(input);
  for (const Measure measure : kMeasures) json["macro"][name_of(measure)] = summary.of_macro(measure);
  for (size_t i = 0; i < input.labels.size(); ++i)
    json["labels"][input.labels[i].name] = label_json(input, i, summary, options);
  for (const Grouping& grouping : input.groupings) {
    Json groups = Json::array();
    for (const Subgroup& group : grouping.groups) groups.push_back(subgroup_json(group, input, options));
    json["subgroups"].push_back({{"column", grouping.column}, {"groups", groups}});
  }
  if (std::find(options.controls.begin(), options.controls.end(), "labels_shuffled") !=
      options.controls.end())
    json["controls"].push_back(shuffled_json(input, options));
  for (const Control& control : input.controls)
    json["controls"].push_back(control_json(control, input, options));
  return json;
}

}  // namespace medfusion::tools
