// What a study found, from the cells that are finished.
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "tools/medfusion/study/grid.h"

namespace medfusion::tools {

// Writes OUT/results.csv (data, model, seed, fold, measure, value: the macro average of each measure on each
// fold; the same for the same study, however often it was cut off) and OUT/costs.csv (times and memory), and
// returns what study.json holds (docs/study.md). Models of which a cell is not finished are left out of the
// comparison on that data, and "unfinished" names them.
nlohmann::ordered_json study_results(const StudyJob& job, const std::vector<StudyCell>& cells);

}  // namespace medfusion::tools
