// Measures and their intervals against scikit-learn, definitions and known cases.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/random.h"
#include "core/threads.h"
#include "data/statistics/calibration_error.h"
#include "data/statistics/curves.h"
#include "data/statistics/ranking.h"
#include "tools/evaluation/measures/bootstrap.h"
#include "tools/evaluation/measures/decision_intervals.h"
#include "tools/evaluation/measures/evaluation.h"
#include "tools/evaluation/measures/measures.h"

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

TEST(Measures, EceOfMeasuresIsThatOfTheBins) {
  for (const Json read = fixture("evaluation.json"); const Json& each : read.at("cases")) {
    const auto labels = each.at("labels").get<std::vector<double>>();
    std::vector<double> p;
    for (const double z : each.at("logits").get<std::vector<double>>())
      p.push_back(1.0 / (1.0 + std::exp(-z)));
    EXPECT_NEAR(data::expected_calibration_error(data::calibration_bins(p, labels, 15, true)),
                each.at("ece").get<double>(), 1e-12);
    EXPECT_NEAR(RankedLabel(p, labels, own_group(p.size()), {}).measures(ones(p.size()))[Measure::ece],
                each.at("ece").get<double>(), 1e-12);
  }
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

// 7 resamples over 3 ranks: three of them for two, one for the last.
TEST(Bootstrap, IsDividedAmongRanks) {
  const std::vector<std::string> patients{"a", "b", "b", "c", "d", "e"};
  const auto draw = [&](core::Communicator* ranks, std::atomic<int>& filled) {
    return PatientBootstrap(patients, 7, 3, ranks)
        .draw<uint32_t>(2, [&](const std::vector<uint32_t>& weights, uint32_t* row) {
          row[0] = weights[0];
          row[1] = weights[1];
          ++filled;
        });
  };
  std::atomic<int> all = 0;
  const std::vector<uint32_t> expected = draw(nullptr, all);
  EXPECT_EQ(all, 7);
  EXPECT_EQ(expected.size(), 14U);
  core::run_ranks(3, [&](core::Communicator& ranks) {
    std::atomic<int> own = 0;
    EXPECT_EQ(draw(&ranks, own), expected);
    EXPECT_EQ(own, ranks.rank() < 2 ? 3 : 1);
  });
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
                     data::auroc(scores, targets));
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

TEST(Bootstrap, PercentilesAreDraws) {
  std::vector<double> draws;
  for (int i = 40; i >= 0; --i) draws.push_back(i);
  draws.push_back(kUnknown);
  const Interval interval = percentile_interval(draws, 0.9);
  EXPECT_EQ(interval.low, 1.0);  // the second of 41: 2 < 42 x 0.05
  EXPECT_EQ(interval.high, 39.0);
  EXPECT_EQ(interval.undefined, 1);
  EXPECT_TRUE(std::isnan(percentile_interval(std::vector<double>(39, 1.0)).low));
  EXPECT_EQ(percentile_interval(std::vector<double>(40, 1.0)).low, 1.0);
  EXPECT_TRUE(std::isnan(percentile_interval({}).low));
}

TEST(Bootstrap, AnIntervalHoldsItsEstimateOrIsNone) {
  std::vector<double> draws;
  for (int i = 0; i < 200; ++i) draws.push_back(0.10 + 0.001 * i);
  const Interval centred = interval_around(0.2, draws), plain = percentile_interval(draws);
  EXPECT_EQ(centred.low, plain.low);
  EXPECT_EQ(centred.high, plain.high);
  EXPECT_TRUE(std::isnan(interval_around(0.1025, draws).low));  // below 97.5 % of the draws
  EXPECT_TRUE(std::isnan(interval_around(0.5, draws).high));
}

// 12 of 12 positives found, in 6 patients: Wilson's interval for 6 of 6. Nothing resampled differs.
TEST(Intervals, AProportionWithoutAMistakeHasWilsonsInterval) {
  EvaluationInput input;
  LabelPredictions label;
  label.name = "A";
  label.threshold = optim::MetricValue::of(0.5);
  for (int i = 0; i < 24; ++i) {
    input.patients.push_back(std::to_string(i / 2));
    label.targets.push_back(i < 12 ? 1.0 : 0.0);
    label.probabilities.push_back(i < 12 ? 0.9 - 0.01 * i : 0.3 - 0.01 * i);
    label.predicted.push_back(i < 12 ? 1 : 0);
  }
  input.labels = {label};
  EvaluationOptions options;
  options.resamples = 100;
  const auto json = evaluation_json(input, options)["labels"]["A"];
  const auto sensitivity = json["measures"]["sensitivity"];
  EXPECT_EQ(sensitivity["value"], 1.0);
  EXPECT_NEAR(sensitivity["low"].get<double>(), data::wilson(6, 6).low, 1e-12);
  EXPECT_EQ(sensitivity["high"], 1.0);
  EXPECT_NEAR(json["measures"]["accuracy"]["low"].get<double>(), data::wilson(12, 12).low, 1e-12);
  EXPECT_EQ(json["measures"]["auroc"]["value"], 1.0);
  EXPECT_TRUE(json["measures"]["auroc"]["low"].is_null());
  EXPECT_TRUE(json["calibration"]["slope"]["value"].is_null());
  EXPECT_EQ(json["calibration"]["slope"]["undefined"], "not estimable: the classes are separated");
}

TEST(Bootstrap, PValueCountsTheSmallerSide) {
  std::vector<double> differences(99, 1.0);
  EXPECT_DOUBLE_EQ(bootstrap_p_value(differences), 2.0 / 100);
  for (size_t i = 0; i < 9; ++i) differences[i] = -1.0;
  EXPECT_DOUBLE_EQ(bootstrap_p_value(differences), 20.0 / 100);
  EXPECT_DOUBLE_EQ(bootstrap_p_value(std::vector<double>(99, 0.0)), 1.0);
  EXPECT_TRUE(std::isnan(bootstrap_p_value(std::vector<double>{kUnknown})));
}

// Each resample written out as rows, and its decision curve by the library's function.
TEST(DecisionIntervals, AreThoseOfTheCurvesOfTheResamples) {
  const std::vector<std::string> patients{"a", "a", "b", "c", "d", "d", "e", "f"};
  const std::vector<double> probabilities{0.25, 0.9, 0.1, 0.5, 0.75, 0.4, 0.6, 0.3};
  const std::vector<double> targets{0, 1, 0, 1, 0, kUnknown, 1, 0};
  const std::vector<double> thresholds{0.1, 0.25, 0.5, 0.6, 0.95};
  const PatientBootstrap bootstrap(patients, 200, 3);
  const auto curve = data::decision_curve(probabilities, targets, thresholds);
  std::vector<std::vector<double>> draws(thresholds.size());
  for (int64_t resample = 0; resample < bootstrap.resamples(); ++resample) {
    const auto weights = bootstrap.weights(resample);
    std::vector<double> p, t;
    for (size_t row = 0; row < patients.size(); ++row) {
      for (uint32_t k = 0; k < weights[bootstrap.patient_of_row()[row]]; ++k) {
        p.push_back(probabilities[row]);
        t.push_back(targets[row]);
      }
    }
    const auto drawn = data::decision_curve(p, t, thresholds);
    for (size_t i = 0; i < thresholds.size(); ++i)
      draws[i].push_back(drawn.empty() ? kUndefined : drawn[i].model);
  }
  const auto intervals = decision_intervals(curve, probabilities, targets, bootstrap);
  ASSERT_EQ(intervals.size(), thresholds.size());
  for (size_t i = 0; i < thresholds.size(); ++i) {
    const Interval expected = interval_around(curve[i].model, draws[i]);
    EXPECT_NEAR(intervals[i].low, expected.low, 1e-12);
    EXPECT_NEAR(intervals[i].high, expected.high, 1e-12);
    EXPECT_LE(intervals[i].low, curve[i].model);
  }
  EXPECT_LT(intervals[1].low, intervals[1].high);
}

}  // namespace
}  // namespace medfusion::tools
