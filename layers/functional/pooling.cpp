#include "layers/functional/pooling.h"

#include "kernels/pooling/pooling.h"
#include "kernels/registry.h"
#include "layers/functional/checks.h"

namespace medfusion::layers {
namespace {

using core::Tensor;
using core::Variable;
using kernels::Pooling;

void check_image(const char* name, const Variable& x) {
  check_floating(name, x);
  MEDFUSION_CHECK(x.rank() == 4, "{}: expected [batch, height, width, channels], got {}", name,
                  x.shape().str());
}

// Kernels want channels next to each other.
Tensor with_near_channels(const Tensor& x) {
  return x.size(3) <= 1 || x.strides()[3] == 1 ? x : x.to_contiguous();
}

int64_t pooled_size(const char* name, int64_t size, const PoolOptions& o) {
  MEDFUSION_CHECK(size + 2 * o.padding >= o.kernel,
                  "{}: a window of {} does not fit {} pixels with padding {}", name, o.kernel, size,
                  o.padding);
  return (size + 2 * o.padding - o.kernel) / o.stride + 1;
}

Variable pool(const char* name, Pooling function, const Variable& x, const PoolOptions& o) {
  check_image(name, x);
  MEDFUSION_CHECK(
      o.kernel >= 1 && o.kernel <= 16 && o.stride >= 1 && o.padding >= 0 && 2 * o.padding <= o.kernel,
      "{}: kernel {} (1 to 16), stride {} (at least 1), padding {} (at most half the kernel)", name, o.kernel,
      o.stride, o.padding);
  const core::DeviceType device = x.device().type;
  const core::Shape shape{x.size(0), pooled_size(name, x.size(1), o), pooled_size(name, x.size(2), o),
                          x.size(3)};
  const kernels::PoolingWindow window{o.kernel, o.stride, o.padding};
  const bool max = function == Pooling::max;
  const Tensor y = Tensor::empty(shape, x.dtype(), x.device());
  const Tensor argmax = max ? Tensor::empty(shape, core::DType::u8, x.device()) : Tensor();
  kernels::dispatch<kernels::PoolingForward>(
      {function, window, with_near_channels(x.value()).view(), y.view(), argmax.view()}, device);
  return Variable::result(name, y, {x},
                          [=, x_shape = x.shape()](const Tensor& g, const core::InputGradients& inputs) {
                            const Tensor grad_x = Tensor::empty(x_shape, g.dtype(), g.device());
                            kernels::dispatch<kernels::PoolingBackward>(
                                {function, window, argmax.view(), g.view(), grad_x.view()}, device);
                            inputs.accumulate(0, grad_x);
                          });
}

Variable global_pool(const char* name, Pooling function, const Variable& x) {
  check_image(name, x);
  MEDFUSION_CHECK(x.size(1) * x.size(2) > 0, "{}: no pixel in {}", name, x.shape().str());
  MEDFUSION_CHECK(x.size(1) * x.size(2) < (int64_t{1} << 31), "{}: too many pixels in {}", name,
                  x.shape().str());
  const core::DeviceType device = x.device().type;
  const core::Shape shape{x.size(0), x.size(3)};
  const bool max = function == Pooling::max;
  const Tensor y = Tensor::empty(shape, core::statistics_dtype(x.dtype()), x.device());
  const Tensor argmax = max ? Tensor::empty(shape, core::DType::i32, x.device()) : Tensor();
  kernels::dispatch<kernels::GlobalPoolingForward>(
      {function, with_near_channels(x.value()).view(), y.view(), argmax.view()}, device);
  return Variable::result(
      name, y, {x},
      [=, x_shape = x.shape(), dtype = x.dtype()](const Tensor& g, const core::InputGradients& inputs) {
        const Tensor grad_x = Tensor::empty(x_shape, dtype, g.device());
        kernels::dispatch<kernels::GlobalPoolingBackward>({function, argmax.view(), g.view(), grad_x.view()},
                                                          device);
        inputs.accumulate(0, grad_x);
      });
}

}  // namespace

Variable max_pool(const Variable& x, const PoolOptions& options) {
  return pool("max_pool", Pooling::max, x, options);
}
Variable average_pool(const Variable& x, const PoolOptions& options) {
  return pool("average_pool", Pooling::average, x, options);
}
Variable global_max_pool(const Variable& x) { return global_pool("global_max_pool", Pooling::max, x); }
Variable global_average_pool(const Variable& x) {
  return global_pool("global_average_pool", Pooling::average, x);
}

}  // namespace medfusion::layers
