#include "layers/functional/view.h"

#include "core/threads.h"
#include "kernels/reduction/reduction.h"
#include "kernels/registry.h"

namespace medfusion::layers {
namespace {

using core::InputGradients;
using core::Shape;
using core::Tensor;
using core::Variable;

// The sizes of the dimensions that expanding repeats (`repeats`, 1 for others), and of those that it keeps.
struct Expansion {
  Shape repeats, kept, strides;  // all of the expanded rank; strides are those of the small tensor

  Expansion(const Shape& small, const Shape& large) : repeats(large), kept(large), strides(large) {
    const Shape packed = core::contiguous_strides(small);
    const int shift = large.rank() - small.rank();
    for (int i = 0; i < large.rank(); ++i) {
      const bool repeated = i < shift || small[i - shift] == 1;
      (repeated ? kept : repeats)[i] = 1;
      strides[i] = repeated ? 0 : packed[i - shift];
    }
  }
};

// sum over the repeated dimensions, in row-major order for each element
template <class T>
void sum_repeats(const Tensor& large, const Tensor& small) {
  const Expansion e(small.shape(), large.shape());
  core::View kept = large.view();
  kept.shape = e.kept;
  core::View repeats = large.view();
  repeats.shape = e.repeats;
  T* to = small.data<T>();
  const int64_t count = repeats.numel();
  core::parallel_for(0, small.numel(), std::max<int64_t>(1, 4096 / std::max<int64_t>(1, count)),
                     [&](int64_t first, int64_t last) {
                       std::fill(to + first, to + last, T{0});
                       for (int64_t r = 0; r < count; ++r) {
                         const T* from = large.data<T>() + repeats.offset(r);
                         for (int64_t i = first; i < last; ++i) to[i] += from[kept.offset(i)];
                       }
                     });
}

}  // namespace

Variable reshape(const Variable& x, const Shape& shape) {
  return Variable::result("reshape", x.value().reshape(shape), {x},
                          [before = x.shape()](const Tensor& g, const InputGradients& inputs) {
                            inputs.accumulate(0, g.reshape(before));
                          });
}

Variable slice(const Variable& x, int dimension, int64_t first, int64_t last) {
  const int d = x.shape().normalize(dimension);
  return Variable::result("slice", x.value().slice(d, first, last), {x},
                          [=, before = x.shape()](const Tensor& g, const InputGradients& inputs) {
                            const Tensor grad = Tensor::zeros(before, g.dtype(), g.device());
                            grad.slice(d, first, last).copy_from(g);
                            inputs.accumulate(0, grad);
                          });
}

Variable transpose(const Variable& x, int a, int b) {
  return Variable::result(
      "transpose", x.value().transpose(a, b), {x},
      [=](const Tensor& g, const InputGradients& inputs) { inputs.accumulate(0, g.transpose(a, b)); });
}

Variable expand(const Variable& x, const Shape& shape) {
  return Variable::result("expand", x.value().expand(shape), {x},
                          [before = x.shape()](const Tensor& g, const InputGradients& inputs) {
                            const Tensor grad = Tensor::empty(before, g.dtype(), g.device());
                            if (g.device().type != core::DeviceType::cpu) {
                              const Tensor sum = grad.reshape(Expansion(before, g.shape()).kept);
                              kernels::dispatch<kernels::ReduceForward>(
                                  {kernels::Reduction::sum, g.view(), sum.view(), {}}, g.device().type);
                            } else if (g.dtype() == core::DType::f64) {
                              sum_repeats<double>(g, grad);
                            } else {
                              sum_repeats<float>(g, grad);
                            }
                            inputs.accumulate(0, grad);
                          });
}

}  // namespace medfusion::layers
