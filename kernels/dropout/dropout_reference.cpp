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

void run_forward(const DropoutForward& a) {
  run(core::Philox(a.seed, dropout_stream(a.stream, a.base)), a.probability, a.x, a.y);
}

void run_backward(const DropoutBackward& a) {
  run(core::Philox(a.seed, dropout_stream(a.stream, a.base)), a.probability, a.grad_y, a.grad_x);
}

const Register<DropoutForward> forward("reference", kCpu, 0, {takes::f64, takes::any_strides}, run_forward);
const Register<DropoutBackward> backward("reference", kCpu, 0, {takes::f64, takes::any_strides},
                                         run_backward);

}  // namespace
}  // namespace medfusion::kernels
