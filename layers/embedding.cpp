#include "layers/embedding.h"

#include <cmath>

#include "layers/functional/embedding.h"

namespace medfusion::layers {

using core::Tensor;

Embedding::Embedding(int64_t rows, int64_t dim, Init init, const TensorOptions& options,
                     const std::string& name)
    : weight(add_parameter(name, {rows, dim}, init, options)) {}

core::Variable Embedding::forward(const Tensor& ids) { return embedding(weight, ids); }

Tensor DeviceConstants::get(const core::Shape& key, core::Device device,
                            const std::function<Tensor()>& make) {
  const std::lock_guard lock(mutex_);
  for (const Entry& entry : entries_) {
    if (entry.key == key) return entry.tensor;
  }
  return entries_.emplace_back(Entry{key, make().to(device)}).tensor;
}

Tensor position_code(int64_t height, int64_t width, int64_t dim, core::DType dtype) {
  const int64_t quarter = dim / 4;
  Tensor code = Tensor::empty({height * width, dim}, core::DType::f64);
  for (int64_t row = 0; row < height; ++row) {
    for (int64_t column = 0; column < width; ++column) {
      double* at = code.data<double>() + (row * width + column) * dim;
      const double y = (static_cast<double>(row) + 0.5) * 32.0 / static_cast<double>(height);
      const double x = (static_cast<double>(column) + 0.5) * 32.0 / static_cast<double>(width);
      for (int64_t k = 0; k < quarter; ++k) {
        const double w = std::pow(10000.0, -static_cast<double>(k) / static_cast<double>(quarter));
        at[k] = std::sin(y * w);
        at[quarter + k] = std::cos(y * w);
        at[2 * quarter + k] = std::sin(x * w);
        at[3 * quarter + k] = std::cos(x * w);
      }
    }
  }
  return code.to(dtype);
}

}  // namespace medfusion::layers
