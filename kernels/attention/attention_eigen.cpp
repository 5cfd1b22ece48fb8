// The second opinion: holds the scores of one sample and head at a time.
#include <Eigen/Dense>
#include <limits>

#include "core/threads.h"
#include "kernels/attention/attention.h"
#include "kernels/registry.h"

namespace medfusion::kernels {
namespace {

using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using Strided = Eigen::Map<Matrix, 0, Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>>;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// [T, width] of one sample and head.
Strided head_of(const core::View& x, int64_t heads, int64_t b, int64_t h) {
  const int64_t width = x.size(2) / heads;
  const int64_t first = x.numel() == 0 ? 0 : b * x.stride(0) + h * width * x.stride(2);
  return {x.as<float>() + first, x.size(1), width, {x.stride(1), x.stride(2)}};
}

template <class Args>
Matrix scores(const Args& a, int64_t b, int64_t h) {
  Matrix s =
      static_cast<float>(a.scale) * (head_of(a.q, a.heads, b, h) * head_of(a.k, a.heads, b, h).transpose());
  if (!a.key_mask.defined() && !a.pair_mask.defined()) return s;
  for (int64_t i = 0; i < s.rows(); ++i) {
    for (int64_t j = 0; j < s.cols(); ++j) {
      if (!attention_sees(a, b, i, j)) s(i, j) = -kInfinity;
    }
  }
  return s;
}

// exp(s - L) by row, 0 where L is -inf.
void to_probabilities(Matrix& s, const float* log_sum_exp) {
  for (int64_t i = 0; i < s.rows(); ++i) {
    if (log_sum_exp[i] == -kInfinity) {
      s.row(i).setZero();
    } else {
      s.row(i) = (s.row(i).array() - log_sum_exp[i]).exp();
    }
  }
}

template <class Body>
void for_heads(int64_t batch, int64_t heads, const Body& body) {
  core::parallel_for(0, batch * heads, 1, [&](int64_t first, int64_t last) {
    for (int64_t n = first; n < last; ++n) body(n / heads, n % heads);
  });
}

void add_probabilities(const AttentionForward& a, int64_t b, int64_t h, const Matrix& p) {
  const bool mean = a.probabilities.rank() == 3;
  const float weight = mean ? 1.0F / static_cast<float>(a.heads) : 1.0F;
  const int64_t base = (mean ? b : b * a.heads + h) * p.size();
  for (int64_t n = 0; n < p.size(); ++n) {
    float& to = core::element<float>(a.probabilities, base + n);
    to = (mean && h > 0 ? to : 0.0F) + weight * p.data()[n];
  }
}

void run_head(const AttentionForward& a, int64_t b, int64_t h) {
  Matrix s = scores(a, b, h);
  float* log_sum_exp = a.log_sum_exp.as<float>() + (b * a.heads + h) * s.rows();
  for (int64_t i = 0; i < s.rows(); ++i) {
    const float largest = s.cols() == 0 ? -kInfinity : s.row(i).maxCoeff();
    log_sum_exp[i] =
        largest == -kInfinity ? largest : largest + std::log((s.row(i).array() - largest).exp().sum());
  }
  to_probabilities(s, log_sum_exp);
  head_of(a.y, a.heads, b, h).noalias() = s * head_of(a.v, a.heads, b, h);
  if (a.probabilities.defined()) add_probabilities(a, b, h, s);
}

void run_forward(const AttentionForward& a) {
  // The mean over heads adds them in order.
  core::parallel_for(0, a.q.size(0), 1, [&](int64_t first, int64_t last) {
    for (int64_t b = first; b < last; ++b) {
      for (int64_t h = 0; h < a.heads; ++h) run_head(a, b, h);
    }
  });
}

void run_backward(const AttentionBackward& a) {
  for_heads(a.q.size(0), a.heads, [&](int64_t b, int64_t h) {
    Matrix p = scores(a, b, h);
    to_probabilities(p, a.log_sum_exp.as<float>() + (b * a.heads + h) * p.rows());
    const Strided grad_y = head_of(a.grad_y, a.heads, b, h);
    if (a.grad_v.defined()) head_of(a.grad_v, a.heads, b, h).noalias() = p.transpose() * grad_y;
    Matrix grad_s = grad_y * head_of(a.v, a.heads, b, h).transpose();
    const Eigen::VectorXf delta =
        (grad_y.array() * head_of(a.y, a.heads, b, h).array()).rowwise().sum().matrix();
    grad_s = (p.array() * (grad_s.colwise() - delta).array() * static_cast<float>(a.scale)).matrix();
    if (a.grad_q.defined()) head_of(a.grad_q, a.heads, b, h).noalias() = grad_s * head_of(a.k, a.heads, b, h);
    if (a.grad_k.defined()) {
      head_of(a.grad_k, a.heads, b, h).noalias() = grad_s.transpose() * head_of(a.q, a.heads, b, h);
    }
  });
}

const Register<AttentionForward> forward("eigen", kCpu, 5, {takes::f32, takes::any_strides}, run_forward);
const Register<AttentionBackward> backward("eigen", kCpu, 5, {takes::f32, takes::any_strides}, run_backward);

}  // namespace
}  // namespace medfusion::kernels
