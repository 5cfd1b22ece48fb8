#include <cmath>
#include <limits>

#include "kernels/reduction/reduction.h"
#include "kernels/registry.h"

namespace medfusion::kernels {
namespace {

// Row-major index in y of the element that row-major element `index` of x reduces to.
int64_t reduced_index(const core::Shape& x, const core::Shape& y, int64_t index) {
  int64_t result = 0;
  int64_t step = 1;
  for (int i = x.rank() - 1; i >= 0; --i) {
    if (y[i] != 1) result += index % x[i] * step;
    index /= x[i];
    step *= y[i];
  }
  return result;
}

void run_forward(const ReduceForward& a) {
  const double start = a.function == Reduction::max ? -std::numeric_limits<double>::infinity() : 0.0;
  for (int64_t o = 0; o < a.y.numel(); ++o) {
    core::element<double>(a.y, o) = start;
    if (a.argmax.defined()) core::element<int64_t>(a.argmax, o) = -1;
  }
  for (int64_t i = 0; i < a.x.numel(); ++i) {
    const int64_t o = reduced_index(a.x.shape, a.y.shape, i);
    const double value = core::element<double>(a.x, i);
    double& y = core::element<double>(a.y, o);
    if (a.function != Reduction::max) {
      y += value;
      continue;
    }
    const bool first = a.argmax.defined() && core::element<int64_t>(a.argmax, o) < 0;
    if (first || value > y || (std::isnan(value) && !std::isnan(y))) {
      y = value;
      if (a.argmax.defined()) core::element<int64_t>(a.argmax, o) = i;
    }
  }
  if (a.function != Reduction::mean) return;
  const double count = static_cast<double>(a.x.numel()) / static_cast<double>(a.y.numel());
  for (int64_t o = 0; o < a.y.numel(); ++o) core::element<double>(a.y, o) /= count;
}

void run_backward(const ReduceBackward& a) {
  const double count = a.function == Reduction::mean && a.grad_y.numel() > 0
                           ? static_cast<double>(a.grad_x.numel()) / static_cast<double>(a.grad_y.numel())
                           : 1.0;
  for (int64_t i = 0; i < a.grad_x.numel(); ++i) {
    const int64_t o = reduced_index(a.grad_x.shape, a.grad_y.shape, i);
    const bool passes = a.function != Reduction::max || core::element<int64_t>(a.argmax, o) == i;
    core::element<double>(a.grad_x, i) = passes ? core::element<double>(a.grad_y, o) / count : 0.0;
  }
}

const Register<ReduceForward> forward("reference", kCpu, 0, {takes::f64, takes::any_strides}, run_forward);
const Register<ReduceBackward> backward("reference", kCpu, 0, {takes::f64, takes::any_strides}, run_backward);

}  // namespace
}  // namespace medfusion::kernels
