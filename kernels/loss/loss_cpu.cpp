// Vectorized with Highway, one row of labels at a time.
#include <algorithm>
#include <vector>

#include "core/threads.h"
#include "kernels/loss/loss.h"
#include "kernels/registry.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/loss/loss_cpu.cpp"

#include "kernels/simd.h"

#include "hwy/contrib/math/math-inl.h"

#ifndef MEDFUSION_KERNELS_LOSS_CPU_ROW_  // the file is read once per instruction set
#define MEDFUSION_KERNELS_LOSS_CPU_ROW_
namespace medfusion::kernels {

// The formula in float, and one row of its data.
struct LossRow {
  float positive_scale, negative_scale, positive_gamma, negative_gamma, clip, target_scale, target_offset;
  const float* logits;
  const float* targets;
  const float* positive_weight;  // null: 1
  int64_t labels;
};
struct LossSum {
  double sum = 0.0;
  int64_t known = 0;
};

}  // namespace medfusion::kernels
#endif

HWY_BEFORE_NAMESPACE();
namespace medfusion::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;
using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;
using M = hn::Mask<D>;

// The labels [first, first + count) of a row with what both directions need. count <= lanes.
struct Labels {
  M known;
  V p, q;                              // sigmoid(x), sigmoid(-x)
  V cost_positive, cost_negative;      // -log p, -log q
  V share_positive, share_negative;    // the factors before the terms
  V factor_positive, factor_negative;  // q^positive_gamma, m^negative_gamma
  V margin;                            // m, where clip > 0
  M above;                             // m > 0
};

Labels load_labels(D d, const LossRow& r, int64_t first, size_t count) {
  const V zero = hn::Zero(d);
  const V one = hn::Set(d, 1.0F);
  const V x = load_n(d, r.logits + first, count);
  const V target = load_n(d, r.targets + first, count);
  Labels l;
  l.known = hn::And(hn::Ge(target, zero), hn::FirstN(d, count));  // false for NaN

  const V e = hn::Exp(d, hn::Neg(hn::Abs(x)));  // of a non-positive number: never overflows
  const V larger = hn::Div(one, hn::Add(one, e));
  const V smaller = hn::Mul(e, larger);
  const M is_negative = hn::Lt(x, zero);
  l.p = hn::IfThenElse(is_negative, smaller, larger);
  l.q = hn::IfThenElse(is_negative, larger, smaller);
  const V rest = hn::Log1p(d, e);
  const M number = hn::Eq(x, x);  // a maximum would hide NaN
  l.cost_positive = hn::IfThenElse(number, hn::Add(hn::Max(hn::Neg(x), zero), rest), x);
  l.cost_negative = hn::IfThenElse(number, hn::Add(hn::Max(x, zero), rest), x);

  const V y = hn::MulAdd(target, hn::Set(d, r.target_scale), hn::Set(d, r.target_offset));
  l.share_positive = hn::Mul(hn::Set(d, r.positive_scale), y);
  if (r.positive_weight != nullptr)
    l.share_positive = hn::Mul(l.share_positive, load_n(d, r.positive_weight + first, count));
  l.share_negative = hn::Mul(hn::Set(d, r.negative_scale), hn::Sub(one, y));

  // q^gamma = exp(-gamma (-log q))
  const auto power = [&](float gamma, V cost) HWY_ATTR {
    return gamma == 0.0F ? one : hn::Exp(d, hn::Mul(hn::Set(d, -gamma), cost));
  };
  l.factor_positive = power(r.positive_gamma, l.cost_negative);
  l.margin = hn::Sub(l.p, hn::Set(d, r.clip));
  l.above = hn::Gt(l.margin, zero);
  if (r.clip == 0.0F) {
    l.factor_negative = power(r.negative_gamma, l.cost_positive);
  } else {
    l.margin = hn::IfThenElse(l.above, l.margin, one);  // any number whose logarithm is finite
    l.factor_negative = hn::IfThenElseZero(l.above, power(r.negative_gamma, hn::Neg(hn::Log(d, l.margin))));
    l.cost_negative = hn::IfThenElseZero(l.above, hn::Neg(hn::Log1p(d, hn::Neg(l.margin))));
  }
  return l;
}

V term(const Labels& l) {
  const V positive = hn::Mul(hn::Mul(l.share_positive, l.factor_positive), l.cost_positive);
  const V negative = hn::Mul(hn::Mul(l.share_negative, l.factor_negative), l.cost_negative);
  return hn::IfThenElseZero(l.known, hn::Add(positive, negative));
}

