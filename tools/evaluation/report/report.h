// The report of one run or one cross-validation, or the comparison of several, as one HTML file that needs
// nothing else: it can be read offline and printed. It says only what the files hold; the one thing it
// computes is the paired comparison of predictions (compare.h).
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "tools/evaluation/measures/predictions_file.h"
#include "tools/evaluation/report/html.h"

namespace medfusion::tools {

// What one fold of a cross-validation saw and fitted.
struct FoldRecord {
  std::string name;                      // "fold0", "seed1/fold0"
  nlohmann::ordered_json data;           // data.json
  nlohmann::ordered_json preprocessing;  // preprocessing.json
};

// What a run directory holds; null or empty where a file is not there. Of the folder of a cross-validation:
// settings, data, preprocessing and features are those of the first fold, `evaluation` is out of fold.
struct RunRecord {
  std::string name;                             // of the folder, with the one above it
  std::string config;                           // config.toml
  nlohmann::ordered_json settings;              // the same by key: {"train.loss": "bce", ...}
  nlohmann::ordered_json data;                  // data.json
  nlohmann::ordered_json preprocessing;         // preprocessing.json
  nlohmann::ordered_json schema;                // schema.json (docs/schema.md)
  std::vector<nlohmann::ordered_json> history;  // metrics.jsonl
  nlohmann::ordered_json evaluation;            // evaluation.json (docs/evaluation.md)
  nlohmann::ordered_json features;              // features.json (docs/features.md)
  nlohmann::ordered_json explanation;           // explain/explain.json (docs/explain.md)
  std::optional<PredictionsFile> predictions;   // predictions.csv, where it is wanted
  nlohmann::ordered_json cross_validation;      // cv.json
  nlohmann::ordered_json protocols;             // protocols.json
  std::vector<FoldRecord> folds;                // of a cross-validation alone
  // The bytes of a file below explain/, for pictures. Throws core::InputError where it is missing.
  std::function<std::string(const std::string&)> picture;
};

// What is missing for a whole report, one line each: "evaluation.json: medfusion eval RUN".
std::vector<std::string> missing_parts(const RunRecord& run);

// The page. Throws core::InputError where a file of the run is not as its page describes it.
Page run_report(const RunRecord& run);

// The same of the folder of a cross-validation.
Page cross_validation_report(const RunRecord& run);

// Measures, risk levels and settings beside each other; two runs or more. Where the first and another have
// predictions of the same rows, their differences in pairs.
Page comparison_report(const std::vector<RunRecord>& runs);

// Under the title: data, its hash, and what must be known before the figures are used. HTML.
std::string report_lead(const RunRecord& run);

// The bodies of the sections, in files by subject: HTML. Empty where the run has no such section.
Html summary_section(const RunRecord& run);
Html folds_section(const RunRecord& run);
Html protocols_section(const RunRecord& run);
Html data_section(const RunRecord& run);
Html training_section(const RunRecord& run);
Html performance_section(const RunRecord& run);
Html curves_section(const RunRecord& run);
Html calibration_section(const RunRecord& run);
Html risk_section(const RunRecord& run);
Html subgroup_section(const RunRecord& run);
Html control_section(const RunRecord& run);
Html features_section(const RunRecord& run);
Html attention_section(const RunRecord& run);
Html samples_section(const RunRecord& run);
Html checklist_section(const RunRecord& run);
Html settings_section(const RunRecord& run);

}  // namespace medfusion::tools
