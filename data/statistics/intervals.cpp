#include "data/statistics/intervals.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "data/statistics/distributions.h"

namespace medfusion::data {

Estimate normal_interval(double value, double standard_error) {
  const double half = normal_quantile(0.5 + kConfidence / 2.0) * standard_error;
  return {value, value - half, value + half};
}

Estimate wilson(int64_t successes, int64_t total) {
  MEDFUSION_CHECK(successes >= 0 && successes <= total, "wilson: {} of {}", successes, total);
  const double z = normal_quantile(0.5 + kConfidence / 2.0);
  const auto n = static_cast<double>(total);
  const double p = static_cast<double>(successes) / n;
  const double centre = (p + z * z / (2.0 * n)) / (1.0 + z * z / n);
  const double half = z / (1.0 + z * z / n) * std::sqrt(p * (1.0 - p) / n + z * z / (4.0 * n * n));
  // At the ends the bound is exact.
  return {p, successes == 0 ? 0.0 : std::max(0.0, centre - half),
          successes == total ? 1.0 : std::min(1.0, centre + half)};
}

Estimate odds_ratio(const Confusion& counts, double design_effect) {
  const double cells[] = {
      static_cast<double>(counts.true_positives) + 0.5, static_cast<double>(counts.false_positives) + 0.5,
      static_cast<double>(counts.false_negatives) + 0.5, static_cast<double>(counts.true_negatives) + 0.5};
  double variance = 0.0;
  for (const double cell : cells) variance += 1.0 / cell;
  const Estimate logarithm = normal_interval(std::log(cells[0] * cells[3] / (cells[1] * cells[2])),
                                             std::sqrt(variance * design_effect));
  return {std::exp(logarithm.value), std::exp(logarithm.low), std::exp(logarithm.high)};
}

}  // namespace medfusion::data
