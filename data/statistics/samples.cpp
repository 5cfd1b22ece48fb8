#include "data/statistics/samples.h"

#include <algorithm>

#include "core/random.h"

namespace medfusion::data {

double mean(std::span<const double> values) {
  Mean result;
  for (const double value : values) result.add(value);
  return result.value();
}

double deviation(std::span<const double> values) {
  if (values.size() < 2) return std::nan("");
  const double centre = mean(values);
  double squares = 0.0;
  for (const double value : values) squares += (value - centre) * (value - centre);
  return std::sqrt(squares / static_cast<double>(values.size() - 1));
}

double quantile(std::span<const double> sorted, double q) {
  const double at = q * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(at);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (at - static_cast<double>(below)) * (sorted[above] - sorted[below]);
}

double nearest_rank(std::span<const double> sorted, size_t part, size_t parts) {
  return sorted[std::min(sorted.size() - 1, sorted.size() * part / parts)];
}

double median(std::span<const double> sorted) {
  return 0.5 * (sorted[(sorted.size() - 1) / 2] + sorted[sorted.size() / 2]);
}

std::vector<uint32_t> draw_counts(int64_t count, uint64_t seed, uint64_t stream) {
  std::vector<uint32_t> counts(static_cast<size_t>(count), 0);
  core::Generator generator(seed, stream);
  for (int64_t i = 0; i < count; ++i) ++counts[static_cast<size_t>(generator.below(count))];
  return counts;
}

}  // namespace medfusion::data
