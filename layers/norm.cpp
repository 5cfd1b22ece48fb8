#include "layers/norm.h"

#include "layers/functional/batch_norm.h"
#include "layers/functional/layer_norm.h"

namespace medfusion::layers {

using core::Variable;

BatchNorm::BatchNorm(int64_t channels, const TensorOptions& options, const BatchNormOptions& constants)
    : weight(add_parameter("weight", {channels}, Init::constant(1.0), options)),
      bias(add_parameter("bias", {channels}, Init::constant(0.0), options)),
      running_mean(add_buffer("running_mean", {channels}, 0.0, options)),
      running_var(add_buffer("running_var", {channels}, 1.0, options)),
      constants_(constants) {}

Variable BatchNorm::forward(const Variable& x, const Context& context, bool relu) {
  if (context.shards != nullptr && context.training && !frozen())
    return batch_norm_of_shard(x, weight, bias, running_mean, running_var, *context.shards,
                               constants_.momentum, constants_.eps, relu);
  return batch_norm(x, weight, bias, running_mean, running_var, context.training && !frozen(),
                    constants_.momentum, constants_.eps, relu);
}

LayerNorm::LayerNorm(int64_t width, const TensorOptions& options, double eps)
    : weight(add_parameter("weight", {width}, Init::constant(1.0), options)),
      bias(add_parameter("bias", {width}, Init::constant(0.0), options)),
      eps_(eps) {}

Variable LayerNorm::forward(const Variable& x) { return layer_norm(x, weight, bias, eps_); }

}  // namespace medfusion::layers
