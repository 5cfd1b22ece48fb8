#include "layers/functional/reduction.h"

#include <array>

#include "kernels/reduction/reduction.h"
#include "kernels/registry.h"
#include "layers/functional/checks.h"

namespace medfusion::layers {
namespace {

using core::Shape;
using core::Tensor;
using core::Variable;

Variable reduce(const char* name, kernels::Reduction function, const Variable& x,
                const std::vector<int>& dims, bool keep_dims) {
  check_f32_or_f64(name, x);
  std::array<bool, core::kMaxRank> reduced{};
  for (const int d : dims) reduced[static_cast<size_t>(x.shape().normalize(d))] = true;
  if (dims.empty()) reduced.fill(true);
  Shape kept = x.shape();  // with size 1 where reduced
  Shape shape;             // of the result
  for (int i = 0; i < x.rank(); ++i) {
    const bool goes = reduced[static_cast<size_t>(i)];
    MEDFUSION_CHECK(function != kernels::Reduction::max || !goes || x.size(i) > 0,
                    "{}: nothing to reduce in dimension {} of {}", name, i, x.shape().str());
    if (goes) kept[i] = 1;
    if (!goes || keep_dims) shape.push_back(kept[i]);
  }
  if (shape.rank() == 0) shape.push_back(1);
  const core::DeviceType device = x.device().type;
  const bool max = function == kernels::Reduction::max;
  const Tensor y = Tensor::empty(kept, x.dtype(), x.device());
  const Tensor argmax = max ? Tensor::empty(kept, core::DType::i64, x.device()) : Tensor();
  kernels::dispatch<kernels::ReduceForward>({function, x.value().view(), y.view(), argmax.view()}, device);
  return Variable::result(name, y.reshape(shape), {x},
                          [=, x_shape = x.shape()](const Tensor& g, const core::InputGradients& inputs) {
                            const Tensor grad_x = Tensor::empty(x_shape, g.dtype(), g.device());
                            kernels::dispatch<kernels::ReduceBackward>(
                                {function, argmax.view(), g.reshape(kept).view(), grad_x.view()}, device);
                            inputs.accumulate(0, grad_x);
                          });
}

}  // namespace

Variable sum(const Variable& x, const std::vector<int>& dims, bool keep_dims) {
  return reduce("sum", kernels::Reduction::sum, x, dims, keep_dims);
}
Variable mean(const Variable& x, const std::vector<int>& dims, bool keep_dims) {
  return reduce("mean", kernels::Reduction::mean, x, dims, keep_dims);
}
Variable max(const Variable& x, const std::vector<int>& dims, bool keep_dims) {
  return reduce("max", kernels::Reduction::max, x, dims, keep_dims);
}

}  // namespace medfusion::layers
