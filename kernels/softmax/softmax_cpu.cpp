// One row at a time, which stays in the first-level cache: maximum, exponentials and their sum, division.
#include <limits>

#include "core/threads.h"
#include "kernels/registry.h"
#include "kernels/softmax/softmax.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/softmax/softmax_cpu.cpp"
#include "kernels/simd.h"  // first: sets the instruction sets, then foreach_target and highway

#include "hwy/contrib/math/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace medfusion::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// exp(x) for x <= 0, with exp(-inf) = 0 and NaN kept.
template <class D, class V>
HWY_INLINE V exp_of(D d, V x) {
  const V lowest = hn::Set(d, -104.0F);  // exp of this is 0 in float
  const V e = hn::Exp(d, hn::Max(x, lowest));
  const V kept = hn::IfThenZeroElse(hn::Lt(x, lowest), e);
  return hn::IfThenElse(hn::IsNaN(x), x, kept);
}

// The maximum of x[0, n), -inf where n is 0, or NaN where there is one.
float largest_of(const float* x, int64_t n) {
  const hn::ScalableTag<float> d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  float largest = -std::numeric_limits<float>::infinity();
  int64_t i = 0;
  if (n >= lanes) {
    auto best = hn::LoadU(d, x);
    auto nan = hn::IsNaN(best);
    for (i = lanes; i + lanes <= n; i += lanes) {
      const auto v = hn::LoadU(d, x + i);
      nan = hn::Or(nan, hn::IsNaN(v));
      best = hn::Max(best, v);
    }
    if (!hn::AllFalse(d, nan)) return std::numeric_limits<float>::quiet_NaN();
    largest = hn::GetLane(hn::MaxOfLanes(d, best));
  }
  for (; i < n; ++i) {
    if (!(x[i] <= largest)) largest = x[i];
    if (x[i] != x[i]) return x[i];
  }
  return largest;
}

void forward_row(const float* x, float* y, int64_t n) {
  const float largest = largest_of(x, n);
  if (largest == -std::numeric_limits<float>::infinity()) {
    std::fill_n(y, n, 0.0F);
    return;
  }
  float sum = 0.0F;
  const hn::ScalableTag<float> full;
  auto sums = hn::Zero(full);
  for_vectors(n, [&](auto d, int64_t i) {
    const auto e = exp_of(d, hn::Sub(hn::LoadU(d, x + i), hn::Set(d, largest)));
    hn::StoreU(e, d, y + i);
    if constexpr (std::is_same_v<decltype(d), hn::ScalableTag<float>>) {
      sums = hn::Add(sums, e);
    } else {
      sum += hn::GetLane(hn::SumOfLanes(d, e));
    }
  });
  sum += hn::GetLane(hn::SumOfLanes(full, sums));
  const float share = 1.0F / sum;
  for_vectors(
      n, [&](auto d, int64_t i) { hn::StoreU(hn::Mul(hn::LoadU(d, y + i), hn::Set(d, share)), d, y + i); });
}

void backward_row(const float* y, const float* grad_y, float* grad_x, int64_t n) {
  float dot = 0.0F;
  const hn::ScalableTag<float> full;
  auto sums = hn::Zero(full);
  for_vectors(n, [&](auto d, int64_t i) {
    const auto v = hn::LoadU(d, y + i);
    const auto g = hn::LoadU(d, grad_y + i);
    if constexpr (std::is_same_v<decltype(d), hn::ScalableTag<float>>) {
      sums = hn::MulAdd(v, g, sums);
    } else {
      dot += hn::GetLane(hn::SumOfLanes(d, hn::Mul(v, g)));
    }
  });
  dot += hn::GetLane(hn::SumOfLanes(full, sums));
  for_vectors(n, [&](auto d, int64_t i) {
    hn::StoreU(hn::Mul(hn::LoadU(d, y + i), hn::Sub(hn::LoadU(d, grad_y + i), hn::Set(d, dot))), d,
               grad_x + i);
  });
}

void forward_rows(const float* x, int64_t stride_x, float* y, int64_t stride_y, int64_t rows, int64_t n) {
  for (int64_t r = 0; r < rows; ++r) forward_row(x + r * stride_x, y + r * stride_y, n);
}
void backward_rows(const float* y, int64_t stride_y, const float* grad_y, int64_t stride_grad_y,
                   float* grad_x, int64_t stride_grad_x, int64_t rows, int64_t n) {
  for (int64_t r = 0; r < rows; ++r) {
    backward_row(y + r * stride_y, grad_y + r * stride_grad_y, grad_x + r * stride_grad_x, n);
  }
}

}  // namespace medfusion::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace medfusion::kernels {
namespace {

HWY_EXPORT(forward_rows);
HWY_EXPORT(backward_rows);

constexpr int64_t kGrain = 1 << 13;  // elements per task

int64_t grain(int64_t width) { return std::max<int64_t>(1, kGrain / std::max<int64_t>(1, width)); }
float* row_of(const core::View& v, int64_t row) { return v.as<float>() + row * v.row_stride(); }

void run_forward(const SoftmaxForward& a) {
  const int64_t n = a.x.size(-1);
  core::parallel_for(0, a.x.rows(), grain(n), [&](int64_t first, int64_t last) {
    HWY_DYNAMIC_DISPATCH(forward_rows)
    (row_of(a.x, first), a.x.row_stride(), row_of(a.y, first), a.y.row_stride(), last - first, n);
  });
}

void run_backward(const SoftmaxBackward& a) {
  const int64_t n = a.y.size(-1);
  core::parallel_for(0, a.y.rows(), grain(n), [&](int64_t first, int64_t last) {
    HWY_DYNAMIC_DISPATCH(backward_rows)
    (row_of(a.y, first), a.y.row_stride(), row_of(a.grad_y, first), a.grad_y.row_stride(),
     row_of(a.grad_x, first), a.grad_x.row_stride(), last - first, n);
  });
}

const Register<SoftmaxForward> forward("cpu", kCpu, 10, {takes::f32, takes::uniform_rows}, run_forward);
const Register<SoftmaxBackward> backward("cpu", kCpu, 10, {takes::f32, takes::uniform_rows}, run_backward);

}  // namespace
}  // namespace medfusion::kernels
#endif  // HWY_ONCE
