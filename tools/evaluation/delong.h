// Variance of the AUROC and of the difference of two on the same samples (DeLong, DeLong and Clarke-Pearson,
// Biometrics 44, 1988), by the midrank algorithm of Sun and Xu (IEEE Signal Processing Letters 21, 2014). The
// samples count as independent: where patients have several, the patient bootstrap says more.
#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace medfusion::tools {

struct DelongAuroc {
  std::string undefined;  // why nothing is defined; empty otherwise
  double auroc = 0.0;
  double standard_error = 0.0;
  double low = 0.0, high = 0.0;  // normal interval, within [0, 1]
};

// Targets are 1, 0 or NaN (unknown). Needs at least two of each class.
DelongAuroc delong(std::span<const double> scores, std::span<const double> targets, double confidence = 0.95);

struct DelongComparison {
  std::string undefined;
  double first = 0.0, second = 0.0;  // AUROC
  double difference = 0.0;           // first - second
  double standard_error = 0.0;       // of the difference; 0 where the two rank alike
  double low = 0.0, high = 0.0;
  double z = 0.0;
  double p_value = 1.0;  // two-sided; 1 where difference and standard error are 0
};

// Both score the same samples.
DelongComparison delong_paired(std::span<const double> first, std::span<const double> second,
                               std::span<const double> targets, double confidence = 0.95);

}  // namespace medfusion::tools
