#include "layers/functional/convolution.h"

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

Tensor empty_like(const Tensor& t) { return Tensor::empty(t.shape(), t.dtype(), t.device()); }

}  // namespace

Variable convolution(const Variable& x, const Variable& weight, const Variable& bias, int64_t stride,
                     int64_t padding, bool tf32) {
  check(x, weight, bias, stride, padding);
  const Tensor image = with_adjacent_channels(x.value());
  const core::DType parameters = weight.dtype();
  const Tensor filter = weight.value().to(x.dtype()).to_contiguous();
  const Tensor y =
      Tensor::empty({x.size(0), kernels::convolution_size(x.size(1), weight.size(2), stride, padding),
                     kernels::convolution_size(x.size(2), weight.size(3), stride, padding), weight.size(0)},
                    x.dtype(), image.device());
  const core::DeviceType device = y.device().type;
  kernels::ConvolutionForward args{.x = image.view(),
                                   .weight = filter.view(),
                                   .y = y.view(),
                                   .stride = stride,
                                   .padding = padding,
                                   .tf32 = tf32};
  const Tensor offset = bias.defined() ? bias.value().to_contiguous() : Tensor();
  if (offset.defined()) args.bias = offset.view();
  kernels::dispatch(args, device);

  std::vector<Variable> inputs{x, weight};
  if (bias.defined()) inputs.push_back(bias);
  return Variable::result("convolution", y, inputs,
                          [=](const Tensor& g, const core::InputGradients& gradients) {
                            const Tensor upstream = with_adjacent_channels(g);
                            kernels::ConvolutionBackward backward{.x = image.view(),
                                                                  .weight = filter.view(),
                                                                  .grad_y = upstream.view(),
                                                                  .stride = stride,
                                                                  .padding = padding,
                                                                  .tf32 = tf32};
                            Tensor grad_x;
                            Tensor grad_weight;
                            Tensor grad_bias;
                            if (gradients.needed(0)) {
                              grad_x = empty_like(image);
                              backward.grad_x = grad_x.view();
                            }
                            if (gradients.needed(1)) {
                              grad_weight = Tensor::empty(filter.shape(), parameters, filter.device());
                              backward.grad_weight = grad_weight.view();
                            }
                            if (gradients.size() > 2 && gradients.needed(2)) {
                              grad_bias = Tensor::empty({filter.size(0)}, parameters, filter.device());
                              backward.grad_bias = grad_bias.view();
                            }
                            kernels::dispatch(backward, device);
                            if (grad_x.defined()) gradients.accumulate(0, grad_x);
                            if (grad_weight.defined()) gradients.accumulate(1, grad_weight);
                            if (grad_bias.defined()) gradients.accumulate(2, grad_bias);
                          });
}

}  // namespace medfusion::layers
