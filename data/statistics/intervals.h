// Estimates with their confidence intervals.
#pragma once

#include <cstdint>

#include "data/statistics/confusion.h"

namespace medfusion::data {

inline constexpr double kConfidence = 0.95;  // of all intervals

struct Estimate {
  double value = 0.0;
  double low = 0.0, high = 0.0;
};

// value -+ z standard_error with the quantile z of the standard normal distribution.
Estimate normal_interval(double value, double standard_error);

// The proportion successes / total, in [0, 1], with Wilson's interval (Wilson, JASA 22, 1927). Without a
// trial the value is NaN and the interval [0, 1].
Estimate wilson(int64_t successes, int64_t total);

// TP TN / (FP FN), 0.5 added to each count (Haldane, Ann. Hum. Genet. 20, 1956), with the normal interval of
// its logarithm (Woolf, Ann. Hum. Genet. 19, 1955). design_effect: what the variance is multiplied by.
Estimate odds_ratio(const Confusion& counts, double design_effect = 1.0);

}  // namespace medfusion::data
