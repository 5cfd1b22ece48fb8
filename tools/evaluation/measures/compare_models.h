// Several models on the same rows by the same folds and seeds, each compared with one of them.
#pragma once

#include <array>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tools/evaluation/measures/compare_folds.h"

namespace medfusion::tools {

struct ComparedModel {
  std::string name;
  FoldedPredictions cv;  // of all seeds
};

// Measures that the comparison gives intervals for, besides the primary one.
inline constexpr std::array kComparedMeasures{Measure::auroc, Measure::auprc, Measure::ece, Measure::brier};

// A figure is the macro average of a fold, averaged over the folds and then over the seeds. Its interval is
// the percentile interval over resamples of the patients of all folds, the same for all models; on a
// resample the averages leave out what is undefined there.
// {"primary", "folds", "seeds", "samples", "patients", "resamples",
//  "models": {NAME: {"measures": {MEASURE: {"value", "low", "high"}},
//                    "difference": {"value", "low", "high", "p_value", "p_holm"},   to models[reference]
//                    "per_fold": [the primary measure, averaged over the seeds],
//                    "wins", "ties", "losses": folds in which it is better, equal or worse than the reference
// }}}
// The reference has neither difference nor wins. p_holm is adjusted for the number of other models. Throws
// core::InputError where a model has other rows, labels, folds or seeds.
nlohmann::ordered_json compare_models(const std::vector<ComparedModel>& models, size_t reference,
                                      Measure primary, const EvaluationOptions& options);

// The macro average of each measure on each fold of a seed, on all rows: [fold][measure]. NaN where
// undefined.
std::vector<MeasureValues> fold_measures(const FoldedPredictions& cv, size_t seed, int64_t bins);

// Whether a larger value is better.
inline bool larger_is_better(Measure measure) {
  return measure != Measure::brier && measure != Measure::log_loss && measure != Measure::ece;
}

}  // namespace medfusion::tools
