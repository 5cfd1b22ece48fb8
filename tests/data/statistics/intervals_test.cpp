#include "data/statistics/intervals.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/data/statistics/fixture.h"

namespace medfusion::data {
namespace {

TEST(Intervals, WilsonMatchesScipy) {
  for (const auto read = read_fixture("evaluation.json"); const auto& each : read.at("wilson")) {
    const Estimate interval = wilson(each[0].get<int64_t>(), each[1].get<int64_t>());
    EXPECT_NEAR(interval.low, each[2].get<double>(), 1e-12);
    EXPECT_NEAR(interval.high, each[3].get<double>(), 1e-12);
  }
}

TEST(Intervals, WilsonWithoutATrialSaysNothing) {
  const Estimate none = wilson(0, 0);
  EXPECT_TRUE(std::isnan(none.value));
  EXPECT_EQ(none.low, 0.0);
  EXPECT_EQ(none.high, 1.0);
  EXPECT_EQ(wilson(0, 5).low, 0.0);
  EXPECT_NEAR(wilson(0, 5).high, 0.434482, 1e-6);
}

// Haldane: 3.5 x 2.5 / (1.5 x 0.5); a design effect of 4 doubles the width of the logarithm's interval.
TEST(Intervals, OddsRatioByHand) {
  const Confusion counts{3, 1, 2, 0};
  const Estimate plain = odds_ratio(counts), wide = odds_ratio(counts, 4.0);
  EXPECT_NEAR(plain.value, 3.5 * 2.5 / (1.5 * 0.5), 1e-13);
  EXPECT_NEAR(std::log(plain.high / plain.value),
              1.959963984540054 * std::sqrt(1 / 3.5 + 1 / 2.5 + 1 / 1.5 + 1 / 0.5), 1e-13);
  EXPECT_NEAR(std::log(wide.high / wide.low), 2 * std::log(plain.high / plain.low), 1e-13);
}

}  // namespace
}  // namespace medfusion::data
