#include "kernels/batch_norm/batch_norm.h"
#include "kernels/registry.h"
#include "layers/functional/batch_norm.h"
#include "layers/functional/checks.h"
#include "layers/functional/elementwise.h"

namespace medfusion::layers {
namespace {

using core::Tensor;
using core::Variable;

Tensor product(const Tensor& a, const Tensor& b) { return mul(Variable(a), Variable(b)).value(); }

Tensor difference(const Tensor& a, const Tensor& b) { return sub(Variable(a), Variable(b)).value(); }

Tensor scaled(const Tensor& x, double factor) { return scale(Variable(x), factor).value(); }

// running += momentum (batch - running)
void move_towards(const Tensor& running, const Tensor& batch, double momentum) {
  running.copy_from(add(Variable(running), Variable(scaled(difference(batch, running), momentum))).value());
}

// Of a shard that is normalized by the statistics of the whole batch.
struct Normalized {
  Tensor y, mean, inv_std;
  double rows = 0.0;  // of the batch
};

// Each shard's mean and variance are of its own rows, so a large mean costs no digits.
Normalized normalize(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& running_mean,
                     const Tensor& running_var, ShardExchange& shards, double momentum, double eps,
                     bool relu) {
  const core::NoGradGuard no_gradients;
  const core::DeviceType device = x.device().type;
  const auto own = static_cast<double>(x.numel() / x.size(-1));
  Normalized result{Tensor::empty_like(x), Tensor::empty_like(weight), Tensor::empty_like(weight),
                    static_cast<double>(shards.rows_of_batch(x.numel() / x.size(-1)))};
  MEDFUSION_CHECK(result.rows > 1.0, "batch_norm_of_shard: training wants more than one value per channel");
  const Tensor own_mean = Tensor::empty_like(weight), own_var = Tensor::empty_like(weight);
  kernels::dispatch<kernels::BatchNormStatistics>({x.view(), own_mean.view(), own_var.view()}, device);
  const Tensor mean = scaled(shards.sum(scaled(own_mean, own)), 1.0 / result.rows);
  const Tensor apart = difference(own_mean, mean);
  const Tensor about_mean = add(Variable(own_var), Variable(product(apart, apart))).value();
  const Tensor var = scaled(shards.sum(scaled(about_mean, own)), 1.0 / result.rows);
  kernels::dispatch<kernels::BatchNormForward>(
      {x.view(), weight.view(), bias.view(), mean.view(), var.view(), result.y.view(), result.mean.view(),
       result.inv_std.view(), false, relu, momentum, eps},
      device);
  if (shards.updates_shared()) {
    move_towards(running_mean, mean, momentum);
    move_towards(running_var, scaled(var, result.rows / (result.rows - 1.0)), momentum);
  }
  return result;
}

}  // namespace

// With the statistics at hand a shard is normalized as in evaluation; what is left of the backward is what
// the statistics owe to x: grad_x -= w inv_std (sum g + xhat sum g xhat) / rows, summed over all shards.
Variable batch_norm_of_shard(const Variable& x, const Variable& weight, const Variable& bias,
                             const Tensor& running_mean, const Tensor& running_var, ShardExchange& shards,
                             double momentum, double eps, bool fuse_relu) {
  MEDFUSION_CHECK(x.dtype() == weight.dtype() && x.rank() >= 1 && x.size(-1) == weight.size(0),
                  "batch_norm_of_shard: expected x [..., {}] in {}, got {} in {}", weight.size(0),
                  core::name_of(weight.dtype()), x.shape().str(), core::name_of(x.dtype()));
  const Tensor input = x.value().to_contiguous(), w = weight.value(), b = bias.value();
  const Normalized n = normalize(input, w, b, running_mean, running_var, shards, momentum, eps, fuse_relu);
  return Variable::result(
      "batch_norm_of_shard", n.y, {x, weight, bias},
      [=, &shards, mean = n.mean, inv_std = n.inv_std, rows = n.rows](const Tensor& g,
                                                                      const core::InputGradients& inputs) {
        const core::NoGradGuard none;
        const Tensor grad_x = Tensor::empty_like(input), grad_weight = Tensor::empty_like(w),
                     grad_bias = Tensor::empty_like(b);
        kernels::dispatch<kernels::BatchNormBackward>(
            {input.view(), w.view(), b.view(), mean.view(), inv_std.view(), g.view(), grad_x.view(),
             grad_weight.view(), grad_bias.view(), false, fuse_relu},
            input.device().type);
        // grad_x += slope x + offset, per channel
        const Tensor by_std = scaled(product(w, inv_std), -1.0 / rows);
        const Tensor slope = product(product(by_std, inv_std), shards.sum(grad_weight));
        const Tensor offset = difference(product(by_std, shards.sum(grad_bias)), product(slope, mean));
        const Tensor owed = add(mul(Variable(input), Variable(slope)), Variable(offset)).value();
        inputs.accumulate(0, add(Variable(grad_x), Variable(owed)).value());
        inputs.accumulate(1, grad_weight);
        inputs.accumulate(2, grad_bias);
      });
}

}  // namespace medfusion::layers
