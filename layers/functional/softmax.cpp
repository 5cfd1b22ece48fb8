#include "layers/functional/softmax.h"

#include "kernels/registry.h"
#include "kernels/softmax/softmax.h"

namespace medfusion::layers {

using core::Tensor;
using core::Variable;

Variable softmax(const Variable& x) {
  MEDFUSION_CHECK(x.dtype() == core::DType::f32 || x.dtype() == core::DType::f64,
                  "softmax: expected f32 or f64, got {}", core::name_of(x.dtype()));
  MEDFUSION_CHECK(x.rank() >= 1, "softmax: expected at least one dimension");
  const core::DeviceType device = x.value().device().type;
  // Kernels take rows of one stride; anything else is copied first.
  const Tensor input = x.value().view().rows_uniform() ? x.value() : x.value().to_contiguous();
  const Tensor y = Tensor::empty(x.shape(), x.dtype(), x.value().device());
  kernels::dispatch<kernels::SoftmaxForward>({input.view(), y.view()}, device);
  return Variable::result("softmax", y, {x}, [=](const Tensor& g, const core::InputGradients& inputs) {
    const Tensor grad_x = Tensor::empty(y.shape(), y.dtype(), y.device());
    kernels::dispatch<kernels::SoftmaxBackward>({y.view(), g.view(), grad_x.view()}, device);
    inputs.accumulate(0, grad_x);
  });
}

}  // namespace medfusion::layers