V derivative(D d, const LossRow& r, const Labels& l) {
  const V positive_inner = hn::MulAdd(hn::Mul(hn::Set(d, r.positive_gamma), l.p), l.cost_positive, l.q);
  // gamma q cost + p, or with a margin: p q (gamma cost / m + 1 / (q + clip))
  V negative_inner = hn::MulAdd(hn::Mul(hn::Set(d, r.negative_gamma), l.q), l.cost_negative, l.p);
  if (r.clip != 0.0F) {
    const V modulation = hn::Div(hn::Mul(hn::Set(d, r.negative_gamma), l.cost_negative), l.margin);
    const V entropy = hn::Div(hn::Set(d, 1.0F), hn::Add(l.q, hn::Set(d, r.clip)));
    negative_inner = hn::Mul(hn::Mul(l.p, l.q), hn::Add(modulation, entropy));
  }
  const V positive = hn::Mul(hn::Mul(l.share_positive, l.factor_positive), positive_inner);
  const V negative = hn::Mul(hn::Mul(l.share_negative, l.factor_negative), negative_inner);
  return hn::IfThenElseZero(l.known, hn::Sub(negative, positive));
}

LossSum forward_row(const LossRow& r) {
  const D d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  LossSum result;
  HWY_ALIGN float terms[hn::MaxLanes(D())];
  for (int64_t i = 0; i < r.labels; i += lanes) {
    const auto count = static_cast<size_t>(std::min(lanes, r.labels - i));
    const Labels l = load_labels(d, r, i, count);
    hn::Store(term(l), d, terms);
    for (size_t lane = 0; lane < count; ++lane) result.sum += static_cast<double>(terms[lane]);
    result.known += static_cast<int64_t>(hn::CountTrue(d, l.known));
  }
  return result;
}

void backward_row(const LossRow& r, float scale, float* grad_logits) {
  const D d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  for (int64_t i = 0; i < r.labels; i += lanes) {
    const auto count = static_cast<size_t>(std::min(lanes, r.labels - i));
    const V slope = derivative(d, r, load_labels(d, r, i, count));
    store_n(hn::Mul(hn::Set(d, scale), slope), d, grad_logits + i, count);
  }
}

}  // namespace medfusion::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace medfusion::kernels {
namespace {

HWY_EXPORT(forward_row);
HWY_EXPORT(backward_row);

constexpr int64_t kGrain = 1 << 11;  // elements per task

template <class Args>
LossRow row_of(const Args& a, int64_t row) {
  const LossFormula& f = a.formula;
  return {static_cast<float>(f.positive_scale),
          static_cast<float>(f.negative_scale),
          static_cast<float>(f.positive_gamma),
          static_cast<float>(f.negative_gamma),
          static_cast<float>(f.clip),
          static_cast<float>(1.0 - f.label_smoothing),
          static_cast<float>(0.5 * f.label_smoothing),
          a.logits.template as<float>() + row * a.logits.row_stride(),
          a.targets.template as<float>() + row * a.targets.row_stride(),
          a.positive_weight.defined() ? a.positive_weight.template as<float>() : nullptr,
          a.logits.size(1)};
}

int64_t rows_per_task(const core::View& logits) {
  return std::max<int64_t>(1, kGrain / std::max<int64_t>(1, logits.size(1)));
}

void run_forward(const LossForward& a) {
  const int64_t rows = a.logits.size(0);
  const int64_t grain = rows_per_task(a.logits);
  std::vector<LossSum> tasks(static_cast<size_t>((rows + grain - 1) / grain));
  core::parallel_for(0, rows, grain, [&](int64_t first, int64_t last) {
    LossSum& task = tasks[static_cast<size_t>(first / grain)];
    for (int64_t row = first; row < last; ++row) {
      const LossSum part = HWY_DYNAMIC_DISPATCH(forward_row)(row_of(a, row));
      task.sum += part.sum;
      task.known += part.known;
    }
  });
  LossSum total;
  for (const LossSum& task : tasks) {
    total.sum += task.sum;
    total.known += task.known;
  }
  *a.loss.as<float>() =
      total.known > 0 ? static_cast<float>(total.sum / static_cast<double>(total.known)) : 0.0F;
  *a.known.as<int64_t>() = total.known;
}

void run_backward(const LossBackward& a) {
  const auto known = static_cast<double>(std::max<int64_t>(1, *a.known.as<int64_t>()));
  const auto scale = static_cast<float>(static_cast<double>(*a.grad_loss.as<float>()) / known);
  core::parallel_for(0, a.logits.size(0), rows_per_task(a.logits), [&](int64_t first, int64_t last) {
    for (int64_t row = first; row < last; ++row) {
      HWY_DYNAMIC_DISPATCH(backward_row)
      (row_of(a, row), scale, a.grad_logits.as<float>() + row * a.grad_logits.row_stride());
    }
  });
}

const Register<LossForward> forward("cpu", kCpu, 10, {takes::f32, takes::uniform_rows}, run_forward);
const Register<LossBackward> backward("cpu", kCpu, 10, {takes::f32, takes::uniform_rows}, run_backward);

}  // namespace
}  // namespace medfusion::kernels
#endif  // HWY_ONCE
