#include "optim/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <limits>

namespace medfusion::optim {
namespace {

using core::Tensor;
using nlohmann::ordered_json;

constexpr double kUnknownTarget = std::numeric_limits<double>::quiet_NaN();

std::vector<MetricValue> thresholds(size_t count, double value) {
  return std::vector<MetricValue>(count, MetricValue::of(value));
}

void expect_matches(const MetricValue& value, const ordered_json& expected, const std::string& what) {
  SCOPED_TRACE(what);
  ASSERT_EQ(value.defined(), !expected.is_null()) << value.reason;
  EXPECT_EQ(value.reason.empty(), value.defined());
  if (value.defined()) {
    EXPECT_NEAR(*value.value, expected.get<double>(), 1e-9);
  }
}

TEST(Metrics, MatchScikitLearnOnRandomAndDegenerateInputs) {
  std::ifstream file(MEDFUSION_SOURCE_DIR "/tests/fixtures/metrics.json");
  const ordered_json cases = ordered_json::parse(file).at("cases");
  ASSERT_GE(cases.size(), 19U);
  for (const ordered_json& fixture : cases) {
    SCOPED_TRACE(fixture.at("name").get<std::string>());
    const auto scores = fixture.at("scores").get<std::vector<double>>();
    std::vector<double> labels;
    for (const auto& label : fixture.at("labels")) {
      labels.push_back(label.is_null() ? kUnknownTarget : label.get<double>());
    }
    const auto samples = static_cast<int64_t>(scores.size());
    const ordered_json& expected = fixture.at("expected");
    const Metrics metrics =
        compute_metrics(Tensor::from({samples, 1}, scores), Tensor::from({samples, 1}, labels), {"label"},
                        thresholds(1, fixture.at("threshold").get<double>()));
    for (const Metric metric : kMetrics) {
      expect_matches(metrics.labels[0][metric], expected.at(name_of(metric)), name_of(metric));
    }
    const auto chosen = [&](data::ThresholdRule rule) {
      return choose_thresholds(Tensor::from({samples, 1}, scores), Tensor::from({samples, 1}, labels),
                               rule)[0];
    };
    expect_matches(chosen(data::ThresholdRule::youden), expected.at("youden_threshold"), "youden");
    expect_matches(chosen(data::ThresholdRule::f1), expected.at("f1_threshold"), "f1");
  }
}

TEST(Metrics, UndefinedValuesSayWhy) {
  const Tensor scores = Tensor::from<float>({2, 2}, {0.1F, 0.9F, 0.2F, 0.9F});
  const Tensor targets = Tensor::from<float>({2, 2}, {0, -1, 0, static_cast<float>(kUnknownTarget)});
  const Metrics metrics = compute_metrics(scores, targets, {"Mass", "Hernia"}, thresholds(2, 0.5));
  const LabelMetrics &mass = metrics.labels[0], &hernia = metrics.labels[1];
  EXPECT_EQ(mass[Metric::auroc].reason, "no positive among 2 known labels");
  EXPECT_EQ(mass[Metric::sensitivity].reason, "no positive among 2 known labels");
  EXPECT_EQ(mass[Metric::gmean].reason, "no positive among 2 known labels");
  EXPECT_EQ(mass[Metric::f1].reason, "no positive among 2 known labels, and none predicted");
  EXPECT_EQ(mass[Metric::specificity].value, 1.0);
  for (const Metric metric : kMetrics) EXPECT_EQ(hernia[metric].reason, "no known label") << name_of(metric);
  const Tensor broken = Tensor::from<float>({2, 1}, {static_cast<float>(kUnknownTarget), 0.5F});
  const Metrics none =
      compute_metrics(broken, Tensor::from<float>({2, 1}, {1, 0}), {"a"}, thresholds(1, 0.5));
  for (const Metric metric : kMetrics)
    EXPECT_EQ(none.labels[0][metric].reason, "1 of 2 scores are not numbers") << name_of(metric);
}

TEST(Metrics, MacroNamesTheLabelsItLeavesOut) {
  const Tensor scores = Tensor::from<float>({4, 3}, {0.1F, 0.5F, 0.9F, 0.2F, 0.5F, 0.1F,  //
                                                     0.8F, 0.5F, 0.3F, 0.9F, 0.5F, 0.2F});
  const auto nan = static_cast<float>(kUnknownTarget);
  const Tensor targets = Tensor::from<float>({4, 3}, {0, 0, 1, 0, 0, 0, 1, 0, nan, 1, 0, 1});
  const Metrics metrics = compute_metrics(scores, targets, {"Mass", "Hernia", "Edema"}, thresholds(3, 0.5));
  const MacroMetric& macro = metrics[Metric::auroc];
  EXPECT_EQ(macro.mean.value, (1.0 + 1.0) / 2.0);
  EXPECT_THAT(macro.averaged, testing::ElementsAre("Mass", "Edema"));
  ASSERT_EQ(macro.left_out.size(), 1U);
  EXPECT_EQ(macro.left_out[0].label, "Hernia");
  EXPECT_EQ(macro.left_out[0].reason, "no positive among 4 known labels");
  EXPECT_EQ(metrics[Metric::specificity].averaged.size(), 3U);
  EXPECT_EQ(metrics.labels[2].unknown, 1);
  EXPECT_EQ(metrics.labels[2].positives, 2);
  EXPECT_EQ(metrics.labels[2].negatives, 1);
}

TEST(Metrics, MacroOfNothingIsUndefined) {
  const Metrics metrics = compute_metrics(Tensor::from<float>({1, 1}, {0.5F}),
                                          Tensor::from<float>({1, 1}, {1.0F}), {"Mass"}, thresholds(1, 0.5));
  EXPECT_FALSE(metrics[Metric::auroc].mean.defined());
  EXPECT_EQ(metrics[Metric::auroc].mean.reason, "undefined for each of 1 labels");
}

TEST(Metrics, ALabelWithoutAThresholdLeavesOnlyTheRankingMetrics) {
  const Tensor scores = Tensor::from<float>({2, 1}, {0.2F, 0.7F});
  const Tensor targets = Tensor::from<float>({2, 1}, {0, 1});
  const Tensor validation = Tensor::from<float>({2, 1}, {0, 0});
  const auto chosen = choose_thresholds(scores, validation);
  const Metrics metrics = compute_metrics(scores, targets, {"Mass"}, chosen);
  EXPECT_EQ(metrics.labels[0][Metric::auroc].value, 1.0);
  EXPECT_EQ(metrics.labels[0][Metric::accuracy].reason, "no threshold: no positive among 2 known labels");
}

TEST(Metrics, DecisionsStandInPlaceOfThresholds) {
  const Tensor scores = Tensor::from<float>({3, 3}, {0.4F, 0.35F, 0.25F, 0.3F, 0.3F, 0.2F, 0.1F, 0.2F, 0.7F});
  const Tensor decisions = most_probable(scores);
  const std::vector<double> expected{1, 0, 0, 1, 0, 0, 0, 0, 1};  // the first of equal ones
  for (int64_t i = 0; i < 9; ++i) EXPECT_EQ(decisions.at(i), expected[static_cast<size_t>(i)]) << i;
  const Tensor targets = Tensor::from<float>({3, 3}, {1, 0, 0, 0, 1, 0, 0, 0, 1});
  const std::vector<MetricValue> none(3, MetricValue::undefined(kMostProbable));
  const Metrics metrics = compute_metrics(scores, targets, {"a", "b", "c"}, none, decisions);
  EXPECT_EQ(metrics.labels[0][Metric::sensitivity].value, 1.0);
  EXPECT_EQ(metrics.labels[0][Metric::specificity].value, 0.5);
  EXPECT_EQ(metrics.labels[1][Metric::sensitivity].value, 0.0);
  EXPECT_EQ(metrics.labels[2][Metric::accuracy].value, 1.0);
  EXPECT_FALSE(metrics.labels[0].threshold.defined());
}

TEST(Metrics, ReadStridedColumns) {
  const Tensor scores = Tensor::from<float>({2, 3}, {0.1F, 0.2F, 0.3F, 0.9F, 0.8F, 0.7F}).transpose(0, 1);
  const Tensor targets = Tensor::from<float>({3, 2}, {0, 0, 0, 1, 1, 1});
  const Metrics metrics = compute_metrics(scores, targets, {"a", "b"}, thresholds(2, 0.25));
  EXPECT_EQ(metrics.labels[0][Metric::auroc].value, 1.0);
  EXPECT_EQ(metrics.labels[1][Metric::auroc].value, 0.0);
  EXPECT_EQ(metrics.labels[0][Metric::accuracy].value, 1.0);
}

TEST(Metrics, RefuseShapesAndNamesThatDoNotFit) {
  const Tensor matrix = Tensor::zeros({2, 2});
  EXPECT_THROW(compute_metrics(matrix, Tensor::zeros({2, 3}), {"a", "b"}, thresholds(2, 0.5)), core::Error);
  EXPECT_THROW(compute_metrics(matrix, matrix, {"a"}, thresholds(2, 0.5)), core::Error);
  EXPECT_THROW(compute_metrics(matrix, matrix, {"a", "a"}, thresholds(2, 0.5)), core::Error);
}

TEST(Metrics, JsonNestsMacroAndLabelsAndKeepsReasons) {
  const Tensor scores = Tensor::from<float>({3, 2}, {0.1F, 0.5F, 0.6F, 0.5F, 0.8F, 0.5F});
  const Tensor targets = Tensor::from<float>({3, 2}, {0, 0, 0, 0, 1, 0});
  const std::vector<MetricValue> limits{MetricValue::of(0.5), MetricValue::undefined("empty part")};
  const ordered_json json = to_json(compute_metrics(scores, targets, {"Mass", "Hernia \"x\""}, limits));
  EXPECT_EQ(json.at("macro").at("auroc"), 1.0);
  EXPECT_EQ(json.at("macro").at("averaged").at("auroc"), 1);
  EXPECT_EQ(json.at("macro").at("left_out").at("auroc").at("Hernia \"x\""),
            "no positive among 3 known labels");
  EXPECT_EQ(json.at("labels").at("Mass").at("auroc"), 1.0);
  EXPECT_EQ(json.at("labels").at("Mass").at("specificity"), 0.5);
  EXPECT_EQ(json.at("labels").at("Mass").at("threshold"), 0.5);
  EXPECT_FALSE(json.at("labels").at("Mass").contains("undefined"));
  const ordered_json& other = json.at("labels").at("Hernia \"x\"");
  EXPECT_TRUE(other.at("auroc").is_null());
  EXPECT_EQ(other.at("undefined").at("accuracy"), "no threshold: empty part");
  EXPECT_EQ(other.at("undefined").at("threshold"), "empty part");
  EXPECT_EQ(other.at("negatives"), 3);
  EXPECT_EQ(json.begin().key(), "macro");
  EXPECT_EQ(json.at("labels").begin().key(), "Mass");
}

}  // namespace
}  // namespace medfusion::optim
