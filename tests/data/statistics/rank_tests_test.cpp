// Friedman's test and Nemenyi's critical difference against the worked example of Demsar (JMLR 7, 2006),
// table 6 and section 3.2.4, and his table 5a.
#include "data/statistics/rank_tests.h"

#include <gtest/gtest.h>

#include <cmath>

namespace medfusion::data {
namespace {

// AUC of C4.5, C4.5+m, C4.5+cf and C4.5+m+cf on 14 data sets.
const std::vector<std::vector<double>> kDemsar{
    {0.763, 0.768, 0.771, 0.798}, {0.599, 0.591, 0.590, 0.569}, {0.954, 0.971, 0.968, 0.967},
    {0.628, 0.661, 0.654, 0.657}, {0.882, 0.888, 0.886, 0.898}, {0.936, 0.931, 0.916, 0.931},
    {0.661, 0.668, 0.609, 0.685}, {0.583, 0.583, 0.563, 0.625}, {0.775, 0.838, 0.866, 0.875},
    {1.000, 1.000, 1.000, 1.000}, {0.940, 0.962, 0.965, 0.962}, {0.619, 0.666, 0.614, 0.669},
    {0.972, 0.981, 0.975, 0.975}, {0.957, 0.978, 0.946, 0.970}};

TEST(RankTests, RanksAndStatisticAreThoseOfTheWorkedExample) {
  const std::vector<double> ranks = average_ranks(kDemsar);
  const double expected[] = {3.143, 2.000, 2.893, 1.964};
  for (size_t i = 0; i < 4; ++i) EXPECT_NEAR(ranks[i], expected[i], 5e-4);
  const FriedmanTest test = friedman(ranks, 14);
  EXPECT_NEAR(test.statistic, 9.28, 5e-3);
  EXPECT_NEAR(test.p_value, 0.02579, 5e-5);  // erfc(sqrt(4.64)) + 2 sqrt(4.64 / pi) exp(-4.64)
}

TEST(RankTests, CriticalDifferencesAreThoseOfTheTable) {
  EXPECT_NEAR(nemenyi_difference(4, 14), 1.25, 5e-3);
  EXPECT_NEAR(nemenyi_difference(4, 14, 0.90), 1.12, 5e-3);
  const double q[] = {1.960, 2.343, 2.569, 2.728, 2.850, 2.949, 3.031, 3.102, 3.164};
  for (int64_t k = 2; k <= 10; ++k) {
    const double root = std::sqrt(static_cast<double>(k * (k + 1)) / 6.0);
    EXPECT_NEAR(nemenyi_difference(k, 1) / root, q[k - 2], 1e-3) << k;
  }
}

TEST(RankTests, ChiSquareOfAnyDegree) {
  // 5 % quantiles of the usual table.
  EXPECT_NEAR(chi_square_p(3.841, 1), 0.05, 5e-5);
  EXPECT_NEAR(chi_square_p(5.991, 2), 0.05, 5e-5);
  EXPECT_NEAR(chi_square_p(7.815, 3), 0.05, 5e-5);
  EXPECT_NEAR(chi_square_p(18.307, 10), 0.05, 5e-5);
  EXPECT_EQ(chi_square_p(0.0, 3), 1.0);
}

TEST(RankTests, EqualScoresShareTheirRanks) {
  EXPECT_EQ(average_ranks({{0.5, 0.5, 0.1}}), (std::vector<double>{1.5, 1.5, 3.0}));
  EXPECT_EQ(friedman({2.0, 2.0, 2.0}, 5).p_value, 1.0);
}

}  // namespace
}  // namespace medfusion::data
