#include <cmath>
#include <limits>

#include "kernels/batch_norm/batch_norm.h"
#include "kernels/registry.h"

namespace medfusion::kernels {
namespace {

// Element (row, channel) of [..., C].
double& at(const core::View& view, int64_t row, int64_t channel) {
  return core::element<double>(view, row * view.size(-1) + channel);
}
double& at(const core::View& view, int64_t channel) { return view.as<double>()[channel]; }

void run_statistics(const BatchNormStatistics& a) {
  const int64_t rows = a.x.rows();
  const auto n = static_cast<double>(rows);
  for (int64_t c = 0; c < a.x.size(-1); ++c) {
    double sum = 0.0;
    for (int64_t r = 0; r < rows; ++r) sum += at(a.x, r, c);
    const double mean = sum / n;
    double squares = 0.0;
    for (int64_t r = 0; r < rows; ++r) squares += (at(a.x, r, c) - mean) * (at(a.x, r, c) - mean);
    at(a.mean, c) = mean;
    at(a.variance, c) = squares / n;
  }
}

void run_forward(const BatchNormForward& a) {
  const int64_t rows = a.x.rows();
  const auto n = static_cast<double>(rows);
  if (a.training) run_statistics({a.x, a.mean, a.inv_std});
  for (int64_t c = 0; c < a.x.size(-1); ++c) {
    const double mean = a.training ? at(a.mean, c) : at(a.running_mean, c);
    const double variance = a.training ? at(a.inv_std, c) : at(a.running_var, c);
    if (a.training) {
      const double unbiased = rows > 1 ? variance * n / (n - 1.0) : variance;
      at(a.running_mean, c) += a.momentum * (mean - at(a.running_mean, c));
      at(a.running_var, c) += a.momentum * (unbiased - at(a.running_var, c));
    }
    const double inv_std = 1.0 / std::sqrt(variance + a.eps);
    at(a.mean, c) = mean;
    at(a.inv_std, c) = inv_std;
    for (int64_t r = 0; r < rows; ++r) {
      const double y = (at(a.x, r, c) - mean) * inv_std * at(a.weight, c) + at(a.bias, c);
      at(a.y, r, c) = a.relu && y < 0.0 ? 0.0 : y;
    }
  }
}

void run_backward(const BatchNormBackward& a) {
  const int64_t rows = a.x.rows();
  const auto n = static_cast<double>(rows);
  for (int64_t c = 0; c < a.x.size(-1); ++c) {
    const auto normalized = [&](int64_t r) { return (at(a.x, r, c) - at(a.mean, c)) * at(a.inv_std, c); };
    const auto upstream = [&](int64_t r) {
      const bool cut = a.relu && normalized(r) * at(a.weight, c) + at(a.bias, c) <= 0.0;
      return cut ? 0.0 : at(a.grad_y, r, c);
    };
    double grad_weight = 0.0, grad_bias = 0.0;
    for (int64_t r = 0; r < rows; ++r) {
      grad_bias += upstream(r);
      grad_weight += upstream(r) * normalized(r);
    }
    if (a.grad_weight.defined()) at(a.grad_weight, c) = grad_weight;
    if (a.grad_bias.defined()) at(a.grad_bias, c) = grad_bias;
    for (int64_t r = 0; a.grad_x.defined() && r < rows; ++r) {
      const double correction = a.training ? grad_bias / n + normalized(r) * grad_weight / n : 0.0;
      at(a.grad_x, r, c) = at(a.weight, c) * at(a.inv_std, c) * (upstream(r) - correction);
    }
  }
}

const Register<BatchNormStatistics> statistics("reference", kCpu, 0, {takes::f64, takes::any_strides},
                                               run_statistics);
const Register<BatchNormForward> forward("reference", kCpu, 0, {takes::f64, takes::any_strides}, run_forward);
const Register<BatchNormBackward> backward("reference", kCpu, 0, {takes::f64, takes::any_strides},
                                           run_backward);

}  // namespace
}  // namespace medfusion::kernels
