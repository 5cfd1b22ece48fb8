#include "data/statistics/ranking.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "core/error.h"

namespace medfusion::data {
namespace {

constexpr double kNoArea = std::numeric_limits<double>::quiet_NaN();

RankingAreas areas_of(std::span<const ScoreGroup> ascending) {
  RankingAreas areas;
  for (size_t i = ascending.size(); i-- > 0;) areas.add(ascending[i].positives, ascending[i].negatives);
  return areas;
}

}  // namespace

Truth truth_of(double label) {
  if (std::isnan(label) || label == -1.0) return Truth::unknown;
  MEDFUSION_CHECK(label == 0.0 || label == 1.0, "metrics: a label is 0, 1, -1 or NaN, got {}", label);
  return label == 1.0 ? Truth::positive : Truth::negative;
}

std::vector<ScoreGroup> group_scores(std::span<const double> scores, std::span<const uint8_t> positive) {
  MEDFUSION_CHECK(scores.size() == positive.size(), "group_scores: {} scores for {} labels", scores.size(),
                  positive.size());
  std::vector<size_t> order(scores.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return scores[a] < scores[b]; });
  std::vector<ScoreGroup> groups;
  for (const size_t i : order) {
    if (groups.empty() || groups.back().score != scores[i]) groups.push_back({scores[i], 0, 0});
    (positive[i] != 0 ? groups.back().positives : groups.back().negatives) += 1;
  }
  return groups;
}

std::string RankedScores::obstacle() const {
  if (not_numbers > 0) return fmt::format("{} of {} scores are not numbers", not_numbers, known());
  if (known() == 0) return "no known label";
  if (positives == 0) return fmt::format("no positive among {} known labels", known());
  if (negatives == 0) return fmt::format("no negative among {} known labels", known());
  return {};
}

RankedScores rank_scores(std::span<const double> scores, std::span<const double> labels) {
  MEDFUSION_CHECK(scores.size() == labels.size(), "metrics: {} scores for {} labels", scores.size(),
                  labels.size());
  RankedScores result;
  std::vector<double> known;
  std::vector<uint8_t> positive;
  for (size_t i = 0; i < scores.size(); ++i) {
    const Truth truth = truth_of(labels[i]);
    if (truth == Truth::unknown) continue;
    (truth == Truth::positive ? result.positives : result.negatives) += 1;
    result.not_numbers += std::isnan(scores[i]) ? 1 : 0;
    known.push_back(scores[i]);
    positive.push_back(truth == Truth::positive ? 1 : 0);
  }
  if (result.not_numbers == 0) result.groups = group_scores(known, positive);
  return result;
}

double RankingAreas::auroc() const {
  if (positives_ == 0 || negatives_ == 0) return kNoArea;
  return static_cast<double>(twice_area_) /
         (2.0 * static_cast<double>(positives_) * static_cast<double>(negatives_));
}

double RankingAreas::average_precision() const {
  if (positives_ == 0 || negatives_ == 0) return kNoArea;
  return precision_ / static_cast<double>(positives_);
}

double auroc(std::span<const ScoreGroup> ascending) { return areas_of(ascending).auroc(); }

double auroc(std::span<const double> scores, std::span<const double> labels) {
  return auroc(rank_scores(scores, labels).groups);
}

double average_precision(std::span<const ScoreGroup> ascending) {
  return areas_of(ascending).average_precision();
}

double choose_threshold(std::span<const ScoreGroup> ascending, ThresholdRule rule) {
  // The objective as a fraction of integers, compared by cross-multiplication: rounding never decides between
  // equals.
  __extension__ using Wide = __int128;
  Wide positives = 0, negatives = 0;
  for (const ScoreGroup& group : ascending) {
    positives += group.positives;
    negatives += group.negatives;
  }
  if (positives == 0 || negatives == 0) return kNoArea;
  Wide true_positives = 0, false_positives = 0;
  Wide best_numerator = 0, best_denominator = 0;  // none yet
  double best = 0.0;
  for (size_t i = ascending.size(); i-- > 0;) {
    true_positives += ascending[i].positives;
    false_positives += ascending[i].negatives;
    Wide numerator = true_positives * negatives - false_positives * positives;  // J x positives x negatives
    Wide denominator = 1;
    if (rule == ThresholdRule::f1) {  // F1 / 2; 2 TP + FP + FN = TP + FP + positives
      numerator = true_positives;
      denominator = true_positives + false_positives + positives;
    }
    if (best_denominator != 0 && numerator * best_denominator <= best_numerator * denominator) continue;
    best = ascending[i].score;
    best_numerator = numerator;
    best_denominator = denominator;
  }
  return best;
}

}  // namespace medfusion::data
