// Tests of one feature against one label, and the control of many of them. All probabilities are two-sided
// and asymptotic.
//
// `design_effect` (at least 1) says by how much the variance exceeds that of independent samples, because
// patients come more than once: statistics are divided by it, as Rao and Scott do (Biometrics 48, 1992).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "data/statistics/ranking.h"

namespace medfusion::data {

// Mann-Whitney's test: normal approximation with corrections for ties and continuity. 1 where all scores are
// equal.
double mann_whitney_p(std::span<const ScoreGroup> groups, double design_effect = 1.0);

// The two-sample Kolmogorov-Smirnov test of the greatest distance of the classes' distribution functions,
// which is the highest Youden's J over all thresholds: so the choice of the threshold is accounted for. With
// Stephens' correction for small samples (J. R. Stat. Soc. B 32, 1970); conservative where scores tie.
double kolmogorov_smirnov_p(double distance, int64_t positives, int64_t negatives,
                            double design_effect = 1.0);

// P(the largest of the chi-square statistics at `cuts` thresholds > x) at most: the lesser of Bonferroni's
// bound and, for x > 1, the one of Miller and Siegmund (Biometrics 38, 1982), the share of samples below the
// threshold running from `least_share` to `most_share`.
double maximal_chi_square_p(double x, int64_t cuts, double least_share, double most_share);

// Benjamini and Hochberg (J. R. Stat. Soc. B 57, 1995): the least rate of false discoveries at which each of
// the hypotheses is rejected. In the order given.
std::vector<double> benjamini_hochberg(std::span<const double> p_values);

// Holm (Scand. J. Stat. 6, 1979): each p-value adjusted so that the chance of any false rejection stays below
// the level. In the order given; NaN stays NaN and counts as no test.
std::vector<double> holm(std::span<const double> p_values);

}  // namespace medfusion::data
