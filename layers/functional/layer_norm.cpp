#include "layers/functional/layer_norm.h"

#include "kernels/layer_norm/layer_norm.h"
#include "kernels/registry.h"
#include "layers/functional/checks.h"

namespace medfusion::layers {
namespace {

using core::Tensor;
using core::Variable;

void check(const Variable& parameter, const Variable& x, const char* name) {
  MEDFUSION_CHECK(parameter.shape() == core::Shape{x.size(-1)} && parameter.dtype() == x.dtype() &&
                      parameter.value().contiguous(),
                  "layer_norm: {} should be {} [{}], got {} {}", name, core::name_of(x.dtype()), x.size(-1),
                  core::name_of(parameter.dtype()), parameter.shape().str());
}

}  // namespace

Variable layer_norm(const Variable& x, const Variable& weight, const Variable& bias, double eps) {
  check_f32_or_f64("layer_norm", x);
  MEDFUSION_CHECK(x.rank() >= 1, "layer_norm: expected [..., width]");
  check(weight, x, "weight");
  check(bias, x, "bias");
  const core::DeviceType device = x.device().type;
  const Tensor input = uniform_rows(x.value());
  const core::Shape rows{input.view().rows()};
  const Tensor y = Tensor::empty_like(x.value());
  const Tensor mean = Tensor::empty(rows, x.dtype(), x.device());
  const Tensor inv_std = Tensor::empty(rows, x.dtype(), x.device());
  kernels::dispatch<kernels::LayerNormForward>(
      {input.view(), weight.value().view(), bias.value().view(), y.view(), mean.view(), inv_std.view(), eps},
      device);
  return Variable::result("layer_norm", y, {x, weight, bias},
                          [=, w = weight.value()](const Tensor& g, const core::InputGradients& inputs) {
                            const Tensor grad_x = inputs.room(0, input), grad_weight = inputs.room(1, w),
                                         grad_bias = inputs.room(2, w);
                            kernels::dispatch<kernels::LayerNormBackward>(
                                {input.view(), w.view(), mean.view(), inv_std.view(), g.view(), grad_x.view(),
                                 grad_weight.view(), grad_bias.view()},
                                device);
                            inputs.accumulate(0, grad_x);
                            inputs.accumulate(1, grad_weight);
                            inputs.accumulate(2, grad_bias);
                          });
}

}  // namespace medfusion::layers
