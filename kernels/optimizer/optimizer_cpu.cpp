// Vectorized with Highway. Every pass is bound by memory: one read and one write of each tensor.
#include <cmath>
#include <vector>

#include "core/threads.h"
#include "kernels/optimizer/optimizer.h"
#include "kernels/registry.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/optimizer/optimizer_cpu.cpp"

#include "kernels/simd.h"

#ifndef MEDFUSION_KERNELS_OPTIMIZER_CPU_SCALARS_  // the file is read once per instruction set
#define MEDFUSION_KERNELS_OPTIMIZER_CPU_SCALARS_
namespace medfusion::kernels {

// The scalars of a step, rounded once.
struct AdamWScalars {
  float grad_scale, one_minus_beta1, one_minus_beta2, rate, decay, second_scale, eps;
};
struct SgdScalars {
  float grad_scale, weight_decay, momentum, rate;
};

}  // namespace medfusion::kernels
#endif

HWY_BEFORE_NAMESPACE();
namespace medfusion::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

void adamw_chunk(const AdamWScalars& s, float* p, const float* g, float* m, float* v, int64_t n) {
  for_vectors(n, [&](auto d, int64_t i) HWY_ATTR {
    const auto gradient = hn::Mul(hn::Set(d, s.grad_scale), hn::LoadU(d, g + i));
    auto first = hn::LoadU(d, m + i);
    auto second = hn::LoadU(d, v + i);
    auto value = hn::LoadU(d, p + i);
    first = hn::MulAdd(hn::Set(d, s.one_minus_beta1), hn::Sub(gradient, first), first);
    second = hn::MulAdd(hn::Set(d, s.one_minus_beta2), hn::Sub(hn::Mul(gradient, gradient), second), second);
    const auto spread = hn::MulAdd(hn::Sqrt(second), hn::Set(d, s.second_scale), hn::Set(d, s.eps));
    const auto direction = hn::Div(hn::Mul(hn::Set(d, s.rate), first), spread);
    value = hn::Sub(value, hn::MulAdd(hn::Set(d, s.decay), value, direction));
    hn::StoreU(first, d, m + i);
    hn::StoreU(second, d, v + i);
    hn::StoreU(value, d, p + i);
  });
}

// u may be null: no momentum.
void sgd_chunk(const SgdScalars& s, bool nesterov, float* p, const float* g, float* u, int64_t n) {
  for_vectors(n, [&](auto d, int64_t i) HWY_ATTR {
    const auto value = hn::LoadU(d, p + i);
    auto direction =
        hn::MulAdd(hn::Set(d, s.weight_decay), value, hn::Mul(hn::Set(d, s.grad_scale), hn::LoadU(d, g + i)));
    if (u != nullptr) {
      const auto momentum = hn::Set(d, s.momentum);
      const auto velocity = hn::MulAdd(momentum, hn::LoadU(d, u + i), direction);
      hn::StoreU(velocity, d, u + i);
      direction = nesterov ? hn::MulAdd(momentum, velocity, direction) : velocity;
    }
    hn::StoreU(hn::NegMulAdd(hn::Set(d, s.rate), direction, value), d, p + i);
  });
}

double squared_norm_chunk(const float* x, int64_t n) {
  const hn::ScalableTag<double> d;
  const hn::Rebind<float, decltype(d)> half;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  auto sum0 = hn::Zero(d);  // four sums hide the latency of the addition
  auto sum1 = sum0;
  auto sum2 = sum0;
  auto sum3 = sum0;
  const auto add = [&](auto& sum, const float* from) HWY_ATTR {
    const auto value = hn::PromoteTo(d, hn::LoadU(half, from));
    sum = hn::MulAdd(value, value, sum);
  };
  int64_t i = 0;
  for (; i + 4 * lanes <= n; i += 4 * lanes) {
    add(sum0, x + i);
    add(sum1, x + i + lanes);
    add(sum2, x + i + 2 * lanes);
    add(sum3, x + i + 3 * lanes);
  }
  double total = hn::GetLane(hn::SumOfLanes(d, hn::Add(hn::Add(sum0, sum1), hn::Add(sum2, sum3))));
  for (; i < n; ++i) total += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  return total;
}

