#include "layers/functional/layer_norm.h"

#include "kernels/layer_norm/layer_norm.h"
#include "kernels/registry.h"

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
  MEDFUSION_CHECK(x.dtype() == core::DType::f32 || x.dtype() == core::DType::f64,
                  "layer_norm: expected f32 or f64, got {}", core::name_of(x.dtype()));
  MEDFUSION_CHECK(x.rank() >= 1, "layer_norm: expected [..., width]");
  check(weight, x, "weight");
  check(bias, x, "bias");
  const core::DeviceType device = x.value().device().type;
  // Kernels take rows of one stride; anything else is copied first.
  const Tensor input = x.value().view().rows_uniform() ? x.value() : x.value().to_contiguous();
  const core::Shape rows{input.view().rows()};
  const Tensor y = Tensor::empty(x.shape(), x.dtype(), x.value().device());
  const Tensor mean = Tensor::empty(rows, x.dtype(), x.value().device());
  const Tensor inv_std = Tensor::empty(rows, x.dtype(), x.value().device());
  kernels::dispatch<kernels::LayerNormForward>(
      {input.view(), weight.value().view(), bias.value().view(), y.view(), mean.view(), inv_std.view(), eps},
      device);
  return Variable::result("layer_norm", y, {x, weight, bias},
                          [=, w = weight.value()](const Tensor& g, const core::InputGradients& inputs) {
                            const auto like = [](const Tensor& t) {
                              return Tensor::empty(t.shape(), t.dtype(), t.device());
                            };
                            const Tensor grad_x = inputs.needed(0) ? like(input) : Tensor();
                            const Tensor grad_weight = inputs.needed(1) ? like(w) : Tensor();
                            const Tensor grad_bias = inputs.needed(2) ? like(w) : Tensor();
                            kernels::dispatch<kernels::LayerNormBackward>(
                                {input.view(), w.view(), mean.view(), inv_std.view(), g.view(), grad_x.view(),
                                 grad_weight.view(), grad_bias.view()},
                                device);
                            if (inputs.needed(0)) inputs.accumulate(0, grad_x);
                            if (inputs.needed(1)) inputs.accumulate(1, grad_weight);
                            if (inputs.needed(2)) inputs.accumulate(2, grad_bias);
                          });
}

}  // namespace medfusion::layers
