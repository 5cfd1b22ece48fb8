#include "data/statistics/distributions.h"

#include <gtest/gtest.h>

#include "core/error.h"

namespace medfusion::data {
namespace {

TEST(Distributions, QuantileInvertsTheDistribution) {
  EXPECT_EQ(normal_quantile(0.975), 1.959963984540054);  // to the last bit
  EXPECT_EQ(normal_quantile(0.5), 0.0);
  EXPECT_THROW(normal_quantile(1.0), core::Error);
  for (const double p : {1e-8, 0.001, 0.3, 0.5, 0.9, 0.999999}) {
    EXPECT_NEAR(normal_cdf(normal_quantile(p)) / p, 1.0, 1e-9);
  }
}

TEST(Distributions, TailsOfOneVariable) {
  EXPECT_NEAR(normal_p(1.959963984540054), 0.05, 1e-15);
  EXPECT_EQ(normal_p(-1.5), normal_p(1.5));
  EXPECT_NEAR(chi_square_p(3.841458820694124), 0.05, 1e-14);
  EXPECT_EQ(chi_square_p(0.0), 1.0);
  EXPECT_NEAR(kolmogorov_p(1.3580986393225505), 0.05, 1e-12);
  EXPECT_EQ(kolmogorov_p(0.1), 1.0);
}

}  // namespace
}  // namespace medfusion::data
