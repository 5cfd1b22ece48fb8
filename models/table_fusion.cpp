#include "models/table_fusion.h"

#include "layers/functional/activation.h"
#include "layers/functional/concat.h"
#include "layers/functional/elementwise.h"
#include "layers/functional/view.h"
#include "models/table_head.h"

namespace medfusion::models {

using core::Tensor;
using core::Variable;
using layers::Context;

namespace {

constexpr int64_t kHidden = 64;

// tanh(x) = 2 sigmoid(2 x) - 1.
Variable tanh_of(const Variable& x) {
  return layers::add_scalar(layers::scale(layers::sigmoid(layers::scale(x, 2.0)), 2.0), -1.0);
}

// [B, C] so that it goes with x [B, ..., C].
Variable beside(const Variable& x, const Variable& channels) {
  return x.rank() == 2 ? channels : layers::reshape(channels, {channels.size(0), 1, 1, channels.size(1)});
}

}  // namespace

TableFusion::TableFusion(Fusion kind, int64_t features, int64_t channels,
                         const layers::TensorOptions& options)
    : kind_(kind), features_(features), dtype_(options.dtype) {
  const layers::Init random = layers::Init::xavier_uniform(), zero = layers::Init::constant(0.0);
  if (kind == Fusion::concat) {
    add_child("hidden", hidden_, 2 * features, kHidden, random, options);
  } else {  // film begins as the network without a table
    const layers::Init init = kind == Fusion::film ? zero : random;
    add_child("scale", scale_, 2 * features, channels, init, options);
    add_child("shift", shift_, 2 * features, channels, init, options);
  }
  if (kind != Fusion::metablock) return;
  add_child("scale_norm", norm1_, channels, options);
  add_child("shift_norm", norm2_, channels, options);
}

Tensor TableFusion::prepare(const core::Batch& batch) const {
  return table_vector(batch, features_).to(dtype_);
}

Variable TableFusion::modulate(const Variable& x, const Variable& table, const Context& context) {
  if (kind_ == Fusion::concat) return x;
  Variable scale = scale_->forward(table, context), shift = shift_->forward(table, context);
  if (kind_ == Fusion::film) return x * beside(x, layers::add_scalar(scale, 1.0)) + beside(x, shift);
  scale = norm1_->forward(scale, context);
  shift = norm2_->forward(shift, context);
  return layers::sigmoid(tanh_of(x * beside(x, scale)) + beside(x, shift));
}

Variable TableFusion::append(const Variable& pooled, const Variable& table, const Context& context) {
  if (kind_ != Fusion::concat) return pooled;
  return layers::concat({pooled, layers::relu(hidden_->forward(table, context))}, 1);
}

int64_t TableFusion::added() const { return kind_ == Fusion::concat ? kHidden : 0; }

}  // namespace medfusion::models
