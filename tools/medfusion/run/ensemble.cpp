#include "tools/medfusion/run/ensemble.h"

#include <algorithm>
#include <cmath>

#include "tools/evaluation/measures/predictions_file.h"
#include "tools/medfusion/run/run_directory.h"
#include "tools/medfusion/run/training_rows.h"

namespace medfusion::tools {

namespace fs = std::filesystem;
using core::Tensor;

namespace {

// The folders that have folds: of each seed, or the cross-validation itself.
std::vector<fs::path> folders_of_seeds(const fs::path& folder) {
  std::vector<fs::path> seeds;
  std::error_code none;
  for (const auto& entry : fs::directory_iterator(folder, none)) {
    if (entry.path().filename().string().starts_with("seed") && fs::is_directory(entry.path() / "fold0"))
      seeds.push_back(entry.path());
  }
  std::ranges::sort(seeds);
  return seeds.empty() ? std::vector<fs::path>{folder} : seeds;
}

// A logit that gives the probability; of a softmax, the one of its labels up to a sum that all share.
double logit_of(double probability, bool softmax) {
  constexpr double kLeast = 1e-7;  // about what is left of a float near 1
  const double p = std::clamp(probability, kLeast, 1.0 - kLeast);
  return softmax ? std::log(p) : std::log(p / (1.0 - p));
}

}  // namespace

std::vector<fs::path> members_of(const fs::path& folder) {
  if (!fs::exists(folder / "cv.toml")) return {};
  if (fs::exists(folder / "protocols.json"))
    core::throw_input_error({folder.string()}, "compares protocols; expected a cross-validation without one");
  if (!fs::exists(folder / "cv.json"))
    core::throw_input_error({folder.string()},
                            "the cross-validation is not finished; medfusion cv --resume goes on with it");
  std::vector<fs::path> members;
  for (const fs::path& seed : folders_of_seeds(folder)) {
    for (int i = 0; fs::is_directory(seed / ("fold" + std::to_string(i))); ++i)
      members.push_back(seed / ("fold" + std::to_string(i)));
  }
  if (members.empty()) core::throw_input_error({folder.string()}, "expected the runs of folds, fold0 and on");
  return members;
}

Preprocessing fit_to_folds(const fs::path& folder, const TrainedRun& first) {
  const bool softmax = first.config.model.output == optim::Output::softmax;
  const auto labels = static_cast<int64_t>(first.labels.size());
  std::vector<float> logits, targets;
  for (const fs::path& seed : folders_of_seeds(folder)) {
    const std::string file = (seed / "predictions.csv").string();
    const PredictionsFile predicted = read_predictions(file);
    if (static_cast<int64_t>(predicted.input.labels.size()) != labels)
      core::throw_input_error({file}, "expected {} labels, as the folds have, got {}", labels,
                              predicted.input.labels.size());
    for (size_t row = 0; row < predicted.ids.size(); ++row) {
      for (const LabelPredictions& label : predicted.input.labels) {
        const std::vector<double>& raw = label.raw.empty() ? label.probabilities : label.raw;
        logits.push_back(static_cast<float>(logit_of(raw[row], softmax)));
        targets.push_back(static_cast<float>(label.targets[row]));
      }
    }
  }
  optim::Predictions out_of_fold;
  const core::Shape shape{static_cast<int64_t>(logits.size()) / labels, labels};
  out_of_fold.logits = Tensor::from(shape, logits);
  out_of_fold.targets = Tensor::from(shape, targets);
  Preprocessing result = first.preprocessing;
  fit_to_validation(first.config, &out_of_fold, first.labels.size(), result);
  return result;
}

namespace {

nlohmann::ordered_json validation_part(const std::string& run) {
  return RunDirectory::open(run).read_json("data.json").at("parts").at("val");
}

optim::Predictions predict_validation(const TrainedRun& run) {
  const data::DataOptions options = to_data_options(run.config, run.labels);
  const data::Dataset dataset = open_data(run.config, options);
  const auto loader = make_loader(run.config, dataset, run.preprocessing.encode(dataset),
                                  data::make_splits(options, dataset).val, false);
  return predict_run(run, dataset, *loader);
}

}  // namespace

Preprocessing fit_to_runs(const std::vector<std::string>& runs, const TrainedRun& first) {
  const auto part = validation_part(runs.front());
  const bool none = part.at("rows").get<int64_t>() == 0;
  std::vector<optim::Predictions> validation;
  if (!none) validation.push_back(predict_validation(first));
  for (size_t i = 1; i < runs.size(); ++i) {
    if (validation_part(runs[i]) != part)
      core::throw_input_error(
          {runs[i]}, "expected the validation part of {}, for runs are calibrated together", runs.front());
    const TrainedRun run = TrainedRun::open(RunDirectory::open(runs[i]), first.network->device());
    if (run.labels != first.labels || run.config.model.output != first.config.model.output)
      core::throw_input_error({runs[i]}, "expected the labels and the output (model.output) of {}",
                              runs.front());
    if (!none) validation.push_back(predict_validation(run));
  }
  Preprocessing result = first.preprocessing;
  if (none) {
    fit_to_validation(first.config, nullptr, first.labels.size(), result);
    return result;
  }
  optim::Predictions mean = average_predictions(validation, first);
  fit_to_validation(first.config, &mean, first.labels.size(), result);
  return result;
}

optim::Predictions average_predictions(const std::vector<optim::Predictions>& members,
                                       const TrainedRun& run) {
  optim::Predictions result = members.front();
  result.logits = result.logits.clone();
  for (int64_t i = 0; i < result.logits.numel(); ++i) {
    double sum = 0.0;
    for (const optim::Predictions& member : members) sum += member.logits.at(i);
    result.logits.data<float>()[i] = static_cast<float>(sum / static_cast<double>(members.size()));
  }
  apply_calibration(run, result);
  return result;
}

}  // namespace medfusion::tools
