#include "layers/functional/dropout.h"

#include "kernels/dropout/dropout.h"
#include "kernels/registry.h"
#include "layers/functional/checks.h"

namespace medfusion::layers {

using core::Tensor;
using core::Variable;

Variable dropout(const Variable& x, double probability, uint64_t seed, uint64_t stream, const Tensor& base) {
  check_f32_or_f64("dropout", x);
  MEDFUSION_CHECK(probability >= 0.0 && probability <= 1.0,
                  "dropout: expected a probability in [0, 1], got {}", probability);
  MEDFUSION_CHECK(!base.defined() ||
                      (base.dtype() == core::DType::i64 && base.numel() == 1 && base.device() == x.device()),
                  "dropout: expected a base of one i64 on the device of x");
  if (probability == 0.0) return x;
  const core::DeviceType device = x.device().type;
  const Tensor input = uniform_rows(x.value());
  const Tensor y = Tensor::empty_like(x.value());
  kernels::dispatch<kernels::DropoutForward>({probability, seed, stream, input.view(), y.view(), base.view()},
                                             device);
  return Variable::result("dropout", y, {x}, [=](const Tensor& g, const core::InputGradients& inputs) {
    const Tensor grad = Tensor::empty_like(g);
    kernels::dispatch<kernels::DropoutBackward>(
        {probability, seed, stream, g.view(), grad.view(), base.view()}, device);
    inputs.accumulate(0, grad);
  });
}

}  // namespace medfusion::layers
