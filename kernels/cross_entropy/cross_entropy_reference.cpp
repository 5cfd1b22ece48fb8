#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/cross_entropy/cross_entropy.h"
#include "kernels/registry.h"

namespace medfusion::kernels {
namespace {

struct Row {
  bool known = true;
  std::vector<double> costs;   // -log p
  std::vector<double> shares;  // y
  double weight = 0.0;         // sum of w t
};

template <class Args>
Row row_of(const Args& a, int64_t row) {
  const int64_t labels = a.logits.size(1);
  Row result;
  std::vector<double> logits;
  for (int64_t c = 0; c < labels; ++c) {
    const double target = core::element<double>(a.targets, row * labels + c);
    const double weight = a.class_weight.defined() ? a.class_weight.template as<double>()[c] : 1.0;
    result.known &= target >= 0.0;  // false for NaN
    result.weight += weight * target;
    result.shares.push_back(
        weight * ((1.0 - a.label_smoothing) * target + a.label_smoothing / static_cast<double>(labels)));
    logits.push_back(core::element<double>(a.logits, row * labels + c));
  }
  const double largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0.0;
  for (const double logit : logits) sum += std::exp(logit - largest);
  for (const double logit : logits) result.costs.push_back(largest - logit + std::log(sum));
  return result;
}

void run_forward(const CrossEntropyForward& a) {
  double loss = 0.0, total = 0.0;
  for (int64_t i = 0; i < a.logits.size(0); ++i) {
    const Row row = row_of(a, i);
    if (!row.known) continue;
    for (size_t c = 0; c < row.costs.size(); ++c) loss += row.shares[c] * row.costs[c];
    total += row.weight;
  }
  *a.loss.as<double>() = total > 0.0 ? loss / total : 0.0;
  *a.total.as<double>() = total;
}

// The derivative of sum[c] y[c] (-log p[c]) by a logit k is (sum[c] y[c]) p[k] - y[k].
void run_backward(const CrossEntropyBackward& a) {
  const int64_t labels = a.logits.size(1);
  const double total = *a.total.as<double>();
  const double scale = total > 0.0 ? *a.grad_loss.as<double>() / total : 0.0;
  for (int64_t i = 0; i < a.logits.size(0); ++i) {
    const Row row = row_of(a, i);
    double shares = 0.0;
    for (const double share : row.shares) shares += share;
    for (int64_t c = 0; c < labels; ++c) {
      const auto at = static_cast<size_t>(c);
      core::element<double>(a.grad_logits, i * labels + c) =
          row.known ? scale * (shares * std::exp(-row.costs[at]) - row.shares[at]) : 0.0;
    }
  }
}

const Register<CrossEntropyForward> forward("reference", kCpu, 0, {takes::f64, takes::any_strides},
                                            run_forward);
const Register<CrossEntropyBackward> backward("reference", kCpu, 0, {takes::f64, takes::any_strides},
                                              run_backward);

}  // namespace
}  // namespace medfusion::kernels
