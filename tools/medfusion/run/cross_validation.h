// Cross-validation: every fold is tested once by a network trained on the others. All that is fitted
// (encoding, stage one, resampling, weights, thresholds) is fitted inside the training part of each fold.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tools/medfusion/run/pipeline.h"

namespace medfusion::tools {

struct CrossValidation {
  Config config;              // data.split is "folds"; data.folds says which
  int64_t seeds = 1;          // repeats with config.seed, config.seed + 1, ...
  bool redraw = false;        // draws new folds for each seed, which a file of folds does not allow
  std::filesystem::path out;  // receives fold0/, fold1/ ... (seed1/fold0/ ... with several seeds), cv.json,
                              // folds.csv (which fold each row is in, named by the runs' configurations, so
                              // that eval finds the same parts) and predictions.csv (out of fold, first
                              // seed). With several seeds each seedN/ has its predictions.csv, and its
                              // folds.csv where they are redrawn
  core::Device device = {};
  bool force = false;
  bool quiet = false;
  std::string init = {};  // weights that every fold starts from; empty: none
  std::map<int64_t, std::vector<std::string>> fold_set = {};  // KEY=VALUE for one fold alone
  std::vector<std::string> kernels = {};  // OPERATION=VARIANT of --kernel, to be remembered
  bool resume = false;                    // goes on with what `out` holds
  std::string resume_command = {};        // that does so, for messages
  std::function<void()> on_start = {};    // called before anything is written
};

// One fold of one seed, tested.
struct FoldOutcome {
  int64_t seed = 0;
  int64_t fold = 0;
  optim::Predictions predictions;  // of the fold's rows
  optim::Metrics metrics;          // at the thresholds of the validation part
  std::string csv;                 // the predictions, as predictions_csv() writes them
};

// Folds of a dataset, in a folder of their own.
struct FoldRuns {
  const CrossValidation& job;
  Config config;  // data.folds names the file that holds `folds`
  std::vector<int64_t> folds;
  std::filesystem::path folder;  // receives fold0/, fold1/, ...
  std::string title;             // before "fold 1/5"
};

// Trains and tests every fold, and writes what it cost into its folder as cost.json: {"parameters", "flops"
// (of a row in one pass, core/product_count.h, a multiply-add as two), "training_seconds", "predict_seconds"
// of the test rows, "rows", "peak_resident_bytes" of the process so far}; of several ranks, the seconds are
// of all together and the memory is of rank 0. With job.resume, folds that are finished are only tested, and
// one that was cut off goes on.
void run_folds(const FoldRuns& runs, const data::Dataset& dataset,
               const std::function<void(const FoldOutcome&)>& on_outcome);

// Trains the folds whose number, from `first_cell` on, is this rank's (ranks.h), and tests none.
void train_own_folds(const FoldRuns& runs, const data::Dataset& dataset, int64_t first_cell);

// The fold of each row, as folds.csv has it.
std::string folds_csv(const data::Dataset& dataset, const std::vector<int64_t>& folds);

// Writes folder/folds.csv and makes the configuration name it.
void write_folds(const std::filesystem::path& folder, const data::Dataset& dataset,
                 const std::vector<int64_t>& folds, Config& config);

// Throws core::InputError where a fold has no AUROC, or leaks from its training part.
void check_folds(const Config& config, const data::Dataset& dataset, const std::vector<int64_t>& folds);

// Runs it and returns what cv.json holds:
//   macro_auroc.per_fold   one per fold, the mean over the seeds
//   macro_auroc.mean, .std over per_fold (sample standard deviation)
//   macro_auroc.per_seed, .seed_std   the mean over the folds for each seed, and their deviation
//   labels.<name>.auroc    the mean over the folds in which it is defined, and how many those are
// Of several ranks each trains some of the folds; together they test them. Rank 0 alone writes files.
nlohmann::ordered_json cross_validate(const CrossValidation& options,
                                      const std::function<void(const FoldOutcome&)>& on_outcome = {});

}  // namespace medfusion::tools
