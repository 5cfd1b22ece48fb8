#include "layers/functional/view.h"

#include "kernels/reduction/reduction.h"
#include "kernels/registry.h"

namespace medfusion::layers {
namespace {

using core::InputGradients;
using core::Shape;
using core::Tensor;
using core::Variable;

// The shape of what was expanded, `small`, in the rank of the result, `large`.
Shape kept_sizes(const Shape& small, const Shape& large) {
  Shape kept = large;
  const int shift = large.rank() - small.rank();
  for (int i = 0; i < large.rank(); ++i) kept[i] = i < shift ? 1 : small[i - shift];
  return kept;
}

}  // namespace

Variable reshape(const Variable& x, const Shape& shape) {
  return Variable::result("reshape", x.value().reshape(shape), {x},
                          [before = x.shape()](const Tensor& g, const InputGradients& inputs) {
                            inputs.accumulate(0, g.reshape(before));
                          });
}

Variable slice(const Variable& x, int dimension, int64_t first, int64_t last) {
  const int d = x.shape().normalize(dimension);
  return Variable::result("slice", x.value().slice(d, first, last), {x},
                          [=, before = x.shape()](const Tensor& g, const InputGradients& inputs) {
                            const Tensor grad = Tensor::zeros(before, g.dtype(), g.device());
                            grad.slice(d, first, last).copy_from(g);
                            inputs.accumulate(0, grad);
                          });
}

Variable transpose(const Variable& x, int a, int b) {
  return Variable::result(
      "transpose", x.value().transpose(a, b), {x},
      [=](const Tensor& g, const InputGradients& inputs) { inputs.accumulate(0, g.transpose(a, b)); });
}

Variable expand(const Variable& x, const Shape& shape) {
  return Variable::result("expand", x.value().expand(shape), {x},
                          [before = x.shape()](const Tensor& g, const InputGradients& inputs) {
                            const Tensor grad = Tensor::empty(before, g.dtype(), g.device());
                            const Tensor sum = grad.reshape(kept_sizes(before, g.shape()));
                            kernels::dispatch<kernels::ReduceForward>(
                                {kernels::Reduction::sum, g.view(), sum.view(), {}}, g.device().type);
                            inputs.accumulate(0, grad);
                          });
}

}  // namespace medfusion::layers
