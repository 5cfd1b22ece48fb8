// Friedman's test and Nemenyi's critical difference against the worked example of Demsar (JMLR 7, 2006,
// section 3.2.4) and his table of critical values.
#include "data/statistics/rank_tests.h"

#include <gtest/gtest.h>

#include <cmath>

namespace medfusion::data {
namespace {

// C4.5, C4.5+m, C4.5+cf and C4.5+m+cf on 14 data sets: 3.143, 2.000, 2.893 and 1.964.
TEST(RankTests, TheStatisticIsThatOfTheWorkedExample) {
  const FriedmanTest test = friedman({44.0 / 14, 28.0 / 14, 40.5 / 14, 27.5 / 14}, 14);
  EXPECT_NEAR(test.statistic, 9.28, 5e-3);
  const double y = test.statistic / 2.0;  // of 3 degrees of freedom: erfc(sqrt y) + 2 sqrt(y / pi) exp(-y)
  EXPECT_NEAR(test.p_value, std::erfc(std::sqrt(y)) + 2.0 * std::sqrt(y / M_PI) * std::exp(-y), 1e-12);
  EXPECT_NEAR(test.p_value, 0.0258, 5e-5);
}

TEST(RankTests, RanksAreAveragedOverBlocks) {
  // By hand: ranks 1 2 3, 3 1 2 and 1.5 1.5 3.
  const auto ranks = average_ranks({{0.9, 0.8, 0.7}, {0.1, 0.3, 0.2}, {0.5, 0.5, 0.4}});
  EXPECT_DOUBLE_EQ(ranks[0], 5.5 / 3);
  EXPECT_DOUBLE_EQ(ranks[1], 4.5 / 3);
  EXPECT_DOUBLE_EQ(ranks[2], 8.0 / 3);
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
