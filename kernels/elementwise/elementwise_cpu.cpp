// Vectorized rows over a merged loop nest; broadcast gradients go through the reduction.
#include "core/tensor.h"
#include "kernels/elementwise/elementwise.h"
#include "kernels/elementwise/elementwise_row.h"
#include "kernels/loop_nest.h"
#include "kernels/reduction/reduction.h"
#include "kernels/registry.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/elementwise/elementwise_cpu.cpp"
#include "kernels/simd.h"  // first: sets the instruction sets, then foreach_target and highway

HWY_BEFORE_NAMESPACE();
namespace medfusion::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;
using elementwise::RowArgs;
using elementwise::RowOp;

template <RowOp op, class V>
HWY_INLINE V apply(V p, V q, V r) {
  if constexpr (op == RowOp::add) return hn::Add(p, q);
  if constexpr (op == RowOp::sub) return hn::Sub(p, q);
  if constexpr (op == RowOp::mul) return hn::Mul(p, q);
  if constexpr (op == RowOp::div) return hn::Div(p, q);
  if constexpr (op == RowOp::negate) return hn::Neg(p);
  if constexpr (op == RowOp::divisor_grad) return hn::Neg(hn::Div(hn::Mul(p, q), hn::Mul(r, r)));
}

template <RowOp op>
void row(const RowArgs& a) {
  if (a.step_p == 1 && a.step_q == 1 && a.step_r == 1 && a.step_out == 1) {
    for_vectors(a.n, [&](auto d, int64_t i) {
      hn::StoreU(apply<op>(hn::LoadU(d, a.p + i), hn::LoadU(d, a.q + i), hn::LoadU(d, a.r + i)), d,
                 a.out + i);
    });
    return;
  }
  if (std::max({a.step_p, a.step_q, a.step_r}) <= 1 &&
      a.step_out == 1) {  // steps of 0: one value for the row
    for_vectors(a.n, [&](auto d, int64_t i) {
      const auto load = [&](const float* from, int64_t step) {
        return step == 0 ? hn::Set(d, *from) : hn::LoadU(d, from + i);
      };
      hn::StoreU(apply<op>(load(a.p, a.step_p), load(a.q, a.step_q), load(a.r, a.step_r)), d, a.out + i);
    });
    return;
  }
  const hn::CappedTag<float, 1> one;
  for (int64_t i = 0; i < a.n; ++i) {
    hn::StoreU(apply<op>(hn::LoadU(one, a.p + i * a.step_p), hn::LoadU(one, a.q + i * a.step_q),
                         hn::LoadU(one, a.r + i * a.step_r)),
               one, a.out + i * a.step_out);
  }
}

void run_row(RowOp op, const RowArgs& args) {
  switch (op) {
    case RowOp::add:
      return row<RowOp::add>(args);
    case RowOp::sub:
      return row<RowOp::sub>(args);
    case RowOp::mul:
      return row<RowOp::mul>(args);
    case RowOp::div:
      return row<RowOp::div>(args);
    case RowOp::negate:
      return row<RowOp::negate>(args);
    case RowOp::divisor_grad:
      return row<RowOp::divisor_grad>(args);
  }
}

void affine_row(float scale, float shift, const float* x, int64_t step_x, float* y, int64_t step_y,
                int64_t n) {
  if (step_x == 1 && step_y == 1) {
    for_vectors(n, [&](auto d, int64_t i) {
      hn::StoreU(hn::MulAdd(hn::Set(d, scale), hn::LoadU(d, x + i), hn::Set(d, shift)), d, y + i);
    });
  } else {
    for (int64_t i = 0; i < n; ++i) y[i * step_y] = scale * x[i * step_x] + shift;
  }
}

}  // namespace medfusion::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace medfusion::kernels {
namespace {

using elementwise::RowOp;

HWY_EXPORT(run_row);
HWY_EXPORT(affine_row);

constexpr int64_t kGrain = 1 << 14;  // elements per task

// out = op(p, q, r) over the shape of out.
void apply_all(RowOp op, const core::View& p, const core::View& q, const core::View& r,
               const core::View& out) {
  const LoopNest<4> nest(out.shape, {&p, &q, &r, &out});
  for_row_pieces(nest, kGrain, [&](const std::array<int64_t, 4>& at, int64_t n) {
    HWY_DYNAMIC_DISPATCH(run_row)
    (op, {p.as<float>() + at[0], q.as<float>() + at[1], r.as<float>() + at[2], out.as<float>() + at[3],
          nest.inner_stride(0), nest.inner_stride(1), nest.inner_stride(2), nest.inner_stride(3), n});
  });
}

RowOp row_op(Binary function) {
  switch (function) {
    case Binary::add:
      return RowOp::add;
    case Binary::sub:
      return RowOp::sub;
    case Binary::mul:
      return RowOp::mul;
    case Binary::div:
      return RowOp::div;
  }
  return RowOp::add;
}

void run_forward(const BinaryForward& a) { apply_all(row_op(a.function), a.a, a.b, a.a, a.y); }

// grad = the sum over broadcast dimensions of *ready, or where that is null of op(p, q, r).
void reduce_to(const core::View& grad, const core::View* ready, RowOp op, const core::View& p,
               const core::View& q, const core::View& r) {
  const auto sum = [&](const core::View& terms) {
    dispatch<ReduceForward>({Reduction::sum, terms, grad, {}}, core::DeviceType::cpu);
  };
  if (ready != nullptr) {
    sum(*ready);
  } else if (grad.shape == p.shape) {
    apply_all(op, p, q, r, grad);
  } else {
    const core::Tensor terms = core::Tensor::empty(p.shape, core::DType::f32);
    apply_all(op, p, q, r, terms.view());
    sum(terms.view());
  }
}

void run_backward(const BinaryBackward& a) {
  const core::View& g = a.grad_y;
  const bool linear = a.function == Binary::add || a.function == Binary::sub;
  if (a.grad_a.defined()) {
    reduce_to(a.grad_a, linear ? &g : nullptr, a.function == Binary::div ? RowOp::div : RowOp::mul, g, a.b,
              g);
  }
  if (!a.grad_b.defined()) return;
  switch (a.function) {
    case Binary::add:
      return reduce_to(a.grad_b, &g, RowOp::add, g, g, g);
    case Binary::sub:
      return reduce_to(a.grad_b, nullptr, RowOp::negate, g, g, g);
    case Binary::mul:
      return reduce_to(a.grad_b, nullptr, RowOp::mul, g, a.a, g);
    case Binary::div:
      return reduce_to(a.grad_b, nullptr, RowOp::divisor_grad, g, a.a, a.b);
  }
}

void run_affine(const AffineForward& a) {
  const LoopNest<2> nest(a.y.shape, {&a.x, &a.y});
  for_row_pieces(nest, kGrain, [&](const std::array<int64_t, 2>& at, int64_t n) {
    HWY_DYNAMIC_DISPATCH(affine_row)
    (static_cast<float>(a.scale), static_cast<float>(a.shift), a.x.as<float>() + at[0], nest.inner_stride(0),
     a.y.as<float>() + at[1], nest.inner_stride(1), n);
  });
}

const Register<BinaryForward> forward("cpu", kCpu, 10, {takes::f32, takes::any_strides, kBroadcasting},
                                      run_forward);
const Register<BinaryBackward> backward("cpu", kCpu, 10, {takes::f32, takes::any_strides, kBroadcasting},
                                        run_backward);
const Register<AffineForward> affine("cpu", kCpu, 10, {takes::f32, takes::any_strides}, run_affine);

}  // namespace
}  // namespace medfusion::kernels
#endif  // HWY_ONCE
