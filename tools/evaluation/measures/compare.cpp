#include "tools/evaluation/measures/compare.h"

#include <algorithm>
#include <cmath>
#include <unordered_map>

#include "core/error.h"
#include "data/statistics/delong.h"
#include "data/statistics/significance.h"
#include "tools/evaluation/measures/bootstrap.h"

namespace medfusion::tools {
namespace {

using Json = nlohmann::ordered_json;

// Two files that must have the same rows, labels and targets.
struct Files {
  const PredictionsFile &first, &second;
  const std::string &first_name, &second_name;

  [[noreturn]] void refuse(const std::string& what) const { core::throw_input_error({second_name}, what); }
};

// The rows of the second file in the order of the first.
std::vector<size_t> match_rows(const Files& files) {
  const auto& [first, second, first_name, second_name] = files;
  std::unordered_map<std::string_view, size_t> row_of;
  for (size_t row = 0; row < second.ids.size(); ++row) row_of[second.ids[row]] = row;
  std::vector<size_t> rows;
  for (size_t i = 0; i < first.ids.size(); ++i) {
    const auto found = row_of.find(first.ids[i]);
    if (found == row_of.end())
      files.refuse(fmt::format("expected a row for '{}', which {} has", first.ids[i], first_name));
    if (second.input.patients[found->second] != first.input.patients[i]) {
      files.refuse(fmt::format("expected patient '{}' for '{}' as {} has it, got '{}'",
                               first.input.patients[i], first.ids[i], first_name,
                               second.input.patients[found->second]));
    }
    rows.push_back(found->second);
  }
  if (rows.size() != second.ids.size())
    files.refuse(
        fmt::format("expected the {} rows of {}, got {}", rows.size(), first_name, second.ids.size()));
  return rows;
}

LabelPredictions match_label(const Files& files, const LabelPredictions& label,
                             const std::vector<size_t>& rows) {
  const auto& labels = files.second.input.labels;
  const auto found = std::find_if(labels.begin(), labels.end(),
                                  [&](const LabelPredictions& each) { return each.name == label.name; });
  if (found == labels.end())
    files.refuse(fmt::format("expected label '{}', which {} has", label.name, files.first_name));
  LabelPredictions result{.name = label.name};
  for (size_t i = 0; i < rows.size(); ++i) {
    const double target = found->targets[rows[i]];
    if (target != label.targets[i] && !(std::isnan(target) && std::isnan(label.targets[i]))) {
      files.refuse(fmt::format("expected the target of '{}' for '{}' that {} has", label.name,
                               files.first.ids[i], files.first_name));
    }
    result.probabilities.push_back(found->probabilities[rows[i]]);
    if (!found->logits.empty()) result.logits.push_back(found->logits[rows[i]]);
    result.targets.push_back(target);
    if (!found->predicted.empty()) result.predicted.push_back(found->predicted[rows[i]]);
  }
  return result;
}

// The second file with the rows and labels of the first, in its order.
EvaluationInput match(const Files& files) {
  const std::vector<size_t> rows = match_rows(files);
  const auto& labels = files.first.input.labels;
  EvaluationInput result{files.first.input.patients, {}, {}, {}};
  if (labels.size() != files.second.input.labels.size()) {
    files.refuse(fmt::format("expected the {} labels of {}, got {}", labels.size(), files.first_name,
                             files.second.input.labels.size()));
  }
  for (const LabelPredictions& label : labels) result.labels.push_back(match_label(files, label, rows));
  return result;
}

class Comparison {
 public:
  Comparison(const EvaluationInput& first, const EvaluationInput& second, const EvaluationOptions& options)
      : bootstrap_(first.patients, options.resamples, options.seed),
        first_(ranked_labels(first, bootstrap_, options.bins), bootstrap_),
        second_(ranked_labels(second, bootstrap_, options.bins), bootstrap_) {}

  int64_t patients() const { return bootstrap_.patients(); }

  Json of_label(int64_t label, Measure measure) const {
    return paired_json(first_.full(label)[measure], second_.full(label)[measure],
                       first_.draws(label, measure), second_.draws(label, measure));
  }

