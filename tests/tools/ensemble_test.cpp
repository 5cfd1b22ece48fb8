// medfusion predict with the networks of a cross-validation.
#include <cmath>
#include <nlohmann/json.hpp>

#include "tests/tools/end_to_end.h"
#include "tools/evaluation/measures/calibration.h"
#include "tools/evaluation/measures/predictions_file.h"

namespace medfusion::tools {
namespace {

namespace fs = std::filesystem;

class EnsembleOf : public testing::TestWithParam<std::string> {
 protected:
  EnsembleOf() {
    make_phantom(folder_);
    succeed({"cv", (folder_ / "tiny.toml").string(), "--folds", "3", "--quiet", "--out", cv().string(),
             "--set", "calibration.method=" + GetParam()});
  }
  fs::path cv() const { return folder_ / "cv"; }
  std::vector<std::string> command(const fs::path& run) const {
    return {"predict",  run.string(),
            "--images", (folder_ / "phantom/images").string(),
            "--table",  (folder_ / "phantom/Data_Entry_2017.csv").string(),
            "--quiet"};
  }
  // [label][row] of logit_LABEL or probability_LABEL.
  std::map<std::string, std::vector<double>> columns(const std::string& csv,
                                                     const std::string& prefix) const {
    const std::vector<std::string> lines = lines_of(csv);
    std::map<std::string, std::vector<double>> result;
    std::vector<std::string> names;
    std::istringstream header(lines.front());
    for (std::string name; std::getline(header, name, ',');) names.push_back(name);
    for (size_t row = 1; row < lines.size(); ++row) {
      std::istringstream cells(lines[row]);
      std::string cell;
      for (size_t i = 0; std::getline(cells, cell, ','); ++i) {
        if (names[i].starts_with(prefix)) result[names[i].substr(prefix.size())].push_back(std::stod(cell));
      }
    }
    return result;
  }

