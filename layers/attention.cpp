#include "layers/attention.h"

#include "layers/functional/attention.h"
#include "layers/functional/elementwise.h"
#include "layers/functional/matmul.h"
#include "layers/functional/view.h"
#include "layers/trace.h"

namespace medfusion::layers {

using core::Variable;

MultiHeadAttention::MultiHeadAttention(int64_t dim, int64_t heads, const TensorOptions& options)
    : heads_(heads),
      qkv_(dim, 3 * dim, Init::xavier_uniform(), options),
      out_(dim, dim, Init::xavier_uniform(), options) {
  add_child("qkv", qkv_);
  add_child("out", out_);
}

Variable MultiHeadAttention::forward(const Variable& x, int64_t queries, const AttentionMasks& masks,
                                     const Context& context) {
  AttentionOptions options;
  options.key_mask = masks.keys;
  if (masks.pairs.defined()) options.pair_mask = masks.pairs.slice(0, 0, queries);
  Trace* const trace = context.trace;
  if (trace != nullptr && trace->attention) options.probabilities = &trace->probabilities.emplace_back();
  const Variable qkv = qkv_.forward(x, context);
  const Variable seen = context.in_bf16(qkv) ? cast(qkv, core::DType::bf16) : qkv;
  return out_.forward(self_attention(seen, heads_, queries, options), context);
}

EncoderLayer::EncoderLayer(int64_t dim, int64_t heads, int64_t hidden, double dropout,
                           const TensorOptions& options)
    : norm1_(dim, options),
      attention_(dim, heads, options),
      norm2_(dim, options),
      mlp_(dim, hidden, options),
      dropout_(dropout) {
  add_child("norm1", norm1_);
  add_child("attention", attention_);
  add_child("norm2", norm2_);
  add_child("mlp", mlp_);
}

Variable EncoderLayer::forward(const Variable& x, int64_t queries, const AttentionMasks& masks,
                               Context& context) {
  const Variable kept = queries == x.size(1) ? x : slice(x, 1, 0, queries);
  const Variable attended =
      kept + dropout_.forward(attention_.forward(norm1_.forward(x), queries, masks, context), context);
  return attended + dropout_.forward(mlp_.forward(norm2_.forward(attended), context), context);
}

Encoder::Encoder(int64_t layers, int64_t dim, int64_t heads, int64_t hidden, double dropout,
                 const TensorOptions& options)
    : norm_(dim, options) {
  for (int64_t i = 0; i < layers; ++i)
    add_child(std::to_string(i), layers_, dim, heads, hidden, dropout, options);
  add_child("norm", norm_);
}

Variable Encoder::forward(const Variable& tokens, int64_t queries, const AttentionMasks& masks,
                          Context& context) {
  Variable x = tokens;
  for (EncoderLayer& layer : layers_)
    x = layer.forward(x, &layer == &layers_.back() ? queries : x.size(1), masks, context);
  return norm_.forward(layers_.empty() ? slice(x, 1, 0, queries) : x);
}

}  // namespace medfusion::layers
