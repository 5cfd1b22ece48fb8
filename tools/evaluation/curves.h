// Curves of one label as point lists: ROC, precision-recall, calibration (reliability) and decision curve.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <span>
#include <vector>

namespace medfusion::tools {

// In all of them targets are 1, 0, or NaN for unknown, which leaves the sample out. A list is empty where the
// curve does not exist (a class is missing, or a score is not a number).

struct CurvePoint {
  double x, y;
  double threshold;  // predicted positive from here on; +inf at the start of a ROC curve
};

// (false positive rate, sensitivity) from (0, 0) to (1, 1), one point per distinct score; of more than `most`
// points those are kept that divide the way along the curve evenly, and the ends.
std::vector<CurvePoint> roc_curve(std::span<const double> scores, std::span<const double> targets,
                                  int64_t most = 200);

// (recall, precision) from the highest score to recall 1; thinned by recall.
std::vector<CurvePoint> precision_recall_curve(std::span<const double> scores,
                                               std::span<const double> targets, int64_t most = 200);

// Wilson's interval of a proportion (Wilson, JASA 22, 1927). total > 0.
struct Proportion {
  double value, low, high;
};
Proportion wilson(int64_t successes, int64_t total, double confidence = 0.95);

struct CalibrationBin {
  double lower, upper;  // of the probabilities in it: the bounds of an equal-width bin, else the extremes
  int64_t count;
  double mean_probability;
  Proportion observed;
};
// Bins of probabilities, empty ones left out. equal_width: `bins` bins on [0, 1], bin k holding
// k / bins <= p < (k + 1) / bins; otherwise about equally many samples in each, equal probabilities together.
std::vector<CalibrationBin> calibration_bins(std::span<const double> probabilities,
                                             std::span<const double> targets, int64_t bins, bool equal_width);

// Expected calibration error (Naeini et al., AAAI 2015): the mean over the samples of |mean probability -
// observed rate| of their bin. NaN without bins.
double expected_calibration_error(const std::vector<CalibrationBin>& bins);

// What the error of equal-width bins is on average where the probabilities are exactly right, from `draws`
// draws of the targets by them (seeded): a finite sample never shows 0.
double expected_error_when_calibrated(std::span<const double> probabilities, std::span<const double> targets,
                                      int64_t bins, int64_t draws, uint64_t seed);

// Net benefit of acting on those with probability >= t (Vickers and Elkin, Med Decis Making 26, 2006):
// TP / n - FP / n x t / (1 - t), of the model, of acting on all, and of acting on none (0).
struct DecisionPoint {
  double threshold, model, all;
};
std::vector<DecisionPoint> decision_curve(std::span<const double> probabilities,
                                          std::span<const double> targets,
                                          std::span<const double> thresholds);

// As in evaluation.json (docs/evaluation.md).
nlohmann::ordered_json to_json(const std::vector<CurvePoint>& points);
nlohmann::ordered_json to_json(const std::vector<CalibrationBin>& bins);
nlohmann::ordered_json to_json(const std::vector<DecisionPoint>& points);

// The quantile of the standard normal distribution, 0 < probability < 1.
double normal_quantile(double probability);
// Its distribution function.
double normal_cdf(double value);

}  // namespace medfusion::tools
