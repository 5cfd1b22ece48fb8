#include "layers/functional/softmax.h"

#include "kernels/registry.h"
#include "kernels/softmax/softmax.h"
#include "layers/functional/checks.h"

namespace medfusion::layers {

using core::Tensor;
using core::Variable;

Variable softmax(const Variable& x) {
  check_f32_or_f64("softmax", x);
  MEDFUSION_CHECK(x.rank() >= 1, "softmax: expected at least one dimension");
  const core::DeviceType device = x.device().type;
  const Tensor input = uniform_rows(x.value());
  const Tensor y = Tensor::empty_like(x.value());
  kernels::dispatch<kernels::SoftmaxForward>({input.view(), y.view()}, device);
  return Variable::result("softmax", y, {x}, [=](const Tensor& g, const core::InputGradients& inputs) {
    const Tensor grad_x = Tensor::empty_like(y);
    kernels::dispatch<kernels::SoftmaxBackward>({y.view(), g.view(), grad_x.view()}, device);
    inputs.accumulate(0, grad_x);
  });
}

}  // namespace medfusion::layers
