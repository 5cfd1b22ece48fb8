// Eigen's product: the fallback and the second opinion.
#include <Eigen/Core>

#include "core/threads.h"
#include "kernels/matmul/matmul.h"
#include "kernels/registry.h"

namespace medfusion::kernels {
namespace {

using core::View;
using RowMatrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using AnyStride = Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>;
using AnyMap = Eigen::Map<RowMatrix, 0, AnyStride>;
template <int Order>
using DenseMap = Eigen::Map<const Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Order>, 0,
                            Eigen::OuterStride<Eigen::Dynamic>>;

constexpr int64_t kRows = 128;  // of c per task

AnyMap map_any(const View& m) {
  return {static_cast<float*>(m.data), m.size(0), m.size(1), AnyStride(m.stride(0), m.stride(1))};
}

// Calls body with a map of `m` that Eigen can multiply without a copy of its own making.
template <class Body>
void with_dense(const View& m, const Body& body) {
  const auto* data = static_cast<const float*>(m.data);
  using OuterStride = Eigen::OuterStride<Eigen::Dynamic>;
  if (m.stride(1) == 1) {
    body(DenseMap<Eigen::RowMajor>(data, m.size(0), m.size(1), OuterStride(m.stride(0))));
  } else if (m.stride(0) == 1) {
    body(DenseMap<Eigen::ColMajor>(data, m.size(0), m.size(1), OuterStride(m.stride(1))));
  } else {
    const RowMatrix copy = map_any(m);
    body(DenseMap<Eigen::RowMajor>(copy.data(), m.size(0), m.size(1), OuterStride(m.size(1))));
  }
}

View rows_of(View m, int64_t first, int64_t last) {
  m.data = static_cast<float*>(m.data) + first * m.stride(0);
  m.shape[0] = last - first;
  return m;
}

void multiply(const View& a, const View& b, const View& bias, const View& c, bool accumulate) {
  RowMatrix product(c.size(0), c.size(1));
  with_dense(a, [&](const auto& left) {
    with_dense(b, [&](const auto& right) { product.noalias() = left * right; });
  });
  if (bias.defined()) {
    using Bias = Eigen::Map<const Eigen::RowVectorXf, 0, Eigen::InnerStride<Eigen::Dynamic>>;
    product.rowwise() += Bias(static_cast<const float*>(bias.data), bias.numel(),
                              Eigen::InnerStride<Eigen::Dynamic>(bias.stride(0)));
  }
  if (accumulate) {
    map_any(c) += product;
  } else {
    map_any(c) = product;
  }
}

void run_forward(const MatmulForward& m) {
  if (m.c.numel() == 0) return;
  const int64_t rows = m.c.size(-2);
  const int64_t tasks = (rows + kRows - 1) / kRows;  // per matrix
  core::parallel_for(0, m.c.numel() / (rows * m.c.size(-1)) * tasks, 1, [&](int64_t task, int64_t) {
    const int64_t batch = task / tasks;
    const int64_t first = task % tasks * kRows;
    const int64_t last = std::min(rows, first + kRows);
    multiply(rows_of(matrix_of(m.a, batch), first, last), matrix_of(m.b, batch), m.bias,
             rows_of(matrix_of(m.c, batch), first, last), m.accumulate);
  });
}

void run_backward(const MatmulBackward& m) {
  if (m.grad_a.defined()) run_forward({.a = m.grad_c, .b = transposed(m.b), .c = m.grad_a});
  if (m.grad_b.defined()) run_forward({.a = transposed(m.a), .b = m.grad_c, .c = m.grad_b});
  if (!m.grad_bias.defined()) return;
  Eigen::RowVectorXd sum = Eigen::RowVectorXd::Zero(m.grad_bias.numel());
  for (int64_t batch = 0; batch < (m.grad_c.rank() == 3 ? m.grad_c.size(0) : 1); ++batch) {
    sum += map_any(matrix_of(m.grad_c, batch)).cast<double>().colwise().sum();
  }
  for (int64_t j = 0; j < m.grad_bias.numel(); ++j) {
    core::element<float>(m.grad_bias, j) = static_cast<float>(sum[j]);
  }
}

const Register<MatmulForward> forward("eigen", kCpu, 5, {takes::f32, takes::any_strides}, run_forward);
const Register<MatmulBackward> backward("eigen", kCpu, 5, {takes::f32, takes::any_strides}, run_backward);

}  // namespace
}  // namespace medfusion::kernels
