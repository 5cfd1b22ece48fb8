#include "layers/linear.h"

#include "layers/functional/activation.h"
#include "layers/functional/matmul.h"

namespace medfusion::layers {

using core::Variable;

Linear::Linear(int64_t in, int64_t out, Init init, const TensorOptions& options)
    : weight(add_parameter("weight", {out, in}, init, options)),
      bias(add_parameter("bias", {out}, Init::constant(0.0), options)) {}

Variable Linear::forward(const Variable& x, const Context& context) {
  return context.in_bf16(x) ? linear_bf16(x, weight, bias) : linear(x, weight, bias, context.tf32());
}

Mlp::Mlp(int64_t dim, int64_t hidden, const TensorOptions& options)
    : fc1_(dim, hidden, Init::xavier_uniform(), options), fc2_(hidden, dim, Init::xavier_uniform(), options) {
  add_child("fc1", fc1_);
  add_child("fc2", fc2_);
}

Variable Mlp::forward(const Variable& x, const Context& context) {
  return fc2_.forward(gelu(fc1_.forward(x, context)), context);
}

}  // namespace medfusion::layers
