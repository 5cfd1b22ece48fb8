// Stage one as JSON (features.json), CSV and text. docs/features.md says what each column means.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "data/table/feature_selection.h"

namespace medfusion::tools {

nlohmann::ordered_json features_json(const data::StageOne& stage);

// One row per label and candidate.
std::string features_csv(const data::StageOne& stage);

// Per label the candidates that were selected, and the best ones that were not.
std::string features_text(const data::StageOne& stage);

}  // namespace medfusion::tools
