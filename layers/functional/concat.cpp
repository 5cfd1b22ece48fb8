#include "layers/functional/concat.h"

#include "kernels/concat/concat.h"
#include "kernels/registry.h"

namespace medfusion::layers {

using core::Tensor;
using core::Variable;

Tensor concat(const std::vector<Tensor>& inputs, int dimension) {
  MEDFUSION_CHECK(!inputs.empty(), "concat: expected at least one tensor");
  const Tensor& front = inputs.front();
  core::Shape shape = front.shape();
  const int d = shape.normalize(dimension);
  shape[d] = 0;
  std::vector<core::View> views;
  for (const Tensor& x : inputs) {
    MEDFUSION_CHECK(x.dtype() == front.dtype(), "concat: {} does not join {}", core::name_of(x.dtype()),
                    core::name_of(front.dtype()));
    core::Shape rest = x.shape();
    bool fits = rest.rank() == shape.rank();
    for (int i = 0; fits && i < rest.rank(); ++i) fits = i == d || rest[i] == front.shape()[i];
    MEDFUSION_CHECK(fits, "concat along dimension {}: {} does not join {}", d, x.shape().str(),
                    front.shape().str());
    shape[d] += x.shape()[d];
    views.push_back(x.view());
  }
  const Tensor y = Tensor::empty(shape, front.dtype(), front.device());
  kernels::dispatch<kernels::ConcatForward>({d, std::move(views), y.view()}, front.device().type);
  return y;
}

Variable concat(const std::vector<Variable>& inputs, int dimension) {
  std::vector<Tensor> values;
  std::vector<core::Shape> shapes;
  for (const Variable& x : inputs) {
    values.push_back(x.value());
    shapes.push_back(x.shape());
  }
  const Tensor y = concat(values, dimension);
  const int d = y.shape().normalize(dimension);
  return Variable::result("concat", y, inputs, [=](const Tensor& g, const core::InputGradients& gradients) {
    std::vector<Tensor> grads(shapes.size());
    std::vector<core::View> views;
    for (size_t n = 0; n < shapes.size(); ++n) {
      if (gradients.needed(n)) grads[n] = Tensor::empty(shapes[n], g.dtype(), g.device());
      views.push_back(grads[n].view());
      views.back().shape = shapes[n];
    }
    kernels::dispatch<kernels::ConcatBackward>({d, g.view(), std::move(views)}, g.device().type);
    for (size_t n = 0; n < shapes.size(); ++n) {
      gradients.accumulate(n, grads[n]);
    }
  });
}

}  // namespace medfusion::layers
