#include "models/table_head.h"

#include <algorithm>
#include <cmath>

#include "layers/functional/elementwise.h"
#include "layers/functional/matmul.h"

namespace medfusion::models {

using core::DType;
using core::Tensor;
using core::Variable;

Tensor table_vector(const core::Batch& batch, int64_t features) {
  const Tensor& values = batch.table.values;
  MEDFUSION_CHECK(values.defined() && values.rank() == 2 && values.size(1) == features,
                  "table vector: expected a table of {} features", features);
  const Tensor result = Tensor::zeros({values.size(0), 2 * features}, DType::f64);
  for (int64_t i = 0; i < values.numel(); ++i) {
    const int64_t row = i / features, feature = i % features;
    const bool absent = batch.table_present.defined() && !batch.table_present.data<bool>()[row];
    const double value = values.at(i);
    const bool missing =
        absent || std::isnan(value) || (batch.table.missing.defined() && batch.table.missing.data<bool>()[i]);
    double* const out = result.data<double>() + row * 2 * features + feature;
    out[0] = absent || std::isnan(value) ? 0.0 : value;
    out[features] = missing ? 1.0 : 0.0;
  }
  return result;
}

TableHead::TableHead(int64_t labels, int64_t features, const std::vector<int64_t>& bins,
                     const Tensor& selection, const layers::TensorOptions& options)
    : features_(features) {
  int64_t inputs = 2 * features;
  for (const int64_t count : bins) {
    first_cut_.push_back(inputs);
    inputs += count - 1;
  }
  if (!bins.empty()) first_cut_.push_back(inputs);
  weight = add_parameter("weight", {labels, inputs}, layers::Init::constant(0.0), options);
  const Tensor seen = Tensor::full({labels, inputs}, 1.0, options.dtype);
  for (int64_t label = 0; selection.defined() && label < labels; ++label) {
    for (int64_t feature = 0; feature < features; ++feature) {
      if (selection.at(label * features + feature) != 0.0) continue;
      const auto hide = [&](int64_t first, int64_t last) {
        seen.slice(0, label, label + 1).slice(1, first, last).fill(0.0);
      };
      hide(feature, feature + 1);
      hide(features + feature, features + feature + 1);
      if (!bins.empty()) hide(first_cut_[feature], first_cut_[feature + 1]);
    }
  }
  seen_ = seen.to(options.device);
}

Tensor TableHead::prepare(const core::Batch& batch, const Tensor& present) const {
  const Tensor vector = table_vector(batch, features_);
  const Tensor result = Tensor::zeros({vector.size(0), inputs()}, DType::f64);
  result.slice(1, 0, vector.size(1)).copy_from(vector);
  for (int64_t row = 0; row < result.size(0); ++row) {
    if (!present.data<bool>()[row]) {
      result.slice(0, row, row + 1).fill(0.0);
      continue;
    }
    for (int64_t feature = 0; !first_cut_.empty() && feature < features_; ++feature) {
      if (vector.at(row * vector.size(1) + features_ + feature) != 0.0) continue;
      const int64_t bin = batch.table.bins.data<int64_t>()[row * features_ + feature];
      const int64_t first = first_cut_[feature], last = first + bin;
      MEDFUSION_CHECK(last <= first_cut_[feature + 1], "table head: bin {} of feature {} with {} bins", bin,
                      feature, first_cut_[feature + 1] - first + 1);
      double* const inputs_of_row = result.data<double>() + row * inputs();
      std::fill(inputs_of_row + first, inputs_of_row + last, 1.0);
    }
  }
  return result.to(weight.dtype());
}

Variable TableHead::forward(const Variable& prepared, const layers::Context& context) {
  return layers::linear(prepared, weight * Variable(seen_), {}, context.tf32());
}

}  // namespace medfusion::models
