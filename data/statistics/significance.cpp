#include "data/statistics/significance.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/error.h"
#include "data/statistics/distributions.h"

namespace medfusion::data {

double mann_whitney_p(std::span<const ScoreGroup> groups, double design_effect) {
  double positives = 0.0, negatives = 0.0, ties = 0.0;
  for (const ScoreGroup& group : groups) {
    const auto size = static_cast<double>(group.positives + group.negatives);
    positives += static_cast<double>(group.positives);
    negatives += static_cast<double>(group.negatives);
    ties += size * size * size - size;
  }
  const double count = positives + negatives;
  const double pairs = positives * negatives;
  if (pairs == 0.0) return 1.0;
  const double variance = pairs / 12.0 * (count + 1.0 - ties / (count * (count - 1.0)));
  if (variance <= 0.0) return 1.0;
  const double distance = std::max(0.0, std::abs(auroc(groups) - 0.5) * pairs - 0.5);
  return normal_p(distance / std::sqrt(variance * design_effect));
}

double kolmogorov_smirnov_p(double distance, int64_t positives, int64_t negatives, double design_effect) {
  if (positives == 0 || negatives == 0) return 1.0;
  const auto p = static_cast<double>(positives);
  const auto n = static_cast<double>(negatives);
  const double root = std::sqrt(p * n / (p + n) / design_effect);
  return kolmogorov_p((root + 0.12 + 0.11 / root) * distance);
}

double maximal_chi_square_p(double x, int64_t cuts, double least_share, double most_share) {
  const double bonferroni = std::min(1.0, static_cast<double>(cuts) * chi_square_p(x));
  if (cuts <= 1 || x <= 1.0) return bonferroni;
  const double z = std::sqrt(x);
  const double density = std::exp(-0.5 * x) / kRootOfTwoPi;
  const double range = std::log(most_share * (1.0 - least_share) / ((1.0 - most_share) * least_share));
  return std::min(bonferroni, density * (z - 1.0 / z) * range + 4.0 * density / z);
}

std::vector<double> benjamini_hochberg(std::span<const double> p_values) {
  std::vector<size_t> order(p_values.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return p_values[a] > p_values[b]; });
  std::vector<double> result(p_values.size());
  const auto count = static_cast<double>(p_values.size());
  double least = 1.0;
  for (size_t i = 0; i < order.size(); ++i) {  // from the largest
    const double p = p_values[order[i]];
    MEDFUSION_CHECK(p >= 0.0 && p <= 1.0, "benjamini_hochberg: expected probabilities, got {}", p);
    least = std::min(least, p * count / (count - static_cast<double>(i)));
    result[order[i]] = least;
  }
  return result;
}

std::vector<double> holm(std::span<const double> p_values) {
  std::vector<double> adjusted(p_values.begin(), p_values.end());
  std::vector<size_t> order;
  for (size_t i = 0; i < p_values.size(); ++i) {
    if (!std::isnan(p_values[i])) order.push_back(i);
  }
  std::ranges::stable_sort(order, {}, [&](size_t i) { return p_values[i]; });
  double largest = 0.0;
  for (size_t rank = 0; rank < order.size(); ++rank) {
    largest = std::max(largest, static_cast<double>(order.size() - rank) * p_values[order[rank]]);
    adjusted[order[rank]] = std::min(1.0, largest);
  }
  return adjusted;
}

}  // namespace medfusion::data
