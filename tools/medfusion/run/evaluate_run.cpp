#include "tools/medfusion/run/evaluate_run.h"

#include <unordered_map>

#include "tools/evaluation/measures/predictions_file.h"

namespace medfusion::tools {
namespace {

std::vector<Grouping> groupings_of(const data::Dataset& dataset, const std::vector<int64_t>& rows,
                                   const EvaluationOptions& config) {
  std::vector<Grouping> result;
  for (const data::Column* each : subgroup_columns(dataset.columns, config.subgroups)) {
    const bool age = same_name(each->name, "age");
    result.push_back(group_rows(*each, rows, age ? config.age_bands : std::vector<double>{}));
  }
  return result;
}

// most_probable: of softmax, what optim::most_probable gives; else undefined.
LabelPredictions label_of(const optim::Predictions& predictions, const core::Tensor& raw,
                          const core::Tensor& most_probable, const TrainedRun& run, int64_t at) {
  const auto label = static_cast<size_t>(at);
  LabelPredictions result;
  result.name = run.labels[label];
  result.probabilities = column(predictions.probabilities, at);
  result.logits = column(predictions.log_odds, at);
  result.targets = column(predictions.targets, at);
  const Preprocessing& fitted = run.preprocessing;
  if (label < fitted.thresholds.size()) result.threshold = fitted.thresholds[label];
  if (label < fitted.calibration.size()) {
    result.calibrator = fitted.calibration[label];
    if (result.calibrator->method != CalibrationMethod::none) result.raw = column(raw, at);
  }
  if (most_probable.defined()) {
    result.threshold = optim::MetricValue::undefined(optim::kMostProbable);
    for (const double one : column(most_probable, at)) result.predicted.push_back(one == 1.0 ? 1 : 0);
    return result;
  }
  if (label < fitted.risk.size()) result.cutoffs = fitted.risk[label];
  for (const double probability : result.probabilities) {
    if (result.threshold.defined())
      result.predicted.push_back(probability >= *result.threshold.value ? 1 : 0);
    if (result.cutoffs && result.cutoffs->defined())
      result.levels.push_back(result.cutoffs->level(probability));
  }
  return result;
}

nlohmann::ordered_json with_head(const std::string& split, const data::Dataset& dataset, const Config& config,
                                 const nlohmann::ordered_json& evaluation) {
  nlohmann::ordered_json json = {{"schema", 1},
                                 {"medfusion", MEDFUSION_VERSION},
                                 {"split", split},
                                 {"dataset", dataset.name},
                                 {"data_hash", fmt::format("{:016x}", dataset.hash)},
                                 {"calibration_method", core::text_of(config.calibration.method)},
                                 {"risk_method", core::text_of(config.risk.method)}};
  json.update(evaluation);
  return json;
}

// Each row's score is that of the fold whose test part holds it; undefined where it is in one of the folds.
std::vector<Control> out_of_fold_controls(const data::Dataset& dataset,
                                          const std::vector<data::Splits>& folds,
                                          const std::vector<int64_t>& rows,
                                          const std::vector<std::string>& wanted) {
  std::unordered_map<int64_t, size_t> place_of;
  for (size_t i = 0; i < rows.size(); ++i) place_of[rows[i]] = i;
  std::vector<Control> result;
  for (const data::Splits& fold : folds) {
    const std::vector<Control> own = standard_controls(dataset, fold.train, fold.test, wanted);
    for (size_t c = 0; c < own.size(); ++c) {
      if (result.size() <= c) {
        result.push_back({own[c].name, own[c].description, {}, {}});
        result[c].scores.resize(dataset.labels.size(), std::vector<double>(rows.size()));
      }
      if (!own[c].undefined.empty()) result[c].undefined = own[c].undefined;
      for (size_t label = 0; label < own[c].scores.size(); ++label) {
        for (size_t i = 0; i < fold.test.size(); ++i)
          result[c].scores[label][place_of.at(fold.test[i])] = own[c].scores[label][i];
      }
    }
  }
  return result;
}

}  // namespace

EvaluationOptions evaluation_options(const Config& config, int64_t resamples) {
  EvaluationOptions options = config.evaluation;
  options.resamples = resamples;
  options.seed = static_cast<uint64_t>(config.seed);
  return options;
}

nlohmann::ordered_json evaluate_run(const optim::Predictions& predictions, const data::Dataset& dataset,
                                    const std::vector<int64_t>& train, const TrainedRun& run,
                                    const std::string& split, const EvaluationOptions& options) {
  const core::Tensor raw = optim::to_probabilities(predictions.logits, run.config.model.output);
  EvaluationInput input;
  core::Tensor most_probable;
  if (run.config.model.output == optim::Output::softmax)
    most_probable = optim::most_probable(predictions.probabilities);
  input.exclusive = most_probable.defined();
  for (const int64_t row : predictions.rows)
    input.patients.push_back(dataset.patients[static_cast<size_t>(row)]);
  for (size_t label = 0; label < run.labels.size(); ++label) {
    input.labels.push_back(label_of(predictions, raw, most_probable, run, static_cast<int64_t>(label)));
  }
  input.groupings = groupings_of(dataset, predictions.rows, run.config.evaluation);
  input.controls = standard_controls(dataset, train, predictions.rows, options.controls);
  return with_head(split, dataset, run.config, evaluation_json(input, options));
}

nlohmann::ordered_json evaluate_out_of_fold(const std::string& predictions_csv, const data::Dataset& dataset,
                                            const std::vector<data::Splits>& folds, const Config& config,
                                            const EvaluationOptions& options) {
  PredictionsFile file = parse_predictions(predictions_csv, "predictions.csv");
  file.input.exclusive = output_of(config, dataset) == optim::Output::softmax;
  for (LabelPredictions& label : file.input.labels) {
    if (file.input.exclusive) label.threshold = optim::MetricValue::undefined(optim::kMostProbable);
  }
  std::unordered_map<std::string, int64_t> row_of;
  for (int64_t row = 0; row < dataset.size(); ++row) row_of[dataset.ids[static_cast<size_t>(row)]] = row;
  std::vector<int64_t> rows;
  for (const std::string& id : file.ids) rows.push_back(row_of.at(id));
  file.input.groupings = groupings_of(dataset, rows, config.evaluation);
  file.input.controls = out_of_fold_controls(dataset, folds, rows, options.controls);
  return with_head("out of fold", dataset, config, evaluation_json(file.input, options));
}

}  // namespace medfusion::tools
