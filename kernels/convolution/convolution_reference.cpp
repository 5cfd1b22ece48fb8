#include "kernels/convolution/convolution.h"
#include "kernels/registry.h"

namespace medfusion::kernels {
namespace {

using core::View;

double& at(const View& v, int64_t a, int64_t b, int64_t c, int64_t d) {
  return static_cast<double*>(
      v.data)[a * v.strides[0] + b * v.strides[1] + c * v.strides[2] + d * v.strides[3]];
}

// Calls body(b, i, j, n, row, column, u, v) for every output element and kernel tap that falls on the image.
template <class Body>
void for_taps(const View& x, const View& weight, const View& y, int64_t stride, int64_t padding,
              const Body& body) {
  for (int64_t b = 0; b < y.size(0); ++b) {
    for (int64_t i = 0; i < y.size(1); ++i) {
      for (int64_t j = 0; j < y.size(2); ++j) {
        for (int64_t u = 0; u < weight.size(2); ++u) {
          for (int64_t v = 0; v < weight.size(3); ++v) {
            const int64_t row = i * stride + u - padding;
            const int64_t column = j * stride + v - padding;
            if (row < 0 || row >= x.size(1) || column < 0 || column >= x.size(2)) continue;
            for (int64_t n = 0; n < y.size(3); ++n) body(b, i, j, n, row, column, u, v);
          }
        }
      }
    }
  }
}

void fill_zero(const View& v) {
  for (int64_t i = 0; i < v.numel(); ++i) core::element<double>(v, i) = 0.0;
}

void run_forward(const ConvolutionForward& c) {
  for (int64_t i = 0; i < c.y.numel(); ++i) {
    core::element<double>(c.y, i) = c.bias.defined() ? core::element<double>(c.bias, i % c.y.size(3)) : 0.0;
  }
  for_taps(
      c.x, c.weight, c.y, c.stride, c.padding,
      [&](int64_t b, int64_t i, int64_t j, int64_t n, int64_t row, int64_t column, int64_t u, int64_t v) {
        double sum = 0.0;
        for (int64_t k = 0; k < c.x.size(3); ++k)
          sum += at(c.weight, n, k, u, v) * at(c.x, b, row, column, k);
        at(c.y, b, i, j, n) += sum;
      });
}

void run_backward(const ConvolutionBackward& c) {
  if (c.grad_x.defined() && !c.accumulate_x) fill_zero(c.grad_x);
  if (c.grad_weight.defined()) fill_zero(c.grad_weight);
  if (c.grad_bias.defined()) {
    fill_zero(c.grad_bias);
    for (int64_t i = 0; i < c.grad_y.numel(); ++i) {
      core::element<double>(c.grad_bias, i % c.grad_y.size(3)) += core::element<double>(c.grad_y, i);
    }
  }
  const View& image = c.grad_x.defined() ? c.grad_x : c.x;
  for_taps(
      image, c.weight, c.grad_y, c.stride, c.padding,
      [&](int64_t b, int64_t i, int64_t j, int64_t n, int64_t row, int64_t column, int64_t u, int64_t v) {
        const double g = at(c.grad_y, b, i, j, n);
        for (int64_t k = 0; k < c.weight.size(1); ++k) {
          if (c.grad_x.defined()) at(c.grad_x, b, row, column, k) += g * at(c.weight, n, k, u, v);
          if (c.grad_weight.defined()) at(c.grad_weight, n, k, u, v) += g * at(c.x, b, row, column, k);
        }
      });
}

const Register<ConvolutionForward> forward("reference", kCpu, 0, {takes::f64, takes::any_strides},
                                           run_forward);
const Register<ConvolutionBackward> backward("reference", kCpu, 0, {takes::f64, takes::any_strides},
                                             run_backward);

}  // namespace
}  // namespace medfusion::kernels
