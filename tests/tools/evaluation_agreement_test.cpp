// An interval of a difference and its p-value say the same, and no interval of an AUROC leaves its range.
#include <gtest/gtest.h>

#include <cmath>

#include "core/random.h"
#include "data/statistics/distributions.h"
#include "tools/evaluation/measures/compare.h"
#include "tools/evaluation/measures/compare_folds.h"

namespace medfusion::tools {
namespace {

using OrderedJson = nlohmann::ordered_json;

// How often a difference was found, and how often none: both must occur for the test to say something.
struct Agreement {
  int different = 0, alike = 0;

  void hold(const OrderedJson& test, const std::string& what) {
    SCOPED_TRACE(what + " " + test.dump());
    ASSERT_EQ(test.at("low").is_null(), test.at("p_value").is_null());
    if (test.at("low").is_null()) return;
    const bool leaves_out_zero = test.at("low") > 0.0 || test.at("high") < 0.0;
    EXPECT_EQ(leaves_out_zero, test.at("p_value") < 0.05);
    ++(leaves_out_zero ? different : alike);
  }
};

void within(const OrderedJson& estimate, double low, double high) {
  if (estimate.at("low").is_null()) return;
  EXPECT_GE(estimate.at("low"), low);
  EXPECT_LE(estimate.at("high"), high);
}

// Two labels of few patients with one to three images each; few distinct scores, so that many are tied.
struct Simulated {
  PredictionsFile first, second;
  std::vector<int64_t> folds;

  explicit Simulated(uint64_t seed) {
    core::Generator generator(seed);
    const int64_t patients = 8 + generator.below(30);
    const double lead = generator.uniform() < 0.5F ? 0.0 : 2.0;
    const double steps = generator.uniform() < 0.5F ? 3.0 : 1000.0;
    first.input.labels.resize(2);
    first.input.labels[0].name = "A";
    first.input.labels[1].name = "B";
    second = first;
    const auto score = [&](double target, double strength) {
      const double p = data::normal_cdf(strength * (target - 0.5) + generator.normal());
      return std::round(p * steps) / steps;
    };
    for (int64_t patient = 0; patient < patients; ++patient) {
      for (int64_t image = 0; image <= generator.below(3); ++image) {
        for (PredictionsFile* file : {&first, &second}) {
          file->ids.push_back(fmt::format("{}-{}", patient, image));
          file->input.patients.push_back(std::to_string(patient));
        }
        folds.push_back(patient % 3);
        for (size_t label = 0; label < 2; ++label) {
          const double target = generator.uniform() < (label == 0 ? 0.5F : 0.25F) ? 1.0 : 0.0;
          add(first, label, target, score(target, 1.0 + lead));
          add(second, label, target, score(target, 1.0));
        }
      }
    }
  }
  static void add(PredictionsFile& file, size_t at, double target, double probability) {
    LabelPredictions& label = file.input.labels[at];
    label.targets.push_back(target);
    label.probabilities.push_back(probability);
    label.predicted.push_back(probability >= 0.5 ? 1 : 0);
  }
};

TEST(Agreement, IntervalsOfDifferencesLeaveOutZeroWherePIsBelowFivePercent) {
  Agreement bootstrap, delong, folds;
  constexpr int64_t kResamples[] = {20, 39, 40, 79, 100, 199, 200, 250};
  for (uint64_t seed = 0; seed < 240; ++seed) {
    const Simulated data(seed);
    EvaluationOptions options;
    options.resamples = kResamples[seed % std::size(kResamples)];
    options.seed = seed;
    const std::string what = fmt::format("seed {}, {} resamples", seed, options.resamples);
    const auto compared = compare_predictions(data.first, data.second, "first", "second", options);
    for (const Measure measure : kMeasures)
      bootstrap.hold(compared["macro"][name_of(measure)]["difference"], what + name_of(measure));
    for (const char* label : {"A", "B"}) {
      const auto& each = compared["labels"][label];
      for (const Measure measure : kMeasures)
        bootstrap.hold(each["measures"][name_of(measure)]["difference"], what + name_of(measure));
      within(each["measures"]["auroc"]["first"], 0.0, 1.0);
      if (!each["delong"]["difference"].is_null()) {
        delong.hold(each["delong"], what + " DeLong");
        within(each["delong"], -1.0, 1.0);
      }
    }
    const FoldedPredictions first{{1}, {data.first}, {data.folds}}, second{{1}, {data.second}, {data.folds}};
    folds.hold(compare_folds(first, second, options)["macro_auroc"]["difference"], what + " folds");
  }
  for (const Agreement& each : {bootstrap, delong, folds}) {
    EXPECT_GT(each.different, 20);
    EXPECT_GT(each.alike, 20);
  }
}

}  // namespace
}  // namespace medfusion::tools
