#include "layers/functional/batch_norm.h"

#include "kernels/batch_norm/batch_norm.h"
#include "kernels/registry.h"
#include "layers/functional/checks.h"

namespace medfusion::layers {
namespace {

using core::Tensor;
using core::Variable;

void check(const Tensor& tensor, const Variable& x, const char* name) {
  const core::DType dtype = core::statistics_dtype(x.dtype());
  MEDFUSION_CHECK(tensor.shape() == core::Shape{x.size(-1)} && tensor.dtype() == dtype && tensor.contiguous(),
                  "batch_norm: {} should be {} [{}], got {} {}", name, core::name_of(dtype), x.size(-1),
                  core::name_of(tensor.dtype()), tensor.shape().str());
}

}  // namespace

Variable batch_norm(const Variable& x, const Variable& weight, const Variable& bias,
                    const Tensor& running_mean, const Tensor& running_var, bool training, double momentum,
                    double eps, bool fuse_relu) {
  check_floating("batch_norm", x);
  MEDFUSION_CHECK(x.rank() >= 1, "batch_norm: expected [..., channels], got {}", x.shape().str());
  check(weight.value(), x, "weight");
  check(bias.value(), x, "bias");
  check(running_mean, x, "running_mean");
  check(running_var, x, "running_var");
  MEDFUSION_CHECK(!training || x.size(-1) == 0 || x.value().numel() / x.size(-1) > 1,
                  "batch_norm: training wants more than one value per channel, got {}", x.shape().str());
  const core::DeviceType device = x.device().type;
  const Tensor input = uniform_rows(x.value());
  const Tensor y = Tensor::empty_like(x.value());
  const Tensor mean = Tensor::empty({x.size(-1)}, weight.dtype(), x.device());
  const Tensor inv_std = Tensor::empty({x.size(-1)}, weight.dtype(), x.device());
  kernels::dispatch<kernels::BatchNormForward>(
      {input.view(), weight.value().view(), bias.value().view(), running_mean.view(), running_var.view(),
       y.view(), mean.view(), inv_std.view(), training, fuse_relu, momentum, eps},
      device);
  return Variable::result(
      "batch_norm", y, {x, weight, bias},
      [=, w = weight.value(), b = bias.value()](const Tensor& g, const core::InputGradients& inputs) {
        const Tensor grad_x = inputs.room(0, input), grad_weight = inputs.room(1, w),
                     grad_bias = inputs.room(2, b);
        kernels::dispatch<kernels::BatchNormBackward>(
            {input.view(), w.view(), b.view(), mean.view(), inv_std.view(), g.view(), grad_x.view(),
             grad_weight.view(), grad_bias.view(), training, fuse_relu},
            device);
        inputs.accumulate(0, grad_x);
        inputs.accumulate(1, grad_weight);
        inputs.accumulate(2, grad_bias);
      });
}

}  // namespace medfusion::layers
