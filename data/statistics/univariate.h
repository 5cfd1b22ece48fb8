// What one feature alone says about one label: the best threshold, how well it separates, how sure that is.
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "data/statistics/intervals.h"
#include "data/statistics/ranking.h"

namespace medfusion::data {

// What features are ranked by, and what their threshold maximizes (with `auroc`: Youden's J).
enum class FeatureScore : uint8_t { auroc, youden, chi_square, information_gain };
inline constexpr const char* kFeatureScores[] = {"auroc", "youden", "chi_square", "information_gain"};

// Statistics of a threshold: values at or above it against those below.
struct ThresholdStatistics {
  double threshold = 0.0;         // between two values that occur
  bool higher = true;             // whether the positives lie at or above it more often than the negatives
  double youden = 0.0;            // sensitivity + specificity - 1 of the rule "at or above" (below: !higher)
  double chi_square = 0.0;        // Pearson's, without a correction for continuity
  double information_gain = 0.0;  // bits
  Confusion counts;               // of that rule
};

struct Univariate {
  int64_t positives = 0, negatives = 0;  // rows whose label and value are known
  int64_t missing = 0;                   // rows whose label is known and whose value is not
  std::string untested;  // why there is nothing below (one class, one value); empty where there is
  ThresholdStatistics best;
  // In the direction of `best`: below 0.5 where the threshold says otherwise than the whole. With its 95%
  // interval, which takes patients as clusters.
  double auroc = 0.5, auroc_low = 0.0, auroc_high = 1.0;
  double design_effect = 1.0;  // variance by patients over that of independent rows; at least 1
  // Of the rule. The interval takes the threshold as given, and so is too narrow by what its choice gained.
  Estimate odds_ratio{1.0, 0.0, std::numeric_limits<double>::infinity()};
  double score = 0.0;
  // By the score: auroc: Mann-Whitney. youden: with at least kManyCuts possible thresholds
  // Kolmogorov-Smirnov, else the chi-square test of the threshold times their number. chi_square,
  // information_gain (as the G statistic): maximal_chi_square_p. So each accounts for the threshold's choice.
  double p_value = 1.0;

  bool tested() const { return untested.empty(); }
};
inline constexpr int64_t kManyCuts = 10;

// The threshold that maximizes `score` over all midpoints of neighbouring values; of equal ones the lowest.
// Both classes, and at least two groups that are not empty.
ThresholdStatistics best_threshold(std::span<const ScoreGroup> ascending, FeatureScore score);

// The score alone, for resamples, whose groups may be empty: 0 where a class is.
double feature_score(std::span<const ScoreGroup> ascending, FeatureScore score);

// values: NaN where missing. labels: 0, 1 or NaN (left out). patients: any number per patient. One entry per
// row each.
Univariate univariate(std::span<const double> values, std::span<const double> labels,
                      std::span<const int64_t> patients, FeatureScore score);

}  // namespace medfusion::data
