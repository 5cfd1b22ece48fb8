// evaluation.json of a run, or of the out-of-fold predictions of a cross-validation.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "tools/evaluation/measures/evaluation.h"
#include "tools/medfusion/run/pipeline.h"

namespace medfusion::tools {

// The rows `predictions` are of, evaluated with the run's thresholds, calibration and risk levels, with
// subgroups and controls from the dataset; `train` are the rows that controls learn from. `split` is the name
// of the part, e.g. "test".
nlohmann::ordered_json evaluate_run(const optim::Predictions& predictions, const data::Dataset& dataset,
                                    const std::vector<int64_t>& train, const TrainedRun& run,
                                    const std::string& split, const EvaluationOptions& options);

// The same for out-of-fold predictions (the text of predictions.csv, of several runs): thresholds,
// calibration and levels are those of each fold. `dataset` gives the columns of the subgroups. Controls are
// fitted in each of the `folds` to its training part and applied to its test part.
nlohmann::ordered_json evaluate_out_of_fold(const std::string& predictions_csv, const data::Dataset& dataset,
                                            const std::vector<data::Splits>& folds, const Config& config,
                                            const EvaluationOptions& options);

// Resamples, seed and bins as the configuration says.
EvaluationOptions evaluation_options(const Config& config, int64_t resamples);

}  // namespace medfusion::tools
