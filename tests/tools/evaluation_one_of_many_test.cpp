// One temperature for labels of which exactly one is true, and ACC against its definition.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "core/random.h"
#include "core/tensor.h"
#include "tools/evaluation/measures/calibration.h"
#include "tools/evaluation/measures/overall_accuracy.h"

namespace medfusion::tools {
namespace {

using core::Tensor;

const double kNobodyKnows = std::nan("");

struct Classified {
  Tensor logits, targets;
};

// Rows whose true label is drawn from softmax(factor * logits).
Classified drawn(int64_t rows, int64_t labels, double factor) {
  const core::Philox philox(7, 0);
  Classified result{Tensor::empty({rows, labels}), Tensor::zeros({rows, labels})};
  for (int64_t row = 0; row < rows; ++row) {
    std::vector<double> shares;
    double sum = 0.0;
    for (int64_t l = 0; l < labels; ++l) {
      const auto at = static_cast<uint64_t>(row * labels + l);
      const float z = 2.0F * static_cast<float>(philox.normal(at));
      result.logits.data<float>()[row * labels + l] = z;
      shares.push_back(std::exp(factor * static_cast<double>(z)));
      sum += shares.back();
    }
    double left = static_cast<double>(philox.uniform((uint64_t{1} << 40) + static_cast<uint64_t>(row))) * sum;
    int64_t label = 0;
    while (label + 1 < labels && left >= shares[static_cast<size_t>(label)])
      left -= shares[static_cast<size_t>(label++)];
    result.targets.data<float>()[row * labels + label] = 1.0F;
  }
  return result;
}

// The loss that the slope minimizes, by its definition.
double smoothed_loss(const Classified& data, double slope) {
  const int64_t rows = data.logits.size(0), labels = data.logits.size(1);
  const double all = static_cast<double>(rows + labels);
  double loss = 0.0;
  for (int64_t row = 0; row < rows; ++row) {
    double sum = 0.0;
    for (int64_t l = 0; l < labels; ++l) sum += std::exp(slope * data.logits.at(row * labels + l));
    for (int64_t l = 0; l < labels; ++l) {
      const double share =
          (data.targets.at(row * labels + l) == 1.0 ? static_cast<double>(rows) + 1.0 : 1.0) / all;
      loss -= share * (slope * data.logits.at(row * labels + l) - std::log(sum));
    }
  }
  return loss;
}

TEST(SoftmaxTemperature, MinimizesItsLossAndFindsTheFactor) {
  const Classified data = drawn(4000, 4, 0.5);
  const auto calibrators = fit_softmax_temperature(data.logits, data.targets);
  ASSERT_EQ(calibrators.size(), 4U);
  const double slope = calibrators[0].slope;
  EXPECT_NEAR(slope, 0.5, 0.03);
  for (const Calibrator& each : calibrators) {
    EXPECT_EQ(each.method, CalibrationMethod::temperature);
    EXPECT_EQ(each.slope, slope);
    EXPECT_EQ(each.positives + each.negatives, 4000);
  }
  for (const double other : {slope * 0.999, slope * 1.001})
    EXPECT_LT(smoothed_loss(data, slope), smoothed_loss(data, other)) << other;
}

TEST(SoftmaxTemperature, IsFiniteWhereAllRowsAreRightAndNoneWithFewRows) {
  Classified data = drawn(40, 3, 1e6);  // the largest logit is always right
  EXPECT_LT(fit_softmax_temperature(data.logits, data.targets)[0].slope, 1e3);
  data.targets.fill(0.0);
  for (int64_t row = 0; row < 40; ++row) data.targets.data<float>()[row * 3 + (row < 4 ? 1 : 0)] = 1.0F;
  const Calibrator none = fit_softmax_temperature(data.logits, data.targets)[2];
  EXPECT_EQ(none.method, CalibrationMethod::none);
  EXPECT_EQ(none.reason, "1 labels have 5 or more rows in the validation part, expected at least 2");
  EXPECT_EQ(none.negatives, 40);
}

LabelPredictions predictions_of(const std::string& name, const std::vector<double>& probabilities,
                                const std::vector<double>& targets) {
  return {.name = name, .probabilities = probabilities, .targets = targets};
}

// Five rows of three labels: the fourth is wrong, the last has no known label.
TEST(OverallAccuracy, OfOneLabelOfManyIsTheShareOfMostProbableOnesThatAreTrue) {
  EvaluationInput input;
  input.patients = {"p0", "p1", "p2", "p2", "p3"};
  input.labels = {predictions_of("a", {0.5, 0.2, 0.4, 0.4, 1.0}, {1, 0, 1, 0, kNobodyKnows}),
                  predictions_of("b", {0.3, 0.7, 0.4, 0.3, 0.0}, {0, 1, 0, 1, kNobodyKnows}),
                  predictions_of("c", {0.2, 0.1, 0.2, 0.3, 0.0}, {0, 0, 0, 0, kNobodyKnows})};
  input.exclusive = true;
  const PatientBootstrap bootstrap(input.patients, 500, 1);
  const auto acc = overall_accuracy_json(input, bootstrap);
  EXPECT_DOUBLE_EQ(acc.at("value").get<double>(), 0.75);  // of equal ones, the first
  EXPECT_EQ(acc.at("rule"), "the most probable label");
  EXPECT_LE(acc.at("low").get<double>(), 0.75);
  EXPECT_GE(acc.at("high").get<double>(), 0.75);
  const auto matrix = confusion_matrix_json(input);
  EXPECT_EQ(matrix.dump(), R"({"labels":["a","b","c"],"counts":[[2,0,0],[1,1,0],[0,0,0]]})");
}

// As MedMNIST's getACC of several labels: y_score > 0.5, accuracy per label, mean over the labels.
TEST(OverallAccuracy, OfIndependentLabelsIsTheMeanOfTheLabelsAtAHalf) {
  EvaluationInput input;
  input.patients = {"p0", "p1", "p2", "p3"};
  input.labels = {predictions_of("a", {0.5, 0.6, 0.2, 0.9}, {0, 1, 1, 1}),
                  predictions_of("b", {0.5, 0.1, 0.7, 0.2}, {1, 0, 0, kNobodyKnows})};
  const PatientBootstrap bootstrap(input.patients, 0, 1);
  EXPECT_DOUBLE_EQ(overall_accuracy_json(input, bootstrap).at("value").get<double>(),
                   (3.0 / 4.0 + 1.0 / 3.0) / 2.0);
  input.labels[0].targets = input.labels[1].targets = std::vector<double>(4, kNobodyKnows);
  EXPECT_EQ(overall_accuracy_json(input, bootstrap).at("undefined"), "no row has a known label");
}

}  // namespace
}  // namespace medfusion::tools
