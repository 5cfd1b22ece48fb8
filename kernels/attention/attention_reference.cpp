#include <cmath>
#include <limits>
#include <vector>

#include "kernels/attention/attention.h"
#include "kernels/registry.h"

namespace medfusion::kernels {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// One sample and head of a [B, T, C] view: element (t, c) of [T, W].
class Head {
 public:
  Head(const core::View& x, int64_t heads, int64_t b, int64_t h)
      : data_(x.data != nullptr ? x.as<double>() + b * x.stride(0) + h * (x.size(2) / heads) * x.stride(2)
                                : nullptr),
        row_(x.defined() ? x.stride(1) : 0),
        column_(x.defined() ? x.stride(2) : 0) {}
  bool defined() const { return data_ != nullptr; }
  double& operator()(int64_t t, int64_t c) const { return data_[t * row_ + c * column_]; }

 private:
  double* data_;
  int64_t row_, column_;
};

double dot(const Head& a, int64_t i, const Head& b, int64_t j, int64_t width) {
  double sum = 0.0;
  for (int64_t c = 0; c < width; ++c) sum += a(i, c) * b(j, c);
  return sum;
}

// a_i += factor b_j
void add(const Head& a, int64_t i, double factor, const Head& b, int64_t j, int64_t width) {
  for (int64_t c = 0; c < width; ++c) a(i, c) += factor * b(j, c);
}

double log_sum_exp(const std::vector<double>& scores) {
  double largest = -kInfinity;
  for (const double s : scores) largest = std::max(largest, s);
  if (largest == -kInfinity) return largest;
  double sum = 0.0;
  for (const double s : scores) sum += std::exp(s - largest);
  return largest + std::log(sum);
}

// exp(score - L), 0 for a query that sees nothing.
double probability(double s, double l) { return l == -kInfinity ? 0.0 : std::exp(s - l); }

void set_zero(const core::View& x) {
  for (int64_t n = 0; x.defined() && n < x.numel(); ++n) core::element<double>(x, n) = 0.0;
}

void forward_head(const AttentionForward& a, int64_t b, int64_t h) {
  const Head q(a.q, a.heads, b, h), k(a.k, a.heads, b, h), v(a.v, a.heads, b, h), y(a.y, a.heads, b, h);
  const int64_t queries = a.q.size(1), keys = a.k.size(1), width = a.q.size(2) / a.heads;
  const bool mean = a.probabilities.rank() == 3;
  std::vector<double> s(static_cast<size_t>(keys));
  for (int64_t i = 0; i < queries; ++i) {
    for (int64_t j = 0; j < keys; ++j) {
      s[static_cast<size_t>(j)] = attention_sees(a, b, i, j) ? a.scale * dot(q, i, k, j, width) : -kInfinity;
    }
    const double l = log_sum_exp(s);
    a.log_sum_exp.as<double>()[(b * a.heads + h) * queries + i] = l;
    for (int64_t c = 0; c < width; ++c) y(i, c) = 0.0;
    for (int64_t j = 0; j < keys; ++j) {
      const double p = probability(s[static_cast<size_t>(j)], l);
      add(y, i, p, v, j, width);
      if (!a.probabilities.defined()) continue;
      const int64_t row = mean ? b * queries + i : (b * a.heads + h) * queries + i;
      core::element<double>(a.probabilities, row * keys + j) += mean ? p / static_cast<double>(a.heads) : p;
    }
  }
}

void run_forward(const AttentionForward& a) {
  set_zero(a.probabilities);
  for (int64_t b = 0; b < a.q.size(0); ++b) {
    for (int64_t h = 0; h < a.heads; ++h) forward_head(a, b, h);
  }
}

void backward_head(const AttentionBackward& a, int64_t b, int64_t h) {
  const Head q(a.q, a.heads, b, h), k(a.k, a.heads, b, h), v(a.v, a.heads, b, h), y(a.y, a.heads, b, h);
  const Head grad_q(a.grad_q, a.heads, b, h), grad_k(a.grad_k, a.heads, b, h),
      grad_v(a.grad_v, a.heads, b, h);
  const Head grad_y(a.grad_y, a.heads, b, h);
  const int64_t queries = a.q.size(1), keys = a.k.size(1), width = a.q.size(2) / a.heads;
  for (int64_t i = 0; i < queries; ++i) {
    const double l = a.log_sum_exp.as<double>()[(b * a.heads + h) * queries + i];
    const double delta = dot(grad_y, i, y, i, width);
    for (int64_t j = 0; j < keys; ++j) {
      if (!attention_sees(a, b, i, j)) continue;
      const double p = probability(a.scale * dot(q, i, k, j, width), l);
      const double grad_s = a.scale * p * (dot(grad_y, i, v, j, width) - delta);
      if (grad_q.defined()) add(grad_q, i, grad_s, k, j, width);
      if (grad_k.defined()) add(grad_k, j, grad_s, q, i, width);
      if (grad_v.defined()) add(grad_v, j, p, grad_y, i, width);
    }
  }
}

void run_backward(const AttentionBackward& a) {
  set_zero(a.grad_q);
  set_zero(a.grad_k);
  set_zero(a.grad_v);
  for (int64_t b = 0; b < a.q.size(0); ++b) {
    for (int64_t h = 0; h < a.heads; ++h) backward_head(a, b, h);
  }
}

const Register<AttentionForward> forward("reference", kCpu, 0, {takes::f64, takes::any_strides}, run_forward);
const Register<AttentionBackward> backward("reference", kCpu, 0, {takes::f64, takes::any_strides},
                                           run_backward);

}  // namespace
}  // namespace medfusion::kernels
