#include "kernels/matmul/matmul.h"
#include "kernels/registry.h"

namespace medfusion::kernels {
namespace {

using core::View;

double& at(const View& m, int64_t i, int64_t j) {
  return static_cast<double*>(m.data)[i * m.strides[0] + j * m.strides[1]];
}

int64_t batches(const View& v) { return v.rank() == 3 ? v.size(0) : 1; }

// c (+)= a b for one matrix.
void multiply(const View& a, const View& b, const View& c, bool accumulate) {
  for (int64_t i = 0; i < c.size(0); ++i) {
    for (int64_t j = 0; j < c.size(1); ++j) {
      double sum = 0.0;
      for (int64_t k = 0; k < a.size(1); ++k) sum += at(a, i, k) * at(b, k, j);
      at(c, i, j) = accumulate ? at(c, i, j) + sum : sum;
    }
  }
}

void run_forward(const MatmulForward& m) {
  for (int64_t batch = 0; batch < batches(m.c); ++batch) {
    const View c = matrix_of(m.c, batch);
    multiply(matrix_of(m.a, batch), matrix_of(m.b, batch), c, m.accumulate);
    if (!m.bias.defined()) continue;
    for (int64_t i = 0; i < c.size(0); ++i) {
      for (int64_t j = 0; j < c.size(1); ++j) at(c, i, j) += core::element<double>(m.bias, j);
    }
  }
}

void run_backward(const MatmulBackward& m) {
  for (int64_t j = 0; m.grad_bias.defined() && j < m.grad_bias.numel(); ++j) {
    core::element<double>(m.grad_bias, j) = 0.0;
  }
  for (int64_t batch = 0; batch < batches(m.grad_c); ++batch) {
    const View g = matrix_of(m.grad_c, batch);
    if (m.grad_a.defined()) {
      multiply(g, transposed(matrix_of(m.b, batch)), matrix_of(m.grad_a, batch), false);
    }
    if (m.grad_b.defined()) {
      multiply(transposed(matrix_of(m.a, batch)), g, matrix_of(m.grad_b, batch), false);
    }
    if (!m.grad_bias.defined()) continue;
    for (int64_t i = 0; i < g.size(0); ++i) {
      for (int64_t j = 0; j < g.size(1); ++j) core::element<double>(m.grad_bias, j) += at(g, i, j);
    }
  }
}

const Register<MatmulForward> forward("reference", kCpu, 0, {takes::f64, takes::any_strides}, run_forward);
const Register<MatmulBackward> backward("reference", kCpu, 0, {takes::f64, takes::any_strides}, run_backward);

}  // namespace
}  // namespace medfusion::kernels
