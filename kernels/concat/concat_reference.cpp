#include "kernels/concat/concat.h"
#include "kernels/registry.h"

namespace medfusion::kernels {
namespace {

void copy(const core::View& from, const core::View& to) {
  for (int64_t i = 0; i < from.numel(); ++i) {
    core::element<double>(to, i) = core::element<double>(from, i);
  }
}

bool supports_forward(const ConcatForward& a) { return a.y.dtype == core::DType::f64; }
void run_forward(const ConcatForward& a) {
  int64_t first = 0;
  for (const core::View& x : a.inputs) {
    const int64_t size = x.shape[a.dimension];
    copy(x, concat_part(a.y, a.dimension, first, size));
    first += size;
  }
}

bool supports_backward(const ConcatBackward& a) { return a.grad_y.dtype == core::DType::f64; }
void run_backward(const ConcatBackward& a) {
  int64_t first = 0;
  for (const core::View& grad : a.grads) {
    const int64_t size = grad.shape[a.dimension];
    if (grad.data != nullptr) copy(concat_part(a.grad_y, a.dimension, first, size), grad);
    first += size;
  }
}

const Register<ConcatForward> forward({"reference", core::DeviceType::cpu, 0, supports_forward, run_forward},
                                      "f64");
const Register<ConcatBackward> backward({"reference", core::DeviceType::cpu, 0, supports_backward,
                                         run_backward},
                                        "f64");

}  // namespace
}  // namespace medfusion::kernels
