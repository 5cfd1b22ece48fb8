#include "optim/schedule.h"

#include <gtest/gtest.h>

#include "core/error.h"

namespace medfusion::optim {
namespace {

TEST(Schedule, WarmsUpThenFollowsACosine) {
  const Schedule s{.peak = 0.8, .minimum = 0.2, .warmup_steps = 4, .total_steps = 12, .cosine = true};
  EXPECT_DOUBLE_EQ(s.learning_rate(0), 0.2);  // a first step of 0 would be wasted
  EXPECT_DOUBLE_EQ(s.learning_rate(1), 0.4);
  EXPECT_DOUBLE_EQ(s.learning_rate(3), 0.8);
  EXPECT_DOUBLE_EQ(s.learning_rate(4), 0.8);
  EXPECT_NEAR(s.learning_rate(6), 0.2 + 0.6 * 0.8535533905932737, 1e-12);
  EXPECT_NEAR(s.learning_rate(8), 0.5, 1e-12);
  EXPECT_NEAR(s.learning_rate(10), 0.2 + 0.6 * 0.1464466094067263, 1e-12);
  EXPECT_GT(s.learning_rate(11), 0.2);
  EXPECT_DOUBLE_EQ(s.learning_rate(12), 0.2);
  EXPECT_DOUBLE_EQ(s.learning_rate(1000), 0.2);
}

TEST(Schedule, StaysAtThePeakWithoutACosine) {
  const Schedule s{.peak = 0.8, .minimum = 0.2, .warmup_steps = 2, .total_steps = 4, .cosine = false};
  EXPECT_DOUBLE_EQ(s.learning_rate(0), 0.4);
  for (const int64_t step : {1, 2, 3, 4, 100}) EXPECT_DOUBLE_EQ(s.learning_rate(step), 0.8);
}

TEST(Schedule, TakesAWarmUpOfTheWholeTrainingOrNone) {
  const Schedule all{.peak = 1.0, .minimum = 0.0, .warmup_steps = 4, .total_steps = 4, .cosine = true};
  EXPECT_DOUBLE_EQ(all.learning_rate(3), 1.0);
  EXPECT_DOUBLE_EQ(all.learning_rate(4), 0.0);
  const Schedule none{.peak = 1.0, .minimum = 0.0, .warmup_steps = 0, .total_steps = 2, .cosine = true};
  EXPECT_DOUBLE_EQ(none.learning_rate(0), 1.0);
  EXPECT_NEAR(none.learning_rate(1), 0.5, 1e-12);
  EXPECT_THROW(none.learning_rate(-1), core::Error);
}

}  // namespace
}  // namespace medfusion::optim
