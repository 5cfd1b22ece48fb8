// Scores of two classes in order: areas under the ROC and the precision-recall curve, and thresholds. Exact:
// samples and pairs are counted in integers.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/settings.h"

namespace medfusion::data {

// What a label says of a sample: 1 positive, 0 negative, NaN or -1 unknown; anything else throws core::Error.
enum class Truth : uint8_t { unknown, negative, positive };
Truth truth_of(double label);

// The samples of one score.
struct ScoreGroup {
  double score = 0.0;
  int64_t positives = 0;
  int64_t negatives = 0;
};

// Groups of equal scores by ascending score. `positive` has one entry per score, 0 or 1. Scores are numbers.
std::vector<ScoreGroup> group_scores(std::span<const double> scores, std::span<const uint8_t> positive);

// The samples of one label whose truth is known.
struct RankedScores {
  std::vector<ScoreGroup> groups;  // by ascending score; empty where a score is not a number
  int64_t positives = 0;
  int64_t negatives = 0;
  int64_t not_numbers = 0;  // scores

  int64_t known() const { return positives + negatives; }
  // Why the classes cannot be ranked: "1 of 3 scores are not numbers", "no known label", "no positive among 3
  // known labels", "no negative among 3 known labels". Empty where they can.
  std::string obstacle() const;
};
// labels: see truth_of, one per score. A score that is not a number counts only where the label is known.
RankedScores rank_scores(std::span<const double> scores, std::span<const double> labels);

// Both areas in one pass: groups of equal scores are added from the highest score to the lowest. Counts may
// be weights.
class RankingAreas {
 public:
  void add(int64_t positives, int64_t negatives) {
    twice_area_ += (2 * positives_ + positives) * negatives;
    positives_ += positives;
    negatives_ += negatives;
    if (positives == 0) return;
    precision_ += static_cast<double>(positives) *
                  (static_cast<double>(positives_) / static_cast<double>(positives_ + negatives_));
  }
  int64_t positives() const { return positives_; }
  int64_t negatives() const { return negatives_; }
  // As the functions below.
  double auroc() const;
  double average_precision() const;

 private:
  int64_t positives_ = 0, negatives_ = 0;
  int64_t twice_area_ = 0;  // twice the pairs in the right order, a tie counting once
  double precision_ = 0.0;  // sum over the positives of the precision at their score
};

// The share of (positive, negative) pairs in which the positive has the higher score, ties counting half, in
// [0, 1] (Mann-Whitney; Hanley and McNeil, Radiology 143, 1982). NaN where a class is empty.
double auroc(std::span<const ScoreGroup> ascending);
// The same of scores and labels; NaN also where a score is not a number.
double auroc(std::span<const double> scores, std::span<const double> labels);

// Sum over the distinct scores, from the highest, of (recall step) x (precision), without interpolation, in
// (0, 1], as sklearn.metrics.average_precision_score. NaN where a class is empty: with positives alone it
// would be 1 whatever the scores.
double average_precision(std::span<const ScoreGroup> ascending);

// Which score to take as the threshold, from which on samples are predicted positive: the one of highest
// sensitivity + specificity - 1 (Youden, Cancer 3, 1950), or of highest F1. Of equal ones the highest. NaN
// where a class is empty.
enum class ThresholdRule : uint8_t { youden, f1 };
inline constexpr std::array kThresholdRules{"youden", "f1"};
constexpr core::Names names_of(ThresholdRule) { return kThresholdRules; }
double choose_threshold(std::span<const ScoreGroup> ascending, ThresholdRule rule);

}  // namespace medfusion::data