  // Over the labels for which both have it: NaN spreads through the sum otherwise.
  Json of_macro(Measure measure) const {
    const auto resamples = static_cast<size_t>(bootstrap_.resamples());
    double a = 0.0, b = 0.0;
    std::vector<double> a_draws(resamples, 0.0), b_draws(resamples, 0.0);
    int64_t members = 0;
    for (int64_t label = 0; label < first_.labels(); ++label) {
      if (std::isnan(first_.full(label)[measure]) || std::isnan(second_.full(label)[measure])) continue;
      ++members;
      a += first_.full(label)[measure];
      b += second_.full(label)[measure];
      add(a_draws, first_.draws(label, measure));
      add(b_draws, second_.draws(label, measure));
    }
    const double count = members == 0 ? kUndefined : static_cast<double>(members);
    for (auto* draws : {&a_draws, &b_draws}) {
      for (double& draw : *draws) draw /= count;
    }
    Json json = paired_json(a / count, b / count, a_draws, b_draws);
    json["labels"] = members;
    return json;
  }

 private:
  static void add(std::vector<double>& sums, const std::vector<double>& values) {
    for (size_t i = 0; i < sums.size(); ++i) sums[i] += values[i];
  }

  PatientBootstrap bootstrap_;
  ResampledMeasures first_, second_;
};

Json delong_json(const LabelPredictions& first, const LabelPredictions& second) {
  const data::DelongComparison result = data::delong_paired(first.ranking(), second.ranking(), first.targets);
  if (!result.undefined.empty()) return {{"difference", nullptr}, {"undefined", result.undefined}};
  return {{"first", result.first},
          {"second", result.second},
          {"difference", result.difference},
          {"standard_error", result.standard_error},
          {"low", result.low},
          {"high", result.high},
          {"z", result.z},
          {"p_value", result.p_value}};
}

// Adds "p_holm" beside each "p_value" of the labels' differences: one family for each measure, and DeLong's.
void adjust_p_values(Json& labels) {
  std::vector<std::string> pointers{"/delong"};
  for (const Measure measure : kMeasures)
    pointers.push_back(std::string("/measures/") + name_of(measure) + "/difference");
  for (const std::string& pointer : pointers) {
    std::vector<Json*> tests;
    std::vector<double> p;
    for (Json& label : labels) {
      Json& test = label[Json::json_pointer(pointer)];
      if (!test.contains("p_value")) continue;
      tests.push_back(&test);
      p.push_back(test["p_value"].is_number() ? test["p_value"].get<double>() : kUndefined);
    }
    const std::vector<double> adjusted = data::holm(p);
    for (size_t i = 0; i < tests.size(); ++i) (*tests[i])["p_holm"] = number_or_null(adjusted[i]);
  }
}

std::string number(const Json& value, const char* format = "{:.4f}") {
  return value.is_null() ? "-" : fmt::format(fmt::runtime(format), value.get<double>());
}

// The adjusted p where there is one; "<=" where no draw lies on the other side of 0, and more draws might
// give less.
std::string p_text(const Json& test, int64_t resamples) {
  const Json raw = test.value("p_value", Json()), p = test.value("p_holm", raw);
  if (!raw.is_number()) return "-";
  return (is_least_p_value(raw.get<double>(), resamples) ? "<=" : "") +
         number(p, resamples > 0 ? "{:.4f}" : "{:.2g}");
}

std::string interval(const Json& value) {
  if (value.at("low").is_null()) return number(value.at("value"), "{:+.4f}");
  return number(value.at("value"), "{:+.4f}") + " [" + number(value.at("low"), "{:+.4f}") + " " +
         number(value.at("high"), "{:+.4f}") + "]";
}

// Of compare_folds.
std::string folds_line(const Json& cv) {
  if (cv.contains("undefined")) {
    return fmt::format("\nmean over folds and seeds: not compared, for {}\n",
                       cv.at("undefined").get<std::string>());
  }
  const Json& macro = cv.at("macro_auroc");
  return fmt::format(
      "\nmacro AUROC, mean over {} folds and {} seeds: first {}, second {}, difference {}, p {}\n"
      "(the tables above: {}out-of-fold predictions pooled over the folds)\n",
      cv.at("folds").get<int64_t>(), cv.at("seeds").size(), number(macro.at("first").at("value")),
      number(macro.at("second").at("value")), interval(macro.at("difference")),
      number(macro.at("difference").at("p_value"), "{:.4f}"),
      cv.at("seeds").size() > 1 ? "the first seed's " : "");
}

}  // namespace

Json compare_predictions(const PredictionsFile& first, const PredictionsFile& second,
                         const std::string& first_name, const std::string& second_name,
                         const EvaluationOptions& options) {
  const EvaluationInput matched = match({first, second, first_name, second_name});
  const Comparison comparison(first.input, matched, options);
  Json json{{"schema", 1},
            {"medfusion", MEDFUSION_VERSION},
            {"first", first_name},
            {"second", second_name},
            {"samples", first.ids.size()},
            {"patients", comparison.patients()},
            {"resamples", options.resamples},
            {"confidence", data::kConfidence},
            {"seed", options.seed}};
  for (const Measure measure : kMeasures) json["macro"][name_of(measure)] = comparison.of_macro(measure);
  for (size_t i = 0; i < first.input.labels.size(); ++i) {
    Json& label = json["labels"][first.input.labels[i].name];
    const auto& targets = first.input.labels[i].targets;
    label["positives"] = std::count(targets.begin(), targets.end(), 1.0);
    label["negatives"] = std::count(targets.begin(), targets.end(), 0.0);
    label["delong"] = delong_json(first.input.labels[i], matched.labels[i]);
    for (const Measure measure : kMeasures) {
      label["measures"][name_of(measure)] = comparison.of_label(static_cast<int64_t>(i), measure);
    }
  }
  adjust_p_values(json["labels"]);
  return json;
}

std::string comparison_table(const Json& comparison) {
  const auto resamples = comparison.at("resamples").get<int64_t>();
  size_t width = 5;
  for (const auto& [name, label] : comparison.at("labels").items()) width = std::max(width, name.size());
  std::string text =
      fmt::format("first   {}\nsecond  {}\n{} samples of {} patients, {} resamples\n\n",
                  comparison.at("first").get<std::string>(), comparison.at("second").get<std::string>(),
                  comparison.at("samples").get<int64_t>(), comparison.at("patients").get<int64_t>(),
                  comparison.at("resamples").get<int64_t>());
  text +=
      fmt::format("{:<{}}  {:>9}  {:>7}  {:>7}  {:<27}  {:>8}  {:<27}  {:>8}\n", "AUROC", width, "positives",
                  "first", "second", "difference, bootstrap", "p, Holm", "difference, DeLong", "p, Holm");
  const auto line = [&](const std::string& name, const std::string& positives, const Json& auroc,
                        const Json& delong) {
    const Json& difference = auroc.at("difference");
    text += fmt::format("{:<{}}  {:>9}  {:>7}  {:>7}  {:<27}  {:>8}", name, width, positives,
                        number(auroc.at("first").at("value")), number(auroc.at("second").at("value")),
                        interval(difference), p_text(difference, resamples));
    if (!delong.is_null() && !delong.at("difference").is_null()) {
      const Json value{
          {"value", delong.at("difference")}, {"low", delong.at("low")}, {"high", delong.at("high")}};
      text += fmt::format("  {:<27}  {:>8}", interval(value), p_text(delong, 0));
    }
    text += "\n";
  };
  for (const auto& [name, label] : comparison.at("labels").items()) {
    line(name, fmt::format("{}", label.at("positives").get<int64_t>()), label.at("measures").at("auroc"),
         label.at("delong"));
  }
  line("macro", "", comparison.at("macro").at("auroc"), nullptr);
  if (comparison.at("labels").size() > 1)
    text +=
        "p is adjusted for the number of labels (Holm), intervals are not: one may leave out 0 where p is "
        "above 0.05.\n";
  text += fmt::format("\n{:<17}  {:>7}  {:>7}  {:<27}  {:>8}\n", "macro", "first", "second",
                      "difference, bootstrap", "p");
  for (const auto& [name, pair] : comparison.at("macro").items()) {
    const Json& difference = pair.at("difference");
    text += fmt::format("{:<17}  {:>7}  {:>7}  {:<27}  {:>8}\n", name, number(pair.at("first").at("value")),
                        number(pair.at("second").at("value")), interval(difference),
                        p_text(difference, resamples));
  }
  if (comparison.contains("cross_validation")) text += folds_line(comparison.at("cross_validation"));
  return text;
}

}  // namespace medfusion::tools
