#include "data/statistics/delong.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <vector>

#include "core/error.h"
#include "data/statistics/distributions.h"
#include "data/statistics/intervals.h"
#include "data/statistics/ranking.h"

namespace medfusion::data {
namespace {

// Squared deviations of the placements, or of their differences, from what the area makes them expect.
struct Deviations {
  double positives = 0.0, negatives = 0.0;
  double squares_of_positives = 0.0, squares_of_negatives = 0.0;

  void add(bool positive, double deviation, double count = 1.0) {
    (positive ? positives : negatives) += count;
    (positive ? squares_of_positives : squares_of_negatives) += count * deviation * deviation;
  }
  // Of the area, or of the difference of areas: the variance of a difference of placements holds both
  // variances and the covariance.
  double variance() const {
    return squares_of_positives / (positives * (positives - 1.0)) +
           squares_of_negatives / (negatives * (negatives - 1.0));
  }
};

class Placements {
 public:
  explicit Placements(std::vector<ScoreGroup> ascending)
      : groups_(std::move(ascending)), area_(data::auroc(groups_)) {
    for (const ScoreGroup& group : groups_) {
      positives_ += group.positives;
      negatives_ += group.negatives;
    }
    int64_t above = positives_, below = 0;
    for (const ScoreGroup& group : groups_) {
      above -= group.positives;
      twice_below_.push_back(2 * below + group.negatives);
      twice_above_.push_back(2 * above + group.positives);
      twice_area_ += group.positives * twice_below_.back();
      below += group.negatives;
    }
  }

  int64_t positives() const { return positives_; }
  int64_t negatives() const { return negatives_; }
  double area() const { return area_; }

  // Of a sample whose score is among the groups.
  double of(double score, bool positive) const { return share(twice(score, positive), others(positive)); }

  // The difference to a second ranking of the same samples, counted in integers before the one division: of
  // the placements of a sample, and of the areas.
  double difference(const Placements& second, double score, double second_score, bool positive) const {
    return share(twice(score, positive) - second.twice(second_score, positive), others(positive));
  }
  double difference(const Placements& second) const {
    return share(twice_area_ - second.twice_area_, positives_ * negatives_);
  }

  double variance() const {
    Deviations deviations;
    for (size_t g = 0; g < groups_.size(); ++g) {
      deviations.add(true, share(twice_below_[g], negatives_) - area_,
                     static_cast<double>(groups_[g].positives));
      deviations.add(false, share(twice_above_[g], positives_) - area_,
                     static_cast<double>(groups_[g].negatives));
    }
    return deviations.variance();
  }

 private:
  static double share(int64_t twice, int64_t of) {
    return static_cast<double>(twice) / (2.0 * static_cast<double>(of));
  }
  int64_t others(bool positive) const { return positive ? negatives_ : positives_; }
  int64_t twice(double score, bool positive) const {
    const auto group = std::lower_bound(groups_.begin(), groups_.end(), score,
                                        [](const ScoreGroup& g, double value) { return g.score < value; });
    return (positive ? twice_below_ : twice_above_)[static_cast<size_t>(group - groups_.begin())];
  }

