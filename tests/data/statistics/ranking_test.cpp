#include "data/statistics/ranking.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "tests/data/statistics/fixture.h"

namespace medfusion::data {
namespace {

double average_precision_of(const std::vector<double>& scores, const std::vector<double>& labels) {
  return average_precision(rank_scores(scores, labels).groups);
}

double threshold_of(const std::vector<double>& scores, const std::vector<double>& labels,
                    ThresholdRule rule) {
  return choose_threshold(rank_scores(scores, labels).groups, rule);
}

TEST(Ranking, MatchesScikitLearn) {
  for (const auto file = read_fixture("metrics.json"); const auto& each : file.at("cases")) {
    SCOPED_TRACE(each.at("name").get<std::string>());
    const auto scores = numbers_of(each.at("scores")), labels = numbers_of(each.at("labels"));
    const auto expect = [&](double value, const char* key) {
      const auto& expected = each.at("expected").at(key);
      ASSERT_EQ(std::isnan(value), expected.is_null()) << key;
      if (!expected.is_null()) {
        EXPECT_NEAR(value, expected.get<double>(), 1e-9) << key;
      }
    };
    expect(auroc(scores, labels), "auroc");
    expect(average_precision_of(scores, labels), "auprc");
    expect(threshold_of(scores, labels, ThresholdRule::youden), "youden_threshold");
    expect(threshold_of(scores, labels, ThresholdRule::f1), "f1_threshold");
  }
}

TEST(Ranking, AurocCountsATieAsHalf) {
  const std::vector<double> labels{1, 0};
  EXPECT_EQ(auroc(std::vector<double>{0.5, 0.5}, labels), 0.5);
  EXPECT_EQ(auroc(std::vector<double>{0.0, -0.0}, labels), 0.5);
  const double infinity = std::numeric_limits<double>::infinity();
  EXPECT_EQ(auroc(std::vector<double>{infinity, -infinity}, labels), 1.0);
}

TEST(Ranking, AreasDoNotDependOnTheOrderOfTheSamples) {
  std::vector<double> scores;
  std::vector<double> labels;
  for (int i = 0; i < 999; ++i) {
    scores.push_back((i * 37 % 101) / 101.0);
    labels.push_back(i * 53 % 7 == 0 ? 1.0 : 0.0);
  }
  const double forward = auroc(scores, labels);
  const double precision = average_precision_of(scores, labels);
  std::reverse(scores.begin(), scores.end());
  std::reverse(labels.begin(), labels.end());
  EXPECT_EQ(auroc(scores, labels), forward);
  EXPECT_EQ(average_precision_of(scores, labels), precision);
}

TEST(Ranking, ObstaclesSayWhy) {
  const std::vector<double> scores{0.1, 0.2, 0.3}, broken{kUnknownNumber, 0.5, 0.1};
  const auto why = [](const std::vector<double>& s, const std::vector<double>& labels) {
    EXPECT_EQ(std::isnan(auroc(s, labels)), !rank_scores(s, labels).obstacle().empty());
    return rank_scores(s, labels).obstacle();
  };
  EXPECT_EQ(why(scores, {0, 0, kUnknownNumber}), "no positive among 2 known labels");
  EXPECT_EQ(why(scores, {1, 1, 1}), "no negative among 3 known labels");
  EXPECT_EQ(why(scores, {kUnknownNumber, -1, -1}), "no known label");
  EXPECT_EQ(why(broken, {1, 0, 0}), "1 of 3 scores are not numbers");
  // A score that is not a number does no harm where the label is unknown.
  EXPECT_EQ(why(broken, {-1, 1, 0}), "");
}

TEST(Ranking, RefusesLabelsThatAreNeitherClass) {
  const std::vector<double> scores{0.1, 0.2};
  EXPECT_THROW(auroc(scores, std::vector<double>{0, 0.5}), core::Error);
  EXPECT_THROW(auroc(scores, std::vector<double>{0}), core::Error);
}

TEST(Ranking, TheHighestOfEqualThresholdsWins) {
  // J is 1/3 at 0.9 (one of three positives, no negative) and at 0.5 (all three, two of three negatives).
  const std::vector<double> scores{0.9, 0.5, 0.5, 0.5, 0.5, 0.1};
  const std::vector<double> labels{1, 1, 1, 0, 0, 0};
  EXPECT_EQ(threshold_of(scores, labels, ThresholdRule::youden), 0.9);
  EXPECT_EQ(threshold_of(scores, labels, ThresholdRule::f1), 0.5);
}

}  // namespace
}  // namespace medfusion::data
