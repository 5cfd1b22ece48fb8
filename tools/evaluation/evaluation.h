// Everything that can be said of predictions with known targets, as the JSON of docs/evaluation.md.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "optim/metrics.h"
#include "tools/evaluation/bootstrap.h"
#include "tools/evaluation/calibration.h"
#include "tools/evaluation/controls.h"
#include "tools/evaluation/risk_levels.h"
#include "tools/evaluation/subgroups.h"

namespace medfusion::tools {

// One label; each vector has one entry per row.
struct LabelPredictions {
  std::string name;
  std::vector<double> probabilities;  // calibrated where there is a calibration
  std::vector<double> raw;            // before calibration; empty: the same
  std::vector<double> targets;        // 1, 0, or NaN for unknown
  std::vector<uint8_t> predicted;     // 1 or 0, by the threshold; empty: there is none
  std::vector<RiskLevel> levels;      // empty: there are none
  // For the record, of one run: not applied here.
  optim::MetricValue threshold = optim::MetricValue::undefined("each fold has its own");
  std::optional<RiskCutoffs> cutoffs;
  std::optional<Calibrator> calibrator;
};

struct EvaluationInput {
  std::vector<std::string> patients;  // of each row
  std::vector<LabelPredictions> labels;
  std::vector<Grouping> groupings;  // of the rows
  std::vector<Control> controls;
};

struct EvaluationOptions {
  int64_t resamples = 1000;  // 0: no intervals
  double confidence = 0.95;
  uint64_t seed = 1;
  int64_t bins = 15;       // of calibration
  int64_t shuffles = 100;  // of the control with shuffled labels
  int64_t curve_points = 200;
  bool curves = true;  // point lists of ROC, precision-recall, calibration and decision curves
};

// The part of evaluation.json that follows from predictions alone: from "samples" on. Throws core::Error
// where sizes do not fit or there is no row.
nlohmann::ordered_json evaluation_json(const EvaluationInput& input, const EvaluationOptions& options);

// A table of evaluation.json for people: one line per label and measure-column with intervals.
std::string evaluation_table(const nlohmann::ordered_json& evaluation);

// null for a value that is not a number.
nlohmann::ordered_json number_or_null(double value);

}  // namespace medfusion::tools
