#include "data/statistics/curves.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/random.h"
#include "data/statistics/ranking.h"
#include "tests/data/statistics/fixture.h"

namespace medfusion::data {
namespace {

TEST(Curves, MatchScikitLearn) {
  for (const auto read = read_fixture("evaluation.json"); const auto& each : read.at("cases")) {
    SCOPED_TRACE(each.at("name").get<std::string>());
    const auto labels = each.at("labels").get<std::vector<double>>();
    const auto logits = each.at("logits").get<std::vector<double>>();
    const auto expect_points = [](const std::vector<CurvePoint>& points, const nlohmann::json& expected) {
      ASSERT_EQ(points.size(), expected.size());
      for (size_t i = 0; i < points.size(); ++i) {
        EXPECT_NEAR(points[i].x, expected[i][0].get<double>(), 1e-12) << i;
        EXPECT_NEAR(points[i].y, expected[i][1].get<double>(), 1e-12) << i;
      }
    };
    expect_points(roc_curve(logits, labels), each.at("roc"));
    expect_points(precision_recall_curve(logits, labels), each.at("precision_recall"));
  }
}

TEST(Curves, ManyPointsAreThinnedEvenly) {
  core::Generator generator(1);
  std::vector<double> scores, targets;
  for (int i = 0; i < 5000; ++i) {
    targets.push_back(generator.uniform() < 0.2F ? 1.0 : 0.0);
    scores.push_back(targets.back() + generator.normal());
  }
  const auto all = roc_curve(scores, targets, 10000);
  const auto few = roc_curve(scores, targets, 200);
  EXPECT_GT(all.size(), 4900U);
  EXPECT_LE(few.size(), 200U);
  EXPECT_GE(few.size(), 190U);
  const auto area = [](const std::vector<CurvePoint>& points) {
    double sum = 0.0;
    for (size_t i = 1; i < points.size(); ++i)
      sum += (points[i].x - points[i - 1].x) * (points[i].y + points[i - 1].y) / 2;
    return sum;
  };
  EXPECT_NEAR(area(all), auroc(scores, targets), 1e-12);
  EXPECT_NEAR(area(few), area(all), 2e-3);
  EXPECT_EQ(few.back().x, 1.0);
  EXPECT_EQ(few.back().y, 1.0);
  EXPECT_LE(precision_recall_curve(scores, targets, 200).size(), 200U);
}

// Few positives among many negatives: long level stretches, whose ends are kept, so that no step is slanted.
TEST(Curves, AThinnedRocCurveKeepsItsCorners) {
  std::vector<double> scores, targets;
  for (int i = 0; i < 600; ++i) {
    scores.push_back(1.0 - i / 600.0);
    targets.push_back(i % 60 == 7 ? 1.0 : 0.0);
  }
  const auto curve = roc_curve(scores, targets, 50);
  EXPECT_LE(curve.size(), 50U);
  for (size_t i = 1; i < curve.size(); ++i)
    EXPECT_TRUE(curve[i].x == curve[i - 1].x || curve[i].y == curve[i - 1].y) << i;
}

TEST(Curves, NetBenefitMatchesItsDefinition) {
  for (const auto read = read_fixture("evaluation.json"); const auto& each : read.at("cases")) {
    std::vector<double> probabilities, thresholds;
    for (const double z : each.at("logits").get<std::vector<double>>())
      probabilities.push_back(1.0 / (1.0 + std::exp(-z)));
    for (const auto& point : each.at("decision")) thresholds.push_back(point[0].get<double>());
    const auto curve =
        decision_curve(probabilities, each.at("labels").get<std::vector<double>>(), thresholds);
    ASSERT_EQ(curve.size(), 4U);
    for (size_t i = 0; i < curve.size(); ++i) {
      EXPECT_NEAR(curve[i].model, each.at("decision")[i][1].get<double>(), 1e-12);
      EXPECT_NEAR(curve[i].all, each.at("decision")[i][2].get<double>(), 1e-12);
    }
  }
}

TEST(Curves, NothingWithoutBothClasses) {
  const std::vector<double> p{0.2, 0.4}, negatives{0, 0};
  EXPECT_TRUE(roc_curve(p, negatives).empty());
  EXPECT_TRUE(precision_recall_curve(p, negatives).empty());
  EXPECT_TRUE(roc_curve(std::vector<double>{kUnknownNumber, 0.3}, std::vector<double>{0, 1}).empty());
}

}  // namespace
}  // namespace medfusion::data
