#include "data/statistics/samples.h"

#include <gtest/gtest.h>

#include <vector>

#include "tests/data/statistics/fixture.h"

namespace medfusion::data {
namespace {

TEST(Samples, MeansLeaveOutWhatIsNotANumber) {
  EXPECT_EQ(mean(std::vector<double>{1.0, kUnknownNumber, 4.0}), 2.5);
  EXPECT_TRUE(std::isnan(mean(std::vector<double>{kUnknownNumber})));
  Mean running;
  running.add(kUnknownNumber);
  EXPECT_EQ(running.count(), 0);
  running.add(3.0);
  EXPECT_EQ(running.value(), 3.0);
}

TEST(Samples, DeviationIsOfTheSample) {
  EXPECT_DOUBLE_EQ(deviation(std::vector<double>{1, 3, 5}), 2.0);
  EXPECT_TRUE(std::isnan(deviation(std::vector<double>{1})));
  EXPECT_TRUE(std::isnan(deviation({})));
}

TEST(Samples, QuantilesOfFour) {
  const std::vector<double> values{1, 2, 4, 8};
  EXPECT_EQ(quantile(values, 0.0), 1.0);
  EXPECT_DOUBLE_EQ(quantile(values, 0.9), 6.8);  // numpy
  EXPECT_EQ(quantile(values, 1.0), 8.0);
  EXPECT_EQ(median(values), 3.0);
  EXPECT_EQ(median(std::vector<double>{1, 2, 4}), 2.0);
  EXPECT_EQ(nearest_rank(values, 1, 4), 2.0);
  EXPECT_EQ(nearest_rank(values, 4, 4), 8.0);
}

}  // namespace
}  // namespace medfusion::data
