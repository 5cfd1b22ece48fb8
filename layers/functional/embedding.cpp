#include "layers/functional/embedding.h"

#include "kernels/embedding/embedding.h"
#include "kernels/registry.h"

namespace medfusion::layers {

using core::Tensor;
using core::Variable;

namespace {

// A copy in a row: the caller may fill the same tensor with the next batch before backward.
Tensor checked_copy(const Tensor& ids, int64_t rows) {
  const Tensor known = ids.clone().reshape({ids.numel()});
  for (int64_t n = 0; n < known.numel(); ++n) {
    const int64_t id = known.data<int64_t>()[n];
    MEDFUSION_CHECK(id >= 0 && id < rows, "embedding: id {} at place {} is outside the table of {} rows", id,
                    n, rows);
  }
  return known;
}

}  // namespace

Variable embedding(const Variable& weight, const Tensor& ids) {
  MEDFUSION_CHECK(
      weight.rank() == 2 && (weight.dtype() == core::DType::f32 || weight.dtype() == core::DType::f64),
      "embedding: expected weight [V, D] of f32 or f64, got {} {}", core::name_of(weight.dtype()),
      weight.shape().str());
  MEDFUSION_CHECK(ids.dtype() == core::DType::i64, "embedding: expected i64 ids, got {}",
                  core::name_of(ids.dtype()));
  const int64_t rows = weight.size(0);
  const int64_t width = weight.size(1);
  core::Shape shape = ids.shape();
  shape.push_back(width);
  MEDFUSION_CHECK(ids.device() == core::Device{} || ids.device() == weight.device(),
                  "embedding: expected ids in host memory or beside the table");
  const Tensor places = ids.device() == core::Device{} ? checked_copy(ids, rows).to(weight.device())
                                                       : ids.reshape({ids.numel()});
  const core::DeviceType device = weight.device().type;
  const Tensor y = Tensor::empty({places.numel(), width}, weight.dtype(), weight.device());
  kernels::dispatch<kernels::EmbeddingForward>({weight.value().view(), places.view(), y.view()}, device);
  return Variable::result(
      "embedding", y.reshape(shape), {weight}, [=](const Tensor& g, const core::InputGradients& inputs) {
        const Tensor grad = Tensor::empty({rows, width}, g.dtype(), g.device());
        const Tensor flat = g.reshape({places.numel(), width});
        kernels::dispatch<kernels::EmbeddingBackward>({places.view(), flat.view(), grad.view()}, device);
        inputs.accumulate(0, grad);
      });
}

}  // namespace medfusion::layers
