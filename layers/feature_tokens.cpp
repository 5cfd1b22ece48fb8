#include "layers/feature_tokens.h"

#include <cmath>

#include "layers/functional/elementwise.h"

namespace medfusion::layers {

using core::DType;
using core::Tensor;
using core::Variable;

FeatureTokens::FeatureTokens(int64_t features, int64_t dim, const std::vector<int64_t>& bins,
                             const TensorOptions& options)
    : weight(add_parameter("weight", {features, dim}, Init::normal(0.2), options)),
      bias(add_parameter("bias", {features, dim}, Init::normal(0.02), options)),
      missing(add_parameter("missing", {features, dim}, Init::normal(0.02), options)) {
  if (bins.empty()) return;
  first_bin_.push_back(1);
  for (const int64_t count : bins) first_bin_.push_back(first_bin_.back() + count);
  add_child("", bin_, first_bin_.back(), dim, Init::normal(0.02), options, "bin");
}

core::Table FeatureTokens::prepare(const core::Table& given) const {
  const int64_t features = weight.size(0);
  const core::Shape column{given.values.size(0), features, 1};
  core::Table result{given.values.to(weight.dtype()).reshape(column), {}, {}};
  if (given.missing.defined()) {
    result.values = result.values.clone();
    result.missing = given.missing.to(weight.dtype()).reshape(column);
    core::visit_dtype(weight.dtype(), [&](auto type) {
      auto* const values = result.values.data<decltype(type)>();
      for (int64_t i = 0; i < result.values.numel(); ++i) {
        if (given.missing.data<bool>()[i] && std::isnan(result.values.at(i))) values[i] = decltype(type){};
      }
    });
  }
  if (!bin_) return result;
  MEDFUSION_CHECK(given.bins.defined() && given.bins.dtype() == DType::i64 && given.bins.rank() == 2 &&
                      given.bins.size(1) == features,
                  "table tokens: expected the bins of {} features, [batch, {}] i64", features, features);
  result.bins = Tensor::zeros(given.bins.shape(), DType::i64);
  for (int64_t i = 0; i < result.bins.numel(); ++i) {
    if (given.missing.defined() && given.missing.data<bool>()[i]) continue;
    const auto feature = static_cast<size_t>(i % features);
    const int64_t bin = given.bins.data<int64_t>()[i], first = first_bin_[feature];
    MEDFUSION_CHECK(bin >= 0 && bin < first_bin_[feature + 1] - first,
                    "table tokens: bin {} of feature {} with {} bins", bin, feature,
                    first_bin_[feature + 1] - first);
    result.bins.data<int64_t>()[i] = first + bin;
  }
  return result;
}

Variable FeatureTokens::forward(const core::Table& prepared) {
  Variable token = Variable(prepared.values) * weight;
  if (prepared.missing.defined()) token = token + Variable(prepared.missing) * missing;
  token = token + bias;
  return bin_ ? token + bin_->forward(prepared.bins) : token;
}

}  // namespace medfusion::layers
