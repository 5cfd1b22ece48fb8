#include "data/statistics/rank_tests.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "data/statistics/distributions.h"

namespace medfusion::data {

std::vector<double> average_ranks(const std::vector<std::vector<double>>& scores) {
  MEDFUSION_CHECK(!scores.empty(), "average_ranks: expected at least one block, got none");
  std::vector<double> ranks(scores.front().size(), 0.0);
  for (const std::vector<double>& block : scores) {
    MEDFUSION_CHECK(block.size() == ranks.size(), "average_ranks: expected {} scores, got {}", ranks.size(),
                    block.size());
    for (size_t i = 0; i < block.size(); ++i) {
      const auto higher = std::count_if(block.begin(), block.end(), [&](double x) { return x > block[i]; });
      const auto equal = std::count(block.begin(), block.end(), block[i]);
      ranks[i] += static_cast<double>(higher) + (static_cast<double>(equal) + 1.0) / 2.0;
    }
  }
  for (double& rank : ranks) rank /= static_cast<double>(scores.size());
  return ranks;
}

FriedmanTest friedman(const std::vector<double>& ranks, int64_t blocks) {
  const auto k = static_cast<double>(ranks.size()), n = static_cast<double>(blocks);
  MEDFUSION_CHECK(ranks.size() >= 2 && blocks >= 1, "friedman: got {} methods and {} blocks", ranks.size(),
                  blocks);
  double squares = 0.0;
  for (const double rank : ranks) squares += rank * rank;
  const double statistic =
      std::max(0.0, 12.0 * n / (k * (k + 1.0)) * (squares - k * (k + 1.0) * (k + 1.0) / 4.0));
  return {statistic, chi_square_p(statistic, static_cast<int64_t>(ranks.size()) - 1)};
}

double chi_square_p(double x, int64_t degrees) {
  MEDFUSION_CHECK(degrees >= 1, "chi_square_p: expected at least 1 degree of freedom, got {}", degrees);
  if (!(x > 0.0)) return 1.0;
  // Q(a + 1, y) = Q(a, y) + y^a e^-y / Gamma(a + 1), from Q(1/2, y) = erfc(sqrt y) or Q(1, y) = e^-y.
  const double y = x / 2.0;
  const bool odd = degrees % 2 == 1;
  double p = odd ? std::erfc(std::sqrt(y)) : std::exp(-y);
  for (double a = odd ? 0.5 : 1.0; 2.0 * a < static_cast<double>(degrees); a += 1.0)
    p += std::exp(a * std::log(y) - y - std::lgamma(a + 1.0));
  return std::min(1.0, p);
}

double normal_range_cdf(double x, int64_t count) {
  MEDFUSION_CHECK(count >= 2, "normal_range_cdf: expected at least 2 variables, got {}", count);
  if (!(x > 0.0)) return 0.0;
  // count * integral of phi(z) (Phi(z) - Phi(z - x))^(count - 1), z being the largest. Simpson's rule.
  constexpr int kSteps = 2000;
  constexpr double kLow = -9.0, kHigh = 9.0;
  const double low = kLow, high = kHigh + x, step = (high - low) / kSteps;
  double sum = 0.0;
  for (int i = 0; i <= kSteps; ++i) {
    const double z = low + i * step;
    const double weight = i == 0 || i == kSteps ? 1.0 : i % 2 == 1 ? 4.0 : 2.0;
    const double density = std::exp(-0.5 * z * z) / kRootOfTwoPi;
    sum += weight * density * std::pow(normal_cdf(z) - normal_cdf(z - x), static_cast<double>(count - 1));
  }
  return static_cast<double>(count) * sum * step / 3.0;
}

double nemenyi_difference(int64_t methods, int64_t blocks, double confidence) {
  MEDFUSION_CHECK(methods >= 2 && blocks >= 1, "nemenyi_difference: got {} methods and {} blocks", methods,
                  blocks);
  double low = 0.0, high = 20.0;
  for (int i = 0; i < 60; ++i) {
    const double middle = (low + high) / 2.0;
    (normal_range_cdf(middle, methods) < confidence ? low : high) = middle;
  }
  const auto k = static_cast<double>(methods), n = static_cast<double>(blocks);
  return low / std::sqrt(2.0) * std::sqrt(k * (k + 1.0) / (6.0 * n));
}

}  // namespace medfusion::data
