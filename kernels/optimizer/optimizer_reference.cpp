#include "kernels/optimizer/optimizer.h"

#include <cmath>
#include <limits>

#include "kernels/registry.h"

namespace medfusion::kernels {
namespace {

void adamw(const AdamWStep& a) {
  if (!std::isfinite(*a.grad_scale.as<double>())) return;
  const auto* scalars = a.scalars.as<double>();
  const double learning_rate = scalars[0], correction1 = scalars[1], correction2 = scalars[2];
  for (const AdamWStep::Entry& entry : a.entries) {
    for (int64_t i = 0; i < entry.parameter.numel(); ++i) {
      const double g = *a.grad_scale.as<double>() * entry.gradient.as<double>()[i];
      double& p = entry.parameter.as<double>()[i];
      double& m = entry.first_moment.as<double>()[i];
      double& v = entry.second_moment.as<double>()[i];
      m += (1.0 - a.beta1) * (g - m);
      v += (1.0 - a.beta2) * (g * g - v);
      const double direction = (m / correction1) / (std::sqrt(v / correction2) + a.eps);
      p -= learning_rate * (entry.weight_decay * p + direction);
    }
  }
}

void sgd(const SgdStep& a) {
  if (!std::isfinite(*a.grad_scale.as<double>())) return;
  for (const SgdStep::Entry& entry : a.entries) {
    for (int64_t i = 0; i < entry.parameter.numel(); ++i) {
      double& p = entry.parameter.as<double>()[i];
      double g = *a.grad_scale.as<double>() * entry.gradient.as<double>()[i] + entry.weight_decay * p;
      if (a.momentum != 0.0) {
        double& u = entry.velocity.as<double>()[i];
        u = a.momentum * u + g;
        g = a.nesterov ? g + a.momentum * u : u;
      }
      p -= *a.scalars.as<double>() * g;
    }
  }
}

void squared_norm(const SquaredNorm& a) {
  double sum = 0.0;
  for (const core::View& tensor : a.x) {
    for (int64_t i = 0; i < tensor.numel(); ++i) {
      const double x = tensor.as<double>()[i];
      sum += x * x;
    }
  }
  *a.result.as<double>() = sum;
}

void clip(const ClipByNorm& a) {
  const double norm = std::sqrt(*a.squared_norm.as<double>());
  *a.norm.as<double>() = norm;
  const bool finite = std::isfinite(norm) && (!a.loss.defined() || std::isfinite(*a.loss.as<double>()));
  const double scale = a.largest > 0.0 && norm > a.largest ? a.largest / norm : 1.0;
  *a.grad_scale.as<double>() = finite ? scale : std::numeric_limits<double>::quiet_NaN();
}

void average(const AverageStep& a) {
  if (a.gate.defined() && !std::isfinite(*a.gate.as<double>())) return;
  for (const AverageStep::Entry& entry : a.entries) {
    for (int64_t i = 0; i < entry.value.numel(); ++i) {
      double& mean = entry.average.as<double>()[i];
      mean += *a.rate.as<double>() * (entry.value.as<double>()[i] - mean);
    }
  }
}

void clear(const ClearTensors& a) {
  for (const core::View& tensor : a.x) std::fill_n(tensor.as<double>(), tensor.numel(), 0.0);
}

const Register<AdamWStep> adamw_variant("reference", kCpu, 0, {takes::f64, takes::contiguous}, adamw);
const Register<SgdStep> sgd_variant("reference", kCpu, 0, {takes::f64, takes::contiguous}, sgd);
const Register<SquaredNorm> squared_norm_variant("reference", kCpu, 0, {takes::f64, takes::contiguous},
                                                 squared_norm);
const Register<AverageStep> average_variant("reference", kCpu, 0, {takes::f64, takes::contiguous}, average);
const Register<ClearTensors> clear_variant("reference", kCpu, 0, {takes::f64, takes::contiguous}, clear);
// Two numbers in double: there is nothing to make faster.
const Register<ClipByNorm> clip_variant("reference", kCpu, 0, {takes::f64}, clip);
const Register<ClipByNorm> clip_on_cpu("cpu", kCpu, 10, {takes::f64}, clip);

}  // namespace
}  // namespace medfusion::kernels