  TemporaryFolder folder_;
};
INSTANTIATE_TEST_SUITE_P(Calibrations, EnsembleOf, testing::Values("none", "platt"),
                         [](const auto& test) { return test.param; });

double log_odds(double p) { return std::log(p / (1.0 - p)); }

// The mean of the members' logits, and of these what the calibrator of the predictions out of fold makes.
TEST_P(EnsembleOf, FoldsIsTheirMean) {
  const std::string raw = GetParam() == "none" ? "probability_" : "raw_";
  std::map<std::string, std::vector<double>> mean;
  for (int fold = 0; fold < 3; ++fold) {
    const auto own = columns(succeed(command(cv() / fmt::format("fold{}", fold))), raw);
    for (const auto& [label, values] : own) {
      mean[label].resize(values.size());
      for (size_t row = 0; row < values.size(); ++row) mean[label][row] += log_odds(values[row]) / 3.0;
    }
  }
  const std::string csv = succeed(command(cv()));
  const auto together = columns(csv, raw), calibrated = columns(csv, "probability_");
  const PredictionsFile out_of_fold = read_predictions((cv() / "predictions.csv").string());
  ASSERT_EQ(together.size(), out_of_fold.input.labels.size());
  for (const LabelPredictions& label : out_of_fold.input.labels) {
    std::vector<double> logits;
    for (const double p : label.raw.empty() ? label.probabilities : label.raw) logits.push_back(log_odds(p));
    const Calibrator calibrator = fit_calibration(
        logits, label.targets, GetParam() == "none" ? CalibrationMethod::none : CalibrationMethod::platt);
    for (size_t row = 0; row < mean[label.name].size(); ++row) {
      const double expected = mean[label.name][row];
      ASSERT_NEAR(log_odds(together.at(label.name)[row]), expected, 1e-4) << label.name << " " << row;
      ASSERT_NEAR(calibrated.at(label.name)[row], calibrator.apply(expected), 1e-4)
          << label.name << " " << row;
    }
  }
}

TEST_P(EnsembleOf, WhatIsNotFinishedIsRefused) {
  fs::remove(cv() / "cv.json");
  const Outcome outcome = run_medfusion(command(cv()));
  EXPECT_EQ(outcome.code, 2);
  EXPECT_EQ(outcome.err,
            "medfusion: " + cv().string() +
                ": the cross-validation is not finished; medfusion cv --resume goes on with it\n");
}

class EnsembleOfRuns : public testing::Test {
 protected:
  EnsembleOfRuns() { make_phantom(folder_); }
  std::string train(const std::string& name, const std::vector<std::string>& settings) const {
    std::vector<std::string> more{"--set", "calibration.method=platt"};
    more.insert(more.end(), settings.begin(), settings.end());
    succeed(train_command(folder_ / "tiny.toml", folder_ / name, more));
    return (folder_ / name).string();
  }
  Outcome predict(const std::vector<std::string>& runs) const {
    std::vector<std::string> command{"predict"};
    command.insert(command.end(), runs.begin(), runs.end());
    command.insert(command.end(), {"--images", (folder_ / "phantom/images").string(), "--table",
                                   (folder_ / "phantom/Data_Entry_2017.csv").string(), "--quiet"});
    return run_medfusion(command);
  }
  TemporaryFolder folder_;
};

std::vector<double> column_of(const std::string& csv, const std::string& name) {
  const std::vector<std::string> lines = lines_of(csv);
  std::istringstream header(lines.front());
  size_t at = 0;
  for (std::string each; std::getline(header, each, ',') && each != name;) ++at;
  std::vector<double> result;
  for (size_t row = 1; row < lines.size(); ++row) {
    std::istringstream cells(lines[row]);
    std::string cell;
    for (size_t i = 0; i <= at; ++i) std::getline(cells, cell, ',');
    result.push_back(std::stod(cell));
  }
  return result;
}

// Two runs with the same parts and other learning rates.
TEST_F(EnsembleOfRuns, IsTheMeanCalibratedOnTheValidationPart) {
  const std::string a = train("a", {}), b = train("b", {"--set", "train.learning_rate=3e-3"});
  const Outcome both = predict({a, b});
  ASSERT_EQ(both.code, 0) << both.err;
  const std::string label = "Cardiomegaly";
  const auto first = column_of(predict({a}).out, "raw_" + label),
             second = column_of(predict({b}).out, "raw_" + label);
  const auto together = column_of(both.out, "raw_" + label);
  for (size_t row = 0; row < first.size(); ++row)
    ASSERT_NEAR(log_odds(together[row]), 0.5 * (log_odds(first[row]) + log_odds(second[row])), 1e-4);
  // The calibrator is that of the mean's logits on the validation part.
  std::vector<double> logits, targets;
  for (const std::string& run : {a, b}) {
    succeed({"eval", run, "--split", "val", "--quiet"});
    const PredictionsFile file = read_predictions((fs::path(run) / "predictions.csv").string());
    for (const LabelPredictions& each : file.input.labels) {
      if (each.name != label) continue;
      targets = each.targets;
      logits.resize(targets.size());
      for (size_t row = 0; row < targets.size(); ++row) logits[row] += 0.5 * log_odds(each.raw[row]);
    }
  }
  const Calibrator calibrator = fit_calibration(logits, targets, CalibrationMethod::platt);
  const auto calibrated = column_of(both.out, "probability_" + label);
  for (size_t row = 0; row < together.size(); ++row)
    ASSERT_NEAR(calibrated[row], calibrator.apply(log_odds(together[row])), 1e-3);
}

TEST_F(EnsembleOfRuns, RunsWithOtherPartsOrLabelsAreRefused) {
  const std::string a = train("a", {}), b = train("b", {"--set", "data.val_fraction=0.5"});
  Outcome outcome = predict({a, b});
  EXPECT_EQ(outcome.code, 2);
  EXPECT_EQ(outcome.err, "medfusion: " + b + ": expected the validation part of " + a +
                             ", for runs are calibrated together\n");
  const std::string c = train("c", {"--set", "data.labels=Mass"});
  outcome = predict({a, c});
  EXPECT_EQ(outcome.code, 2);
  EXPECT_EQ(outcome.err,
            "medfusion: " + c + ": expected the labels and the output (model.output) of " + a + "\n");
}

}  // namespace
}  // namespace medfusion::tools
