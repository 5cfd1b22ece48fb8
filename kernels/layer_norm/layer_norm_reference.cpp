#include <cmath>

#include "kernels/layer_norm/layer_norm.h"
#include "kernels/registry.h"

namespace medfusion::kernels {
namespace {

double& at(const core::View& view, int64_t row, int64_t column) {
  return core::element<double>(view, row * view.size(-1) + column);
}
double& at(const core::View& view, int64_t index) { return view.as<double>()[index]; }

void run_forward(const LayerNormForward& a) {
  const int64_t width = a.x.size(-1);
  for (int64_t r = 0; r < a.x.rows(); ++r) {
    double sum = 0.0, squares = 0.0;
    for (int64_t i = 0; i < width; ++i) sum += at(a.x, r, i);
    const double mean = sum / static_cast<double>(width);
    for (int64_t i = 0; i < width; ++i) squares += (at(a.x, r, i) - mean) * (at(a.x, r, i) - mean);
    const double inv_std = 1.0 / std::sqrt(squares / static_cast<double>(width) + a.eps);
    at(a.mean, r) = mean;
    at(a.inv_std, r) = inv_std;
    for (int64_t i = 0; i < width; ++i) {
      at(a.y, r, i) = (at(a.x, r, i) - mean) * inv_std * at(a.weight, i) + at(a.bias, i);
    }
  }
}

void run_backward(const LayerNormBackward& a) {
  const int64_t width = a.x.size(-1);
  for (int64_t i = 0; i < width; ++i) {
    if (a.grad_weight.defined()) at(a.grad_weight, i) = 0.0;
    if (a.grad_bias.defined()) at(a.grad_bias, i) = 0.0;
  }
  for (int64_t r = 0; r < a.x.rows(); ++r) {
    const auto h = [&](int64_t i) { return (at(a.x, r, i) - at(a.mean, r)) * at(a.inv_std, r); };
    double mean_k = 0.0, mean_kh = 0.0;
    for (int64_t i = 0; i < width; ++i) {
      const double g = at(a.grad_y, r, i);
      if (a.grad_weight.defined()) at(a.grad_weight, i) += g * h(i);
      if (a.grad_bias.defined()) at(a.grad_bias, i) += g;
      mean_k += g * at(a.weight, i) / static_cast<double>(width);
      mean_kh += g * at(a.weight, i) * h(i) / static_cast<double>(width);
    }
    for (int64_t i = 0; a.grad_x.defined() && i < width; ++i) {
      const double k = at(a.grad_y, r, i) * at(a.weight, i);
      at(a.grad_x, r, i) = at(a.inv_std, r) * (k - mean_k - h(i) * mean_kh);
    }
  }
}

const Register<LayerNormForward> forward("reference", kCpu, 0, {takes::f64, takes::any_strides}, run_forward);
const Register<LayerNormBackward> backward("reference", kCpu, 0, {takes::f64, takes::any_strides},
                                           run_backward);

}  // namespace
}  // namespace medfusion::kernels
