// Logistic regression, by iteratively reweighted least squares (Newton's method): small problems only, such
// as a recalibration or a table of some dozen columns.
#pragma once

#include <Eigen/Core>
#include <cstdint>
#include <span>
#include <vector>

namespace medfusion::data {

struct LogisticOptions {
  double ridge = 0.0;  // lambda of lambda / 2 |w|^2, added to the summed loss; not on the intercept
  std::span<const double> offset = {};     // added to the linear predictor; empty: none
  std::span<const uint32_t> cluster = {};  // of each row, for the covariance; empty: each row is its own
};

struct LogisticFit {
  Eigen::VectorXd coefficients;  // the intercept first
  // Sandwich covariance, robust to what is dependent within a cluster (Liang and Zeger, Biometrika 73, 1986),
  // with the factor clusters / (clusters - 1).
  Eigen::MatrixXd covariance;
  bool converged = false;
};

// Minimizes the summed logistic loss of targets in [0, 1] (fractions are allowed) on features [n, k], k >= 0.
// Not converged where the data are separable and there is no ridge.
LogisticFit fit_logistic(const Eigen::MatrixXd& features, std::span<const double> targets,
                         const LogisticOptions& options = {});

// The linear predictor of each row.
Eigen::VectorXd linear_predictor(const LogisticFit& fit, const Eigen::MatrixXd& features);

double sigmoid(double value);
// log(p / (1 - p)) with p moved into [1e-7, 1 - 1e-7].
double logit(double probability);

}  // namespace medfusion::data
