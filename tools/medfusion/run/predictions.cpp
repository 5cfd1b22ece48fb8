// What a run makes of a network's logits: calibrated probabilities, thresholds, risk levels, and their file.
#include <algorithm>
#include <cmath>

#include "tools/medfusion/config/text_file.h"
#include "tools/medfusion/run/pipeline.h"

namespace medfusion::tools {

using core::Tensor;

std::vector<double> column(const Tensor& matrix, int64_t label) {
  const Tensor values = matrix.slice(1, label, label + 1).to(core::DType::f64).to_contiguous();
  return {values.data<double>(), values.data<double>() + values.numel()};
}

namespace {

bool calibrates(const std::vector<Calibrator>& calibration) {
  return std::any_of(calibration.begin(), calibration.end(), [](const Calibrator& calibrator) {
    return calibrator.method != CalibrationMethod::none;
  });
}

std::vector<Calibrator> calibrators(const Config& config, const optim::Predictions* validation, size_t labels,
                                    const char* without) {
  const CalibrationMethod method = config.calibration.method;
  if (validation != nullptr && method != CalibrationMethod::none &&
      config.model.output == optim::Output::softmax)
    return fit_softmax_temperature(validation->logits, validation->targets);
  std::vector<Calibrator> result(labels);
  for (size_t label = 0; label < labels; ++label) {
    const auto at = static_cast<int64_t>(label);
    if (validation != nullptr) {
      result[label] =
          fit_calibration(column(validation->logits, at), column(validation->targets, at), method);
    } else if (method != CalibrationMethod::none) {
      result[label].reason = without;
    }
  }
  return result;
}

RiskCutoffs risk_cutoffs(const RiskOptions& risk, const optim::Predictions* validation, int64_t label,
                         const char* without) {
  if (risk.method == RiskMethod::cutoffs) return fixed_risk_cutoffs(risk.low, risk.high);
  const auto none =
      optim::MetricValue::undefined(risk.method == RiskMethod::none ? "risk.method is none" : without);
  if (risk.method == RiskMethod::none || validation == nullptr) return {none, none};
  return choose_risk_cutoffs(column(validation->probabilities, label), column(validation->targets, label),
                             risk.sensitivity, risk.ppv);
}

// The columns that a file of predictions has, and the cells of a row. The columns follow from the
// configuration alone, so that the files of the folds of a cross-validation fit together.
class PredictionsText {
 public:
  PredictionsText(const optim::Predictions& predictions, const TrainedRun& run)
      : predictions_(predictions), run_(run) {
    const optim::Output output = run.config.model.output;
    if (output == optim::Output::softmax) most_probable_ = optim::most_probable(predictions.probabilities);
    levels_ = run.config.risk.method != RiskMethod::none && output != optim::Output::softmax;
    if (run.config.calibration.method != CalibrationMethod::none)
      raw_ = optim::to_probabilities(predictions.logits, output);
  }

  std::string header() const {
    std::string text;
    const auto add = [&](const std::string& prefix, bool wanted) {
      for (size_t l = 0; wanted && l < run_.labels.size(); ++l)
        text.append(",").append(csv_cell(prefix + run_.labels[l]));
    };
    add("probability_", true);
    add("logit_", true);
    add("target_", predictions_.targets.defined());
    add("raw_", raw_.defined());
    add("predicted_", true);
    add("risk_", levels_);
    return text;
  }

  std::string row(int64_t row) const {
    const auto count = static_cast<int64_t>(run_.labels.size());
    std::string text;
    const auto add = [&](bool wanted, const auto& cell) {
      for (int64_t l = 0; wanted && l < count; ++l)
        text.append(",").append(cell(row * count + l, static_cast<size_t>(l)));
    };
    // The shortest text that reads as the same number.
    const auto number = [](const Tensor& matrix) {
      return [&matrix](int64_t at, size_t) { return fmt::format("{}", matrix.at(at)); };
    };
    add(true, number(predictions_.probabilities));
    add(true, number(predictions_.log_odds));
    add(predictions_.targets.defined(), [&](int64_t at, size_t) {
      const double target = predictions_.targets.at(at);
      return std::isnan(target) ? std::string() : fmt::format("{:g}", target);
    });
    add(raw_.defined(), number(raw_));
    add(true, [&](int64_t at, size_t label) -> std::string {
      if (most_probable_.defined()) return most_probable_.at(at) == 1.0 ? "1" : "0";
      const auto& thresholds = run_.preprocessing.thresholds;
      if (label >= thresholds.size() || !thresholds[label].defined()) return "";
      return predictions_.probabilities.at(at) >= *thresholds[label].value ? "1" : "0";
    });
    add(levels_, [&](int64_t at, size_t label) -> std::string {
      const auto& risk = run_.preprocessing.risk;
      if (label >= risk.size() || !risk[label].defined()) return "";
      return name_of(risk[label].level(predictions_.probabilities.at(at)));
    });
    return text;
  }

