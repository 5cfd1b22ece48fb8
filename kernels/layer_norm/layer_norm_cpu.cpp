// One row at a time, which stays in the first-level cache. Sums over rows go by chunks of rows, combined in
// order.
#include <cmath>

#include "core/tensor.h"
#include "core/threads.h"
#include "kernels/layer_norm/layer_norm.h"
#include "kernels/registry.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/layer_norm/layer_norm_cpu.cpp"
#include "kernels/simd.h"  // first: sets the instruction sets, then foreach_target and highway

HWY_BEFORE_NAMESPACE();
namespace medfusion::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// The sum over i of term(d, i); whole vectors in one accumulator, the tail in another.
template <class Term>
HWY_INLINE float sum_of(int64_t n, const Term& term) {
  const hn::ScalableTag<float> full;
  auto sums = hn::Zero(full);
  float tail = 0.0F;
  for_vectors(n, [&](auto d, int64_t i) {
    if constexpr (std::is_same_v<decltype(d), hn::ScalableTag<float>>) {
      sums = hn::Add(sums, term(d, i));
    } else {
      tail += hn::GetLane(hn::SumOfLanes(d, term(d, i)));
    }
  });
  return tail + hn::GetLane(hn::SumOfLanes(full, sums));
}

void normalize_row(const float* x, const float* weight, const float* bias, float* y, int64_t n, float eps,
                   float* mean_out, float* inv_std_out) {
  const float inv_n = 1.0F / static_cast<float>(n);
  const float mean = sum_of(n, [&](auto d, int64_t i) { return hn::LoadU(d, x + i); }) * inv_n;
  const float squares = sum_of(n, [&](auto d, int64_t i) {
    const auto v = hn::Sub(hn::LoadU(d, x + i), hn::Set(d, mean));
    return hn::Mul(v, v);
  });
  const float inv_std = 1.0F / std::sqrt(squares * inv_n + eps);
  for_vectors(n, [&](auto d, int64_t i) {
    const auto h = hn::Mul(hn::Sub(hn::LoadU(d, x + i), hn::Set(d, mean)), hn::Set(d, inv_std));
    hn::StoreU(hn::MulAdd(h, hn::LoadU(d, weight + i), hn::LoadU(d, bias + i)), d, y + i);
  });
  *mean_out = mean;
  *inv_std_out = inv_std;
}

// grad_x may be null; grad_weight and grad_bias, [n], are added to.
void backward_row(const float* x, const float* weight, const float* grad_y, float mean, float inv_std,
                  float* grad_x, float* grad_weight, float* grad_bias, int64_t n) {
  const float inv_n = 1.0F / static_cast<float>(n);
  const auto normalized = [&](auto d, int64_t i) {
    return hn::Mul(hn::Sub(hn::LoadU(d, x + i), hn::Set(d, mean)), hn::Set(d, inv_std));
  };
  for_vectors(n, [&](auto d, int64_t i) {
    const auto g = hn::LoadU(d, grad_y + i);
    hn::StoreU(hn::MulAdd(g, normalized(d, i), hn::LoadU(d, grad_weight + i)), d, grad_weight + i);
    hn::StoreU(hn::Add(g, hn::LoadU(d, grad_bias + i)), d, grad_bias + i);
  });
  if (grad_x == nullptr) return;
  const auto weighted = [&](auto d, int64_t i) {
    return hn::Mul(hn::LoadU(d, grad_y + i), hn::LoadU(d, weight + i));
  };
  const float mean_k = sum_of(n, weighted) * inv_n;
  const float mean_kh =
      sum_of(n, [&](auto d, int64_t i) { return hn::Mul(weighted(d, i), normalized(d, i)); }) * inv_n;
  for_vectors(n, [&](auto d, int64_t i) {
    const auto rest =
        hn::NegMulAdd(normalized(d, i), hn::Set(d, mean_kh), hn::Sub(weighted(d, i), hn::Set(d, mean_k)));
    hn::StoreU(hn::Mul(rest, hn::Set(d, inv_std)), d, grad_x + i);
  });
}

}  // namespace medfusion::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace medfusion::kernels {
namespace {

HWY_EXPORT(normalize_row);
HWY_EXPORT(backward_row);

constexpr int64_t kGrain = 1 << 13;  // elements per task
constexpr int64_t kRows = 64;        // rows of one float sum

float* row_of(const core::View& v, int64_t row) { return v.as<float>() + row * v.row_stride(); }

void run_forward(const LayerNormForward& a) {
  const int64_t n = a.x.size(-1);
  const int64_t grain = std::max<int64_t>(1, kGrain / std::max<int64_t>(1, n));
  core::parallel_for(0, a.x.rows(), grain, [&](int64_t first, int64_t last) {
    for (int64_t r = first; r < last; ++r) {
      HWY_DYNAMIC_DISPATCH(normalize_row)
      (row_of(a.x, r), a.weight.as<float>(), a.bias.as<float>(), row_of(a.y, r), n, static_cast<float>(a.eps),
       a.mean.as<float>() + r, a.inv_std.as<float>() + r);
    }
  });
}

// total[i] = the sum of the chunks' values, in order and in double.
void combine(const float* partial, int64_t chunks, int64_t stride, int64_t n, const core::View& total) {
  for (int64_t i = 0; i < n && total.defined(); ++i) {
    double sum = 0.0;
    for (int64_t chunk = 0; chunk < chunks; ++chunk) sum += static_cast<double>(partial[chunk * stride + i]);
    total.as<float>()[i] = static_cast<float>(sum);
  }
}

void run_backward(const LayerNormBackward& a) {
  const int64_t n = a.x.size(-1);
  const int64_t chunks = (a.x.rows() + kRows - 1) / kRows;
  const core::Tensor partial = core::Tensor::zeros({chunks * 2 * n});  // [chunks][weight, bias][n]
  core::parallel_for(0, a.x.rows(), kRows, [&](int64_t first, int64_t last) {
    float* sums = partial.data<float>() + first / kRows * 2 * n;
    for (int64_t r = first; r < last; ++r) {
      HWY_DYNAMIC_DISPATCH(backward_row)
      (row_of(a.x, r), a.weight.as<float>(), row_of(a.grad_y, r), a.mean.as<float>()[r],
       a.inv_std.as<float>()[r], a.grad_x.defined() ? row_of(a.grad_x, r) : nullptr, sums, sums + n, n);
    }
  });
  combine(partial.data<float>(), chunks, 2 * n, n, a.grad_weight);
  combine(partial.data<float>() + n, chunks, 2 * n, n, a.grad_bias);
}

const Register<LayerNormForward> forward("cpu", kCpu, 10, {takes::f32, takes::uniform_rows}, run_forward);
const Register<LayerNormBackward> backward("cpu", kCpu, 10, {takes::f32, takes::uniform_rows}, run_backward);

}  // namespace
}  // namespace medfusion::kernels
#endif  // HWY_ONCE
