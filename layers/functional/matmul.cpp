#include "layers/functional/matmul.h"

#include "core/product_count.h"
#include "kernels/matmul/matmul.h"
#include "kernels/registry.h"

namespace medfusion::layers {
namespace {

using core::Shape;
using core::Tensor;
using core::Variable;

void check_dtype(const char* name, const Variable& a, const Variable& b) {
  MEDFUSION_CHECK((a.dtype() == core::DType::f32 || a.dtype() == core::DType::f64) && a.dtype() == b.dtype(),
                  "{}: expected f32 or f64, the same twice, got {} and {}", name, core::name_of(a.dtype()),
                  core::name_of(b.dtype()));
}

// [.., m, n] as [batch, m, n]; matrices stay as they are.
Tensor merge_batch(const Tensor& t) { return t.rank() <= 3 ? t : t.reshape({-1, t.size(-2), t.size(-1)}); }

}  // namespace

Variable matmul(const Variable& a, const Variable& b) {
  check_dtype("matmul", a, b);
  bool fits = a.rank() >= 2 && a.rank() == b.rank() && a.size(-1) == b.size(-2);
  for (int i = 0; fits && i < a.rank() - 2; ++i) fits = a.size(i) == b.size(i);
  MEDFUSION_CHECK(fits, "matmul: expected [.., m, k] and [.., k, n], got {} and {}", a.shape().str(),
                  b.shape().str());
  Shape shape = a.shape();
  shape[a.rank() - 1] = b.size(-1);
  const Tensor left = merge_batch(a.value());
  const Tensor right = merge_batch(b.value());
  const Tensor c = Tensor::empty(shape, a.dtype(), a.device());
  const core::DeviceType device = c.device().type;
  core::ProductCount::add(c.numel(), a.size(-1));
  kernels::dispatch<kernels::MatmulForward>({.a = left.view(), .b = right.view(), .c = merge_batch(c).view()},
                                            device);
  return Variable::result(
      "matmul", c, {a, b},
      [=, shape_a = a.shape(), shape_b = b.shape()](const Tensor& g, const core::InputGradients& inputs) {
        const Tensor upstream = merge_batch(g);
        const Tensor grad_a = inputs.room(0, left), grad_b = inputs.room(1, right);
        kernels::dispatch<kernels::MatmulBackward>({.a = left.view(),
                                                    .b = right.view(),
                                                    .grad_c = upstream.view(),
                                                    .grad_a = grad_a.view(),
                                                    .grad_b = grad_b.view()},
                                                   device);
        if (grad_a.defined()) inputs.accumulate(0, grad_a.reshape(shape_a));
        if (grad_b.defined()) inputs.accumulate(1, grad_b.reshape(shape_b));
      });
}

Variable linear(const Variable& x, const Variable& weight, const Variable& bias, bool tf32) {
  check_dtype("linear", x, weight);
  MEDFUSION_CHECK(x.rank() >= 1 && weight.rank() == 2 && x.size(-1) == weight.size(1),
                  "linear: expected x [.., in] and weight [out, in], got {} and {}", x.shape().str(),
                  weight.shape().str());
  if (bias.defined()) {
    check_dtype("linear", x, bias);
    MEDFUSION_CHECK(bias.shape() == Shape({weight.size(0)}), "linear: expected bias [{}], got {}",
                    weight.size(0), bias.shape().str());
  }
  Shape shape = x.shape();
  shape[x.rank() - 1] = weight.size(0);
  int64_t row_count = 1;
  for (int i = 0; i + 1 < x.rank(); ++i) row_count *= x.size(i);
  const Tensor rows = x.value().reshape({row_count, x.size(-1)});
  const Tensor y = Tensor::empty({row_count, weight.size(0)}, x.dtype(), x.device());
  const core::DeviceType device = y.device().type;
  core::ProductCount::add(y.numel(), x.size(-1));
  const Tensor offset = bias.defined() ? bias.value() : Tensor();
  kernels::dispatch<kernels::MatmulForward>({.a = rows.view(),
                                             .b = kernels::transposed(weight.value().view()),
                                             .bias = offset.view(),
                                             .c = y.view(),
                                             .tf32 = tf32},
                                            device);
  return Variable::result(
      "linear", y.reshape(shape), {x, weight, bias},
      [=, saved = weight.value(), shape_x = x.shape()](const Tensor& g, const core::InputGradients& inputs) {
        const Tensor upstream = g.reshape({rows.size(0), saved.size(0)});
        const Tensor grad_x = inputs.room(0, rows), grad_weight = inputs.room(1, saved),
                     grad_bias = inputs.room(2, offset);
        kernels::dispatch<kernels::MatmulBackward>(
            {.a = rows.view(),
             .b = kernels::transposed(saved.view()),
             .grad_c = upstream.view(),
             .grad_a = grad_x.view(),
             .grad_b = grad_weight.defined() ? kernels::transposed(grad_weight.view()) : core::View(),
             .grad_bias = grad_bias.view(),
             .tf32 = tf32},
            device);
        if (grad_x.defined()) inputs.accumulate(0, grad_x.reshape(shape_x));
        inputs.accumulate(1, grad_weight);
        inputs.accumulate(2, grad_bias);
      });
}

}  // namespace medfusion::layers
