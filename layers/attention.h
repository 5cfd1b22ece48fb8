// Self-attention over tokens [B, T, D].
#pragma once

#include <deque>

#include "layers/dropout.h"
#include "layers/linear.h"
#include "layers/norm.h"

namespace medfusion::layers {

// Which keys a query may see (layers/functional/attention.h). Undefined tensors mask nothing.
struct AttentionMasks {
  core::Tensor keys;   // [B, T] bool
  core::Tensor pairs;  // [T, T] bool
};

// The first `queries` of the tokens attend to all: x [B, T, D] -> [B, queries, D].
class MultiHeadAttention : public Module {
 public:
  MultiHeadAttention(int64_t dim, int64_t heads, const TensorOptions& options);
  core::Variable forward(const core::Variable& x, int64_t queries, const AttentionMasks& masks,
                         const Context& context);

 private:
  int64_t heads_;
  Linear qkv_, out_;
};

// One pre-norm encoder layer (docs/medfusionnet.md, attention branch): x [B, T, D] -> [B, queries, D].
class EncoderLayer : public Module {
 public:
  EncoderLayer(int64_t dim, int64_t heads, int64_t hidden, double dropout, const TensorOptions& options);
  core::Variable forward(const core::Variable& x, int64_t queries, const AttentionMasks& masks,
                         Context& context);

 private:
  LayerNorm norm1_;
  MultiHeadAttention attention_;
  LayerNorm norm2_;
  Mlp mlp_;
  Dropout dropout_;
};

// `layers` of them and a last norm. The last layer computes the first `queries` tokens only.
class Encoder : public Module {
 public:
  Encoder(int64_t layers, int64_t dim, int64_t heads, int64_t hidden, double dropout,
          const TensorOptions& options);
  core::Variable forward(const core::Variable& tokens, int64_t queries, const AttentionMasks& masks,
                         Context& context);

 private:
  std::deque<EncoderLayer> layers_;
  LayerNorm norm_;
};

}  // namespace medfusion::layers
