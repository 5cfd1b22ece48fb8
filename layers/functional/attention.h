// Differentiable multi-head attention; see kernels/attention/attention.h for the formulas.
#pragma once

#include <cstdint>
#include <optional>

#include "core/autograd.h"

namespace medfusion::layers {

struct AttentionOptions {
  std::optional<double> scale;  // default: 1 / sqrt(channels / heads)
  core::Tensor key_mask;        // [B, Tk] bool, true = attend; undefined: all keys
  core::Tensor pair_mask;       // [Tq, Tk] or [B, Tq, Tk] bool, true = attend; undefined: all pairs
  // Where not null, receives the attention probabilities, without gradient: their mean over heads
  // [B, Tq, Tk], or each head's [B, heads, Tq, Tk].
  core::Tensor* probabilities = nullptr;
  bool mean_over_heads = true;
};

// q [B, Tq, C], k and v [B, Tk, C] -> [B, Tq, C]; C = heads x head width. A query that sees no key
// gives zeros.
core::Variable attention(const core::Variable& q, const core::Variable& k, const core::Variable& v,
                         int64_t heads, const AttentionOptions& options = {});

// Self-attention of qkv [B, T, 3 C], the queries, keys and values side by side, for the first
// `queries` tokens -> [B, queries, C]. The same as attention() of slices, but the gradient is written in
// place.
core::Variable self_attention(const core::Variable& qkv, int64_t heads, int64_t queries,
                              const AttentionOptions& options = {});

}  // namespace medfusion::layers
