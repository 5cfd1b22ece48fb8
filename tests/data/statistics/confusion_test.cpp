#include "data/statistics/confusion.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/error.h"
#include "tests/data/statistics/fixture.h"

namespace medfusion::data {
namespace {

TEST(Confusion, MatchesScikitLearn) {
  const std::pair<const char*, double (*)(const Confusion&)> measures[] = {
      {"sensitivity", sensitivity},
      {"specificity", specificity},
      {"ppv", positive_predictive_value},
      {"npv", negative_predictive_value},
      {"accuracy", accuracy},
      {"balanced_accuracy", balanced_accuracy},
      {"gmean", gmean},
      {"f1", f1}};
  for (const auto file = read_fixture("metrics.json"); const auto& each : file.at("cases")) {
    const Confusion counts = confusion_at(numbers_of(each.at("scores")), numbers_of(each.at("labels")),
                                          each.at("threshold").get<double>());
    for (const auto& [name, measure] : measures) {
      SCOPED_TRACE(each.at("name").get<std::string>() + ": " + name);
      const auto& expected = each.at("expected").at(name);
      ASSERT_EQ(std::isnan(measure(counts)), expected.is_null());
      if (!expected.is_null()) {
        EXPECT_NEAR(measure(counts), expected.get<double>(), 1e-9);
      }
    }
  }
}

// F1 6/9 of 4 positives and 8/11 of 6 negatives: (4 x 2/3 + 6 x 8/11) / 10.
TEST(Confusion, ByHand) {
  const Confusion counts{3, 2, 4, 1};
  EXPECT_NEAR(weighted_f1(counts), (8.0 / 3 + 48.0 / 11) / 10, 1e-15);
  EXPECT_NEAR(youden(counts), 3.0 / 4 + 4.0 / 6 - 1, 1e-15);
  EXPECT_NEAR(chi_square(counts), 10.0 * (3 * 4 - 2 * 1) * (3 * 4 - 2 * 1) / (5.0 * 5 * 4 * 6), 1e-14);
  EXPECT_TRUE(std::isnan(weighted_f1({0, 0, 3, 0})));
  EXPECT_TRUE(std::isnan(youden({0, 0, 3, 0})));
  EXPECT_EQ(class_bits(2, 2), 4.0);
  EXPECT_EQ(class_bits(3, 0), 0.0);
  EXPECT_EQ(information_gain({2, 0, 2, 0}), 1.0);
  EXPECT_EQ(information_gain({1, 1, 1, 1}), 0.0);
}

TEST(Confusion, RefusesAScoreThatIsNotANumber) {
  const std::vector<double> score{kUnknownNumber};
  EXPECT_THROW(confusion_at(score, std::vector<double>{1}, 0.5), core::Error);
  EXPECT_EQ(confusion_at(score, std::vector<double>{-1}, 0.5).all(), 0);
  EXPECT_THROW(confusion_at(score, std::vector<double>{}, 0.5), core::Error);
}

}  // namespace
}  // namespace medfusion::data
