// Variance of the AUROC, of one ranking and of the difference of two on the same samples, from placements:
// that of a positive is the share of negatives below it, that of a negative the share of positives above it,
// ties counting half.
#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace medfusion::data {

// Variance of the area under the curve: of independent samples (DeLong, DeLong and Clarke-Pearson, Biometrics
// 44, 1988), and where samples of one cluster (a patient) depend on each other (Obuchowski, Biometrics 53,
// 1997). With one sample per cluster the two are equal. 0 where a class has fewer than two samples, or two
// clusters.
struct AurocVariance {
  double independent = 0.0;
  double clustered = 0.0;
};

// positive: 0 or 1; clusters: the cluster of each score, any numbers. Scores are numbers.
AurocVariance auroc_variance(std::span<const double> scores, std::span<const uint8_t> positive,
                             std::span<const int64_t> clusters);

// Below, samples count as independent: where patients have several, the patient bootstrap says more. Targets
// are those of truth_of. Intervals are normal.
struct DelongAuroc {
  std::string undefined;  // why nothing is defined; empty otherwise
  double auroc = 0.0;
  double standard_error = 0.0;
  double low = 0.0, high = 0.0;  // within [0, 1]
};

// Needs at least two of each class.
DelongAuroc delong(std::span<const double> scores, std::span<const double> targets);

struct DelongComparison {
  std::string undefined;
  double first = 0.0, second = 0.0;  // AUROC
  double difference = 0.0;           // first - second
  double standard_error = 0.0;       // of the difference; 0 where the two rank alike
  double low = 0.0, high = 0.0;      // within [-1, 1]
  double z = 0.0;
  double p_value = 1.0;  // two-sided; 1 where difference and standard error are 0
};

// Both score the same samples.
DelongComparison delong_paired(std::span<const double> first, std::span<const double> second,
                               std::span<const double> targets);

}  // namespace medfusion::data
