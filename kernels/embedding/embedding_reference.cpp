#include "kernels/embedding/embedding.h"
#include "kernels/registry.h"

namespace medfusion::kernels {
namespace {

using core::element;

void run_forward(const EmbeddingForward& a) {
  const int64_t width = a.y.size(1);
  for (int64_t n = 0; n < a.ids.numel(); ++n) {
    const int64_t row = element<int64_t>(a.ids, n);
    for (int64_t c = 0; c < width; ++c) {
      element<double>(a.y, n * width + c) = element<double>(a.weight, row * width + c);
    }
  }
}

void run_backward(const EmbeddingBackward& a) {
  const int64_t width = a.grad_y.size(1);
  for (int64_t i = 0; i < a.grad_weight.numel(); ++i) element<double>(a.grad_weight, i) = 0.0;
  for (int64_t n = 0; n < a.ids.numel(); ++n) {
    const int64_t row = element<int64_t>(a.ids, n);
    for (int64_t c = 0; c < width; ++c) {
      element<double>(a.grad_weight, row * width + c) += element<double>(a.grad_y, n * width + c);
    }
  }
}

const Register<EmbeddingForward> forward("reference", kCpu, 0, {takes::f64, takes::any_strides}, run_forward);
const Register<EmbeddingBackward> backward("reference", kCpu, 0, {takes::f64, takes::any_strides},
                                           run_backward);

}  // namespace
}  // namespace medfusion::kernels
