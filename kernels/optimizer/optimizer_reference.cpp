#include "kernels/optimizer/optimizer.h"

#include <cmath>

#include "kernels/registry.h"

namespace medfusion::kernels {
namespace {

constexpr auto kDouble = core::DType::f64;

void adamw(const AdamWStep& a) {
  const auto t = static_cast<double>(a.step);
  const double correction1 = 1.0 - std::pow(a.beta1, t);
  const double correction2 = 1.0 - std::pow(a.beta2, t);
  for (int64_t i = 0; i < a.parameter.numel(); ++i) {
    const double g = a.grad_scale * a.gradient.as<double>()[i];
    double& p = a.parameter.as<double>()[i];
    double& m = a.first_moment.as<double>()[i];
    double& v = a.second_moment.as<double>()[i];
    m += (1.0 - a.beta1) * (g - m);
    v += (1.0 - a.beta2) * (g * g - v);
    const double direction = (m / correction1) / (std::sqrt(v / correction2) + a.eps);
    p -= a.learning_rate * (a.weight_decay * p + direction);
  }
}

void sgd(const SgdStep& a) {
  for (int64_t i = 0; i < a.parameter.numel(); ++i) {
    double& p = a.parameter.as<double>()[i];
    double g = a.grad_scale * a.gradient.as<double>()[i] + a.weight_decay * p;
    if (a.momentum != 0.0) {
      double& u = a.velocity.as<double>()[i];
      u = a.momentum * u + g;
      g = a.nesterov ? g + a.momentum * u : u;
    }
    p -= a.learning_rate * g;
  }
}

void squared_norm(const SquaredNorm& a) {
  double sum = 0.0;
  for (int64_t i = 0; i < a.x.numel(); ++i) {
    const double x = a.x.as<double>()[i];
    sum += x * x;
  }
  *a.result.as<double>() = sum;
}

void average(const AverageStep& a) {
  for (int64_t i = 0; i < a.value.numel(); ++i) {
    double& mean = a.average.as<double>()[i];
    mean += (1.0 - a.decay) * (a.value.as<double>()[i] - mean);
  }
}

constexpr auto kCpu = core::DeviceType::cpu;
const Register<AdamWStep> adamw_variant({"reference", kCpu, 0,
                                         [](const AdamWStep& a) { return a.parameter.dtype == kDouble; },
                                         adamw});
const Register<SgdStep> sgd_variant({"reference", kCpu, 0,
                                     [](const SgdStep& a) { return a.parameter.dtype == kDouble; }, sgd});
const Register<SquaredNorm> squared_norm_variant({"reference", kCpu, 0,
                                                  [](const SquaredNorm& a) { return a.x.dtype == kDouble; },
                                                  squared_norm});
const Register<AverageStep> average_variant({"reference", kCpu, 0,
                                             [](const AverageStep& a) { return a.value.dtype == kDouble; },
                                             average});

}  // namespace
}  // namespace medfusion::kernels
