#include "kernels/depthwise_convolution/depthwise_convolution.h"
#include "kernels/registry.h"

namespace medfusion::kernels {
namespace {

using core::View;

double& at(const View& v, int64_t a, int64_t b, int64_t c, int64_t d) {
  return static_cast<double*>(
      v.data)[a * v.strides[0] + b * v.strides[1] + c * v.strides[2] + d * v.strides[3]];
}

// Calls body(b, i, j, row, column, u, v, c) for every output element and kernel tap that falls on the image.
template <class Body>
void for_taps(const View& x, const View& weight, const View& y, int64_t stride, int64_t padding,
              const Body& body) {
  for (int64_t index = 0; index < y.numel(); ++index) {
    const int64_t c = index % y.size(3), j = index / y.size(3) % y.size(2);
    const int64_t i = index / (y.size(3) * y.size(2)) % y.size(1),
                  b = index / (y.size(3) * y.size(2) * y.size(1));
    for (int64_t u = 0; u < weight.size(2); ++u) {
      for (int64_t v = 0; v < weight.size(3); ++v) {
        const int64_t row = i * stride + u - padding, column = j * stride + v - padding;
        if (row >= 0 && row < x.size(1) && column >= 0 && column < x.size(2))
          body(b, i, j, row, column, u, v, c);
      }
    }
  }
}

void fill_zero(const View& v) {
  for (int64_t i = 0; v.defined() && i < v.numel(); ++i) core::element<double>(v, i) = 0.0;
}

void run_forward(const DepthwiseConvolutionForward& a) {
  for (int64_t i = 0; i < a.y.numel(); ++i)
    core::element<double>(a.y, i) = a.bias.defined() ? core::element<double>(a.bias, i % a.y.size(3)) : 0.0;
  for_taps(a.x, a.weight, a.y, a.stride, a.padding,
           [&](int64_t b, int64_t i, int64_t j, int64_t row, int64_t column, int64_t u, int64_t v,
               int64_t c) { at(a.y, b, i, j, c) += at(a.weight, c, 0, u, v) * at(a.x, b, row, column, c); });
}

void run_backward(const DepthwiseConvolutionBackward& a) {
  fill_zero(a.grad_x);
  fill_zero(a.grad_weight);
  fill_zero(a.grad_bias);
  for (int64_t i = 0; a.grad_bias.defined() && i < a.grad_y.numel(); ++i)
    core::element<double>(a.grad_bias, i % a.grad_y.size(3)) += core::element<double>(a.grad_y, i);
  for_taps(
      a.grad_x.defined() ? a.grad_x : a.x, a.weight, a.grad_y, a.stride, a.padding,
      [&](int64_t b, int64_t i, int64_t j, int64_t row, int64_t column, int64_t u, int64_t v, int64_t c) {
        const double g = at(a.grad_y, b, i, j, c);
        if (a.grad_x.defined()) at(a.grad_x, b, row, column, c) += g * at(a.weight, c, 0, u, v);
        if (a.grad_weight.defined()) at(a.grad_weight, c, 0, u, v) += g * at(a.x, b, row, column, c);
      });
}

const Register<DepthwiseConvolutionForward> forward("reference", kCpu, 0, {takes::f64, takes::any_strides},
                                                    run_forward);
const Register<DepthwiseConvolutionBackward> backward("reference", kCpu, 0, {takes::f64, takes::any_strides},
                                                      run_backward);

}  // namespace
}  // namespace medfusion::kernels
