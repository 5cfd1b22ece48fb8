#include "layers/functional/matmul.h"

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

Tensor empty_like(const Tensor& t) { return Tensor::empty(t.shape(), t.dtype(), t.device()); }

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
  const Tensor c = Tensor::empty(shape, a.dtype(), a.value().device());
  const core::DeviceType device = c.device().type;
  kernels::dispatch<kernels::MatmulForward>({.a = left.view(), .b = right.view(), .c = merge_batch(c).view()},
                                            device);
  return Variable::result(
      "matmul", c, {a, b},
      [=, shape_a = a.shape(), shape_b = b.shape()](const Tensor& g, const core::InputGradients& inputs) {
        const Tensor upstream = merge_batch(g);
        kernels::MatmulBackward args{.a = left.view(), .b = right.view(), .grad_c = upstream.view()};
        Tensor grad_a;
        Tensor grad_b;
        if (inputs.needed(0)) {
          grad_a = empty_like(left);
          args.grad_a = grad_a.view();
        }
        if (inputs.needed(1)) {
          grad_b = empty_like(right);
          args.grad_b = grad_b.view();
        }
        kernels::dispatch(args, device);
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
  const Tensor y = Tensor::empty({row_count, weight.size(0)}, x.dtype(), x.value().device());
  const core::DeviceType device = y.device().type;
  kernels::MatmulForward args{
      .a = rows.view(), .b = kernels::transposed(weight.value().view()), .c = y.view(), .tf32 = tf32};
  if (bias.defined()) args.bias = bias.value().view();
  kernels::dispatch(args, device);

  std::vector<Variable> inputs{x, weight};
  if (bias.defined()) inputs.push_back(bias);
  return Variable::result("linear", y.reshape(shape), inputs,
                          [rows, device, tf32, saved = weight.value(), shape_x = x.shape()](
                              const Tensor& g, const core::InputGradients& gradients) {
                            const Tensor upstream = g.reshape({rows.size(0), saved.size(0)});
                            const core::View weight_t = kernels::transposed(saved.view());
                            kernels::MatmulBackward backward{
                                .a = rows.view(), .b = weight_t, .grad_c = upstream.view(), .tf32 = tf32};
                            Tensor grad_x;
                            Tensor grad_weight;
                            Tensor grad_bias;
                            if (gradients.needed(0)) {
                              grad_x = empty_like(rows);
                              backward.grad_a = grad_x.view();
                            }
                            if (gradients.needed(1)) {
                              grad_weight = empty_like(saved);
                              backward.grad_b = kernels::transposed(grad_weight.view());
                            }
                            if (gradients.size() > 2 && gradients.needed(2)) {
                              grad_bias = Tensor::empty({saved.size(0)}, saved.dtype(), saved.device());
                              backward.grad_bias = grad_bias.view();
                            }
                            kernels::dispatch(backward, device);
                            if (grad_x.defined()) gradients.accumulate(0, grad_x.reshape(shape_x));
                            if (grad_weight.defined()) gradients.accumulate(1, grad_weight);
                            if (grad_bias.defined()) gradients.accumulate(2, grad_bias);
                          });
}

}  // namespace medfusion::layers
