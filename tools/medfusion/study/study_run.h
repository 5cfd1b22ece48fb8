// Runs a study: what is missing of its grid is trained, then the results are written.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tools/medfusion/study/children.h"
#include "tools/medfusion/study/grid.h"

namespace medfusion::tools {

struct StudyOutcome {
  nlohmann::ordered_json json;         // study.json
  std::vector<ChildFailure> failures;  // what could not be trained
};

// Trains every cell of the grid that is not finished; each is a child process. A child that fails is named,
// and the others go on. Throws Interrupted (run/interruption.h) where a signal ended it; what was done is
// saved. Throws core::InputError where another process runs the study, or the folder holds one of other
// settings.
StudyOutcome run_study(const StudyJob& job);

// The grid as text, one line per cell, and how many networks that are.
std::string describe_grid(const StudyJob& job);

}  // namespace medfusion::tools
