// Reading predictions.csv, as eval and cv write it.
#pragma once

#include <string>
#include <vector>

#include "tools/evaluation/measures/evaluation.h"

namespace medfusion::tools {

struct PredictionsFile {
  std::vector<std::string> ids;  // of each row, unique
  EvaluationInput input;         // patients and labels; no groupings, no controls
};

// Columns: id, patient, and for each label probability_LABEL and target_LABEL; logit_, raw_, predicted_ and
// risk_LABEL where there are such (files of older versions have no logit_LABEL). Throws core::InputError
// naming file, line and column: an id twice, a missing column, a cell that is not what it must be, no row.
PredictionsFile read_predictions(const std::string& path);
// The same for its text; `file` is the name that errors carry.
PredictionsFile parse_predictions(const std::string& text, const std::string& file);

}  // namespace medfusion::tools
