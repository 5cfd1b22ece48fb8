#include <cmath>
#include <limits>

#include "kernels/registry.h"
#include "kernels/softmax/softmax.h"

namespace medfusion::kernels {
namespace {

void run_forward(const SoftmaxForward& a) {
  const int64_t width = a.x.size(-1);
  for (int64_t row = 0; row < a.x.rows(); ++row) {
    const auto x = [&](int64_t i) { return core::element<double>(a.x, row * width + i); };
    const auto y = [&](int64_t i) -> double& { return core::element<double>(a.y, row * width + i); };
    double largest = -std::numeric_limits<double>::infinity();
    for (int64_t i = 0; i < width; ++i) largest = x(i) > largest || std::isnan(x(i)) ? x(i) : largest;
    const bool masked = largest == -std::numeric_limits<double>::infinity();
    double sum = 0.0;
    for (int64_t i = 0; i < width; ++i) {
      y(i) = masked ? 0.0 : std::exp(x(i) - largest);
      sum += y(i);
    }
    for (int64_t i = 0; i < width && !masked; ++i) y(i) /= sum;
  }
}

void run_backward(const SoftmaxBackward& a) {
  const int64_t width = a.y.size(-1);
  for (int64_t row = 0; row < a.y.rows(); ++row) {
    const auto y = [&](int64_t i) { return core::element<double>(a.y, row * width + i); };
    const auto g = [&](int64_t i) { return core::element<double>(a.grad_y, row * width + i); };
    double dot = 0.0;
    for (int64_t i = 0; i < width; ++i) dot += y(i) * g(i);
    for (int64_t i = 0; i < width; ++i)
      core::element<double>(a.grad_x, row * width + i) = y(i) * (g(i) - dot);
  }
}

const Register<SoftmaxForward> forward("reference", kCpu, 0, {takes::f64, takes::any_strides}, run_forward);
const Register<SoftmaxBackward> backward("reference", kCpu, 0, {takes::f64, takes::any_strides},
                                         run_backward);

}  // namespace
}  // namespace medfusion::kernels
