// How far probabilities lie from observed rates, by bins. Targets are those of truth_of; there is no bin
// where a probability is not a number.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "data/statistics/intervals.h"

namespace medfusion::data {

// The bin of a probability among `bins` of equal width on [0, 1]: bin k holds k / bins <= p < (k + 1) / bins,
// the last one 1 as well.
int64_t probability_bin(double probability, int64_t bins);

struct CalibrationBin {
  double lower = 0.0, upper = 0.0;  // of the probabilities in it: the bounds of an equal-width bin, else the
                                    // extremes
  int64_t count = 0, positives = 0;
  double probabilities = 0.0;  // their sum

  double mean_probability() const { return probabilities / static_cast<double>(count); }
  Estimate observed() const { return wilson(positives, count); }
};
// Bins of probabilities, empty ones left out. equal_width: `bins` bins, see probability_bin; otherwise about
// equally many samples in each, equal probabilities together.
std::vector<CalibrationBin> calibration_bins(std::span<const double> probabilities,
                                             std::span<const double> targets, int64_t bins, bool equal_width);

// What a bin adds to the calibration error of n samples, times n: |positives - sum of the probabilities|,
// which is its count times |observed rate - mean probability|.
double calibration_gap(double positives, double probabilities);

// Expected calibration error, in [0, 1] (Naeini et al., AAAI 2015): the mean over the samples of |mean
// probability - observed rate| of their bin. NaN without bins.
double expected_calibration_error(const std::vector<CalibrationBin>& bins);

// What the error of equal-width bins is on average where the probabilities are exactly right, from `draws`
// draws of the targets by them (seeded): a finite sample never shows 0. NaN without samples.
double expected_error_when_calibrated(std::span<const double> probabilities, std::span<const double> targets,
                                      int64_t bins, int64_t draws, uint64_t seed);

}  // namespace medfusion::data
