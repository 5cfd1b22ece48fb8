// The table of a study on one data set, from study.json (docs/study.md), in several forms.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace medfusion::tools {

using TextTable = std::vector<std::vector<std::string>>;  // the head first; plain text

// What the models reached, and what they cost; one row per model.
TextTable study_performance(const nlohmann::ordered_json& study, const std::string& data);
TextTable study_costs(const nlohmann::ordered_json& study, const std::string& data);
// Both beside each other.
TextTable study_table(const nlohmann::ordered_json& study, const std::string& data);

// The same with one number per cell, as CSV.
std::string study_table_csv(const nlohmann::ordered_json& study, const std::string& data);

// Columns of equal width.
std::string aligned_text(const TextTable& table);
// A tabular environment, with lines of booktabs.
std::string latex_table(const TextTable& table, const std::string& caption);

// "AUROC" of "auroc".
std::string measure_title(const std::string& measure);

}  // namespace medfusion::tools
