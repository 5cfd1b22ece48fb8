#include "tools/evaluation/measures/compare_models.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "core/error.h"
#include "data/statistics/samples.h"
#include "data/statistics/significance.h"

namespace medfusion::tools {
namespace {

using Json = nlohmann::ordered_json;
using data::Mean;

std::set<int64_t> folds_in(const FoldedPredictions& cv) {
  return {cv.folds.front().begin(), cv.folds.front().end()};
}

std::vector<std::string> labels_in(const FoldedPredictions& cv) {
  std::vector<std::string> labels;
  for (const LabelPredictions& label : cv.predictions.front().input.labels) labels.push_back(label.name);
  return labels;
}

// A measure of one model: entry 0 on all rows, the others on the resamples.
struct Figure {
  std::vector<double> values;
  std::map<int64_t, Mean> per_fold;  // over the seeds, on all rows
};

// The figures of one model.
std::vector<Figure> figures_of(const FoldedPredictions& cv, const std::vector<Measure>& measures,
                               const PatientBootstrap& bootstrap, int64_t bins) {
  const auto numbers = numbers_of_patients(cv.predictions.front().input, bootstrap);
  const std::vector<std::string> labels = labels_in(cv);
  const auto count = static_cast<size_t>(bootstrap.resamples()) + 1;
  std::vector<Figure> figures(measures.size());
  std::vector<std::vector<Mean>> over_seeds(measures.size(), std::vector<Mean>(count));
  for (size_t seed = 0; seed < cv.seeds.size(); ++seed) {
    std::vector<std::vector<Mean>> over_folds(measures.size(), std::vector<Mean>(count));
    for (const int64_t fold : folds_in(cv)) {
      const ResampledMeasures measured = measure_fold(cv, seed, fold, labels, numbers, bootstrap, bins);
      for (size_t m = 0; m < measures.size(); ++m) {
        std::vector<Mean> over_labels(count);
        for (int64_t label = 0; label < measured.labels(); ++label) {
          const std::vector<double> draws = measured.draws(label, measures[m]);
          over_labels[0].add(measured.full(label)[measures[m]]);
          for (size_t i = 1; i < count; ++i) over_labels[i].add(draws[i - 1]);
        }
        for (size_t i = 0; i < count; ++i) over_folds[m][i].add(over_labels[i].value());
        figures[m].per_fold[fold].add(over_labels[0].value());
      }
    }
    for (size_t m = 0; m < measures.size(); ++m)
      for (size_t i = 0; i < count; ++i) over_seeds[m][i].add(over_folds[m][i].value());
  }
  for (size_t m = 0; m < measures.size(); ++m)
    for (const Mean& each : over_seeds[m]) figures[m].values.push_back(each.value());
  return figures;
}

std::vector<double> draws_of(const Figure& figure) {
  return {figure.values.begin() + 1, figure.values.end()};
}

// An average leaves out what is undefined, so no resample counts as undefined.
Json plain(Json json) {
  json.erase("undefined_resamples");
  return json;
}

Json per_fold_json(const Figure& figure) {
  Json json = Json::array();
  for (const auto& [fold, mean] : figure.per_fold) json.push_back(number_or_null(mean.value()));
  return json;
}

// Folds in which a is better than b, as good, and worse.
void add_wins(const Figure& a, const Figure& b, Measure measure, Json& model) {
  const double sign = larger_is_better(measure) ? 1.0 : -1.0;
  int64_t wins = 0, ties = 0, losses = 0;
  for (const auto& [fold, mean] : a.per_fold) {
    const double difference = sign * (mean.value() - b.per_fold.at(fold).value());
    wins += difference > 0.0 ? 1 : 0;
    ties += difference == 0.0 ? 1 : 0;
    losses += difference < 0.0 ? 1 : 0;
  }
  model["wins"] = wins;
  model["ties"] = ties;
  model["losses"] = losses;
}

// Adds p_holm to the differences of all models.
void adjust_for_models(Json& models) {
  std::vector<Json*> tests;
  std::vector<double> p;
  for (auto& [name, model] : models.items()) {
    if (!model.contains("difference")) continue;
    Json& test = model["difference"];
    tests.push_back(&test);
    p.push_back(test["p_value"].is_number() ? test["p_value"].get<double>() : kUndefined);
  }
  const std::vector<double> adjusted = data::holm(p);
  for (size_t i = 0; i < tests.size(); ++i) (*tests[i])["p_holm"] = number_or_null(adjusted[i]);
}

}  // namespace

Json compare_models(const std::vector<ComparedModel>& models, size_t reference, Measure primary,
                    const EvaluationOptions& options) {
  for (const ComparedModel& model : models) {
    const std::string why = why_not_comparable(models[reference].cv, model.cv);
    if (!why.empty())
      core::throw_input_error({}, "{} and {} cannot be compared: {}", models[reference].name, model.name,
                              why);
  }
  const FoldedPredictions& first = models[reference].cv;
  const EvaluationInput& input = first.predictions.front().input;
  const PatientBootstrap bootstrap(input.patients, options.resamples, options.seed);
  std::vector<Measure> measures{primary};
  for (const Measure each : kComparedMeasures) {
    if (each != primary) measures.push_back(each);
  }
  const auto of_reference = figures_of(first, measures, bootstrap, options.bins);
  Json json{{"primary", name_of(primary)},
            {"folds", folds_in(first).size()},
            {"seeds", first.seeds},
            {"samples", input.patients.size()},
            {"patients", bootstrap.patients()},
            {"resamples", options.resamples}};
  for (size_t i = 0; i < models.size(); ++i) {
    const auto own =
        i == reference ? of_reference : figures_of(models[i].cv, measures, bootstrap, options.bins);
    Json& model = json["models"][models[i].name];
    for (size_t m = 0; m < measures.size(); ++m)
      model["measures"][name_of(measures[m])] = plain(resampled_json(own[m].values[0], draws_of(own[m])));
    model["per_fold"] = per_fold_json(own[0]);
    if (i == reference) continue;
    model["difference"] = plain(paired_json(own[0].values[0], of_reference[0].values[0], draws_of(own[0]),
                                            draws_of(of_reference[0]))["difference"]);
    add_wins(own[0], of_reference[0], primary, model);
  }
  adjust_for_models(json["models"]);
  return json;
}

std::vector<MeasureValues> fold_measures(const FoldedPredictions& cv, size_t seed, int64_t bins) {
  const PatientBootstrap none(cv.predictions[seed].input.patients, 0, 0);
  const auto numbers = numbers_of_patients(cv.predictions[seed].input, none);
  std::vector<MeasureValues> result;
  for (const int64_t fold : std::set<int64_t>(cv.folds[seed].begin(), cv.folds[seed].end())) {
    const ResampledMeasures measured = measure_fold(cv, seed, fold, labels_in(cv), numbers, none, bins);
    MeasureValues values;
    for (const Measure measure : kMeasures) values[measure] = measured.macro(measure);
    result.push_back(values);
  }
  return result;
}

}  // namespace medfusion::tools
