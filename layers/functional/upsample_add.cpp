#include "layers/functional/upsample_add.h"

#include "kernels/registry.h"
#include "kernels/upsample_add/upsample_add.h"
#include "layers/functional/checks.h"

namespace medfusion::layers {
namespace {

using core::Tensor;
using core::Variable;
using kernels::Resize;

void check(const Variable& x, const Variable& lateral, const Variable& bias) {
  check_floating("upsample_add", x);
  MEDFUSION_CHECK(lateral.dtype() == x.dtype(), "upsample_add: x is {}, lateral is {}",
                  core::name_of(x.dtype()), core::name_of(lateral.dtype()));
  const bool fits =
      x.rank() == 4 && lateral.rank() == 4 && x.size(0) == lateral.size(0) && x.size(3) == lateral.size(3);
  MEDFUSION_CHECK(fits, "upsample_add: expected x [B, h, w, C] and lateral [B, H, W, C], got {} and {}",
                  x.shape().str(), lateral.shape().str());
  MEDFUSION_CHECK((x.size(1) > 0 && x.size(2) > 0) || lateral.value().numel() == 0,
                  "upsample_add: x {} has no pixels for {}", x.shape().str(), lateral.shape().str());
  if (!bias.defined()) return;
  const core::DType dtype = core::statistics_dtype(x.dtype());
  MEDFUSION_CHECK(bias.dtype() == dtype && bias.shape() == core::Shape{x.size(3)},
                  "upsample_add: expected bias {} [{}], got {} {}", core::name_of(dtype), x.size(3),
                  core::name_of(bias.dtype()), bias.shape().str());
}

}  // namespace

Variable upsample_add(const Variable& x, const Variable& lateral, const UpsampleOptions& options,
                      const Variable& bias) {
  check(x, lateral, bias);
  const Resize resize = !options.bilinear       ? Resize::nearest
                        : options.align_corners ? Resize::bilinear_align_corners
                                                : Resize::bilinear;
  const core::DeviceType device = x.device().type;
  const Tensor y = Tensor::empty(lateral.shape(), x.dtype(), x.device());
  const Tensor shift = bias.defined() ? bias.value().to_contiguous() : Tensor();
  kernels::dispatch<kernels::UpsampleAddForward>(
      {resize, x.value().view(), lateral.value().view(), shift.view(), y.view()}, device);
  return Variable::result("upsample_add", y, {x, lateral, bias},
                          [=, x_shape = x.shape()](const Tensor& g, const core::InputGradients& inputs) {
                            const Tensor grad_x =
                                inputs.needed(0) ? Tensor::empty(x_shape, g.dtype(), g.device()) : Tensor();
                            const Tensor grad_bias = inputs.room(2, shift);
                            if (grad_x.defined() || grad_bias.defined()) {
                              kernels::dispatch<kernels::UpsampleAddBackward>(
                                  {resize, g.view(), grad_x.view(), grad_bias.view()}, device);
                            }
                            inputs.accumulate(0, grad_x);
                            inputs.accumulate(1, g);
                            inputs.accumulate(2, grad_bias);
                          });
}

}  // namespace medfusion::layers
