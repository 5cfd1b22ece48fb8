// Several methods on several blocks (data sets, folds), compared by their ranks: Friedman's test and
// Nemenyi's critical difference, as Demsar describes them (JMLR 7, 2006, sections 3.2.2 and 3.2.3).
#pragma once

#include <cstdint>
#include <vector>

namespace medfusion::data {

// Of each method its rank averaged over the blocks: 1 is the highest score, equal scores share their ranks.
// scores: [block][method], numbers, at least one block.
std::vector<double> average_ranks(const std::vector<std::vector<double>>& scores);

struct FriedmanTest {
  double statistic = 0.0;  // chi-square of methods - 1 degrees of freedom; Demsar's formula, without a
                           // correction for ties
  double p_value = 1.0;
};
// Of average ranks of at least two methods over `blocks` blocks.
FriedmanTest friedman(const std::vector<double>& ranks, int64_t blocks);

// The difference of two average ranks from which Nemenyi's test calls them different at the level 1 -
// confidence: q sqrt(k (k + 1) / (6 N)), q being the quantile of the range of k normal variables over
// sqrt(2).
double nemenyi_difference(int64_t methods, int64_t blocks, double confidence = 0.95);

// P(X > x) of a chi-square variable with `degrees` degrees of freedom (at least 1).
double chi_square_p(double x, int64_t degrees);

// P(the range of `count` standard normal variables < x).
double normal_range_cdf(double x, int64_t count);

}  // namespace medfusion::data
