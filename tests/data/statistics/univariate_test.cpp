// Univariate statistics against scipy and scikit-learn (tests/fixtures/make_features_fixture.py), and by
// hand.
#include "data/statistics/univariate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <numeric>

#include "data/statistics/delong.h"
#include "data/statistics/distributions.h"
#include "data/statistics/significance.h"
#include "tests/data/statistics/fixture.h"

namespace medfusion::data {
namespace {

using testing::DoubleNear;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pointwise;

struct FeatureCase {
  nlohmann::json expected;
  std::vector<double> values, labels;
  std::vector<int64_t> clusters;
  std::vector<double> known;  // values of rows whose label and value are known
  std::vector<uint8_t> positive;
  std::vector<int64_t> known_clusters;
  std::vector<ScoreGroup> groups;

  explicit FeatureCase(const nlohmann::json& json)
      : expected(json),
        values(numbers_of(json.at("values"))),
        labels(numbers_of(json.at("labels"))),
        clusters(json.at("clusters").get<std::vector<int64_t>>()) {
    for (size_t i = 0; i < values.size(); ++i) {
      if (std::isnan(values[i]) || std::isnan(labels[i])) continue;
      known.push_back(values[i]);
      positive.push_back(labels[i] == 1.0 ? 1 : 0);
      known_clusters.push_back(clusters[i]);
    }
    groups = group_scores(known, positive);
  }
  double number(const char* key) const { return expected.at(key).get<double>(); }
};

// Within 1e-9 of the expectation, relative where that is large or small.
void expect_number(double actual, double expected, const std::string& what) {
  EXPECT_NEAR(actual, expected, 1e-9 * std::max(std::abs(expected), 1e-300)) << what;
}

std::vector<FeatureCase> cases() {
  std::vector<FeatureCase> result;
  const nlohmann::json file = read_fixture("features.json");
  for (const auto& json : file.at("cases")) result.emplace_back(json);
  EXPECT_EQ(result.size(), 4U);
  return result;
}

TEST(Univariate, AgreesWithScipyAndScikitLearn) {
  for (const FeatureCase& c : cases()) {
    const std::string name = c.expected.at("name").get<std::string>();
    const Univariate u = univariate(c.values, c.labels, c.clusters, FeatureScore::auroc);
    ASSERT_TRUE(u.tested()) << name;
    EXPECT_EQ(u.positives + u.negatives + u.missing +
                  std::count_if(c.labels.begin(), c.labels.end(), [](double l) { return std::isnan(l); }),
              static_cast<int64_t>(c.values.size()));
    EXPECT_EQ(u.best.higher, c.expected.at("higher").get<bool>()) << name;
    expect_number(u.auroc, c.number("auroc"), name + ": auroc");
    expect_number(u.auroc_low, c.number("auroc_low"), name + ": auroc_low");
    expect_number(u.auroc_high, c.number("auroc_high"), name + ": auroc_high");
    expect_number(u.best.youden, c.number("youden"), name + ": youden");
    expect_number(u.best.threshold, c.expected.at("thresholds").at("youden").get<double>(),
                  name + ": threshold");
    expect_number(u.design_effect, std::max(1.0, c.number("clustered") / c.number("independent")),
                  name + ": design effect");
    const auto odds = numbers_of(c.expected.at("odds_ratio"));
    expect_number(u.odds_ratio.value, odds[0], name + ": odds ratio");
    expect_number(u.odds_ratio.low, odds[1], name + ": odds ratio, low");
    expect_number(u.odds_ratio.high, odds[2], name + ": odds ratio, high");
    const AurocVariance variance = auroc_variance(c.known, c.positive, c.known_clusters);
    expect_number(variance.independent, c.number("independent"), name + ": DeLong's variance");
    expect_number(variance.clustered, c.number("clustered"), name + ": Obuchowski's variance");
    EXPECT_EQ(u.score, std::max(u.auroc, 1.0 - u.auroc)) << name;
  }
}

TEST(Univariate, ThresholdsMaximizeWhatTheyShould) {
  for (const FeatureCase& c : cases()) {
    const std::string name = c.expected.at("name").get<std::string>();
    for (const FeatureScore score :
         {FeatureScore::youden, FeatureScore::chi_square, FeatureScore::information_gain}) {
      const char* key = kFeatureScores[static_cast<size_t>(score)];
      const ThresholdStatistics best = best_threshold(c.groups, score);
      expect_number(best.threshold, c.expected.at("thresholds").at(key).get<double>(), name + ": " + key);
      const double value = score == FeatureScore::youden       ? best.youden
                           : score == FeatureScore::chi_square ? best.chi_square
                                                               : best.information_gain;
      expect_number(value, c.number(key), name + ": " + key);
      EXPECT_NEAR(feature_score(c.groups, score), value, 1e-12) << name;
    }
  }
}

TEST(Univariate, TestsAgreeWithScipy) {
  for (const FeatureCase& c : cases()) {
    const std::string name = c.expected.at("name").get<std::string>();
    int64_t positives = 0;
    for (const uint8_t p : c.positive) positives += p;
    const auto negatives = static_cast<int64_t>(c.positive.size()) - positives;
    expect_number(mann_whitney_p(c.groups), c.number("mann_whitney"), name + ": Mann-Whitney");
    expect_number(kolmogorov_smirnov_p(c.number("kolmogorov_distance"), positives, negatives),
                  c.number("kolmogorov_smirnov"), name + ": Kolmogorov-Smirnov");
    expect_number(maximal_chi_square_p(c.number("chi_square"), c.expected.at("cuts").get<int64_t>(),
                                       c.number("least_share"), c.number("most_share")),
                  c.number("maximal_chi_square"), name + ": maximal chi-square");
  }
}

TEST(Univariate, TheTestFollowsFromTheScore) {
  const auto all = cases();
  const FeatureCase& many = all[1];  // 282 values, one row per patient
  const FeatureCase& few = all[3];   // 9 values, two rows
  const auto p = [](const FeatureCase& c, FeatureScore score) {
    return univariate(c.values, c.labels, c.clusters, score).p_value;
  };
  expect_number(p(many, FeatureScore::auroc), many.number("mann_whitney"), "auroc");
  expect_number(p(many, FeatureScore::youden), many.number("kolmogorov_smirnov"), "youden");
  expect_number(p(many, FeatureScore::chi_square), many.number("maximal_chi_square"), "chi_square");
  const double effect = few.number("clustered") / few.number("independent");
  ASSERT_GT(effect, 1.0);
  expect_number(p(few, FeatureScore::youden), 8 * chi_square_p(few.number("chi_square") / effect),
                "few values: the chi-square test of each threshold");
  EXPECT_GT(p(few, FeatureScore::auroc), few.number("mann_whitney"));  // visits of a patient count for less
}

// Values 1..6, positives at 3, 5 and 6 of {3, 5, 6} and negatives at {1, 2, 4}.
TEST(Univariate, AnExampleByHand) {
  const std::vector<double> values{1, 2, 3, 4, 5, 6, kUnknownNumber, 9};
  const std::vector<double> labels{0, 0, 1, 0, 1, 1, 1, kUnknownNumber};
  const std::vector<int64_t> patients{1, 2, 3, 4, 5, 6, 7, 8};
  const Univariate u = univariate(values, labels, patients, FeatureScore::youden);
  EXPECT_EQ(u.positives, 3);
  EXPECT_EQ(u.negatives, 3);
  EXPECT_EQ(u.missing, 1);               // the row whose label is unknown does not count
  EXPECT_NEAR(u.auroc, 8.0 / 9, 1e-15);  // one of nine pairs, (3, 4), is in the wrong order
  EXPECT_EQ(u.best.threshold, 2.5);      // J = 2/3 here and at 4.5; the lower one
  EXPECT_NEAR(u.best.youden, 2.0 / 3, 1e-15);
  EXPECT_EQ(u.best.counts.true_positives, 3);
  EXPECT_EQ(u.best.counts.false_positives, 1);
  EXPECT_EQ(u.best.counts.false_negatives, 0);
  EXPECT_NEAR(u.best.chi_square, 3.0, 1e-12);                       // 6 (3 2 - 1 0)^2 / (4 2 3 3)
  EXPECT_NEAR(u.odds_ratio.value, 3.5 * 2.5 / (1.5 * 0.5), 1e-12);  // Haldane
  EXPECT_NEAR(u.best.information_gain, 1.0 - 4.0 / 6 * 0.8112781244591328, 1e-12);
}

TEST(Univariate, DirectionTurnsWithTheValues) {
  const auto all = cases();
  for (const FeatureCase& c : all) {
    std::vector<double> turned = c.values;
    for (double& value : turned) value = -value;
    const Univariate a = univariate(c.values, c.labels, c.clusters, FeatureScore::youden);
    const Univariate b = univariate(turned, c.labels, c.clusters, FeatureScore::youden);
    EXPECT_NE(a.best.higher, b.best.higher);
    EXPECT_NEAR(a.auroc, b.auroc, 1e-12);
    EXPECT_NEAR(a.odds_ratio.value, b.odds_ratio.value, 1e-9 * a.odds_ratio.value);
    EXPECT_NEAR(a.p_value, b.p_value, 1e-9 * a.p_value);
  }
}

TEST(Univariate, SaysWhyItTestsNothing) {
  const std::vector<int64_t> patients{1, 2, 3};
  const auto why = [&](const std::vector<double>& values, const std::vector<double>& labels) {
    const Univariate u = univariate(values, labels, patients, FeatureScore::auroc);
    EXPECT_EQ(u.p_value, 1.0);
    return u.untested;
  };
  EXPECT_EQ(why({1, 2, 3}, {1, 1, kUnknownNumber}), "no negative");
  EXPECT_EQ(why({1, 2, 3}, {0, 0, 0}), "no positive");
  EXPECT_EQ(why({2, 2, 2}, {0, 1, 0}), "one value only");
  EXPECT_EQ(why({kUnknownNumber, kUnknownNumber, 1}, {0, 1, kUnknownNumber}), "no known value");
  EXPECT_EQ(why({1, 2, 3}, {0, 1, 0}), "");
}

// A single positive tells nothing of its spread.
TEST(Univariate, OnePositiveLeavesTheIntervalOpen) {
  const Univariate u = univariate(std::vector<double>{1, 2, 3}, std::vector<double>{0, 0, 1},
                                  std::vector<int64_t>{1, 2, 3}, FeatureScore::auroc);
  EXPECT_EQ(u.auroc, 1.0);
  EXPECT_EQ(u.auroc_low, 0.0);
  EXPECT_EQ(u.auroc_high, 1.0);
}

TEST(Significance, BenjaminiHochbergAgreesWithScipy) {
  const auto json = read_fixture("features.json");
  EXPECT_THAT(benjamini_hochberg(json.at("p_values").get<std::vector<double>>()),
              Pointwise(DoubleNear(1e-12), json.at("q_values").get<std::vector<double>>()));
  // By hand: 0.01 * 4 / 1, 0.02 * 4 / 2, 0.03 * 4 / 3 and 0.9; the last three of the first are 0.04.
  EXPECT_THAT(benjamini_hochberg(std::vector<double>{0.9, 0.01, 0.03, 0.02}),
              ElementsAre(0.9, DoubleNear(0.04, 1e-15), DoubleNear(0.04, 1e-15), DoubleNear(0.04, 1e-15)));
  EXPECT_THAT(benjamini_hochberg({}), IsEmpty());
}

// Under no association the rejection rate is at most the level, choice of the threshold included.
// R: p.adjust(c(0.01, 0.04, 0.03, NA, 0.9), "holm").
TEST(Significance, HolmAgreesWithR) {
  const std::vector<double> adjusted = holm(std::vector<double>{0.01, 0.04, 0.03, NAN, 0.9});
  const std::vector<double> expected{0.04, 0.09, 0.09, NAN, 0.9};
  for (size_t i = 0; i < expected.size(); ++i) {
    if (std::isnan(expected[i])) {
      EXPECT_TRUE(std::isnan(adjusted[i]));
    } else {
      EXPECT_NEAR(adjusted[i], expected[i], 1e-15) << i;
    }
  }
}

TEST(Significance, MaximalTestsKeepTheirLevel) {
  uint64_t state = 7;
  const auto uniform = [&] {
    state = state * 6364136223846793005U + 1442695040888963407U;
    return static_cast<double>(state >> 40) * 0x1p-24;
  };
  constexpr int kTrials = 400;
  std::map<FeatureScore, int> rejected;
  std::vector<double> values(80), labels(80);
  std::vector<int64_t> patients(80);
  std::iota(patients.begin(), patients.end(), int64_t{0});
  int naive = 0;
  for (int trial = 0; trial < kTrials; ++trial) {
    for (size_t i = 0; i < values.size(); ++i) {
      values[i] = uniform();
      labels[i] = uniform() < 0.4 ? 1.0 : 0.0;
    }
    for (const FeatureScore score : {FeatureScore::auroc, FeatureScore::youden, FeatureScore::chi_square,
                                     FeatureScore::information_gain}) {
      const Univariate u = univariate(values, labels, patients, score);
      rejected[score] += u.p_value <= 0.05 ? 1 : 0;
      if (score == FeatureScore::chi_square) naive += chi_square_p(u.best.chi_square) <= 0.05 ? 1 : 0;
    }
  }
  // 0.05 * 400 = 20, deviation 4.4.
  for (const auto& [score, count] : rejected)
    EXPECT_LE(count, 33) << kFeatureScores[static_cast<size_t>(score)];
  EXPECT_GT(naive, 100);  // what the choice of the threshold would do unaccounted for
  EXPECT_GE(rejected[FeatureScore::auroc], 7);
}

}  // namespace
}  // namespace medfusion::data
