#include "data/univariate.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "data/significance.h"

namespace medfusion::data {
namespace {

constexpr double k95 = 1.959963984540054;  // standard normal deviate of a two-sided 95% interval

struct Counts {
  int64_t positives = 0, negatives = 0;
  int64_t all() const { return positives + negatives; }
};

Counts total(std::span<const ScoreGroup> groups) {
  Counts counts;
  for (const ScoreGroup& group : groups) {
    counts.positives += group.positives;
    counts.negatives += group.negatives;
  }
  return counts;
}

// Entropy of the classes times their number, in bits.
double bits(const Counts& counts) {
  const auto term = [&](int64_t part) {
    if (part == 0) return 0.0;
    return -static_cast<double>(part) *
           std::log2(static_cast<double>(part) / static_cast<double>(counts.all()));
  };
  return term(counts.positives) + term(counts.negatives);
}

double youden_of(const Counts& below, const Counts& all) {
  return static_cast<double>(below.negatives) / static_cast<double>(all.negatives) -
         static_cast<double>(below.positives) / static_cast<double>(all.positives);
}

double chi_square_of(const Counts& below, const Counts& all) {
  const auto above_count = static_cast<double>(all.all() - below.all());
  const auto below_count = static_cast<double>(below.all());
  const auto p = static_cast<double>(all.positives);
  const auto n = static_cast<double>(all.negatives);
  const double difference = youden_of(below, all) * p * n;
  return (p + n) * difference * difference / (above_count * below_count * p * n);
}

double gain_of(const Counts& below, const Counts& all) {
  const Counts above{all.positives - below.positives, all.negatives - below.negatives};
  return (bits(all) - bits(below) - bits(above)) / static_cast<double>(all.all());
}

// What the choice of a threshold maximizes.
double objective(const Counts& below, const Counts& all, FeatureScore score) {
  switch (score) {
    case FeatureScore::chi_square:
      return chi_square_of(below, all);
    case FeatureScore::information_gain:
      return gain_of(below, all);
    default:
      return std::abs(youden_of(below, all));
  }
}

// Calls visit(last group below, next group, counts below) for each possible threshold.
template <class Visit>
void for_each_cut(std::span<const ScoreGroup> groups, Visit&& visit) {
  Counts below;
  const ScoreGroup* last = nullptr;
  for (const ScoreGroup& group : groups) {
    if (group.positives + group.negatives == 0) continue;
    if (last != nullptr) visit(*last, group, below);
    below.positives += group.positives;
    below.negatives += group.negatives;
    last = &group;
  }
}

ThresholdStatistics statistics_at(double threshold, const Counts& below, const Counts& all) {
  ThresholdStatistics result;
  const Counts above{all.positives - below.positives, all.negatives - below.negatives};
  const double difference = youden_of(below, all);
  result.threshold = threshold;
  result.higher = difference >= 0.0;
  result.youden = std::abs(difference);
  result.chi_square = chi_square_of(below, all);
  result.information_gain = gain_of(below, all);
  const auto& [risk, other] = result.higher ? std::pair(above, below) : std::pair(below, above);
  result.true_positives = risk.positives;
  result.false_positives = risk.negatives;
  result.false_negatives = other.positives;
  result.true_negatives = other.negatives;
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
  const double half = k95 * std::sqrt(variance.independent * result.design_effect);
  result.auroc_low = std::max(0.0, result.auroc - half);
  result.auroc_high = std::min(1.0, result.auroc + half);
}

void put_odds_ratio(Univariate& result) {
  const ThresholdStatistics& best = result.best;
  const double counts[] = {
      static_cast<double>(best.true_positives) + 0.5, static_cast<double>(best.false_positives) + 0.5,
      static_cast<double>(best.false_negatives) + 0.5, static_cast<double>(best.true_negatives) + 0.5};
  const double logarithm = std::log(counts[0] * counts[3] / (counts[1] * counts[2]));
  double variance = 0.0;
  for (const double count : counts) variance += 1.0 / count;
  const double half = k95 * std::sqrt(variance * result.design_effect);
  result.odds_ratio = std::exp(logarithm);
  result.odds_ratio_low = std::exp(logarithm - half);
  result.odds_ratio_high = std::exp(logarithm + half);
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
  const Counts all = total(ascending);
  MEDFUSION_CHECK(all.positives > 0 && all.negatives > 0, "best_threshold: {} positives, {} negatives",
                  all.positives, all.negatives);
  double best = -1.0, threshold = 0.0;
  Counts best_below;
  for_each_cut(ascending, [&](const ScoreGroup& last, const ScoreGroup& next, const Counts& below) {
    const double value = objective(below, all, score);
    // The slack keeps rounding from choosing between equals.
    if (value <= best + 1e-12 * std::max(1.0, best)) return;
    best = value;
    best_below = below;
    threshold = last.score + 0.5 * (next.score - last.score);
    if (threshold <= last.score) threshold = next.score;
  });
  MEDFUSION_CHECK(best >= 0.0, "best_threshold: expected at least two values, got {}", ascending.size());
  return statistics_at(threshold, best_below, all);
}

double feature_score(std::span<const ScoreGroup> ascending, FeatureScore score) {
  const Counts all = total(ascending);
  if (all.positives == 0 || all.negatives == 0) return 0.0;
  if (score == FeatureScore::auroc) return 0.5 + std::abs(auroc(ascending) - 0.5);
  double best = 0.0;
  for_each_cut(ascending, [&](const ScoreGroup&, const ScoreGroup&, const Counts& below) {
    best = std::max(best, objective(below, all, score));
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
  put_odds_ratio(result);
  result.score = feature_score(groups, score);
  result.p_value = p_value_of(result, groups, score);
  return result;
}

}  // namespace medfusion::data
