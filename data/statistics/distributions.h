// Tails and quantiles of distributions.
#pragma once

namespace medfusion::data {

inline constexpr double kRootOfTwoPi = 2.5066282746310002;

// The standard normal distribution function, and its quantile for a probability within (0, 1); another one
// throws core::Error.
double normal_cdf(double value);
double normal_quantile(double probability);

// P(|Z| > |z|) of a standard normal Z: the two-sided p-value of z, in [0, 1].
double normal_p(double z);

// P(X > x) of a chi-square variable of one degree of freedom.
double chi_square_p(double x);

// P(the largest absolute value of a Brownian bridge > x): the limit of Kolmogorov's test (Kolmogorov, 1933).
double kolmogorov_p(double x);

}  // namespace medfusion::data
