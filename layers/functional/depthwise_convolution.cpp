#include "layers/functional/depthwise_convolution.h"

#include <algorithm>

#include "core/product_count.h"
#include "kernels/depthwise_convolution/depthwise_convolution.h"
#include "kernels/registry.h"
#include "layers/functional/checks.h"

namespace medfusion::layers {
namespace {

using core::Shape;
using core::Tensor;
using core::Variable;

void check_depthwise(const Variable& x, const Variable& weight, const Variable& bias, int64_t stride,
                     const Padding& rows, const Padding& columns) {
  check_f32_or_f64("depthwise_convolution", x);
  MEDFUSION_CHECK(
      x.rank() == 4 && weight.rank() == 4 && weight.size(0) == x.size(3) && weight.size(1) == 1,
      "depthwise_convolution: expected x [batch, height, width, channels] and weight [channels, 1, "
      "kernel height, kernel width], got {} and {}",
      x.shape().str(), weight.shape().str());
  MEDFUSION_CHECK(weight.dtype() == x.dtype() && (!bias.defined() || bias.dtype() == x.dtype()),
                  "depthwise_convolution: expected one dtype, got x {} and weight {}",
                  core::name_of(x.dtype()), core::name_of(weight.dtype()));
  MEDFUSION_CHECK(!bias.defined() || bias.shape() == Shape({x.size(3)}),
                  "depthwise_convolution: expected bias [{}], got {}", x.size(3), bias.shape().str());
  MEDFUSION_CHECK(stride >= 1 && rows.before >= 0 && rows.before == columns.before && rows.after >= 0 &&
                      columns.after >= 0,
                  "depthwise_convolution: stride {}, padding before rows {} and columns {}", stride,
                  rows.before, columns.before);
}

int64_t window_count(int64_t size, int64_t kernel, int64_t stride, const Padding& padding) {
  const int64_t padded = size + padding.before + padding.after;
  MEDFUSION_CHECK(padded >= kernel, "depthwise_convolution: a kernel of {} is larger than {} padded pixels",
                  kernel, padded);
  return (padded - kernel) / stride + 1;
}

// Kernels want channels next to each other.
Tensor with_neighboring_channels(const Tensor& t) {
  return t.strides()[3] == 1 || t.size(3) == 1 ? t : t.to_contiguous();
}

}  // namespace

Padding same_padding(int64_t size, int64_t kernel, int64_t stride) {
  const int64_t windows = (size + stride - 1) / stride;
  const int64_t all = std::max<int64_t>(0, (windows - 1) * stride + kernel - size);
  return {all / 2, all - all / 2};
}

Variable depthwise_convolution(const Variable& x, const Variable& weight, const Variable& bias,
                               int64_t stride, const Padding& rows, const Padding& columns) {
  check_depthwise(x, weight, bias, stride, rows, columns);
  const Tensor image = with_neighboring_channels(x.value());
  const Tensor filter = weight.value().to_contiguous();
  const Tensor offset = bias.defined() ? bias.value().to_contiguous() : Tensor();
  const Tensor y = Tensor::empty({x.size(0), window_count(x.size(1), weight.size(2), stride, rows),
                                  window_count(x.size(2), weight.size(3), stride, columns), x.size(3)},
                                 x.dtype(), x.device());
  const core::DeviceType device = x.device().type;
  const int64_t padding = rows.before;
  core::ProductCount::add(y.numel(), weight.size(2) * weight.size(3));
  kernels::dispatch<kernels::DepthwiseConvolutionForward>(
      {image.view(), filter.view(), offset.view(), y.view(), stride, padding}, device);
  return Variable::result("depthwise_convolution", y, {x, weight, bias},
                          [=](const Tensor& g, const core::InputGradients& inputs) {
                            const Tensor upstream = with_neighboring_channels(g);
                            const Tensor grad_x = inputs.room(0, image), grad_weight = inputs.room(1, filter),
                                         grad_bias = inputs.room(2, offset);
                            kernels::dispatch<kernels::DepthwiseConvolutionBackward>(
                                {image.view(), filter.view(), upstream.view(), grad_x.view(),
                                 grad_weight.view(), grad_bias.view(), stride, padding},
                                device);
                            inputs.accumulate(0, grad_x);
                            inputs.accumulate(1, grad_weight);
                            inputs.accumulate(2, grad_bias);
                          });
}

}  // namespace medfusion::layers
