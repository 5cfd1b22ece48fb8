#include "tools/evaluation/delong.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "core/error.h"
#include "tools/evaluation/curves.h"

namespace medfusion::tools {
namespace {

// Ranks from 1; equal values share the mean of theirs.
std::vector<double> midranks(std::span<const double> values) {
  std::vector<size_t> order(values.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return values[a] < values[b]; });
  std::vector<double> ranks(values.size());
  for (size_t first = 0; first < order.size();) {
    size_t last = first;
    while (last < order.size() && values[order[last]] == values[order[first]]) ++last;
    const double rank = static_cast<double>(first + last + 1) / 2.0;
    for (size_t i = first; i < last; ++i) ranks[order[i]] = rank;
    first = last;
  }
  return ranks;
}

// Of each positive the share of negatives below it, and of each negative the share of positives above it,
// ties counting half: the placements V10 and V01 of DeLong et al.
struct Placements {
  double auroc = 0.0;
  std::vector<double> of_positives, of_negatives;
};

Placements place(std::span<const double> scores, std::span<const double> targets) {
  std::vector<double> positives, negatives;
  for (size_t i = 0; i < targets.size(); ++i) {
    if (targets[i] == 1.0) positives.push_back(scores[i]);
    if (targets[i] == 0.0) negatives.push_back(scores[i]);
  }
  std::vector<double> all = positives;
  all.insert(all.end(), negatives.begin(), negatives.end());
  const auto m = static_cast<double>(positives.size());
  const auto n = static_cast<double>(negatives.size());
  const std::vector<double> within_positives = midranks(positives);
  const std::vector<double> within_negatives = midranks(negatives);
  const std::vector<double> among_all = midranks(all);
  Placements result;
  for (size_t i = 0; i < positives.size(); ++i) {
    result.of_positives.push_back((among_all[i] - within_positives[i]) / n);
    result.auroc += result.of_positives.back() / m;
  }
  for (size_t j = 0; j < negatives.size(); ++j) {
    result.of_negatives.push_back(1.0 - (among_all[positives.size() + j] - within_negatives[j]) / m);
  }
  return result;
}

double mean_of(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

// Sample variance.
double variance(const std::vector<double>& values) {
  const double centre = mean_of(values);
  double sum = 0.0;
  for (const double value : values) sum += (value - centre) * (value - centre);
  return sum / static_cast<double>(values.size() - 1);
}

double standard_error(const std::vector<double>& of_positives, const std::vector<double>& of_negatives) {
  return std::sqrt(variance(of_positives) / static_cast<double>(of_positives.size()) +
                   variance(of_negatives) / static_cast<double>(of_negatives.size()));
}

std::string obstacle(std::span<const double> scores, std::span<const double> targets) {
  MEDFUSION_CHECK(scores.size() == targets.size(), "DeLong: {} scores, {} targets", scores.size(),
                  targets.size());
  int64_t positives = 0, negatives = 0, not_numbers = 0;
  for (size_t i = 0; i < targets.size(); ++i) {
    positives += targets[i] == 1.0 ? 1 : 0;
    negatives += targets[i] == 0.0 ? 1 : 0;
    not_numbers += !std::isnan(targets[i]) && std::isnan(scores[i]) ? 1 : 0;
  }
  if (not_numbers > 0) return fmt::format("{} scores are not numbers", not_numbers);
  if (positives >= 2 && negatives >= 2) return {};
  return fmt::format("{} positives and {} negatives, expected at least 2 of each", positives, negatives);
}

std::vector<double> difference(std::vector<double> a, const std::vector<double>& b) {
  for (size_t i = 0; i < a.size(); ++i) a[i] -= b[i];
  return a;
}

}  // namespace

DelongAuroc delong(std::span<const double> scores, std::span<const double> targets, double confidence) {
  DelongAuroc result;
  result.undefined = obstacle(scores, targets);
  if (!result.undefined.empty()) return result;
  const Placements placements = place(scores, targets);
  result.auroc = placements.auroc;
  result.standard_error = standard_error(placements.of_positives, placements.of_negatives);
  const double half = normal_quantile(0.5 + confidence / 2.0) * result.standard_error;
  result.low = std::max(0.0, result.auroc - half);
  result.high = std::min(1.0, result.auroc + half);
  return result;
}

DelongComparison delong_paired(std::span<const double> first, std::span<const double> second,
                               std::span<const double> targets, double confidence) {
  DelongComparison result;
  result.undefined = obstacle(first, targets);
  if (result.undefined.empty()) result.undefined = obstacle(second, targets);
  if (!result.undefined.empty()) return result;
  const Placements a = place(first, targets);
  const Placements b = place(second, targets);
  result.first = a.auroc;
  result.second = b.auroc;
  result.difference = a.auroc - b.auroc;
  // The variance of a difference of placements holds both variances and the covariance.
  result.standard_error =
      standard_error(difference(a.of_positives, b.of_positives), difference(a.of_negatives, b.of_negatives));
  const double half = normal_quantile(0.5 + confidence / 2.0) * result.standard_error;
  result.low = result.difference - half;
  result.high = result.difference + half;
  if (result.standard_error > 0.0) {
    result.z = result.difference / result.standard_error;
    result.p_value = 2.0 * normal_cdf(-std::abs(result.z));
  } else {
    result.p_value = result.difference == 0.0 ? 1.0 : 0.0;
  }
  return result;
}

}  // namespace medfusion::tools