 private:
  const optim::Predictions& predictions_;
  const TrainedRun& run_;
  Tensor raw_;
  Tensor most_probable_;  // with softmax
  bool levels_ = false;
};

// Log odds of calibrated_probabilities, before these are rounded.
Tensor calibrated_log_odds(const Tensor& logits, optim::Output output,
                           const std::vector<Calibrator>& calibration) {
  if (!calibrates(calibration)) return optim::to_log_odds(logits, output);
  const auto labels = static_cast<int64_t>(calibration.size());
  Tensor result = Tensor::empty(logits.shape(), core::DType::f64);
  for (int64_t i = 0; i < result.numel(); ++i)
    result.data<double>()[i] = calibration[static_cast<size_t>(i % labels)].log_odds(logits.at(i));
  // With softmax the scaled logits are rounded as those of the probabilities are.
  return output == optim::Output::softmax ? optim::to_log_odds(result.to(core::DType::f32), output) : result;
}

}  // namespace

Tensor calibrated_probabilities(const Tensor& logits, optim::Output output,
                                const std::vector<Calibrator>& calibration) {
  if (!calibrates(calibration)) return optim::to_probabilities(logits, output);
  if (output == optim::Output::softmax) {
    Tensor scaled = logits.clone();
    for (int64_t i = 0; i < scaled.numel(); ++i)
      scaled.data<float>()[i] = static_cast<float>(calibration.front().slope * logits.at(i));
    return optim::to_probabilities(scaled, output);
  }
  Tensor result = optim::to_probabilities(logits, output);
  const auto labels = static_cast<int64_t>(calibration.size());
  for (int64_t i = 0; i < result.numel(); ++i) {
    const Calibrator& calibrator = calibration[static_cast<size_t>(i % labels)];
    if (calibrator.method == CalibrationMethod::none) continue;
    result.data<float>()[i] = static_cast<float>(calibrator.apply(logits.at(i)));
  }
  return result;
}

namespace {

// A loader over some rows as they are, or over copy number `copy` of their images, from 1 on.
std::unique_ptr<data::Loader> copies_loader(const TrainedRun& run, const data::Dataset& dataset,
                                            const std::vector<int64_t>& rows, int64_t copy,
                                            const core::Communicator* ranks) {
  const bool nothing = run.preprocessing.table && dataset.columns.empty();
  return make_loader(
      run.config, dataset,
      nothing ? run.preprocessing.encode_missing(dataset.size()) : run.preprocessing.encode(dataset), rows,
      false, ranks, copy);
}

void follow_logits(const TrainedRun& run, optim::Predictions& predictions) {
  predictions.probabilities = optim::to_probabilities(predictions.logits, run.config.model.output);
  predictions.log_odds = optim::to_log_odds(predictions.logits, run.config.model.output);
}

}  // namespace

void average_over_copies(const TrainedRun& run, const data::Dataset& dataset, optim::Predictions& predictions,
                         core::Communicator* ranks) {
  const int64_t copies = run.config.augment.test_copies;
  if (copies == 0 || !run.config.model.modalities.image || dataset.images == nullptr) return;
  const optim::Output output = run.config.model.output;
  Tensor sum = predictions.logits.to(core::DType::f64);
  for (int64_t copy = 1; copy <= copies; ++copy) {
    const auto loader = copies_loader(run, dataset, predictions.rows, copy, ranks);
    const Tensor logits = optim::predict(*run.network, *loader, output, {}, ranks).logits;
    for (int64_t i = 0; i < sum.numel(); ++i) sum.data<double>()[i] += logits.at(i);
  }
  for (int64_t i = 0; i < sum.numel(); ++i) sum.data<double>()[i] /= static_cast<double>(copies + 1);
  predictions.logits = sum.to(core::DType::f32);
  follow_logits(run, predictions);
}

void average_over_gaps(const TrainedRun& run, const data::Dataset& dataset, optim::Predictions& predictions,
                       core::Communicator* ranks) {
  if (run.preprocessing.table_features() == 0 || dataset.columns.empty()) return;
  const data::TableEncoder& table = *run.preprocessing.table;
  const std::vector<bool> gaps = table.gaps(dataset.columns, run.preprocessing.token_features());
  std::vector<int64_t> rows, places;
  for (size_t i = 0; i < predictions.rows.size(); ++i) {
    if (!gaps[static_cast<size_t>(predictions.rows[i])]) continue;
    rows.push_back(predictions.rows[i]);
    places.push_back(static_cast<int64_t>(i));
  }
  if (rows.empty()) return;
  const int64_t labels = predictions.logits.size(1);
  std::vector<double> sum(rows.size() * static_cast<size_t>(labels));
  data::Dataset filled = dataset;
  for (int64_t draw = 0; draw < data::TableEncoder::kDraws; ++draw) {
    filled.columns = table.fill_gaps(dataset.columns, draw);
    const auto loader = copies_loader(run, filled, rows, 0, ranks);
    auto drawn = optim::predict(*run.network, *loader, run.config.model.output, {}, ranks);
    average_over_copies(run, filled, drawn, ranks);
    for (size_t i = 0; i < sum.size(); ++i) sum[i] += drawn.logits.at(static_cast<int64_t>(i));
  }
  for (size_t i = 0; i < sum.size(); ++i) {
    const int64_t label = static_cast<int64_t>(i) % labels;
    predictions.logits.data<float>()[places[i / static_cast<size_t>(labels)] * labels + label] =
        static_cast<float>(sum[i] / data::TableEncoder::kDraws);
  }
  follow_logits(run, predictions);
}

void apply_calibration(const TrainedRun& run, optim::Predictions& predictions) {
  predictions.probabilities =
      calibrated_probabilities(predictions.logits, run.config.model.output, run.preprocessing.calibration);
  predictions.log_odds =
      calibrated_log_odds(predictions.logits, run.config.model.output, run.preprocessing.calibration);
}

optim::Predictions predict_run(const TrainedRun& run, const data::Dataset& dataset, data::Loader& loader,
                               const std::function<void(int64_t)>& on_batch, core::Communicator* ranks) {
  optim::Predictions predictions =
      optim::predict(*run.network, loader, run.config.model.output, on_batch, ranks);
  average_over_copies(run, dataset, predictions, ranks);
  average_over_gaps(run, dataset, predictions, ranks);
  for (int64_t i = 0; i < predictions.logits.numel(); ++i) {
    if (!std::isfinite(predictions.logits.at(i))) {
      const int64_t labels = predictions.logits.size(1);
      throw core::Error(fmt::format("row {} of the data, label {}: the network's output is no finite number",
                                    predictions.rows[static_cast<size_t>(i / labels)] + 1,
                                    run.labels[static_cast<size_t>(i % labels)]));
    }
  }
  apply_calibration(run, predictions);
  return predictions;
}

void fit_to_validation(const Config& config, optim::Predictions* validation, size_t labels,
                       Preprocessing& preprocessing, const char* without) {
  const optim::Output output = config.model.output;
  const bool softmax = output == optim::Output::softmax;
  preprocessing.calibration = calibrators(config, validation, labels, without);
  if (validation != nullptr) {
    validation->probabilities =
        calibrated_probabilities(validation->logits, output, preprocessing.calibration);
    validation->log_odds = calibrated_log_odds(validation->logits, output, preprocessing.calibration);
  }
  preprocessing.thresholds.assign(labels,
                                  optim::MetricValue::undefined(softmax ? optim::kMostProbable : without));
  if (validation != nullptr && !softmax) {
    preprocessing.thresholds =
        optim::choose_thresholds(validation->probabilities, validation->targets, config.train.threshold);
  }
  preprocessing.risk.clear();
  for (size_t label = 0; label < labels; ++label) {
    const auto none = optim::MetricValue::undefined(optim::kMostProbable);
    preprocessing.risk.push_back(
        softmax ? RiskCutoffs{none, none}
                : risk_cutoffs(config.risk, validation, static_cast<int64_t>(label), without));
  }
}

std::string predictions_csv(const optim::Predictions& predictions, const data::Dataset& dataset,
                            const TrainedRun& run) {
  const bool with_targets = predictions.targets.defined();
  const PredictionsText text(predictions, run);
  std::string csv = with_targets ? "id,patient" : "id";
  csv.append(text.header()).append("\n");
  for (size_t i = 0; i < predictions.rows.size(); ++i) {
    const auto row = static_cast<size_t>(predictions.rows[i]);
    csv += csv_cell(dataset.ids[row]);
    if (with_targets) csv.append(",").append(csv_cell(dataset.patients[row]));
    csv.append(text.row(static_cast<int64_t>(i))).append("\n");
  }
  return csv;
}

}  // namespace medfusion::tools
