// Mixed precision: products in bf16 with sums in f32.
#include "core/product_count.h"
#include "kernels/matmul/matmul.h"
#include "kernels/reduction/reduction.h"
#include "kernels/registry.h"
#include "layers/functional/matmul.h"

namespace medfusion::layers {
namespace {

using core::DType;
using core::Tensor;
using core::Variable;
using kernels::transposed;

// a b in f32, of bf16 factors.
Tensor product(const core::View& a, const core::View& b, const Tensor& bias = {}) {
  const Tensor c = Tensor::empty({a.size(0), b.size(1)}, DType::f32, a.device);
  kernels::dispatch<kernels::MatmulForward>({.a = a, .b = b, .bias = bias.view(), .c = c.view()},
                                            a.device.type);
  return c;
}

}  // namespace

Variable linear_bf16(const Variable& x, const Variable& weight, const Variable& bias) {
  MEDFUSION_CHECK((x.dtype() == DType::f32 || x.dtype() == DType::bf16) && weight.dtype() == DType::f32 &&
                      (!bias.defined() || bias.dtype() == DType::f32),
                  "linear_bf16: expected x in f32 or bf16, weight and bias in f32, got {} and {}",
                  core::name_of(x.dtype()), core::name_of(weight.dtype()));
  MEDFUSION_CHECK(x.rank() >= 1 && weight.rank() == 2 && x.size(-1) == weight.size(1),
                  "linear_bf16: expected x [.., in] and weight [out, in], got {} and {}", x.shape().str(),
                  weight.shape().str());
  MEDFUSION_CHECK(!bias.defined() || bias.shape() == core::Shape({weight.size(0)}),
                  "linear_bf16: expected bias [{}], got {}", weight.size(0), bias.shape().str());
  core::Shape shape = x.shape();
  shape[x.rank() - 1] = weight.size(0);
  int64_t row_count = 1;
  for (int i = 0; i + 1 < x.rank(); ++i) row_count *= x.size(i);
  const Tensor rows = x.value().to(DType::bf16).reshape({row_count, x.size(-1)});
  const Tensor factor = weight.value().to(DType::bf16);
  const Tensor y = product(rows.view(), transposed(factor.view()), bias.defined() ? bias.value() : Tensor());
  core::ProductCount::add(y.numel(), x.size(-1));
  std::vector<Variable> inputs{x, weight};
  if (bias.defined()) inputs.push_back(bias);
  return Variable::result(
      "linear_bf16", y.reshape(shape), inputs,
      [rows, factor, dtype = x.dtype(), shape_x = x.shape()](const Tensor& g,
                                                             const core::InputGradients& gradients) {
        const Tensor exact = g.reshape({rows.size(0), factor.size(0)});
        const Tensor upstream = exact.to(DType::bf16);
        if (gradients.needed(0)) {
          gradients.accumulate(0, product(upstream.view(), factor.view()).to(dtype).reshape(shape_x));
        }
        if (gradients.needed(1)) {
          gradients.accumulate(1, product(transposed(upstream.view()), rows.view()));
        }
        if (gradients.size() > 2 && gradients.needed(2)) {
          const Tensor sum = Tensor::empty({1, factor.size(0)}, DType::f32, exact.device());
          kernels::dispatch<kernels::ReduceForward>({kernels::Reduction::sum, exact.view(), sum.view(), {}},
                                                    exact.device().type);
          gradients.accumulate(2, sum.reshape({factor.size(0)}));
        }
      });
}

Variable cast(const Variable& x, DType dtype) {
  MEDFUSION_CHECK(core::is_floating(x.dtype()) && core::is_floating(dtype),
                  "cast: expected floating dtypes, got {} to {}", core::name_of(x.dtype()),
                  core::name_of(dtype));
  if (x.dtype() == dtype) return x;
  return Variable::result("cast", x.value().to(dtype), {x},
                          [before = x.dtype()](const Tensor& g, const core::InputGradients& inputs) {
                            inputs.accumulate(0, g.to(before));
                          });
}

}  // namespace medfusion::layers
