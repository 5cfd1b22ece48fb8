#include <cmath>
#include <numbers>

#include "kernels/activation/activation.h"
#include "kernels/registry.h"

namespace medfusion::kernels {
namespace {

double value(Activation function, double x) {
  switch (function) {
    case Activation::relu:
      return x < 0.0 ? 0.0 : x;
    case Activation::gelu:
      return 0.5 * x * std::erfc(-x / std::numbers::sqrt2);
    case Activation::sigmoid:
      return 1.0 / (1.0 + std::exp(-x));
    case Activation::relu6:
      return x < 0.0 ? 0.0 : x > 6.0 ? 6.0 : x;
  }
  return 0.0;
}

double derivative(Activation function, double x) {
  switch (function) {
    case Activation::relu:
      return x > 0.0 ? 1.0 : 0.0;
    case Activation::gelu: {
      const double density = std::exp(-0.5 * x * x) / std::sqrt(2.0 * std::numbers::pi);
      return 0.5 * std::erfc(-x / std::numbers::sqrt2) + x * density;
    }
    case Activation::sigmoid: {
      const double s = value(function, x);
      return s * (1.0 - s);
    }
    case Activation::relu6:
      return x > 0.0 && x < 6.0 ? 1.0 : 0.0;
  }
  return 0.0;
}

void run_forward(const ActivationForward& a) {
  for (int64_t i = 0; i < a.x.numel(); ++i) {
    core::element<double>(a.y, i) = value(a.function, core::element<double>(a.x, i));
  }
}

void run_backward(const ActivationBackward& a) {
  for (int64_t i = 0; i < a.x.numel(); ++i) {
    core::element<double>(a.grad_x, i) =
        core::element<double>(a.grad_y, i) * derivative(a.function, core::element<double>(a.x, i));
  }
}

const Register<ActivationForward> forward("reference", kCpu, 0, {takes::f64, takes::any_strides},
                                          run_forward);
const Register<ActivationBackward> backward("reference", kCpu, 0, {takes::f64, takes::any_strides},
                                            run_backward);

}  // namespace
}  // namespace medfusion::kernels
