#include "data/roc.h"

#include <algorithm>
#include <limits>
#include <map>
#include <numeric>

#include "core/error.h"

namespace medfusion::data {
namespace {

struct Totals {
  int64_t positives = 0;
  int64_t negatives = 0;
};

Totals totals_of(std::span<const ScoreGroup> groups) {
  Totals totals;
  for (const ScoreGroup& group : groups) {
    totals.positives += group.positives;
    totals.negatives += group.negatives;
  }
  return totals;
}

// Sums over the samples of one cluster: counts, and their placements less what the area makes them expect.
struct Cluster {
  int64_t positives = 0, negatives = 0;
  double of_positives = 0.0, of_negatives = 0.0;
};

// The placement of a positive is the share of negatives below it, that of a negative the share of positives
// above it, ties counting half. Per group: {of its positives, of its negatives}.
std::vector<std::pair<double, double>> placements(std::span<const ScoreGroup> groups, const Totals& totals) {
  std::vector<std::pair<double, double>> result;
  Totals below;
  for (const ScoreGroup& group : groups) {
    const int64_t above = totals.positives - below.positives - group.positives;
    result.emplace_back(
        static_cast<double>(2 * below.negatives + group.negatives) /
            (2.0 * static_cast<double>(totals.negatives)),
        static_cast<double>(2 * above + group.positives) / (2.0 * static_cast<double>(totals.positives)));
    below.positives += group.positives;
    below.negatives += group.negatives;
  }
  return result;
}

double independent_variance(std::span<const ScoreGroup> groups, const Totals& totals,
                            std::span<const std::pair<double, double>> places, double area) {
  double squares_of_positives = 0.0, squares_of_negatives = 0.0;
  for (size_t g = 0; g < groups.size(); ++g) {
    const auto [positive, negative] = places[g];
    squares_of_positives += static_cast<double>(groups[g].positives) * (positive - area) * (positive - area);
    squares_of_negatives += static_cast<double>(groups[g].negatives) * (negative - area) * (negative - area);
  }
  const auto positives = static_cast<double>(totals.positives);
  const auto negatives = static_cast<double>(totals.negatives);
  return squares_of_positives / (positives * (positives - 1.0)) +
         squares_of_negatives / (negatives * (negatives - 1.0));
}

double clustered_variance(const std::vector<Cluster>& clusters, const Totals& totals) {
  double with_positives = 0.0, with_negatives = 0.0;
  double s10 = 0.0, s01 = 0.0, s11 = 0.0;
  for (const Cluster& cluster : clusters) {
    with_positives += cluster.positives > 0 ? 1.0 : 0.0;
    with_negatives += cluster.negatives > 0 ? 1.0 : 0.0;
    s10 += cluster.of_positives * cluster.of_positives;
    s01 += cluster.of_negatives * cluster.of_negatives;
    s11 += cluster.of_positives * cluster.of_negatives;
  }
  if (with_positives < 2.0 || with_negatives < 2.0) return 0.0;
  const auto count = static_cast<double>(clusters.size());
  const auto positives = static_cast<double>(totals.positives);
  const auto negatives = static_cast<double>(totals.negatives);
  return s10 * with_positives / (with_positives - 1.0) / (positives * positives) +
         s01 * with_negatives / (with_negatives - 1.0) / (negatives * negatives) +
         2.0 * s11 * count / (count - 1.0) / (positives * negatives);
}

}  // namespace

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

double auroc(std::span<const ScoreGroup> ascending) {
  const Totals totals = totals_of(ascending);
  if (totals.positives == 0 || totals.negatives == 0) return std::numeric_limits<double>::quiet_NaN();
  int64_t twice_area = 0;  // twice the pairs in the right order, a tie counting once
  int64_t negatives_below = 0;
  for (const ScoreGroup& group : ascending) {
    twice_area += group.positives * (2 * negatives_below + group.negatives);
    negatives_below += group.negatives;
  }
  return static_cast<double>(twice_area) /
         (2.0 * static_cast<double>(totals.positives) * static_cast<double>(totals.negatives));
}

AurocVariance auroc_variance(std::span<const double> scores, std::span<const uint8_t> positive,
                             std::span<const int64_t> clusters) {
  MEDFUSION_CHECK(scores.size() == clusters.size(), "auroc_variance: {} scores for {} clusters",
                  scores.size(), clusters.size());
  const std::vector<ScoreGroup> groups = group_scores(scores, positive);
  const Totals totals = totals_of(groups);
  if (totals.positives < 2 || totals.negatives < 2) return {};
  const double area = auroc(groups);
  const auto places = placements(groups, totals);
  std::map<int64_t, Cluster> by_cluster;
  for (size_t i = 0; i < scores.size(); ++i) {
    const auto group = std::lower_bound(groups.begin(), groups.end(), scores[i],
                                        [](const ScoreGroup& g, double score) { return g.score < score; });
    const auto [of_positive, of_negative] = places[static_cast<size_t>(group - groups.begin())];
    Cluster& cluster = by_cluster[clusters[i]];
    if (positive[i] != 0) {
      ++cluster.positives;
      cluster.of_positives += of_positive - area;
    } else {
      ++cluster.negatives;
      cluster.of_negatives += of_negative - area;
    }
  }
  std::vector<Cluster> list;
  for (const auto& [id, cluster] : by_cluster) list.push_back(cluster);
  return {independent_variance(groups, totals, places, area), clustered_variance(list, totals)};
}

}  // namespace medfusion::data
