#include "core/random.h"
#include "kernels/dropout/dropout.h"
#include "kernels/registry.h"

namespace medfusion::kernels {
namespace {

void run(const core::Philox& philox, double probability, const core::View& from, const core::View& to) {
  for (int64_t i = 0; i < from.numel(); ++i) {
    const bool kept = static_cast<double>(philox.uniform(static_cast<uint64_t>(i))) >= probability;
    core::element<double>(to, i) = kept ? core::element<double>(from, i) / (1.0 - probability) : 0.0;
  }
}

bool supports_forward(const DropoutForward& a) { return a.x.dtype == core::DType::f64; }
void run_forward(const DropoutForward& a) {
  run(core::Philox(a.seed, dropout_stream(a.stream, a.base)), a.probability, a.x, a.y);
}

bool supports_backward(const DropoutBackward& a) { return a.grad_y.dtype == core::DType::f64; }
void run_backward(const DropoutBackward& a) {
  run(core::Philox(a.seed, dropout_stream(a.stream, a.base)), a.probability, a.grad_y, a.grad_x);
}

const Register<DropoutForward> forward({"reference", core::DeviceType::cpu, 0, supports_forward, run_forward},
                                       "f64, any strides");
const Register<DropoutBackward> backward({"reference", core::DeviceType::cpu, 0, supports_backward,
                                          run_backward},
                                         "f64, any strides");

}  // namespace
}  // namespace medfusion::kernels
