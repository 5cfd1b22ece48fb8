#include "layers/functional/attention.h"

#include <cmath>

#include "core/product_count.h"
#include "kernels/attention/attention.h"
#include "kernels/registry.h"

namespace medfusion::layers {
namespace {

using core::Tensor;
using core::Variable;
using kernels::AttentionBackward;
using kernels::AttentionForward;

void check_mask(const Tensor& mask, const core::Shape& expected, const char* name) {
  MEDFUSION_CHECK(mask.dtype() == core::DType::boolean && mask.shape() == expected,
                  "attention: expected {} bool {}, got {} {}", name, expected.str(),
                  core::name_of(mask.dtype()), mask.shape().str());
}

void check(const Tensor& q, const Tensor& k, const Tensor& v, int64_t heads,
           const AttentionOptions& options) {
  MEDFUSION_CHECK(core::is_floating(q.dtype()), "attention: expected f32, f64 or bf16, got {}",
                  core::name_of(q.dtype()));
  MEDFUSION_CHECK(k.dtype() == q.dtype() && v.dtype() == q.dtype(),
                  "attention: q, k and v must have one dtype, got {}, {} and {}", core::name_of(q.dtype()),
                  core::name_of(k.dtype()), core::name_of(v.dtype()));
  const bool fits = q.rank() == 3 && k.rank() == 3 && k.shape() == v.shape() && q.size(0) == k.size(0) &&
                    q.size(2) == k.size(2);
  MEDFUSION_CHECK(fits, "attention: expected q [B, Tq, C] and k, v [B, Tk, C], got {}, {} and {}",
                  q.shape().str(), k.shape().str(), v.shape().str());
  MEDFUSION_CHECK(heads > 0 && q.size(2) > 0 && q.size(2) % heads == 0,
                  "attention: {} channels do not split into {} heads", q.size(2), heads);
  if (options.key_mask.defined()) check_mask(options.key_mask, {q.size(0), k.size(1)}, "key_mask");
  if (options.pair_mask.defined()) {
    const bool per_sample = options.pair_mask.rank() == 3;
    check_mask(options.pair_mask,
               per_sample ? core::Shape{q.size(0), q.size(1), k.size(1)} : core::Shape{q.size(1), k.size(1)},
               "pair_mask");
  }
}

// What forward leaves for backward. The masks are part of it, so that the caller may let go of them.
struct Saved {
  Tensor q, k, v, key_mask, pair_mask, y, log_sum_exp;
  int64_t heads = 1;
  double scale = 1.0;

  void backward(const Tensor& grad_y, const core::View& grad_q, const core::View& grad_k,
                const core::View& grad_v) const {
    kernels::dispatch<AttentionBackward>({.heads = heads,
                                          .scale = scale,
                                          .q = q.view(),
                                          .k = k.view(),
                                          .v = v.view(),
                                          .key_mask = key_mask.view(),
                                          .pair_mask = pair_mask.view(),
                                          .y = y.view(),
                                          .log_sum_exp = log_sum_exp.view(),
                                          .grad_y = grad_y.view(),
                                          .grad_q = grad_q,
                                          .grad_k = grad_k,
                                          .grad_v = grad_v},
                                         q.device().type);
  }
};

Saved forward(const Tensor& q, const Tensor& k, const Tensor& v, int64_t heads,
              const AttentionOptions& options) {
  check(q, k, v, heads, options);
  const int64_t batch = q.size(0);
  core::ProductCount::add(2 * q.numel(), k.size(1));
  const core::DType statistics = q.dtype() == core::DType::bf16 ? core::DType::f32 : q.dtype();
  Saved saved{q,
              k,
              v,
              options.key_mask,
              options.pair_mask,
              Tensor::empty_like(q),
              Tensor::empty({batch, heads, q.size(1)}, statistics, q.device())};
  saved.heads = heads;
  saved.scale = options.scale.value_or(1.0 / std::sqrt(static_cast<double>(q.size(2) / heads)));
  Tensor probabilities;
  if (options.probabilities != nullptr) {
    const core::Shape shape = options.mean_over_heads ? core::Shape{batch, q.size(1), k.size(1)}
                                                      : core::Shape{batch, heads, q.size(1), k.size(1)};
    probabilities = *options.probabilities = Tensor::empty(shape, statistics, q.device());
  }
  kernels::dispatch<AttentionForward>({.heads = heads,
                                       .scale = saved.scale,
                                       .q = q.view(),
                                       .k = k.view(),
                                       .v = v.view(),
                                       .key_mask = saved.key_mask.view(),
                                       .pair_mask = saved.pair_mask.view(),
                                       .y = saved.y.view(),
                                       .log_sum_exp = saved.log_sum_exp.view(),
                                       .probabilities = probabilities.view()},
                                      q.device().type);
  return saved;
}

}  // namespace

Variable attention(const Variable& q, const Variable& k, const Variable& v, int64_t heads,
                   const AttentionOptions& options) {
  const Saved saved = forward(q.value(), k.value(), v.value(), heads, options);
  return Variable::result("attention", saved.y, {q, k, v},
                          [saved](const Tensor& g, const core::InputGradients& inputs) {
                            const Tensor grad_q = inputs.room(0, saved.q), grad_k = inputs.room(1, saved.k),
                                         grad_v = inputs.room(2, saved.v);
                            saved.backward(g, grad_q.view(), grad_k.view(), grad_v.view());
                            inputs.accumulate(0, grad_q);
                            inputs.accumulate(1, grad_k);
                            inputs.accumulate(2, grad_v);
                          });
}

Variable self_attention(const Variable& qkv, int64_t heads, int64_t queries,
                        const AttentionOptions& options) {
  MEDFUSION_CHECK(qkv.rank() == 3 && qkv.size(2) % 3 == 0 && 0 <= queries && queries <= qkv.size(1),
                  "self_attention: expected qkv [B, T, 3 C] and at most T queries, got {} and {}",
                  qkv.shape().str(), queries);
  const int64_t channels = qkv.size(2) / 3;
  const auto part = [channels](const Tensor& x, int64_t n) {
    return x.slice(2, n * channels, (n + 1) * channels);
  };
  const Tensor& x = qkv.value();
  const Saved saved = forward(part(x, 0).slice(1, 0, queries), part(x, 1), part(x, 2), heads, options);
  return Variable::result(
      "self_attention", saved.y, {qkv}, [=](const Tensor& g, const core::InputGradients& inputs) {
        const Tensor grad =
            Tensor::empty({saved.k.size(0), saved.k.size(1), 3 * channels}, g.dtype(), g.device());
        const Tensor grad_q = part(grad, 0);
        const int64_t tokens = grad.size(1);
        if (queries < tokens) grad_q.slice(1, queries, tokens).fill(0.0);
        saved.backward(g, grad_q.slice(1, 0, queries).view(), part(grad, 1).view(), part(grad, 2).view());
        inputs.accumulate(0, grad);
      });
}

}  // namespace medfusion::layers
