// Two sets of predictions of the same rows, compared in pairs.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "tools/evaluation/measures/evaluation.h"
#include "tools/evaluation/measures/predictions_file.h"

namespace medfusion::tools {

// What evaluation gives both, as the JSON that docs/evaluation.md describes: per label DeLong's paired test,
// and for each measure, per label and macro, first - second with the interval and p-value of the same
// resamples of patients. The macro averages are over the labels for which both have the measure. Rows and
// labels may be in any order; what else differs (an id, patient, label or target) throws core::InputError
// naming `second_name` and what is missing or differs.
nlohmann::ordered_json compare_predictions(const PredictionsFile& first, const PredictionsFile& second,
                                           const std::string& first_name, const std::string& second_name,
                                           const EvaluationOptions& options);

// The same for people: AUROC per label and macro with both intervals, then the other macro measures.
std::string comparison_table(const nlohmann::ordered_json& comparison);

}  // namespace medfusion::tools
