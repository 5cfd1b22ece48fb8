#include "data/statistics/univariate.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "data/statistics/delong.h"
#include "data/statistics/distributions.h"
#include "data/statistics/significance.h"

namespace medfusion::data {
namespace {

// Of the rule "at or above" the lowest score: all are predicted positive.
Confusion all_above(std::span<const ScoreGroup> groups) {
  Confusion counts;
  for (const ScoreGroup& group : groups) {
    counts.true_positives += group.positives;
    counts.false_positives += group.negatives;
  }
  return counts;
}

// What the choice of a threshold maximizes.
double objective(const Confusion& counts, FeatureScore score) {
  switch (score) {
    case FeatureScore::chi_square:
      return chi_square(counts);
    case FeatureScore::information_gain:
      return information_gain(counts);
    default:
      return std::abs(youden(counts));
  }
}

// Calls visit(last group below, next group, counts of the rule "at or above") for each possible threshold.
template <class Visit>
void for_each_cut(std::span<const ScoreGroup> groups, Visit&& visit) {
  Confusion counts = all_above(groups);
  const ScoreGroup* last = nullptr;
  for (const ScoreGroup& group : groups) {
    if (group.positives + group.negatives == 0) continue;
    if (last != nullptr) visit(*last, group, counts);
    counts.true_positives -= group.positives;
    counts.false_negatives += group.positives;
    counts.false_positives -= group.negatives;
    counts.true_negatives += group.negatives;
    last = &group;
  }
}

ThresholdStatistics statistics_at(double threshold, const Confusion& above) {
  ThresholdStatistics result;
  const double difference = youden(above);
  result.threshold = threshold;
  result.higher = difference >= 0.0;
  result.youden = std::abs(difference);
  result.chi_square = chi_square(above);
  result.information_gain = information_gain(above);
  result.counts = result.higher ? above
                                : Confusion{above.false_negatives, above.true_negatives,
                                            above.false_positives, above.true_positives};
  return result;
}

// The rows whose label and value are known.
struct KnownRows {
  std::vector<double> values;
  std::vector<uint8_t> positive;
  std::vector<int64_t> patients;
};

void put_auroc(Univariate& result, const KnownRows& rows, std::span<const ScoreGroup> groups) {
  const AurocVariance variance = auroc_variance(rows.values, rows.positive, rows.patients);
  const double area = auroc(groups);
  result.auroc = result.best.higher ? area : 1.0 - area;
  if (variance.independent > 0.0) {
    result.design_effect = std::max(1.0, variance.clustered / variance.independent);
  }
  // One positive, or one negative, has no spread to estimate from: the interval stays [0, 1].
  if (result.positives < 2 || result.negatives < 2) return;
  const Estimate interval =
      normal_interval(result.auroc, std::sqrt(variance.independent * result.design_effect));
  result.auroc_low = std::max(0.0, interval.low);
  result.auroc_high = std::min(1.0, interval.high);
}

double p_value_of(const Univariate& result, std::span<const ScoreGroup> groups, FeatureScore score) {
  const double effect = result.design_effect;
  const auto cuts = static_cast<int64_t>(groups.size()) - 1;
  const auto count = static_cast<double>(result.positives + result.negatives);
  const auto size = [&](const ScoreGroup& group) {
    return static_cast<double>(group.positives + group.negatives);
  };
  const double least = size(groups.front()) / count;
  const double most = 1.0 - size(groups.back()) / count;
  switch (score) {
    case FeatureScore::auroc:
      return mann_whitney_p(groups, effect);
    case FeatureScore::youden:
      if (cuts >= kManyCuts) {
        return kolmogorov_smirnov_p(result.best.youden, result.positives, result.negatives, effect);
      }
      return std::min(1.0, static_cast<double>(cuts) * chi_square_p(result.best.chi_square / effect));
    case FeatureScore::chi_square:
      return maximal_chi_square_p(result.best.chi_square / effect, cuts, least, most);
    default: {
      const double g = 2.0 * count * std::log(2.0) * result.best.information_gain;
      return maximal_chi_square_p(g / effect, cuts, least, most);
    }
  }
}

}  // namespace

ThresholdStatistics best_threshold(std::span<const ScoreGroup> ascending, FeatureScore score) {
  const Confusion all = all_above(ascending);
  MEDFUSION_CHECK(all.positives() > 0 && all.negatives() > 0, "best_threshold: {} positives, {} negatives",
                  all.positives(), all.negatives());
  double best = -1.0, threshold = 0.0;
  Confusion best_counts;
  for_each_cut(ascending, [&](const ScoreGroup& last, const ScoreGroup& next, const Confusion& counts) {
    const double value = objective(counts, score);
    // The slack keeps rounding from choosing between equals.
    if (value <= best + 1e-12 * std::max(1.0, best)) return;
    best = value;
    best_counts = counts;
    threshold = last.score + 0.5 * (next.score - last.score);
    if (threshold <= last.score) threshold = next.score;
  });
  MEDFUSION_CHECK(best >= 0.0, "best_threshold: expected at least two values, got {}", ascending.size());
  return statistics_at(threshold, best_counts);
}

double feature_score(std::span<const ScoreGroup> ascending, FeatureScore score) {
  const Confusion all = all_above(ascending);
  if (all.positives() == 0 || all.negatives() == 0) return 0.0;
  if (score == FeatureScore::auroc) return 0.5 + std::abs(auroc(ascending) - 0.5);
  double best = 0.0;
  for_each_cut(ascending, [&](const ScoreGroup&, const ScoreGroup&, const Confusion& counts) {
    best = std::max(best, objective(counts, score));
  });
  return best;
}

Univariate univariate(std::span<const double> values, std::span<const double> labels,
                      std::span<const int64_t> patients, FeatureScore score) {
  MEDFUSION_CHECK(values.size() == labels.size() && values.size() == patients.size(),
                  "univariate: {} values, {} labels, {} patients", values.size(), labels.size(),
                  patients.size());
  Univariate result;
  KnownRows rows;
  for (size_t i = 0; i < values.size(); ++i) {
    if (std::isnan(labels[i])) continue;
    if (std::isnan(values[i])) {
      ++result.missing;
      continue;
    }
    const bool positive = labels[i] == 1.0;
    (positive ? result.positives : result.negatives) += 1;
    rows.values.push_back(values[i]);
    rows.positive.push_back(positive ? 1 : 0);
    rows.patients.push_back(patients[i]);
  }
  const std::vector<ScoreGroup> groups = group_scores(rows.values, rows.positive);
  if (result.positives == 0 || result.negatives == 0) {
    result.untested = result.positives + result.negatives == 0 ? "no known value"
                      : result.positives == 0                  ? "no positive"
                                                               : "no negative";
    return result;
  }
  if (groups.size() < 2) {
    result.untested = "one value only";
    return result;
  }
  result.best = best_threshold(groups, score);
  put_auroc(result, rows, groups);
  result.odds_ratio = odds_ratio(result.best.counts, result.design_effect);
  result.score = feature_score(groups, score);
  result.p_value = p_value_of(result, groups, score);
  return result;
}

}  // namespace medfusion::data
