#include "core/random.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace medfusion::core {
namespace {

// Known answers of the Random123 distribution (kat_vectors, philox4x32 with 10 rounds).
TEST(Philox, GivesThePublishedWords) {
  const auto zeros = Philox(0, 0).block(0);
  EXPECT_EQ(zeros, (std::array<uint32_t, 4>{0x6627e8d5U, 0xe169c58dU, 0xbc57ac4cU, 0x9b00dbd8U}));
  const auto ones = Philox(~uint64_t{0}, ~uint64_t{0}).block(~uint64_t{0});
  EXPECT_EQ(ones, (std::array<uint32_t, 4>{0x408f276dU, 0x41c83b0eU, 0xa20bc7c6U, 0x6d5451fdU}));
}

TEST(Philox, UniformAndNormalHaveTheirMoments) {
  const Philox philox(3, 5);
  constexpr int kDraws = 100000;
  double uniform_sum = 0.0, normal_sum = 0.0, normal_squares = 0.0;
  for (uint64_t i = 0; i < kDraws; ++i) {
    const float u = philox.uniform(i);
    ASSERT_TRUE(u >= 0.0F && u < 1.0F);
    uniform_sum += u;
    const double z = philox.normal(i);
    normal_sum += z;
    normal_squares += z * z;
  }
  EXPECT_NEAR(uniform_sum / kDraws, 0.5, 0.005);
  EXPECT_NEAR(normal_sum / kDraws, 0.0, 0.02);
  EXPECT_NEAR(normal_squares / kDraws, 1.0, 0.02);
}

TEST(Generator, BelowStaysInRangeAndReachesEveryValue) {
  Generator generator(1);
  std::vector<int> seen(7);
  for (int i = 0; i < 7000; ++i) ++seen.at(static_cast<size_t>(generator.below(7)));
  for (const int count : seen) EXPECT_GT(count, 800);
}

TEST(Generator, ShuffleIsAPermutationOfTheSeed) {
  std::vector<int> a{0, 1, 2, 3, 4, 5, 6, 7}, b = a, sorted = a;
  Generator(9).shuffle(a);
  Generator(9).shuffle(b);
  EXPECT_EQ(a, b);
  EXPECT_NE(a, sorted);
  std::sort(b.begin(), b.end());
  EXPECT_EQ(b, sorted);
}

}  // namespace
}  // namespace medfusion::core