void average_chunk(float rate, const float* value, float* average, int64_t n) {
  for_vectors(n, [&](auto d, int64_t i) HWY_ATTR {
    const auto mean = hn::LoadU(d, average + i);
    const auto step = hn::Sub(hn::LoadU(d, value + i), mean);
    hn::StoreU(hn::MulAdd(hn::Set(d, rate), step, mean), d, average + i);
  });
}

}  // namespace medfusion::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace medfusion::kernels {
namespace {

HWY_EXPORT(adamw_chunk);
HWY_EXPORT(sgd_chunk);
HWY_EXPORT(squared_norm_chunk);
HWY_EXPORT(average_chunk);

constexpr int64_t kGrain = 1 << 14;  // elements per task

void adamw(const AdamWStep& a) {
  if (!std::isfinite(*a.grad_scale.as<double>())) return;
  const auto* scalars = a.scalars.as<double>();
  AdamWScalars s;
  s.grad_scale = static_cast<float>(*a.grad_scale.as<double>());
  s.one_minus_beta1 = static_cast<float>(1.0 - a.beta1);
  s.one_minus_beta2 = static_cast<float>(1.0 - a.beta2);
  s.rate = static_cast<float>(scalars[0] / scalars[1]);
  s.second_scale = static_cast<float>(1.0 / std::sqrt(scalars[2]));
  s.eps = static_cast<float>(a.eps);
  for (const AdamWStep::Entry& entry : a.entries) {
    s.decay = static_cast<float>(scalars[0] * entry.weight_decay);
    auto* p = entry.parameter.as<float>();
    const auto* g = entry.gradient.as<float>();
    auto* m = entry.first_moment.as<float>();
    auto* v = entry.second_moment.as<float>();
    core::parallel_for(0, entry.parameter.numel(), kGrain, [&](int64_t first, int64_t last) {
      HWY_DYNAMIC_DISPATCH(adamw_chunk)(s, p + first, g + first, m + first, v + first, last - first);
    });
  }
}

void sgd(const SgdStep& a) {
  if (!std::isfinite(*a.grad_scale.as<double>())) return;
  for (const SgdStep::Entry& entry : a.entries) {
    const SgdScalars s{static_cast<float>(*a.grad_scale.as<double>()), static_cast<float>(entry.weight_decay),
                       static_cast<float>(a.momentum), static_cast<float>(*a.scalars.as<double>())};
    auto* p = entry.parameter.as<float>();
    const auto* g = entry.gradient.as<float>();
    auto* u = a.momentum != 0.0 ? entry.velocity.as<float>() : nullptr;
    core::parallel_for(0, entry.parameter.numel(), kGrain, [&](int64_t first, int64_t last) {
      HWY_DYNAMIC_DISPATCH(sgd_chunk)
      (s, a.nesterov, p + first, g + first, u != nullptr ? u + first : nullptr, last - first);
    });
  }
}

double squared_norm_of(const core::View& tensor) {
  const int64_t n = tensor.numel();
  const auto* x = tensor.as<float>();
  std::vector<double> sums(static_cast<size_t>((n + kGrain - 1) / kGrain));
  core::parallel_for(0, n, kGrain, [&](int64_t first, int64_t last) {
    sums[static_cast<size_t>(first / kGrain)] =
        HWY_DYNAMIC_DISPATCH(squared_norm_chunk)(x + first, last - first);
  });
  double total = 0.0;
  for (const double sum : sums) total += sum;
  return total;
}

void squared_norm(const SquaredNorm& a) {
  double total = 0.0;
  for (const core::View& tensor : a.x) total += squared_norm_of(tensor);
  *a.result.as<double>() = total;
}

void average(const AverageStep& a) {
  if (a.gate.defined() && !std::isfinite(*a.gate.as<double>())) return;
  const auto rate = static_cast<float>(*a.rate.as<double>());
  for (const AverageStep::Entry& entry : a.entries) {
    const auto* value = entry.value.as<float>();
    auto* mean = entry.average.as<float>();
    core::parallel_for(0, entry.value.numel(), kGrain, [&](int64_t first, int64_t last) {
      HWY_DYNAMIC_DISPATCH(average_chunk)(rate, value + first, mean + first, last - first);
    });
  }
}

void clear(const ClearTensors& a) {
  for (const core::View& tensor : a.x) std::fill_n(tensor.as<float>(), tensor.numel(), 0.0F);
}

const Register<AdamWStep> adamw_variant("cpu", kCpu, 10, {takes::f32, takes::contiguous}, adamw);
const Register<SgdStep> sgd_variant("cpu", kCpu, 10, {takes::f32, takes::contiguous}, sgd);
const Register<SquaredNorm> squared_norm_variant("cpu", kCpu, 10, {takes::f32, takes::contiguous},
                                                 squared_norm);
const Register<AverageStep> average_variant("cpu", kCpu, 10, {takes::f32, takes::contiguous}, average);
const Register<ClearTensors> clear_variant("cpu", kCpu, 10, {takes::f32, takes::contiguous}, clear);

}  // namespace
}  // namespace medfusion::kernels
#endif  // HWY_ONCE
