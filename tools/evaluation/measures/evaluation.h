// Everything that can be said of predictions with known targets, as the JSON of docs/evaluation.md.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/settings.h"
#include "optim/metrics.h"
#include "tools/evaluation/measures/bootstrap.h"
#include "tools/evaluation/measures/calibration.h"
#include "tools/evaluation/measures/controls.h"
#include "tools/evaluation/measures/measures.h"
#include "tools/evaluation/measures/risk_levels.h"
#include "tools/evaluation/measures/subgroups.h"

namespace medfusion::tools {

// One label; each vector has one entry per row.
struct LabelPredictions {
  std::string name;
  std::vector<double> probabilities = {};  // calibrated where there is a calibration
  std::vector<double> logits = {};         // log odds of these before they were rounded; empty: not known
  std::vector<double> raw = {};            // before calibration; empty: the same
  std::vector<double> targets = {};        // 1, 0, or NaN for unknown
  std::vector<uint8_t> predicted = {};     // 1 or 0, by the threshold; empty: there is none
  std::vector<RiskLevel> levels = {};      // empty: there are none
  // For the record, of one run: not applied here.
  optim::MetricValue threshold = optim::MetricValue::undefined("each fold has its own");
  std::optional<RiskCutoffs> cutoffs = {};
  std::optional<Calibrator> calibrator = {};

  // What orders the samples: log odds tell apart what rounds to a probability of 0 or 1.
  const std::vector<double>& ranking() const { return logits.empty() ? probabilities : logits; }
};

struct EvaluationInput {
  std::vector<std::string> patients;  // of each row
  std::vector<LabelPredictions> labels;
  std::vector<Grouping> groupings;  // of the rows
  std::vector<Control> controls;
  bool exclusive = false;  // exactly one label is true, and the most probable one is predicted
};

struct EvaluationOptions {
  std::vector<std::string> subgroups;
  std::vector<double> age_bands = {18.0, 40.0, 60.0, 80.0};
  int64_t bins = kCalibrationBins;
  std::vector<std::string> controls{kControlNames.begin(), kControlNames.end()};
  // No settings of a configuration.
  int64_t resamples = 1000;  // 0: no intervals
  uint64_t seed = 1;
  core::Communicator* ranks = nullptr;  // that divide the resamples among them; all evaluate the same input

  void visit_fields(core::FieldVisitor& visit) {
    using core::Range;
    visit("subgroups", subgroups,
          "Columns by which `eval` forms subgroups; empty means sex, age and view, if the data has them.");
    visit("age_bands", age_bands, Range::at_least(0),
          "Ascending bounds of the age bands, for a column called age; other numeric columns are grouped by "
          "quartile.");
    visit("bins", bins, Range::in(1, 1000),
          "Number of bins of the calibration curve and of the calibration error.");
    visit(
        "controls", controls,
        "Controls that `eval` computes: `labels_shuffled`, `table_only`, `view_only`, `missing_only`; empty "
        "means none.");
  }
  void check_rules(const core::Require& require) const;
};

// The part of evaluation.json that follows from predictions alone: from "samples" on. Throws core::Error
// where sizes do not fit or there is no row.
nlohmann::ordered_json evaluation_json(const EvaluationInput& input, const EvaluationOptions& options);

// A table of evaluation.json for people: one line per label and measure-column with intervals.
std::string evaluation_table(const nlohmann::ordered_json& evaluation);

// null for a value that is not a number.
nlohmann::ordered_json number_or_null(double value);
// {"value", "low", "high"}.
nlohmann::ordered_json interval_json(const data::Estimate& estimate);
// A value with the percentile interval of its draws; "undefined_resamples" where some are not numbers.
nlohmann::ordered_json resampled_json(double value, const std::vector<double>& draws);
// The same of two values, and of their difference with its p-value: {"first", "second", "difference"}.
nlohmann::ordered_json paired_json(double first, double second, const std::vector<double>& first_draws,
                                   const std::vector<double>& second_draws);

// The labels of `input` by their ranking, their samples grouped by the bootstrap's patients.
std::vector<RankedLabel> ranked_labels(const EvaluationInput& input, const PatientBootstrap& bootstrap,
                                       int64_t bins);

}  // namespace medfusion::tools
