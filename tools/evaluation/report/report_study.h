// The report of a study, from its study.json alone.
#pragma once

#include <nlohmann/json.hpp>

#include "tools/evaluation/report/html.h"

namespace medfusion::tools {

// Throws core::InputError where study.json is not as docs/study.md describes it.
Page study_report(const nlohmann::ordered_json& study);

}  // namespace medfusion::tools
