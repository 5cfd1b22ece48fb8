// The area under the ROC curve from counts, and its variance. Exact: pairs are counted in integers.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace medfusion::data {

// The samples of one score.
struct ScoreGroup {
  double score = 0.0;
  int64_t positives = 0;
  int64_t negatives = 0;
};

// Groups of equal scores by ascending score. `positive` has one entry per score, 0 or 1. Scores are numbers.
std::vector<ScoreGroup> group_scores(std::span<const double> scores, std::span<const uint8_t> positive);

// The share of (positive, negative) pairs in which the positive has the higher score, ties counting half
// (Mann-Whitney; Hanley and McNeil, Radiology 143, 1982). NaN where a class is empty.
double auroc(std::span<const ScoreGroup> ascending);

// Variance of the area under the curve: of independent samples (DeLong, DeLong and Clarke-Pearson, Biometrics
// 44, 1988), and where samples of one cluster (a patient) depend on each other (Obuchowski, Biometrics 53,
// 1997). With one sample per cluster the two are equal. 0 where a class has fewer than two samples, or two
// clusters.
struct AurocVariance {
  double independent = 0.0;
  double clustered = 0.0;
};

// `clusters`: the cluster of each score, any numbers.
AurocVariance auroc_variance(std::span<const double> scores, std::span<const uint8_t> positive,
                             std::span<const int64_t> clusters);

}  // namespace medfusion::data
