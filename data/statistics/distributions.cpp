#include "data/statistics/distributions.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace medfusion::data {

double normal_cdf(double value) { return 0.5 * std::erfc(-value / std::sqrt(2.0)); }

double normal_quantile(double probability) {
  MEDFUSION_CHECK(probability > 0.0 && probability < 1.0, "normal quantile of {}", probability);
  // Below the middle the distribution function has finer steps.
  if (probability > 0.5) return -normal_quantile(1.0 - probability);
  // Newton's method from the middle with the step bounded: the distribution function is smooth, and the few
  // calls do not need speed.
  double value = 0.0;
  for (int i = 0; i < 200; ++i) {
    const double density = std::exp(-0.5 * value * value) / kRootOfTwoPi;
    const double step = (normal_cdf(value) - probability) / density;
    value -= std::clamp(step, -0.5, 0.5);
    if (std::abs(step) < 1e-14) break;
  }
  return value;
}

double normal_p(double z) { return std::erfc(std::abs(z) / std::sqrt(2.0)); }

double chi_square_p(double x) { return x <= 0.0 ? 1.0 : normal_p(std::sqrt(x)); }

double kolmogorov_p(double x) {
  if (x < 0.2) return 1.0;  // to double precision
  double sum = 0.0;
  for (int k = 1; k <= 100; ++k) {
    const double term = std::exp(-2.0 * k * k * x * x);
    sum += k % 2 == 1 ? term : -term;
    if (term < 1e-18) break;
  }
  return std::clamp(2.0 * sum, 0.0, 1.0);
}

}  // namespace medfusion::data
