// Curves of one label as point lists: ROC, precision-recall and decision curve. Targets are those of
// truth_of; a list is empty where the curve does not exist (a class is missing, or a score is not a number).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace medfusion::data {

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

// Net benefit of acting on those with probability >= t (Vickers and Elkin, Med Decis Making 26, 2006):
// TP / n - FP / n x t / (1 - t), of the model, of acting on all, and of acting on none (0). 0 < t < 1. Needs
// one class only.
struct DecisionPoint {
  double threshold, model, all;
};
std::vector<DecisionPoint> decision_curve(std::span<const double> probabilities,
                                          std::span<const double> targets,
                                          std::span<const double> thresholds);

}  // namespace medfusion::data
