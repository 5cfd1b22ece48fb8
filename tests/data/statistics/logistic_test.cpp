#include "data/statistics/logistic.h"

#include <gtest/gtest.h>

#include <vector>

namespace medfusion::data {
namespace {

TEST(Logistic, RidgeBoundsSeparableDataAndLeavesTheInterceptAlone) {
  Eigen::MatrixXd x(40, 1);
  std::vector<double> y;
  for (int i = 0; i < 40; ++i) {
    x(i, 0) = i < 30 ? -1.0 : 1.0;
    y.push_back(i < 30 ? 0.0 : 1.0);
  }
  const LogisticFit fit = fit_logistic(x, y, {.ridge = 1.0});
  EXPECT_TRUE(fit.converged);
  // The gradient is zero: the residuals sum to 0, and against the feature to the ridge.
  double sum = 0.0, product = 0.0;
  const Eigen::VectorXd z = linear_predictor(fit, x);
  for (int i = 0; i < 40; ++i) {
    sum += sigmoid(z[i]) - y[static_cast<size_t>(i)];
    product += (sigmoid(z[i]) - y[static_cast<size_t>(i)]) * x(i, 0);
  }
  EXPECT_NEAR(sum, 0.0, 1e-8);
  EXPECT_NEAR(product + fit.coefficients[1], 0.0, 1e-8);
  EXPECT_FALSE(fit_logistic(x, y).coefficients.hasNaN());
}

}  // namespace
}  // namespace medfusion::data
