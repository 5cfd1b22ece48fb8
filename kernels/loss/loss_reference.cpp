#include <cmath>

#include "kernels/loss/loss.h"
#include "kernels/registry.h"

namespace medfusion::kernels {
namespace {

// -log sigmoid(-x) = log(1 + e^x)
double softplus(double x) { return std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x))); }
double sigmoid(double x) { return std::exp(-softplus(-x)); }

struct Term {
  double value;
  double derivative;  // by the logit
};

// (1 - p)^gamma (-log p); with q = 1 - p: dp/dx = p q, d(-log p)/dx = -q.
Term positive_term(double x, double gamma) {
  const double p = sigmoid(x);
  const double q = sigmoid(-x);
  const double factor = std::pow(q, gamma);
  return {factor * softplus(-x), -factor * (gamma * p * softplus(-x) + q)};
}

// m^gamma (-log(1 - m)), m = max(p - clip, 0)
Term negative_term(double x, double gamma, double clip) {
  const double p = sigmoid(x);
  const double q = sigmoid(-x);
  if (clip == 0.0) {  // log(1 - p) and p q / (1 - p) need not be computed from 1 - p
    const double factor = std::pow(p, gamma);
    return {factor * softplus(x), factor * (gamma * q * softplus(x) + p)};
  }
  const double m = p - clip;
  if (m <= 0.0) return {0.0, 0.0};
  const double factor = std::pow(m, gamma);
  const double entropy = -std::log1p(-m);
  return {factor * entropy, factor * p * q * (gamma * entropy / m + 1.0 / (1.0 - m))};
}

Term term(const LossFormula& f, double x, double target, double weight) {
  const double y = target * (1.0 - f.label_smoothing) + 0.5 * f.label_smoothing;
  const Term positive = positive_term(x, f.positive_gamma);
  const Term negative = negative_term(x, f.negative_gamma, f.clip);
  const double positive_share = f.positive_scale * weight * y;
  const double negative_share = f.negative_scale * (1.0 - y);
  return {positive_share * positive.value + negative_share * negative.value,
          positive_share * positive.derivative + negative_share * negative.derivative};
}

// Calls body(i, term) for every known element i.
template <class Args, class Body>
void for_known(const Args& a, const Body& body) {
  const int64_t labels = a.logits.size(1);
  for (int64_t i = 0; i < a.logits.numel(); ++i) {
    const double target = core::element<double>(a.targets, i);
    const double weight =
        a.positive_weight.defined() ? a.positive_weight.template as<double>()[i % labels] : 1.0;
    if (target >= 0.0) body(i, term(a.formula, core::element<double>(a.logits, i), target, weight));
  }
}

void run_forward(const LossForward& a) {
  double sum = 0.0;
  int64_t known = 0;
  for_known(a, [&](int64_t, const Term& t) {
    sum += t.value;
    ++known;
  });
  *a.loss.as<double>() = known > 0 ? sum / static_cast<double>(known) : 0.0;
  *a.known.as<int64_t>() = known;
}

void run_backward(const LossBackward& a) {
  for (int64_t i = 0; i < a.logits.numel(); ++i) core::element<double>(a.grad_logits, i) = 0.0;
  const double scale = *a.grad_loss.as<double>() / static_cast<double>(*a.known.as<int64_t>());
  for_known(
      a, [&](int64_t i, const Term& t) { core::element<double>(a.grad_logits, i) = scale * t.derivative; });
}

const Register<LossForward> forward("reference", kCpu, 0, {takes::f64, takes::any_strides}, run_forward);
const Register<LossBackward> backward("reference", kCpu, 0, {takes::f64, takes::any_strides}, run_backward);

}  // namespace
}  // namespace medfusion::kernels
