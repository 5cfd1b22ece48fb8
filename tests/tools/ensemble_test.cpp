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

}  // namespace
}  // namespace medfusion::tools
