#include "layers/functional/elementwise.h"

#include "kernels/elementwise/elementwise.h"
#include "kernels/registry.h"
#include "layers/functional/checks.h"

namespace medfusion::layers {
namespace {

using core::Tensor;
using core::Variable;

// With sizes of 1 put in front up to `rank`; strides are kept.
Tensor align(Tensor tensor, int rank) {
  while (tensor.rank() < rank) tensor = tensor.unsqueeze(0);
  return tensor;
}

Variable binary(const char* name, kernels::Binary function, const Variable& a, const Variable& b) {
  MEDFUSION_CHECK(a.dtype() == b.dtype() && (a.dtype() == core::DType::f32 || a.dtype() == core::DType::f64),
                  "{}: expected f32 and f32, or f64 and f64, got {} and {}", name, core::name_of(a.dtype()),
                  core::name_of(b.dtype()));
  const core::DeviceType device = a.device().type;
  const core::Shape shape = core::broadcast_shapes(a.shape(), b.shape());
  const Tensor y = Tensor::empty(shape, a.dtype(), a.device());
  const Tensor left = align(a.value(), shape.rank());
  const Tensor right = align(b.value(), shape.rank());
  kernels::dispatch<kernels::BinaryForward>({function, left.view(), right.view(), y.view()}, device);
  const bool linear = function == kernels::Binary::add || function == kernels::Binary::sub;
  return Variable::result(
      name, y, {a, b},
      [function, device, linear, shape_a = a.shape(), shape_b = b.shape(), saved_a = linear ? Tensor() : left,
       saved_b = linear ? Tensor() : right](const Tensor& g, const core::InputGradients& inputs) {
        // The gradient of a sum is handed on as it is where nothing was broadcast.
        const bool pass_a = linear && shape_a == g.shape();
        const bool pass_b = function == kernels::Binary::add && shape_b == g.shape();
        const bool compute_a = inputs.needed(0) && !pass_a;
        const bool compute_b = inputs.needed(1) && !pass_b;
        const Tensor grad_a = compute_a ? Tensor::empty(shape_a, g.dtype(), g.device()) : Tensor();
        const Tensor grad_b = compute_b ? Tensor::empty(shape_b, g.dtype(), g.device()) : Tensor();
        if (compute_a || compute_b) {
          kernels::dispatch<kernels::BinaryBackward>(
              {function, saved_a.view(), saved_b.view(), g.view(),
               compute_a ? align(grad_a, g.rank()).view() : core::View(),
               compute_b ? align(grad_b, g.rank()).view() : core::View()},
              device);
        }
        inputs.accumulate(0, pass_a ? g : grad_a);
        inputs.accumulate(1, pass_b ? g : grad_b);
      });
}

Variable affine(const char* name, const Variable& x, double factor, double shift) {
  check_f32_or_f64(name, x);
  const core::DeviceType device = x.device().type;
  const Tensor y = Tensor::empty_like(x.value());
  kernels::dispatch<kernels::AffineForward>({factor, shift, x.value().view(), y.view()}, device);
  return Variable::result(name, y, {x}, [=](const Tensor& g, const core::InputGradients& inputs) {
    if (factor == 1.0) return inputs.accumulate(0, g);
    const Tensor grad_x = Tensor::empty_like(g);
    kernels::dispatch<kernels::AffineForward>({factor, 0.0, g.view(), grad_x.view()}, device);
    inputs.accumulate(0, grad_x);
  });
}

}  // namespace

Variable add(const Variable& a, const Variable& b) { return binary("add", kernels::Binary::add, a, b); }
Variable sub(const Variable& a, const Variable& b) { return binary("sub", kernels::Binary::sub, a, b); }
Variable mul(const Variable& a, const Variable& b) { return binary("mul", kernels::Binary::mul, a, b); }
Variable div(const Variable& a, const Variable& b) { return binary("div", kernels::Binary::div, a, b); }

Variable scale(const Variable& x, double factor) { return affine("scale", x, factor, 0.0); }
Variable add_scalar(const Variable& x, double value) { return affine("add_scalar", x, 1.0, value); }

}  // namespace medfusion::layers
