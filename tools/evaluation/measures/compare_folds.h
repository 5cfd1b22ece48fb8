// Two cross-validations of the same rows by the same folds, compared in the figure that cv.json states.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "tools/evaluation/measures/evaluation.h"
#include "tools/evaluation/measures/predictions_file.h"

namespace medfusion::tools {

// Out-of-fold predictions of each seed, and the fold of each of their rows.
struct FoldedPredictions {
  std::vector<int64_t> seeds;
  std::vector<PredictionsFile> predictions;  // [seed]
  std::vector<std::vector<int64_t>> folds;   // [seed][row]
};

// Where `medfusion cv` puts the folds of a seed: a folder of their own where there are several seeds.
std::filesystem::path seed_folder(const std::filesystem::path& root, int64_t seeds, int64_t seed);

// What `medfusion cv` wrote into `folder`; nothing where there is no cv.json. Throws core::InputError naming
// the file where one is missing, damaged or does not fit the others.
std::optional<FoldedPredictions> read_cross_validation(const std::string& folder);

// Why two cannot be compared in pairs: other seeds, rows, labels, targets or folds. Empty where they can.
std::string why_not_comparable(const FoldedPredictions& first, const FoldedPredictions& second);

// The bootstrap's number of each patient.
std::map<std::string, uint32_t> numbers_of_patients(const EvaluationInput& input,
                                                    const PatientBootstrap& bootstrap);

// The measures of the labels on the rows of one fold of one seed: on all of them, and on each resample of the
// patients of all folds. bins: of the ECE.
ResampledMeasures measure_fold(const FoldedPredictions& cv, size_t seed, int64_t fold,
                               const std::vector<std::string>& labels,
                               const std::map<std::string, uint32_t>& number_of_patient,
                               const PatientBootstrap& bootstrap, int64_t bins);

// The macro AUROC of each fold, over the labels for which it is defined, averaged over the folds and then
// over the seeds: {"seeds", "folds", "macro_auroc": {"first", "second", "difference"}}, each with the
// interval of the same resamples of patients; on a resample the averages are over what both have. Where the
// two have other seeds, folds or rows: {"undefined": why}.
nlohmann::ordered_json compare_folds(const FoldedPredictions& first, const FoldedPredictions& second,
                                     const EvaluationOptions& options);

}  // namespace medfusion::tools
