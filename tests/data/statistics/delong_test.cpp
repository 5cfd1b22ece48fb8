#include "data/statistics/delong.h"

#include <gtest/gtest.h>

#include <vector>

#include "data/statistics/ranking.h"
#include "tests/data/statistics/fixture.h"

namespace medfusion::data {
namespace {

TEST(Delong, MatchesItsDefinition) {
  for (const auto read = read_fixture("evaluation.json"); const auto& each : read.at("cases")) {
    SCOPED_TRACE(each.at("name").get<std::string>());
    auto labels = each.at("labels").get<std::vector<double>>();
    auto first = each.at("logits").get<std::vector<double>>();
    auto second = each.at("second").get<std::vector<double>>();
    // A sample of unknown label counts for nothing.
    labels.push_back(kUnknownNumber);
    first.push_back(0.3);
    second.push_back(kUnknownNumber);
    const auto& expected = each.at("delong");
    const auto value = [&](const char* key) { return expected.at(key).get<double>(); };
    const DelongAuroc single = delong(first, labels);
    EXPECT_EQ(single.auroc, auroc(first, labels));  // to the last bit
    EXPECT_NEAR(single.auroc, value("first"), 1e-12);
    EXPECT_NEAR(single.standard_error, value("first_error"), 1e-12);
    EXPECT_NEAR(delong(second, labels).standard_error, value("second_error"), 1e-12);
    const DelongComparison pair = delong_paired(first, second, labels);
    EXPECT_EQ(pair.undefined, "");
    EXPECT_NEAR(pair.second, value("second"), 1e-12);
    EXPECT_NEAR(pair.difference, value("difference"), 1e-12);
    EXPECT_NEAR(pair.standard_error, value("difference_error"), 1e-12);
    EXPECT_NEAR(pair.low, value("low"), 1e-9);
    EXPECT_NEAR(pair.high, value("high"), 1e-9);
    EXPECT_NEAR(pair.z, value("z"), 1e-9);
    EXPECT_NEAR(pair.p_value / value("p_value"), 1.0, 1e-9);
  }
}

TEST(Delong, TheSameRankingDiffersByNothing) {
  const std::vector<double> labels{0, 1, 0, 1, 1}, scores{0.1, 0.4, 0.5, 0.6, 0.9};
  std::vector<double> squares;
  for (const double score : scores) squares.push_back(score * score);
  const DelongComparison pair = delong_paired(scores, squares, labels);
  EXPECT_EQ(pair.difference, 0.0);
  EXPECT_EQ(pair.standard_error, 0.0);
  EXPECT_EQ(pair.p_value, 1.0);
}

TEST(Delong, NeedsTwoOfEachClass) {
  EXPECT_EQ(delong(std::vector<double>{0.1, 0.2, 0.3}, std::vector<double>{0, 0, 1}).undefined,
            "1 positives and 2 negatives, expected at least 2 of each");
  EXPECT_EQ(
      delong(std::vector<double>{kUnknownNumber, 0.2, 0.3, 0.1}, std::vector<double>{0, 0, 1, 1}).undefined,
      "1 scores are not numbers");
}

}  // namespace
}  // namespace medfusion::data
