#include "data/statistics/calibration_error.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/data/statistics/fixture.h"

namespace medfusion::data {
namespace {

using testing::ElementsAre;

TEST(CalibrationError, CalibrationBinsHoldEachSampleOnce) {
  const std::vector<double> p{0.0, 0.1, 0.25, 0.5, 0.5, 0.75, 1.0, 0.3},
      y{0, 0, 1, 1, 0, 1, 1, kUnknownNumber};
  const auto width = calibration_bins(p, y, 4, true);
  ASSERT_EQ(width.size(), 4U);
  EXPECT_THAT((std::vector<int64_t>{width[0].count, width[1].count, width[2].count, width[3].count}),
              ElementsAre(2, 1, 2, 2));
  EXPECT_EQ(width[2].lower, 0.5);
  EXPECT_EQ(width[2].observed().value, 0.5);
  EXPECT_NEAR(expected_calibration_error(width), (0.1 + 0.75 + 0.0 + 0.25) / 7, 1e-12);
  // Two bins of about equal mass; the two of 0.5 stay together.
  const auto mass = calibration_bins(p, y, 2, false);
  ASSERT_EQ(mass.size(), 2U);
  EXPECT_EQ(mass[0].count, 3);
  EXPECT_EQ(mass[1].count, 4);
  EXPECT_EQ(mass[1].lower, 0.5);
  const auto equal =
      calibration_bins(std::vector<double>(6, 0.5), std::vector<double>{0, 1, 0, 1, 0, 1}, 3, false);
  ASSERT_EQ(equal.size(), 1U);
  EXPECT_EQ(equal[0].count, 6);
  EXPECT_TRUE(std::isnan(expected_calibration_error({})));
}

// In one bin the error is |mean of targets - p|: E|X - np| / n of a binomial, about sqrt(2 p q / (pi n)).
TEST(CalibrationError, ErrorWhenCalibratedIsThatOfTheBinomial) {
  const std::vector<double> p(400, 0.3), y(400, 0.0);
  EXPECT_NEAR(expected_error_when_calibrated(p, y, 15, 2000, 1), std::sqrt(2 * 0.3 * 0.7 / (M_PI * 400)),
              5e-4);
  EXPECT_EQ(
      expected_error_when_calibrated(std::vector<double>{0.0, 1.0}, std::vector<double>{0, 1}, 15, 5, 1),
      0.0);
  EXPECT_TRUE(std::isnan(expected_error_when_calibrated({}, {}, 15, 5, 1)));
}

}  // namespace
}  // namespace medfusion::data
