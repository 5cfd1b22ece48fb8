// Means, deviations and quantiles of samples.
#pragma once

#include <cmath>
#include <cstdint>
#include <span>
#include <vector>

namespace medfusion::data {

// A mean that leaves out what is not a number.
class Mean {
 public:
  void add(double value) {
    if (std::isnan(value)) return;
    sum_ += value;
    ++count_;
  }
  int64_t count() const { return count_; }
  double value() const { return sum_ / static_cast<double>(count_); }  // NaN of nothing

 private:
  double sum_ = 0.0;
  int64_t count_ = 0;
};

// The mean of those values that are numbers; NaN where none is.
double mean(std::span<const double> values);

// The sample standard deviation, sqrt(sum of (value - mean)^2 / (n - 1)); NaN of fewer than two values.
double deviation(std::span<const double> values);

// The quantile q in [0, 1] of at least one value, sorted: numpy's, linear between the neighbours.
double quantile(std::span<const double> sorted, double q);

// The value at place n part / parts, rounded down, of at least one, sorted: one that occurs. part <= parts.
double nearest_rank(std::span<const double> sorted, size_t part, size_t parts);

// The middle one of at least one value, sorted, or the mean of the middle two.
double median(std::span<const double> sorted);

// How often each of `count` is drawn, in as many draws with replacement. Depends on (seed, stream).
std::vector<uint32_t> draw_counts(int64_t count, uint64_t seed, uint64_t stream);

}  // namespace medfusion::data
