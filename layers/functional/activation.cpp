#include "layers/functional/activation.h"

#include "kernels/activation/activation.h"
#include "kernels/registry.h"

namespace medfusion::layers {
namespace {

using core::Tensor;
using core::Variable;

Variable activation(const char* name, kernels::Activation function, const Variable& x) {
  const bool narrow = x.dtype() == core::DType::bf16 && function == kernels::Activation::relu;
  MEDFUSION_CHECK(x.dtype() == core::DType::f32 || x.dtype() == core::DType::f64 || narrow,
                  "{}: expected f32 or f64, got {}", name, core::name_of(x.dtype()));
  const core::DeviceType device = x.device().type;
  const Tensor y = Tensor::empty_like(x.value());
  kernels::dispatch<kernels::ActivationForward>({function, x.value().view(), y.view()}, device);
  return Variable::result(name, y, {x},
                          [=, saved = x.value()](const Tensor& g, const core::InputGradients& inputs) {
                            const Tensor grad_x = Tensor::empty_like(saved);
                            kernels::dispatch<kernels::ActivationBackward>(
                                {function, saved.view(), g.view(), grad_x.view()}, device);
                            inputs.accumulate(0, grad_x);
                          });
}

}  // namespace

Variable relu(const Variable& x) { return activation("relu", kernels::Activation::relu, x); }
Variable gelu(const Variable& x) { return activation("gelu", kernels::Activation::gelu, x); }
Variable sigmoid(const Variable& x) { return activation("sigmoid", kernels::Activation::sigmoid, x); }
Variable relu6(const Variable& x) { return activation("relu6", kernels::Activation::relu6, x); }

}  // namespace medfusion::layers
