// The measures of one label, computed again and again under different weights of the patients: the samples
// are sorted once, and each evaluation is one pass over them.
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace medfusion::tools {

// Of the calibration curve and its error, where no setting says otherwise.
inline constexpr int64_t kCalibrationBins = 15;

inline constexpr double kUndefined = std::numeric_limits<double>::quiet_NaN();  // a measure without a value

// auroc and auprc (average precision) as in data/statistics/ranking.h; f1 .. balanced_accuracy as in
// data/statistics/confusion.h (ppv and npv are the positive and negative predictive values); brier is the
// mean squared error of the probability, brier_scaled 1 - brier / (q (1 - q)) with the share of positives q,
// log_loss the mean of -log of the probability given to what was true, ece the expected calibration error
// over equal-width bins.
enum class Measure : uint8_t {
  auroc,
  auprc,
  f1,
  gmean,
  sensitivity,
  specificity,
  ppv,
  npv,
  accuracy,
  balanced_accuracy,
  brier,
  brier_scaled,
  log_loss,
  ece
};
inline constexpr std::array kMeasureNames{
    "auroc",       "auprc",        "f1",       "gmean",    "sensitivity",
    "specificity", "ppv",          "npv",      "accuracy", "balanced_accuracy",
    "brier",       "brier_scaled", "log_loss", "ece"};
inline constexpr auto kMeasures = [] {
  std::array<Measure, kMeasureNames.size()> all{};
  for (size_t i = 0; i < all.size(); ++i) all[i] = static_cast<Measure>(i);
  return all;
}();
inline const char* name_of(Measure measure) { return kMeasureNames.at(static_cast<size_t>(measure)); }
// The measure of a name that is one of kMeasureNames.
inline Measure measure_of(const std::string& name) {
  size_t i = 0;
  while (kMeasureNames.at(i) != name) ++i;
  return static_cast<Measure>(i);
}

// One value per measure; NaN where it does not exist.
class MeasureValues {
 public:
  MeasureValues();
  double& operator[](Measure measure) { return values_[static_cast<size_t>(measure)]; }
  double operator[](Measure measure) const { return values_[static_cast<size_t>(measure)]; }

 private:
  std::array<double, kMeasures.size()> values_;
};

// The samples of one label whose target is known, by falling rank.
class RankedLabel {
 public:
  // scores: probabilities; targets: those of data::truth_of; group: of each sample, an index into the
  // weights (its patient); predicted: 1 or 0, what was decided, or empty where nothing was. bins: of the ECE,
  // on [0, 1]. ranking: orders the samples as the scores do but tells apart what rounds to one score; empty:
  // the scores. Throws core::Error where sizes differ or a target is something else. With a score that is not
  // a number every measure is undefined.
  RankedLabel(std::span<const double> scores, std::span<const double> targets,
              std::span<const uint32_t> group, std::span<const uint8_t> predicted,
              int64_t bins = kCalibrationBins, std::span<const double> ranking = {});

  // The measures where sample i counts weights[group[i]] times.
  MeasureValues measures(std::span<const uint32_t> weights) const;

  int64_t positives() const { return positives_; }
  int64_t negatives() const { return negatives_; }
  // Why `measure` has no value when every sample counts once; `no_threshold`: why nothing was decided.
  std::string why_undefined(Measure measure, const std::string& no_threshold) const;

 private:
  struct Sums;
  void finish(const Sums& sums, MeasureValues& values) const;

  // One entry per sample, by falling rank.
  std::vector<uint32_t> group_;
  std::vector<uint8_t> positive_;
  std::vector<uint8_t> last_of_tie_;  // the next one ranks lower
  std::vector<double> score_;
  std::vector<double> log_loss_;
  std::vector<uint8_t> predicted_;
  std::vector<size_t> bin_;  // of its score
  size_t bins_ = 0;
  int64_t positives_ = 0;
  int64_t negatives_ = 0;
  int64_t not_numbers_ = 0;
  bool decided_ = false;
};

}  // namespace medfusion::tools
