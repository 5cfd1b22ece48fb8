#include "kernels/elementwise/elementwise.h"
#include "kernels/registry.h"

namespace medfusion::kernels {
namespace {

// The element of `view` that meets row-major element `index` of `shape` under broadcasting.
double& broadcast_element(const core::View& view, const core::Shape& shape, int64_t index) {
  int64_t offset = 0;
  for (int i = shape.rank() - 1; i >= 0; --i) {
    if (view.shape[i] != 1) offset += index % shape[i] * view.strides[i];
    index /= shape[i];
  }
  return view.as<double>()[offset];
}

double value(Binary function, double a, double b) {
  switch (function) {
    case Binary::add:
      return a + b;
    case Binary::sub:
      return a - b;
    case Binary::mul:
      return a * b;
    case Binary::div:
      return a / b;
  }
  return 0.0;
}

double derivative_a(Binary function, double b) {
  return function == Binary::mul ? b : function == Binary::div ? 1.0 / b : 1.0;
}

double derivative_b(Binary function, double a, double b) {
  switch (function) {
    case Binary::add:
      return 1.0;
    case Binary::sub:
      return -1.0;
    case Binary::mul:
      return a;
    case Binary::div:
      return -a / (b * b);
  }
  return 0.0;
}

void run_forward(const BinaryForward& a) {
  const core::Shape& shape = a.y.shape;
  for (int64_t i = 0; i < a.y.numel(); ++i) {
    core::element<double>(a.y, i) =
        value(a.function, broadcast_element(a.a, shape, i), broadcast_element(a.b, shape, i));
  }
}

void run_backward(const BinaryBackward& a) {
  const core::Shape& shape = a.grad_y.shape;
  for (const core::View* grad : {&a.grad_a, &a.grad_b}) {
    for (int64_t i = 0; grad->defined() && i < grad->numel(); ++i) core::element<double>(*grad, i) = 0.0;
  }
  for (int64_t i = 0; i < shape.numel(); ++i) {
    const double g = core::element<double>(a.grad_y, i);
    const double x = a.a.defined() ? broadcast_element(a.a, shape, i) : 0.0;
    const double y = a.b.defined() ? broadcast_element(a.b, shape, i) : 0.0;
    if (a.grad_a.defined()) broadcast_element(a.grad_a, shape, i) += g * derivative_a(a.function, y);
    if (a.grad_b.defined()) broadcast_element(a.grad_b, shape, i) += g * derivative_b(a.function, x, y);
  }
}

void run_affine(const AffineForward& a) {
  for (int64_t i = 0; i < a.x.numel(); ++i) {
    core::element<double>(a.y, i) = a.scale * core::element<double>(a.x, i) + a.shift;
  }
}

const Register<BinaryForward> forward("reference", kCpu, 0, {takes::f64, takes::any_strides, kBroadcasting},
                                      run_forward);
const Register<BinaryBackward> backward("reference", kCpu, 0, {takes::f64, takes::any_strides, kBroadcasting},
                                        run_backward);
const Register<AffineForward> affine("reference", kCpu, 0, {takes::f64, takes::any_strides}, run_affine);

}  // namespace
}  // namespace medfusion::kernels
