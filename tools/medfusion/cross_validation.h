// Cross-validation: every fold is tested once by a network trained on the others.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "tools/medfusion/pipeline.h"

namespace medfusion::tools {

struct CrossValidation {
  Config config;              // data.split is "folds"; data.folds says which
  int64_t seeds = 1;          // repeats with config.seed, config.seed + 1, ...
  std::filesystem::path out;  // receives fold0/, fold1/ ... (seed1/fold0/ ... with several seeds), cv.json,
                              // folds.csv (which fold each row is in, named by the runs' configurations, so
                              // that eval finds the same parts) and predictions.csv (out of fold, first seed)
  bool force = false;
  bool quiet = false;
};

// Runs it and returns what cv.json holds:
//   macro_auroc.per_fold   one per fold, the mean over the seeds
//   macro_auroc.mean, .std over per_fold (sample standard deviation)
//   macro_auroc.per_seed, .seed_std   the mean over the folds for each seed, and their deviation
//   labels.<name>.auroc    the mean over the folds in which it is defined, and how many those are
nlohmann::ordered_json cross_validate(const CrossValidation& options);

}  // namespace medfusion::tools
