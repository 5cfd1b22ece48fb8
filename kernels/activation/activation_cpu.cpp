// Vectorized with Highway, compiled for each instruction set, the best one chosen at run time.
#include "core/threads.h"
#include "kernels/activation/activation.h"
#include "kernels/registry.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/activation/activation_cpu.cpp"
#include "kernels/simd.h"  // first: sets the instruction sets, then foreach_target and highway

#include "hwy/contrib/math/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace medfusion::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;
using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;

// erf by Abramowitz and Stegun 7.1.26, |error| <= 1.5e-7.
V erf(D d, V x) {
  const V magnitude = hn::Abs(x);
  const V t = hn::Div(hn::Set(d, 1.0F), hn::MulAdd(hn::Set(d, 0.3275911F), magnitude, hn::Set(d, 1.0F)));
  V p = hn::Set(d, 1.061405429F);
  for (const float c : {-1.453152027F, 1.421413741F, -0.284496736F, 0.254829592F})
    p = hn::MulAdd(p, t, hn::Set(d, c));
  const V e = hn::Exp(d, hn::Neg(hn::Mul(magnitude, magnitude)));
  return hn::CopySign(hn::NegMulAdd(hn::Mul(p, t), e, hn::Set(d, 1.0F)), x);
}

V sigmoid(D d, V x) {
  // exp of a non-positive number never overflows.
  const V e = hn::Exp(d, hn::Neg(hn::Abs(x)));
  const V positive = hn::Div(hn::Set(d, 1.0F), hn::Add(hn::Set(d, 1.0F), e));
  return hn::IfThenElse(hn::Lt(x, hn::Zero(d)), hn::Mul(e, positive), positive);
}

V value(Activation function, D d, V x) {
  switch (function) {
    case Activation::relu:
      return hn::IfThenZeroElse(hn::Lt(x, hn::Zero(d)), x);
    case Activation::gelu: {
      const V phi =
          hn::MulAdd(hn::Set(d, 0.5F), erf(d, hn::Mul(x, hn::Set(d, 0.70710678F))), hn::Set(d, 0.5F));
      return hn::Mul(x, phi);
    }
    case Activation::sigmoid:
      return sigmoid(d, x);
    case Activation::relu6:
      return hn::IfThenZeroElse(hn::Lt(x, hn::Zero(d)),
                                hn::IfThenElse(hn::Gt(x, hn::Set(d, 6.0F)), hn::Set(d, 6.0F), x));
  }
  return x;
}

V derivative(Activation function, D d, V x) {
  switch (function) {
    case Activation::relu:
      return hn::IfThenElseZero(hn::Gt(x, hn::Zero(d)), hn::Set(d, 1.0F));
    case Activation::gelu: {
      const V phi =
          hn::MulAdd(hn::Set(d, 0.5F), erf(d, hn::Mul(x, hn::Set(d, 0.70710678F))), hn::Set(d, 0.5F));
      const V density =
          hn::Mul(hn::Set(d, 0.39894228F), hn::Exp(d, hn::Mul(hn::Set(d, -0.5F), hn::Mul(x, x))));
      return hn::MulAdd(x, density, phi);
    }
    case Activation::sigmoid: {
      const V s = sigmoid(d, x);
      return hn::Mul(s, hn::Sub(hn::Set(d, 1.0F), s));
    }
    case Activation::relu6:
      return hn::IfThenElseZero(hn::And(hn::Gt(x, hn::Zero(d)), hn::Lt(x, hn::Set(d, 6.0F))),
                                hn::Set(d, 1.0F));
  }
  return x;
}

// One row of n contiguous elements; the tail goes through the same code in a padded vector.
void forward_row(Activation function, const float* x, float* y, int64_t n) {
  const D d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) hn::StoreU(value(function, d, hn::LoadU(d, x + i)), d, y + i);
  if (i < n) {
    const auto count = static_cast<size_t>(n - i);
    store_n(value(function, d, load_n(d, x + i, count)), d, y + i, count);
  }
}

void backward_row(Activation function, const float* x, const float* grad_y, float* grad_x, int64_t n) {
  const D d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    const V g = hn::Mul(hn::LoadU(d, grad_y + i), derivative(function, d, hn::LoadU(d, x + i)));
    hn::StoreU(g, d, grad_x + i);
  }
  if (i < n) {
    const auto count = static_cast<size_t>(n - i);
    const V g = hn::Mul(load_n(d, grad_y + i, count), derivative(function, d, load_n(d, x + i, count)));
    store_n(g, d, grad_x + i, count);
  }
}

}  // namespace medfusion::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace medfusion::kernels {
namespace {

HWY_EXPORT(forward_row);
HWY_EXPORT(backward_row);

constexpr int64_t kGrain = 1 << 14;  // elements per task

// Calls body(offsets.., count) for runs of elements that are contiguous in all views.
template <class Body>
void for_rows(const core::View& a, const Body& body) {
  const int64_t width = a.rank() == 0 ? 1 : a.size(-1);
  if (a.numel() == 0) return;
  core::parallel_for(0, a.numel() / width, std::max<int64_t>(1, kGrain / width),
                     [&](int64_t first, int64_t last) {
                       for (int64_t row = first; row < last; ++row) body(row, width);
                     });
}

// Row `row` of a view whose leading dimensions share one stride.
float* row_of(const core::View& v, int64_t row) { return v.as<float>() + row * v.row_stride(); }

void run_forward(const ActivationForward& a) {
  if (a.x.contiguous() && a.y.contiguous()) {
    core::parallel_for(0, a.x.numel(), kGrain, [&](int64_t first, int64_t last) {
      HWY_DYNAMIC_DISPATCH(forward_row)
      (a.function, a.x.as<float>() + first, a.y.as<float>() + first, last - first);
    });
    return;
  }
  for_rows(a.x, [&](int64_t row, int64_t n) {
    HWY_DYNAMIC_DISPATCH(forward_row)(a.function, row_of(a.x, row), row_of(a.y, row), n);
  });
}

void run_backward(const ActivationBackward& a) {
  for_rows(a.x, [&](int64_t row, int64_t n) {
    HWY_DYNAMIC_DISPATCH(backward_row)
    (a.function, row_of(a.x, row), row_of(a.grad_y, row), row_of(a.grad_x, row), n);
  });
}

const Register<ActivationForward> forward("cpu", kCpu, 10, {takes::f32, takes::uniform_rows}, run_forward);
const Register<ActivationBackward> backward("cpu", kCpu, 10, {takes::f32, takes::uniform_rows}, run_backward);

}  // namespace
}  // namespace medfusion::kernels
#endif  // HWY_ONCE
