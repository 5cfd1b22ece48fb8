#include "layers/modules.h"

#include "layers/autocast.h"
#include "layers/functional/activation.h"
#include "layers/functional/attention.h"
#include "layers/functional/batch_norm.h"
#include "layers/functional/convolution.h"
#include "layers/functional/dropout.h"
#include "layers/functional/elementwise.h"
#include "layers/functional/layer_norm.h"
#include "layers/functional/matmul.h"
#include "layers/functional/view.h"
#include "layers/trace.h"

namespace medfusion::layers {

using core::DType;
using core::Variable;

namespace {

bool in_bf16(const Variable& x) {
  return autocast() && x.dtype() != DType::f64 && x.value().device().type != core::DeviceType::cpu;
}

}  // namespace

Linear::Linear(int64_t in, int64_t out, Init init, core::DType dtype)
    : weight_(add_parameter("weight", {out, in}, init, dtype)),
      bias_(add_parameter("bias", {out}, Init::constant(0.0), dtype)) {}

Variable Linear::forward(const Variable& x) const {
  return in_bf16(x) ? linear_bf16(x, weight_, bias_) : linear(x, weight_, bias_);
}

Convolution::Convolution(int64_t in, int64_t out, const ConvolutionOptions& options, core::DType dtype)
    : options_(options),
      weight_(
          add_parameter("weight", {out, in, options.kernel, options.kernel}, Init::kaiming_normal(), dtype)) {
  if (options.bias) bias_ = add_parameter("bias", {out}, Init::constant(0.0), dtype);
}

Variable Convolution::forward(const Variable& x) const {
  return convolution(in_bf16(x) ? cast(x, DType::bf16) : x, weight_, bias_, options_.stride,
                     options_.padding);
}

BatchNorm::BatchNorm(int64_t channels, core::DType dtype)
    : weight(add_parameter("weight", {channels}, Init::constant(1.0), dtype)),
      bias(add_parameter("bias", {channels}, Init::constant(0.0), dtype)),
      running_mean(add_buffer("running_mean", {channels}, 0.0, dtype)),
      running_var(add_buffer("running_var", {channels}, 1.0, dtype)) {}

Variable BatchNorm::forward(const Variable& x, bool training, bool relu) const {
  return batch_norm(x, weight, bias, running_mean, running_var, training, 0.1, 1e-5, relu);
}

LayerNorm::LayerNorm(int64_t width, core::DType dtype)
    : weight_(add_parameter("weight", {width}, Init::constant(1.0), dtype)),
      bias_(add_parameter("bias", {width}, Init::constant(0.0), dtype)) {}

Variable LayerNorm::forward(const Variable& x) const { return layer_norm(x, weight_, bias_, 1e-5); }

// Multi-head attention of the first `queries` tokens over all tokens.
class EncoderLayer::Attention : public Module {
 public:
  Attention(int64_t dim, int64_t heads, core::DType dtype)
      : heads_(heads),
        qkv_(dim, 3 * dim, Init::xavier_uniform(), dtype),
        out_(dim, dim, Init::xavier_uniform(), dtype) {
    add_child("qkv", qkv_);
    add_child("out", out_);
  }

  Variable forward(const Variable& x, int64_t queries, const AttentionMasks& masks, Trace* trace) const {
    AttentionOptions options;
    if (trace != nullptr && trace->attention) options.probabilities = &trace->probabilities.emplace_back();
    options.key_mask = masks.keys;
    options.pair_mask = masks.pairs;
    const Variable qkv = qkv_.forward(x);
    const Variable seen = in_bf16(qkv) ? cast(qkv, DType::bf16) : qkv;
    return out_.forward(self_attention(seen, heads_, queries, options));
  }

 private:
  int64_t heads_;
  Linear qkv_, out_;
};

class EncoderLayer::Mlp : public Module {
 public:
  Mlp(int64_t dim, int64_t hidden, core::DType dtype)
      : fc1_(dim, hidden, Init::xavier_uniform(), dtype), fc2_(hidden, dim, Init::xavier_uniform(), dtype) {
    add_child("fc1", fc1_);
    add_child("fc2", fc2_);
  }
  Variable forward(const Variable& x) const { return fc2_.forward(gelu(fc1_.forward(x))); }

 private:
  Linear fc1_, fc2_;
};

EncoderLayer::EncoderLayer(int64_t dim, int64_t heads, int64_t mlp_dim, double dropout_rate,
                           core::DType dtype)
    : norm1_(dim, dtype),
      attention_(std::make_unique<Attention>(dim, heads, dtype)),
      norm2_(dim, dtype),
      mlp_(std::make_unique<Mlp>(dim, mlp_dim, dtype)),
      dropout_(dropout_rate) {
  add_child("norm1", norm1_);
  add_child("attention", *attention_);
  add_child("norm2", norm2_);
  add_child("mlp", *mlp_);
}

EncoderLayer::~EncoderLayer() = default;

Variable EncoderLayer::forward(const Variable& x, int64_t queries, const AttentionMasks& masks,
                               Context& context) const {
  const auto drop = [&](const Variable& v) {
    return context.training && dropout_ > 0.0
               ? dropout(v, dropout_, context.seed, context.next_stream(), context.base)
               : v;
  };
  const Variable kept = queries == x.size(1) ? x : slice(x, 1, 0, queries);
  const Variable attended =
      add(kept, drop(attention_->forward(norm1_.forward(x), queries, masks, context.trace)));
  return add(attended, drop(mlp_->forward(norm2_.forward(attended))));
}

}  // namespace medfusion::layers
