// The report of one run, or the comparison of several, as one HTML file that needs nothing else: it can be
// read offline and printed. It says only what the files of the runs hold and computes nothing of its own.
#pragma once

#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tools/evaluation/html.h"

namespace medfusion::tools {

// What a run directory holds; null or empty where a file is not there.
struct RunRecord {
  std::string name;                             // of the folder
  std::string config;                           // config.toml
  nlohmann::ordered_json data;                  // data.json
  nlohmann::ordered_json preprocessing;         // preprocessing.json
  std::vector<nlohmann::ordered_json> history;  // metrics.jsonl
  nlohmann::ordered_json evaluation;            // evaluation.json (docs/evaluation.md)
  nlohmann::ordered_json features;              // features.json (docs/features.md)
  nlohmann::ordered_json explanation;           // explain/explain.json (docs/explain.md)
  // The bytes of a file below explain/, for pictures. Throws core::InputError where it is missing.
  std::function<std::string(const std::string&)> picture;
};

// What is missing for a whole report, one line each: "evaluation.json: medfusion eval RUN".
std::vector<std::string> missing_parts(const RunRecord& run);

// Throws core::InputError where a file of the run is not as its page describes it.
std::string run_report(const RunRecord& run);

// Measures, risk levels and settings beside each other; two runs or more.
std::string comparison_report(const std::vector<RunRecord>& runs);

// The sections, in files by subject. Each returns a section whose body says what is missing where the run
// lacks its file.
HtmlSection summary_section(const RunRecord& run);
HtmlSection data_section(const RunRecord& run);
HtmlSection training_section(const RunRecord& run);
HtmlSection performance_section(const RunRecord& run);
HtmlSection curves_section(const RunRecord& run);
HtmlSection calibration_section(const RunRecord& run);
HtmlSection risk_section(const RunRecord& run);
HtmlSection subgroup_section(const RunRecord& run);
HtmlSection control_section(const RunRecord& run);
HtmlSection features_section(const RunRecord& run);
HtmlSection attention_section(const RunRecord& run);
HtmlSection samples_section(const RunRecord& run);
HtmlSection checklist_section(const RunRecord& run);
HtmlSection settings_section(const RunRecord& run);

// "0.912 [0.880, 0.941]" of {"value", "low", "high"}; "-" where there is no value.
std::string interval_text(const nlohmann::ordered_json& measure);
// A number with `digits` decimals, "-" for null.
std::string number_text(const nlohmann::ordered_json& value, int digits = 3);
// A paragraph that says what is not there and which command makes it.
std::string missing_note(const std::string& what, const std::string& command);

}  // namespace medfusion::tools