  std::vector<ScoreGroup> groups_;
  double area_;
  int64_t positives_ = 0, negatives_ = 0;
  // Twice the samples of the other class below the positives of each group, and above its negatives (a tie
  // counts half); twice the pairs in the right order.
  std::vector<int64_t> twice_below_, twice_above_;
  int64_t twice_area_ = 0;
};

// Sums over the samples of one cluster: counts, and their placements less what the area makes them expect.
struct Cluster {
  int64_t positives = 0, negatives = 0;
  double of_positives = 0.0, of_negatives = 0.0;
};

double clustered_variance(const std::map<int64_t, Cluster>& clusters, const Placements& placements) {
  double with_positives = 0.0, with_negatives = 0.0;
  double s10 = 0.0, s01 = 0.0, s11 = 0.0;
  for (const auto& [id, cluster] : clusters) {
    with_positives += cluster.positives > 0 ? 1.0 : 0.0;
    with_negatives += cluster.negatives > 0 ? 1.0 : 0.0;
    s10 += cluster.of_positives * cluster.of_positives;
    s01 += cluster.of_negatives * cluster.of_negatives;
    s11 += cluster.of_positives * cluster.of_negatives;
  }
  if (with_positives < 2.0 || with_negatives < 2.0) return 0.0;
  const auto count = static_cast<double>(clusters.size());
  const auto positives = static_cast<double>(placements.positives());
  const auto negatives = static_cast<double>(placements.negatives());
  return s10 * with_positives / (with_positives - 1.0) / (positives * positives) +
         s01 * with_negatives / (with_negatives - 1.0) / (negatives * negatives) +
         2.0 * s11 * count / (count - 1.0) / (positives * negatives);
}

std::string delong_obstacle(const RankedScores& ranked) {
  if (ranked.not_numbers > 0) return fmt::format("{} scores are not numbers", ranked.not_numbers);
  if (ranked.positives >= 2 && ranked.negatives >= 2) return {};
  return fmt::format("{} positives and {} negatives, expected at least 2 of each", ranked.positives,
                     ranked.negatives);
}

}  // namespace

AurocVariance auroc_variance(std::span<const double> scores, std::span<const uint8_t> positive,
                             std::span<const int64_t> clusters) {
  MEDFUSION_CHECK(scores.size() == clusters.size(), "auroc_variance: {} scores for {} clusters",
                  scores.size(), clusters.size());
  const Placements placements(group_scores(scores, positive));
  if (placements.positives() < 2 || placements.negatives() < 2) return {};
  std::map<int64_t, Cluster> by_cluster;
  for (size_t i = 0; i < scores.size(); ++i) {
    const double deviation = placements.of(scores[i], positive[i] != 0) - placements.area();
    Cluster& cluster = by_cluster[clusters[i]];
    (positive[i] != 0 ? cluster.positives : cluster.negatives) += 1;
    (positive[i] != 0 ? cluster.of_positives : cluster.of_negatives) += deviation;
  }
  return {placements.variance(), clustered_variance(by_cluster, placements)};
}

DelongAuroc delong(std::span<const double> scores, std::span<const double> targets) {
  RankedScores ranked = rank_scores(scores, targets);
  DelongAuroc result;
  result.undefined = delong_obstacle(ranked);
  if (!result.undefined.empty()) return result;
  const Placements placements(std::move(ranked.groups));
  result.auroc = placements.area();
  result.standard_error = std::sqrt(placements.variance());
  const Estimate interval = normal_interval(result.auroc, result.standard_error);
  result.low = std::max(0.0, interval.low);
  result.high = std::min(1.0, interval.high);
  return result;
}

DelongComparison delong_paired(std::span<const double> first, std::span<const double> second,
                               std::span<const double> targets) {
  RankedScores ranked_first = rank_scores(first, targets), ranked_second = rank_scores(second, targets);
  DelongComparison result;
  result.undefined = delong_obstacle(ranked_first);
  if (result.undefined.empty()) result.undefined = delong_obstacle(ranked_second);
  if (!result.undefined.empty()) return result;
  const Placements a(std::move(ranked_first.groups)), b(std::move(ranked_second.groups));
  result.first = a.area();
  result.second = b.area();
  result.difference = a.difference(b);
  Deviations deviations;
  for (size_t i = 0; i < targets.size(); ++i) {
    const Truth truth = truth_of(targets[i]);
    if (truth == Truth::unknown) continue;
    const bool positive = truth == Truth::positive;
    deviations.add(positive, a.difference(b, first[i], second[i], positive) - result.difference);
  }
  result.standard_error = std::sqrt(deviations.variance());
  const Estimate interval = normal_interval(result.difference, result.standard_error);
  result.low = std::max(-1.0, interval.low);
  result.high = std::min(1.0, interval.high);
  if (result.standard_error > 0.0) {
    result.z = result.difference / result.standard_error;
    result.p_value = normal_p(result.z);
  } else {
    result.p_value = result.difference == 0.0 ? 1.0 : 0.0;
  }
  return result;
}

}  // namespace medfusion::data
