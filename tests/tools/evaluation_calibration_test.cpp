// Calibration, risk levels, subgroups and controls.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "core/error.h"
#include "core/random.h"
#include "data/statistics/logistic.h"
#include "data/statistics/ranking.h"
#include "tools/evaluation/measures/calibration.h"
#include "tools/evaluation/measures/controls.h"
#include "tools/evaluation/measures/risk_levels.h"
#include "tools/evaluation/measures/subgroups.h"

namespace medfusion::tools {
namespace {

using Json = nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr double kUnknownValue = std::numeric_limits<double>::quiet_NaN();

Json cases() {
  std::ifstream file(MEDFUSION_SOURCE_DIR "/tests/fixtures/evaluation.json");
  return Json::parse(file).at("cases");
}

TEST(Calibration, MatchesScipyAndScikitLearn) {
  int fitted = 0;
  for (const Json& each : cases()) {
    SCOPED_TRACE(each.at("name").get<std::string>());
    auto logits = each.at("logits").get<std::vector<double>>();
    auto labels = each.at("labels").get<std::vector<double>>();
    logits.push_back(9.0);
    labels.push_back(kUnknownValue);
    const Json& expected = each.at("calibration");
    const Calibrator platt = fit_calibration(logits, labels, CalibrationMethod::platt);
    if (platt.method == CalibrationMethod::none) {
      EXPECT_THAT(platt.reason, HasSubstr("expected at least 5 of each"));
      continue;
    }
    ++fitted;
    EXPECT_NEAR(platt.slope, expected.at("platt").at("slope").get<double>(), 1e-9);
    EXPECT_NEAR(platt.intercept, expected.at("platt").at("intercept").get<double>(), 1e-9);
    const Calibrator temperature = fit_calibration(logits, labels, CalibrationMethod::temperature);
    EXPECT_NEAR(1.0 / temperature.slope, expected.at("temperature").get<double>(), 1e-9);
    EXPECT_EQ(temperature.intercept, 0.0);
    const Calibrator isotonic = fit_calibration(logits, labels, CalibrationMethod::isotonic);
    const auto x = expected.at("isotonic").at("x").get<std::vector<double>>();
    for (size_t i = 0; i < x.size(); ++i) {
      EXPECT_NEAR(isotonic.apply(x[i]), expected.at("isotonic").at("y")[i].get<double>(), 1e-12) << x[i];
    }
  }
  EXPECT_GE(fitted, 2);
}

TEST(Calibration, RecalibrationMatchesItsDefinition) {
  for (const Json& each : cases()) {
    SCOPED_TRACE(each.at("name").get<std::string>());
    std::vector<double> probabilities;
    for (const double z : each.at("logits").get<std::vector<double>>())
      probabilities.push_back(data::sigmoid(z));
    std::map<std::string, uint32_t> number;
    std::vector<uint32_t> patients;
    for (const auto& patient : each.at("patients"))
      patients.push_back(number.emplace(patient.get<std::string>(), number.size()).first->second);
    const auto fit = recalibrate(probabilities, each.at("labels").get<std::vector<double>>(), patients);
    const Json& expected = each.at("recalibration");
    const auto check = [](const data::Estimate& estimate, const Json& wanted) {
      EXPECT_NEAR(estimate.value, wanted.at("value").get<double>(), 1e-8);
      EXPECT_NEAR(estimate.low, wanted.at("low").get<double>(), 1e-8);
      EXPECT_NEAR(estimate.high, wanted.at("high").get<double>(), 1e-8);
    };
    check(fit.intercept, expected.at("intercept"));
    check(fit.slope, expected.at("slope"));
  }
}

TEST(Calibration, SeparableAndUselessLogitsStayFiniteAndInOrder) {
  std::vector<double> logits, separable, reversed;
  for (int i = 0; i < 20; ++i) {
    logits.push_back(i - 9.5);
    separable.push_back(i < 10 ? 0.0 : 1.0);
    reversed.push_back(i < 10 ? 1.0 : 0.0);
  }
  for (const auto method :
       {CalibrationMethod::temperature, CalibrationMethod::platt, CalibrationMethod::isotonic}) {
    SCOPED_TRACE(core::text_of(method));
    for (const auto& labels : {separable, reversed}) {
      const Calibrator fit = fit_calibration(logits, labels, method);
      EXPECT_EQ(fit.method, method);
      double last = 0.0;
      for (double z = -30.0; z <= 30.0; z += 0.5) {
        const double p = fit.apply(z);
        EXPECT_GE(p, last) << z;
        EXPECT_LT(p, 1.0);
        EXPECT_GT(p, 0.0);
        last = p;
      }
    }
  }
  // Ranked worse than chance: near the share of positives.
  const Calibrator platt = fit_calibration(logits, reversed, CalibrationMethod::platt);
  EXPECT_NEAR(platt.apply(-9.5), 0.5, 0.01);
  EXPECT_NEAR(platt.apply(9.5), 0.5, 0.01);
}

TEST(Calibration, IsLeftOutWithAReason) {
  const std::vector<double> logits{0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9};
  const std::vector<double> labels{0, 0, 0, 0, 0, 1, 1, 1, 1};
  const Calibrator few = fit_calibration(logits, labels, CalibrationMethod::platt);
  EXPECT_EQ(few.method, CalibrationMethod::none);
  EXPECT_EQ(few.reason, "4 positives and 5 negatives in the validation part, expected at least 5 of each");
  EXPECT_DOUBLE_EQ(few.apply(0.7), data::sigmoid(0.7));
  std::vector<double> broken(10, 0.0);
  broken[3] = kUnknownValue;
  EXPECT_EQ(
      fit_calibration(broken, std::vector<double>{0, 1, 0, 1, 0, 1, 0, 1, 0, 1}, CalibrationMethod::isotonic)
          .reason,
      "a logit of the validation part is not a finite number");
  EXPECT_TRUE(std::isnan(few.apply(kUnknownValue)));
}

// Log odds a hundred thousandth as wide have a slope a hundred thousand times as steep, and so its interval.
TEST(Calibration, TheSlopeOfNearlyEqualProbabilitiesKeepsItsDigits) {
  std::vector<double> wide, narrow, labels;
  std::vector<uint32_t> patients;
  core::Generator generator(7);
  for (uint32_t i = 0; i < 200; ++i) {
    labels.push_back(generator.uniform() < 0.3F ? 1.0 : 0.0);
    const double z = 0.5 * labels.back() + generator.normal();
    wide.push_back(data::sigmoid(z));
    narrow.push_back(data::sigmoid(1e-5 * z - 1.7));
    patients.push_back(i / 2);
  }
  const auto expected = recalibrate(wide, labels, patients).slope;
  const auto fit = recalibrate(narrow, labels, patients).slope;
  EXPECT_NEAR(1e-5 * fit.value, expected.value, 1e-8);
  EXPECT_NEAR(1e-5 * fit.low, expected.low, 1e-8);
  EXPECT_NEAR(1e-5 * fit.high, expected.high, 1e-8);
}

// Probabilities of 1 in float keep the order of their logits.
TEST(Calibration, LogOddsKeepApartWhatRoundsToOne) {
  std::vector<double> logits, labels;
  core::Generator generator(5);
  for (int i = 0; i < 100; ++i) {
    labels.push_back(i % 2);
    logits.push_back(2.0 * labels.back() - 1.0 + generator.normal());
  }
  for (const auto method :
       {CalibrationMethod::none, CalibrationMethod::temperature, CalibrationMethod::platt}) {
    const Calibrator fit = fit_calibration(logits, labels, method);
    EXPECT_NEAR(data::sigmoid(fit.log_odds(0.7)), fit.apply(0.7), 1e-15);
    EXPECT_EQ(static_cast<float>(fit.apply(200.0)), static_cast<float>(fit.apply(250.0)));
    EXPECT_LT(fit.log_odds(200.0), fit.log_odds(250.0)) << core::text_of(method);
  }
  const Calibrator isotonic = fit_calibration(logits, labels, CalibrationMethod::isotonic);
  EXPECT_NEAR(data::sigmoid(isotonic.log_odds(0.7)), isotonic.apply(0.7), 1e-12);
}

TEST(Calibration, SurvivesItsJson) {
  std::vector<double> logits, labels;
  core::Generator generator(2);
  for (int i = 0; i < 60; ++i) {
    labels.push_back(generator.uniform() < 0.4F ? 1.0 : 0.0);
    logits.push_back(labels.back() + generator.normal());
  }
  for (const auto method : {CalibrationMethod::none, CalibrationMethod::temperature, CalibrationMethod::platt,
                            CalibrationMethod::isotonic}) {
    const Calibrator fit = fit_calibration(logits, labels, method);
    const Calibrator read = Calibrator::from_json(nlohmann::ordered_json::parse(fit.to_json().dump()));
    for (const double z : {-3.0, -0.1, 0.7, 4.0})
      EXPECT_EQ(read.apply(z), fit.apply(z)) << core::text_of(method);
  }
  nlohmann::ordered_json damaged{{"method", "isotonic"},
                                 {"logits", {1.0, 0.0}},
                                 {"probabilities", {0.1, 0.2}},
                                 {"positives", 1},
                                 {"negatives", 1}};
  EXPECT_THROW(Calibrator::from_json(damaged), core::Error);
  for (const double positives : {1.5, 1e308}) {
    const nlohmann::ordered_json other{{"method", "none"}, {"positives", positives}, {"negatives", 1}};
    EXPECT_THROW(Calibrator::from_json(other), nlohmann::json::exception) << positives;
  }
  damaged["method"] = "magic";
  EXPECT_THROW(Calibrator::from_json(damaged), core::Error);
}

TEST(RiskLevels, CutoffsReachTheirTargets) {
  //                           low: three of four positives  |  high: from 0.7 on, 2 of 3
  const std::vector<double> p{0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9};
  const std::vector<double> y{0, 1, 0, 1, 0, 0, 1, 0, 1};
  const RiskCutoffs cutoffs = choose_risk_cutoffs(p, y, 0.75, 2.0 / 3);
  EXPECT_EQ(*cutoffs.low.value, 0.4);
  EXPECT_EQ(*cutoffs.high.value, 0.7);
  EXPECT_EQ(cutoffs.level(0.39), RiskLevel::low);
  EXPECT_EQ(cutoffs.level(0.4), RiskLevel::intermediate);
  EXPECT_EQ(cutoffs.level(0.7), RiskLevel::high);
  std::vector<RiskLevel> levels;
  for (const double each : p) levels.push_back(cutoffs.level(each));
  const auto groups = risk_groups(levels, p, y);
  ASSERT_EQ(groups.size(), 3U);
  EXPECT_EQ(groups[0].count, 3);
  EXPECT_EQ(groups[0].positives, 1);
  EXPECT_EQ(groups[2].count, 3);
  EXPECT_EQ(groups[2].positives, 2);
  EXPECT_NEAR(groups[2].mean_probability, 0.8, 1e-12);
  EXPECT_NEAR(groups[2].observed.value, 2.0 / 3, 1e-12);
  const RiskCutoffs read = RiskCutoffs::from_json(cutoffs.to_json());
  ASSERT_TRUE(read.reached.has_value());
  EXPECT_EQ(read.reached->sensitivity, 0.75);
  EXPECT_EQ(read.reached->npv, 2.0 / 3);
  EXPECT_EQ(read.reached->ppv, 2.0 / 3);
  const RiskCutoffs without_high =
      choose_risk_cutoffs(p, std::vector<double>{1, 0, 0, 0, 0, 0, 0, 0, 0}, 1.0, 0.9);
  EXPECT_TRUE(std::isnan(RiskCutoffs::from_json(without_high.to_json()).reached->ppv));
  EXPECT_FALSE(fixed_risk_cutoffs(0.1, 0.5).reached.has_value());
}

TEST(RiskLevels, HighNeverReachesBelowLow) {
  const std::vector<double> p{0.1, 0.2, 0.3, 0.4}, y{0, 0, 1, 1};
  const RiskCutoffs cutoffs = choose_risk_cutoffs(p, y, 1.0, 0.5);  // half are positive from 0.1 on
  EXPECT_EQ(*cutoffs.low.value, 0.3);
  EXPECT_EQ(*cutoffs.high.value, 0.3);
  EXPECT_EQ(cutoffs.level(0.3), RiskLevel::high);
  EXPECT_EQ(cutoffs.level(0.2), RiskLevel::low);
}

TEST(RiskLevels, UnreachableTargetsLeaveALevelEmpty) {
  const std::vector<double> p{0.1, 0.2, 0.3, 0.4}, y{0, 1, 0, 0};
  const RiskCutoffs cutoffs = choose_risk_cutoffs(p, y, 0.95, 0.9);
  EXPECT_FALSE(cutoffs.high.defined());
  EXPECT_THAT(cutoffs.high.reason, HasSubstr("positive predictive value of 0.9"));
  EXPECT_EQ(cutoffs.level(0.99), RiskLevel::intermediate);
  const RiskCutoffs none = choose_risk_cutoffs(p, std::vector<double>(4, 0.0), 0.95, 0.5);
  EXPECT_FALSE(none.defined());
  EXPECT_EQ(none.low.reason, "no positive among 4 known labels");
  const RiskCutoffs read = RiskCutoffs::from_json(nlohmann::ordered_json::parse(cutoffs.to_json().dump()));
  EXPECT_EQ(read.low.value, cutoffs.low.value);
  EXPECT_EQ(read.high.reason, cutoffs.high.reason);
}

TEST(Subgroups, FollowCategoriesAndBands) {
  const data::Column sex{"Sex", false, {}, {"F", "M", "", "F", "M"}};
  const Grouping by_sex = group_rows(sex, {0, 2, 3, 4}, {});
  ASSERT_EQ(by_sex.groups.size(), 3U);
  EXPECT_EQ(by_sex.groups[0].name, "F");
  EXPECT_THAT(by_sex.groups[0].rows, ElementsAre(0, 2));  // places in the list of rows
  EXPECT_EQ(by_sex.groups[2].name, "missing");
  EXPECT_THAT(by_sex.groups[2].rows, ElementsAre(1));
  const data::Column age{"age", true, {17, 40, 59, kUnknownValue, 60, 95}, {}};
  const Grouping by_age = group_rows(age, {0, 1, 2, 3, 4, 5}, {18, 40, 60});
  std::vector<std::string> names;
  for (const auto& group : by_age.groups) names.push_back(group.name);
  EXPECT_THAT(names, ElementsAre("below 18", "40 to below 60", "60 or more", "missing"));
  EXPECT_THAT(by_age.groups[1].rows, ElementsAre(1, 2));
  const data::Column count{"count", true, {1, 2, 3, 4, 5, 6, 7, 8}, {}};
  EXPECT_EQ(group_rows(count, {0, 1, 2, 3, 4, 5, 6, 7}, {}).groups.size(), 4U);
  const data::Column constant{"constant", true, {1, 1, 1}, {}};
  EXPECT_EQ(group_rows(constant, {0, 1, 2}, {}).groups.size(), 1U);
}

TEST(Subgroups, ColumnsAreFoundInAnyCaseOrRefused) {
  const std::vector<data::Column> columns{{"Age", true, {1}, {}}, {"site", false, {}, {"a"}}};
  EXPECT_EQ(subgroup_columns(columns, {}).size(), 1U);
  EXPECT_EQ(subgroup_columns(columns, {"SITE", "age"})[0]->name, "site");
  try {
    subgroup_columns(columns, {"sites"});
    FAIL();
  } catch (const core::InputError& error) {
    EXPECT_THAT(error.what(),
                HasSubstr("evaluation.subgroups: expected columns of the data, got 'sites'; did "
                          "you mean 'site'?"));
  }
}

// The label follows from `value` alone, `view` is noise.
data::Dataset dataset_of(size_t count) {
  data::Dataset dataset;
  dataset.labels = {"sick", "none"};
  core::Generator generator(4);
  data::Column value{"value", true, {}, {}}, view{"View", false, {}, {}};
  std::vector<float> targets;
  for (size_t i = 0; i < count; ++i) {
    value.numbers.push_back(i % 10 == 0 ? kUnknownValue : generator.normal());
    view.categories.emplace_back(generator.uniform() < 0.5F ? "PA" : "AP");
    targets.push_back(value.numbers.back() + 0.5 * generator.normal() > 0.0 ? 1.0F : 0.0F);
    targets.push_back(0.0F);
    dataset.ids.push_back(std::to_string(i));
  }
  dataset.columns = {value, view};
  dataset.targets = core::Tensor::from<float>({static_cast<int64_t>(count), 2}, targets);
  return dataset;
}

TEST(Controls, TheTablePredictsWhatTheViewCannot) {
  const data::Dataset dataset = dataset_of(400);
  std::vector<int64_t> train, rows;
  std::vector<double> targets;
  for (int64_t i = 0; i < 400; ++i) {
    (i < 300 ? train : rows).push_back(i);
    if (i >= 300) targets.push_back(dataset.targets.at(2 * i));
  }
  const auto controls = standard_controls(dataset, train, rows);
  ASSERT_EQ(controls.size(), 3U);
  EXPECT_EQ(controls[0].name, "table_only");
  EXPECT_GT(data::auroc(controls[0].scores[0], targets), 0.9);
  EXPECT_LT(data::auroc(controls[1].scores[0], targets), 0.65);
  EXPECT_EQ(controls[0].scores[1], std::vector<double>(100, 0.0));  // one class in training
  data::Dataset bare = dataset;
  bare.columns.clear();
  EXPECT_EQ(standard_controls(bare, train, rows)[0].undefined, "the data has no such column");
  EXPECT_EQ(standard_controls(dataset, {}, rows)[1].undefined, "the data has no training rows");
}

// `value` is noise, but asked more often of the sick.
TEST(Controls, WhichCellsAreEmptyPredictsWithoutTheirValues) {
  data::Dataset dataset = dataset_of(400);
  core::Generator generator(8);
  std::vector<int64_t> train, rows;
  std::vector<double> targets;
  for (int64_t i = 0; i < 400; ++i) {
    const bool sick = dataset.targets.at(2 * i) == 1.0;
    const bool empty = generator.uniform() < (sick ? 0.2F : 0.8F);
    dataset.columns[0].numbers[static_cast<size_t>(i)] = empty ? kUnknownValue : generator.normal();
    (i < 300 ? train : rows).push_back(i);
    if (i >= 300) targets.push_back(sick ? 1.0 : 0.0);
  }
  const auto missing = [&] { return standard_controls(dataset, train, rows, {"missing_only"}); };
  const auto learned = missing();
  ASSERT_EQ(learned.size(), 1U);
  const std::vector<double>& scores = learned[0].scores[0];
  EXPECT_NEAR(data::auroc(scores, targets), 0.8, 0.08);
  EXPECT_EQ(std::set<double>(scores.begin(), scores.end()).size(), 2U);  // empty or not
  // A category may be missing as well; without an empty cell there is nothing to learn from.
  for (double& number : dataset.columns[0].numbers) number = std::isnan(number) ? 0.0 : number;
  EXPECT_EQ(missing()[0].undefined, "no cell of the training rows is empty");
  dataset.columns[1].categories[5].clear();
  EXPECT_EQ(missing()[0].undefined, "");
  EXPECT_TRUE(standard_controls(dataset, train, rows, {}).empty());
}

TEST(Controls, ShuffledLabelsAreWorthNothing) {
  std::vector<std::vector<double>> scores(2), targets(2);
  core::Generator generator(6);
  for (int i = 0; i < 200; ++i) {
    for (size_t label = 0; label < 2; ++label) {
      targets[label].push_back(label == 0 && generator.uniform() < 0.3F ? 1.0 : 0.0);
      scores[label].push_back(targets[label].back());
    }
  }
  const ShuffledAuroc shuffled = shuffled_auroc(scores, targets, 50, 1);
  double sum = 0.0;
  for (const double value : shuffled.labels[0]) sum += value;
  EXPECT_NEAR(sum / 50, 0.5, 0.03);
  EXPECT_NE(shuffled.labels[0][0], shuffled.labels[0][1]);
  EXPECT_TRUE(std::isnan(shuffled.labels[1][0]));
  EXPECT_EQ(shuffled.macro, shuffled.labels[0]);
}

}  // namespace
}  // namespace medfusion::tools
