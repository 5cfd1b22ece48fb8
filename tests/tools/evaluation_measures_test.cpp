// Measures, intervals, curves and tests of AUROCs against scikit-learn, definitions and known cases.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/random.h"
#include "core/threads.h"
#include "optim/metrics.h"
#include "tools/evaluation/bootstrap.h"
#include "tools/evaluation/curves.h"
#include "tools/evaluation/delong.h"
#include "tools/evaluation/measures.h"

namespace medfusion::tools {
namespace {

using Json = nlohmann::json;
using testing::DoubleEq;
using testing::ElementsAre;

constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();

Json fixture(const std::string& name) {
  std::ifstream file(std::string(MEDFUSION_SOURCE_DIR "/tests/fixtures/") + name);
  return Json::parse(file);
}

std::vector<double> with_unknown(const Json& labels) {
  std::vector<double> result;
  for (const auto& label : labels) result.push_back(label.is_null() ? kUnknown : label.get<double>());
  return result;
}

std::vector<uint8_t> decide(const std::vector<double>& scores, double threshold) {
  std::vector<uint8_t> result;
  for (const double score : scores) result.push_back(score >= threshold ? 1 : 0);
  return result;
}

// Every sample is a patient.
std::vector<uint32_t> own_group(size_t count) {
  std::vector<uint32_t> group(count);
  for (size_t i = 0; i < count; ++i) group[i] = static_cast<uint32_t>(i);
  return group;
}

std::vector<uint32_t> ones(size_t count) { return std::vector<uint32_t>(count, 1); }

TEST(Measures, MatchScikitLearnOnRandomAndDegenerateInputs) {
  const Json cases = fixture("metrics.json").at("cases");
  ASSERT_GE(cases.size(), 20U);
  for (const Json& each : cases) {
    SCOPED_TRACE(each.at("name").get<std::string>());
    const auto scores = each.at("scores").get<std::vector<double>>();
    const auto targets = with_unknown(each.at("labels"));
    const auto predicted = decide(scores, each.at("threshold").get<double>());
    const RankedLabel ranked(scores, targets, own_group(scores.size()), predicted);
    const MeasureValues values = ranked.measures(ones(scores.size()));
    const Json& expected = each.at("expected");
    for (const Measure measure : kMeasures) {
      SCOPED_TRACE(name_of(measure));
      if (measure == Measure::ece) continue;  // evaluation.json has it
      const bool of_probability =
          measure == Measure::brier || measure == Measure::brier_scaled || measure == Measure::log_loss;
      if (of_probability && !expected.at("probabilities").get<bool>()) continue;
      // Without a sample nothing was decided either.
      ASSERT_EQ(std::isnan(values[measure]), expected.at(name_of(measure)).is_null());
      if (std::isnan(values[measure])) {
        EXPECT_NE(ranked.why_undefined(measure, "none"), "");
      } else {
        EXPECT_NEAR(values[measure], expected.at(name_of(measure)).get<double>(), 1e-9);
      }
    }
  }
}

TEST(Measures, AWeightCountsASampleAsOften) {
  // Four patients of two samples each, with ties; weights 3, 0, 1, 2 against samples written out.
  const std::vector<double> scores{0.1, 0.9, 0.4, 0.4, 0.4, 0.8, 0.3, 0.1};
  const std::vector<double> targets{0, 1, 1, 0, 0, 1, kUnknown, 1};
  const std::vector<uint32_t> patient{0, 0, 1, 1, 2, 2, 3, 3};
  const std::vector<uint32_t> weights{3, 0, 1, 2};
  std::vector<double> many_scores, many_targets;
  for (size_t i = 0; i < scores.size(); ++i) {
    for (uint32_t k = 0; k < weights[patient[i]]; ++k) {
      many_scores.push_back(scores[i]);
      many_targets.push_back(targets[i]);
    }
  }
  const MeasureValues weighted = RankedLabel(scores, targets, patient, decide(scores, 0.4)).measures(weights);
  const MeasureValues written =
      RankedLabel(many_scores, many_targets, own_group(many_scores.size()), decide(many_scores, 0.4))
          .measures(ones(many_scores.size()));
  for (const Measure measure : kMeasures) {
    EXPECT_NEAR(weighted[measure], written[measure], 1e-12) << name_of(measure);
  }
}

TEST(Measures, UndefinedValuesSayWhy) {
  const std::vector<double> scores{0.2, 0.7};
  const RankedLabel undecided(scores, std::vector<double>{0, 1}, own_group(2), {});
  EXPECT_TRUE(std::isnan(undecided.measures(ones(2))[Measure::f1]));
  EXPECT_EQ(undecided.why_undefined(Measure::f1, "no validation part"), "no threshold: no validation part");
  const std::vector<uint8_t> none{0, 0};
  const RankedLabel negatives(scores, std::vector<double>{0, 0}, own_group(2), none);
  EXPECT_EQ(negatives.why_undefined(Measure::auroc, ""), "no positive among 2 known labels");
  EXPECT_EQ(negatives.why_undefined(Measure::ppv, ""), "none of 2 predicted positive");
  const RankedLabel broken(std::vector<double>{kUnknown, 0.5}, std::vector<double>{0, 1}, own_group(2), none);
  EXPECT_TRUE(std::isnan(broken.measures(ones(2))[Measure::brier]));
  EXPECT_EQ(broken.why_undefined(Measure::brier, ""), "1 of 2 scores are not numbers");
  EXPECT_THROW(RankedLabel(scores, std::vector<double>{0, 0.5}, own_group(2), {}), core::Error);
}

// Two labels of 300 samples of 60 patients; the second is rare.
struct Example {
  std::vector<std::string> patients;
  std::vector<std::vector<double>> scores{2}, targets{2};
  Example() {
    core::Generator generator(3);
    for (int i = 0; i < 300; ++i) {
      patients.push_back("p" + std::to_string(generator.below(60)));
      for (size_t label = 0; label < 2; ++label) {
        const double target = generator.uniform() < (label == 0 ? 0.3 : 0.01) ? 1.0 : 0.0;
        targets[label].push_back(target);
        scores[label].push_back(0.3 * target + 0.7 * static_cast<double>(generator.uniform()));
      }
    }
  }
  std::vector<RankedLabel> ranked(const PatientBootstrap& bootstrap) const {
    std::vector<RankedLabel> result;
    for (size_t label = 0; label < 2; ++label) {
      result.emplace_back(scores[label], targets[label], bootstrap.patient_of_row(),
                          decide(scores[label], 0.5));
    }
    return result;
  }
};

TEST(Bootstrap, DrawsAsManyPatientsAsThereAreWhateverTheOrderOfRows) {
  const PatientBootstrap bootstrap(std::vector<std::string>{"b", "a", "c", "a"}, 50, 7);
  EXPECT_EQ(bootstrap.patients(), 3);
  EXPECT_THAT(bootstrap.patient_of_row(), ElementsAre(1U, 0U, 2U, 0U));
  const PatientBootstrap other(std::vector<std::string>{"a", "c", "b"}, 50, 7);
  bool varies = false;
  for (int64_t resample = 0; resample < 50; ++resample) {
    const auto weights = bootstrap.weights(resample);
    EXPECT_EQ(weights[0] + weights[1] + weights[2], 3U);
    EXPECT_EQ(weights, other.weights(resample));
    varies |= weights != bootstrap.weights(0);
  }
  EXPECT_TRUE(varies);
  EXPECT_NE(PatientBootstrap(std::vector<std::string>{"a", "b", "c"}, 1, 8).weights(0), bootstrap.weights(0));
}

TEST(Bootstrap, IsTheSameForAnyNumberOfThreads) {
  const Example example;
  const PatientBootstrap bootstrap(example.patients, 40, 1);
  const auto labels = example.ranked(bootstrap);
  core::set_num_threads(1);
  const ResampledMeasures one(labels, bootstrap);
  core::set_num_threads(3);
  const ResampledMeasures three(labels, bootstrap);
  for (const Measure measure : kMeasures) {
    const auto a = one.draws(0, measure), b = three.draws(0, measure);
    for (size_t i = 0; i < a.size(); ++i) EXPECT_EQ(a[i], b[i]) << name_of(measure);
  }
}

TEST(Bootstrap, AResampleIsTheMetricOfItsRows) {
  const Example example;
  const PatientBootstrap bootstrap(example.patients, 3, 1);
  const ResampledMeasures measures(example.ranked(bootstrap), bootstrap);
  for (int64_t resample = 0; resample < 3; ++resample) {
    const auto weights = bootstrap.weights(resample);
    std::vector<double> scores, targets;
    for (size_t row = 0; row < example.patients.size(); ++row) {
      for (uint32_t k = 0; k < weights[bootstrap.patient_of_row()[row]]; ++k) {
        scores.push_back(example.scores[0][row]);
        targets.push_back(example.targets[0][row]);
      }
    }
    EXPECT_DOUBLE_EQ(measures.draws(0, Measure::auroc)[static_cast<size_t>(resample)],
                     *optim::auroc(scores, targets).value);
  }
}

TEST(Bootstrap, UndefinedResamplesAreCountedAndKeptOutOfTheMacroAverage) {
  const Example example;
  const PatientBootstrap bootstrap(example.patients, 300, 1);
  const ResampledMeasures measures(example.ranked(bootstrap), bootstrap);
  const auto rare = measures.draws(1, Measure::auroc);
  const Interval interval = percentile_interval(rare);
  EXPECT_GT(interval.undefined, 0);
  EXPECT_LT(interval.undefined, 150);
  EXPECT_EQ(percentile_interval(measures.draws(0, Measure::auroc)).undefined, 0);
  const auto macro = measures.macro_draws(Measure::auroc);
  for (size_t i = 0; i < macro.size(); ++i) EXPECT_EQ(std::isnan(macro[i]), std::isnan(rare[i]));
  EXPECT_DOUBLE_EQ(measures.macro(Measure::auroc),
                   (measures.full(0)[Measure::auroc] + measures.full(1)[Measure::auroc]) / 2);
}

// The interval of a mean (accuracy) over patients of one row each is close to the normal one.
TEST(Bootstrap, IntervalOfAShareIsThatOfTheBinomial) {
  std::vector<std::string> patients;
  std::vector<double> scores, targets;
  for (int i = 0; i < 400; ++i) {
    patients.push_back(std::to_string(i));
    scores.push_back(i < 280 ? 0.9 : 0.1);
    targets.push_back(1.0);
  }
  const PatientBootstrap bootstrap(patients, 2000, 5);
  const ResampledMeasures measures(
      {RankedLabel(scores, targets, bootstrap.patient_of_row(), decide(scores, 0.5))}, bootstrap);
  const Interval interval = percentile_interval(measures.draws(0, Measure::accuracy));
  const double half = 1.959964 * std::sqrt(0.7 * 0.3 / 400);
  EXPECT_NEAR(interval.low, 0.7 - half, 0.006);
  EXPECT_NEAR(interval.high, 0.7 + half, 0.006);
  // The same rows as 100 patients of four equal ones: the interval is twice as wide.
  for (size_t i = 0; i < patients.size(); ++i) patients[i] = std::to_string(i / 4);
  const PatientBootstrap clustered(patients, 2000, 5);
  const ResampledMeasures wide(
      {RankedLabel(scores, targets, clustered.patient_of_row(), decide(scores, 0.5))}, clustered);
  const Interval wider = percentile_interval(wide.draws(0, Measure::accuracy));
  EXPECT_NEAR(wider.low, 0.7 - 2 * half, 0.012);
  EXPECT_NEAR(wider.high, 0.7 + 2 * half, 0.012);
}

TEST(Bootstrap, PercentilesAreLinearBetweenDraws) {
  std::vector<double> draws;
  for (int i = 40; i >= 0; --i) draws.push_back(i);
  draws.push_back(kUnknown);
  const Interval interval = percentile_interval(draws, 0.9);
  EXPECT_DOUBLE_EQ(interval.low, 2.0);
  EXPECT_DOUBLE_EQ(interval.high, 38.0);
  EXPECT_EQ(interval.undefined, 1);
  EXPECT_TRUE(std::isnan(percentile_interval(std::vector<double>(19, 1.0)).low));
  EXPECT_TRUE(std::isnan(percentile_interval({}).low));
}

TEST(Bootstrap, PValueCountsTheSmallerSide) {
  std::vector<double> differences(99, 1.0);
  EXPECT_DOUBLE_EQ(bootstrap_p_value(differences), 2.0 / 100);
  for (size_t i = 0; i < 9; ++i) differences[i] = -1.0;
  EXPECT_DOUBLE_EQ(bootstrap_p_value(differences), 20.0 / 100);
  EXPECT_DOUBLE_EQ(bootstrap_p_value(std::vector<double>(99, 0.0)), 1.0);
  EXPECT_TRUE(std::isnan(bootstrap_p_value(std::vector<double>{kUnknown})));
}

TEST(Delong, MatchesItsDefinition) {
  for (const Json read = fixture("evaluation.json"); const Json& each : read.at("cases")) {
    SCOPED_TRACE(each.at("name").get<std::string>());
    auto labels = each.at("labels").get<std::vector<double>>();
    auto first = each.at("logits").get<std::vector<double>>();
    auto second = each.at("second").get<std::vector<double>>();
    // A sample of unknown label counts for nothing.
    labels.push_back(kUnknown);
    first.push_back(0.3);
    second.push_back(kUnknown);
    const Json& expected = each.at("delong");
    const auto value = [&](const char* key) { return expected.at(key).get<double>(); };
    const DelongAuroc single = delong(first, labels);
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
  EXPECT_EQ(delong(std::vector<double>{kUnknown, 0.2, 0.3, 0.1}, std::vector<double>{0, 0, 1, 1}).undefined,
            "1 scores are not numbers");
}

TEST(Curves, MatchScikitLearn) {
  for (const Json read = fixture("evaluation.json"); const Json& each : read.at("cases")) {
    SCOPED_TRACE(each.at("name").get<std::string>());
    const auto labels = each.at("labels").get<std::vector<double>>();
    const auto logits = each.at("logits").get<std::vector<double>>();
    const auto expect_points = [](const std::vector<CurvePoint>& points, const Json& expected) {
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
  EXPECT_NEAR(area(all), *optim::auroc(scores, targets).value, 1e-12);
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

TEST(Curves, WilsonMatchesScipy) {
  for (const Json read = fixture("evaluation.json"); const Json& each : read.at("wilson")) {
    const Proportion interval = wilson(each[0].get<int64_t>(), each[1].get<int64_t>());
    EXPECT_NEAR(interval.low, each[2].get<double>(), 1e-12);
    EXPECT_NEAR(interval.high, each[3].get<double>(), 1e-12);
  }
}

TEST(Curves, NetBenefitMatchesItsDefinition) {
  for (const Json read = fixture("evaluation.json"); const Json& each : read.at("cases")) {
    std::vector<double> probabilities, thresholds;
    for (const double z : each.at("logits").get<std::vector<double>>())
      probabilities.push_back(1.0 / (1.0 + std::exp(-z)));
    for (const Json& point : each.at("decision")) thresholds.push_back(point[0].get<double>());
    const auto curve =
        decision_curve(probabilities, each.at("labels").get<std::vector<double>>(), thresholds);
    ASSERT_EQ(curve.size(), 4U);
    for (size_t i = 0; i < curve.size(); ++i) {
      EXPECT_NEAR(curve[i].model, each.at("decision")[i][1].get<double>(), 1e-12);
      EXPECT_NEAR(curve[i].all, each.at("decision")[i][2].get<double>(), 1e-12);
    }
  }
}

TEST(Curves, CalibrationBinsHoldEachSampleOnce) {
  const std::vector<double> p{0.0, 0.1, 0.25, 0.5, 0.5, 0.75, 1.0, 0.3}, y{0, 0, 1, 1, 0, 1, 1, kUnknown};
  const auto width = calibration_bins(p, y, 4, true);
  ASSERT_EQ(width.size(), 4U);
  EXPECT_THAT((std::vector<int64_t>{width[0].count, width[1].count, width[2].count, width[3].count}),
              ElementsAre(2, 1, 2, 2));
  EXPECT_EQ(width[2].lower, 0.5);
  EXPECT_EQ(width[2].observed.value, 0.5);
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

TEST(Curves, EceOfMeasuresIsThatOfTheBins) {
  for (const Json read = fixture("evaluation.json"); const Json& each : read.at("cases")) {
    const auto labels = each.at("labels").get<std::vector<double>>();
    std::vector<double> p;
    for (const double z : each.at("logits").get<std::vector<double>>())
      p.push_back(1.0 / (1.0 + std::exp(-z)));
    EXPECT_NEAR(expected_calibration_error(calibration_bins(p, labels, 15, true)),
                each.at("ece").get<double>(), 1e-12);
    EXPECT_NEAR(RankedLabel(p, labels, own_group(p.size()), {}).measures(ones(p.size()))[Measure::ece],
                each.at("ece").get<double>(), 1e-12);
  }
}

// In one bin the error is |mean of targets - p|: E|X - np| / n of a binomial, about sqrt(2 p q / (pi n)).
TEST(Curves, ErrorWhenCalibratedIsThatOfTheBinomial) {
  const std::vector<double> p(400, 0.3), y(400, 0.0);
  EXPECT_NEAR(expected_error_when_calibrated(p, y, 15, 2000, 1), std::sqrt(2 * 0.3 * 0.7 / (M_PI * 400)),
              5e-4);
  EXPECT_EQ(
      expected_error_when_calibrated(std::vector<double>{0.0, 1.0}, std::vector<double>{0, 1}, 15, 5, 1),
      0.0);
  EXPECT_TRUE(std::isnan(expected_error_when_calibrated({}, {}, 15, 5, 1)));
}

TEST(Curves, NothingWithoutBothClasses) {
  const std::vector<double> p{0.2, 0.4}, negatives{0, 0};
  EXPECT_TRUE(roc_curve(p, negatives).empty());
  EXPECT_TRUE(precision_recall_curve(p, negatives).empty());
  EXPECT_TRUE(roc_curve(std::vector<double>{kUnknown, 0.3}, std::vector<double>{0, 1}).empty());
}

TEST(Normal, QuantileInvertsTheDistribution) {
  EXPECT_NEAR(normal_quantile(0.975), 1.959963984540054, 1e-12);
  for (const double p : {1e-8, 0.001, 0.3, 0.5, 0.9, 0.999999}) {
    EXPECT_NEAR(normal_cdf(normal_quantile(p)) / p, 1.0, 1e-9);
  }
}

}  // namespace
}  // namespace medfusion::tools
