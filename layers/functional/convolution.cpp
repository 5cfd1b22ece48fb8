#include "layers/functional/convolution.h"

#include <algorithm>

#include "core/product_count.h"
#include "kernels/convolution/convolution.h"
#include "kernels/registry.h"

namespace medfusion::layers {
namespace {

using core::Shape;
using core::Tensor;
using core::Variable;

void check(const Variable& x, const Variable& weight, const Variable& bias, int64_t stride, int64_t padding) {
  const core::DType dtype = core::statistics_dtype(x.dtype());
  MEDFUSION_CHECK(
      (dtype == core::DType::f32 || dtype == core::DType::f64) && weight.dtype() == dtype &&
          (!bias.defined() || bias.dtype() == dtype),
      "convolution: expected f32 or f64, the same for all, or x in bf16 and the rest in f32, got x "
      "{} and weight {}",
      core::name_of(x.dtype()), core::name_of(weight.dtype()));
  MEDFUSION_CHECK(
      x.rank() == 4 && weight.rank() == 4 && x.size(3) == weight.size(1),
      "convolution: expected x [batch, height, width, in] and weight [out, in, kernel height, kernel "
      "width], got {} and {}",
      x.shape().str(), weight.shape().str());
  MEDFUSION_CHECK(!bias.defined() || bias.shape() == Shape({weight.size(0)}),
                  "convolution: expected bias [{}], got {}", weight.size(0), bias.shape().str());
  MEDFUSION_CHECK(stride >= 1 && padding >= 0, "convolution: stride {}, padding {}", stride, padding);
  MEDFUSION_CHECK(x.size(1) + 2 * padding >= weight.size(2) && x.size(2) + 2 * padding >= weight.size(3),
                  "convolution: kernel {}x{} is larger than the image {}x{} with padding {}", weight.size(2),
                  weight.size(3), x.size(1), x.size(2), padding);
}

// Kernels want channels adjacent in memory.
Tensor with_adjacent_channels(const Tensor& t) {
  return t.strides()[3] == 1 || t.size(3) == 1 ? t : t.to_contiguous();
}

}  // namespace

Variable convolution(const Variable& x, const Variable& weight, const Variable& bias, int64_t stride,
                     int64_t padding, bool tf32) {
  check(x, weight, bias, stride, padding);
  const Tensor image = with_adjacent_channels(x.value());
  const Tensor filter = weight.value().to(x.dtype()).to_contiguous();
  const Tensor y =
      Tensor::empty({x.size(0), kernels::convolution_size(x.size(1), weight.size(2), stride, padding),
                     kernels::convolution_size(x.size(2), weight.size(3), stride, padding), weight.size(0)},
                    x.dtype(), image.device());
  const core::DeviceType device = y.device().type;
  const Tensor offset = bias.defined() ? bias.value().to_contiguous() : Tensor();
  core::ProductCount::add(y.numel(), weight.value().numel() / std::max<int64_t>(1, weight.size(0)));
  kernels::dispatch<kernels::ConvolutionForward>({.x = image.view(),
                                                  .weight = filter.view(),
                                                  .bias = offset.view(),
                                                  .y = y.view(),
                                                  .stride = stride,
                                                  .padding = padding,
                                                  .tf32 = tf32},
                                                 device);
  return Variable::result(
      "convolution", y, {x, weight, bias},
      [=, parameter = weight.value()](const Tensor& g, const core::InputGradients& inputs) {
        const Tensor upstream = with_adjacent_channels(g);
        const Tensor grad_x = inputs.room(0, image), grad_weight = inputs.room(1, parameter),
                     grad_bias = inputs.room(2, offset);
        kernels::dispatch<kernels::ConvolutionBackward>({.x = image.view(),
                                                         .weight = filter.view(),
                                                         .grad_y = upstream.view(),
                                                         .grad_x = grad_x.view(),
                                                         .grad_weight = grad_weight.view(),
                                                         .grad_bias = grad_bias.view(),
                                                         .stride = stride,
                                                         .padding = padding,
                                                         .tf32 = tf32},
                                                        device);
        inputs.accumulate(0, grad_x);
        inputs.accumulate(1, grad_weight);
        inputs.accumulate(2, grad_bias);
      });
}

}  // namespace medfusion::layers
