#include "kernels/gemm/rows.h"

#include <algorithm>
#include <cstring>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/gemm/rows.cpp"
#include "kernels/simd.h"

HWY_BEFORE_NAMESPACE();
namespace medfusion::kernels::gemm::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;
using kernels::HWY_NAMESPACE::load_n;
using kernels::HWY_NAMESPACE::store_n;
using D = hn::ScalableTag<float>;

void affine_relu(const float* from, int64_t from_stride, int64_t pixels, int64_t channels, const float* scale,
                 const float* shift, float* to, int64_t to_stride) {
  const D d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const int64_t whole = channels / lanes * lanes;
  const auto zero = hn::Zero(d);  // first in Max: x86 returns the second where one is NaN
  for (int64_t p = 0; p < pixels; ++p, from += from_stride, to += to_stride) {
    for (int64_t c = 0; c < whole; c += lanes) {
      const auto y = hn::MulAdd(hn::LoadU(d, scale + c), hn::LoadU(d, from + c), hn::LoadU(d, shift + c));
      hn::StoreU(hn::Max(zero, y), d, to + c);
    }
    if (whole < channels) {
      const auto n = static_cast<size_t>(channels - whole);
      const auto y =
          hn::MulAdd(load_n(d, scale + whole, n), load_n(d, from + whole, n), load_n(d, shift + whole, n));
      store_n(hn::Max(zero, y), d, to + whole, n);
    }
  }
}

void combine(const Combine& source, int64_t pixels, int64_t channels, float* to, int64_t to_stride) {
  const D d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const int64_t whole = channels / lanes * lanes;
  for (int64_t p = 0; p < pixels; ++p, to += to_stride) {
    const float* a = source.a + p * source.a_stride;
    const float* b = source.b + p * source.b_stride;
    for (int64_t c = 0; c < whole; c += lanes) {
      const auto y =
          hn::MulAdd(hn::LoadU(d, source.second + c), hn::LoadU(d, b + c), hn::LoadU(d, source.offset + c));
      hn::StoreU(hn::MulAdd(hn::LoadU(d, source.first + c), hn::LoadU(d, a + c), y), d, to + c);
    }
    if (whole < channels) {
      const auto n = static_cast<size_t>(channels - whole);
      const auto y = hn::MulAdd(load_n(d, source.second + whole, n), load_n(d, b + whole, n),
                                load_n(d, source.offset + whole, n));
      store_n(hn::MulAdd(load_n(d, source.first + whole, n), load_n(d, a + whole, n), y), d, to + whole, n);
    }
  }
}

// Columns [c, c + kVectors vectors), or the last `count` lanes with kVectors = 1.
template <int kVectors, class Load>
HWY_INLINE void moments_of_columns(const float* x, int64_t x_stride, int64_t pixels, const Load& load,
                                   float* mean, float* squares, size_t count) {
  const D d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  hn::Vec<D> sum[kVectors];
  for (int v = 0; v < kVectors; ++v) sum[v] = hn::Zero(d);
  for (int64_t p = 0; p < pixels; ++p) {
    for (int v = 0; v < kVectors; ++v) sum[v] = hn::Add(sum[v], load(x + p * x_stride + v * lanes));
  }
  const auto inverse = hn::Set(d, 1.0F / static_cast<float>(pixels));
  hn::Vec<D> square[kVectors];
  for (int v = 0; v < kVectors; ++v) {
    sum[v] = hn::Mul(sum[v], inverse);
    square[v] = hn::Zero(d);
  }
  for (int64_t p = 0; p < pixels; ++p) {
    for (int v = 0; v < kVectors; ++v) {
      const auto difference = hn::Sub(load(x + p * x_stride + v * lanes), sum[v]);
      square[v] = hn::MulAdd(difference, difference, square[v]);
    }
  }
  for (int v = 0; v < kVectors; ++v) {
    store_n(sum[v], d, mean + v * lanes, count);
    store_n(square[v], d, squares + v * lanes, count);
  }
}

void moments(const float* x, int64_t x_stride, int64_t pixels, int64_t channels, float* mean,
             float* squares) {
  const D d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const auto whole = [&](const float* from) { return hn::LoadU(d, from); };
  int64_t c = 0;
  for (; c + 4 * lanes <= channels; c += 4 * lanes) {
    moments_of_columns<4>(x + c, x_stride, pixels, whole, mean + c, squares + c, static_cast<size_t>(lanes));
  }
  for (; c < channels; c += lanes) {
    const auto n = static_cast<size_t>(std::min(lanes, channels - c));
    const auto part = [&](const float* from) { return load_n(d, from, n); };
    moments_of_columns<1>(x + c, x_stride, pixels, part, mean + c, squares + c, n);
  }
}

constexpr int64_t kSumColumns = 256;  // whose sums of one call are kept on the stack
constexpr int64_t kRowsAtOnce = 4;    // that share one load and store of the sums

// Columns [c, c + lanes), or `n` of them, of kRows rows from `p` on.
template <int kRows, bool kWhole>
HWY_INLINE void masked_vector(const MaskedGradient& s, int64_t p, int64_t c, size_t n, float* sum_d,
                              float* sum_dx) {
  const D d;
  const auto load = [&](const float* from) {
    if constexpr (kWhole) return hn::LoadU(d, from);
    return load_n(d, from, n);
  };
  auto sum = hn::Load(d, sum_d);
  auto sum_x = hn::Load(d, sum_dx);
  const auto scale = load(s.scale + c);
  const auto shift = load(s.shift + c);
#pragma GCC unroll 4
  for (int64_t i = 0; i < kRows; ++i) {
    const auto active = hn::Gt(load(s.active + (p + i) * s.active_stride + c), hn::Zero(d));
    const auto gradient = hn::IfThenElseZero(active, load(s.grad + (p + i) * s.grad_stride + c));
    const auto normalized = hn::MulAdd(load(s.x + (p + i) * s.x_stride + c), scale, shift);
    sum = hn::Add(sum, gradient);
    sum_x = hn::MulAdd(gradient, normalized, sum_x);
    float* to = s.to + (p + i) * s.to_stride + c;
    const auto result = s.factor == nullptr ? gradient : hn::MulAdd(load(s.factor + c), gradient, load(to));
    if constexpr (kWhole) {
      hn::StoreU(result, d, to);
    } else {
      store_n(result, d, to, n);
    }
  }
  hn::Store(sum, d, sum_d);
  hn::Store(sum_x, d, sum_dx);
}

// Columns [first, last) of kRows rows, in memory order.
template <int kRows>
void masked_rows(const MaskedGradient& s, int64_t p, int64_t first, int64_t last, float* sum_d,
                 float* sum_dx) {
  const auto lanes = static_cast<int64_t>(hn::Lanes(D()));
  int64_t c = first;
  for (; c + lanes <= last; c += lanes) {
    masked_vector<kRows, true>(s, p, c, 0, sum_d + c - first, sum_dx + c - first);
  }
  if (c < last) {
    masked_vector<kRows, false>(s, p, c, static_cast<size_t>(last - c), sum_d + c - first,
                                sum_dx + c - first);
  }
}

void masked_gradient(const MaskedGradient& s, int64_t pixels, int64_t channels, double* sum_d,
                     double* sum_dx) {
  for (int64_t first = 0; first < channels; first += kSumColumns) {
    const int64_t last = std::min(channels, first + kSumColumns);
    HWY_ALIGN float sums[kSumColumns + hn::MaxLanes(D())] = {};
    HWY_ALIGN float sums_x[kSumColumns + hn::MaxLanes(D())] = {};
    int64_t p = 0;
    for (; p + kRowsAtOnce <= pixels; p += kRowsAtOnce)
      masked_rows<kRowsAtOnce>(s, p, first, last, sums, sums_x);
    for (; p < pixels; ++p) masked_rows<1>(s, p, first, last, sums, sums_x);
    for (int64_t c = first; c < last; ++c) {
      sum_d[c] += static_cast<double>(sums[c - first]);
      sum_dx[c] += static_cast<double>(sums_x[c - first]);
    }
  }
}

}  // namespace medfusion::kernels::gemm::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace medfusion::kernels::gemm {

HWY_EXPORT(affine_relu);
HWY_EXPORT(combine);
HWY_EXPORT(moments);
HWY_EXPORT(masked_gradient);

void affine_relu_rows(const float* from, int64_t from_stride, int64_t pixels, int64_t channels,
                      const float* scale, const float* shift, float* to, int64_t to_stride) {
  HWY_DYNAMIC_DISPATCH(affine_relu)(from, from_stride, pixels, channels, scale, shift, to, to_stride);
}

void combine_rows(const Combine& source, int64_t pixels, int64_t channels, float* to, int64_t to_stride) {
  HWY_DYNAMIC_DISPATCH(combine)(source, pixels, channels, to, to_stride);
}

void column_moments(const float* x, int64_t x_stride, int64_t pixels, int64_t channels, float* mean,
                    float* squares) {
  HWY_DYNAMIC_DISPATCH(moments)(x, x_stride, pixels, channels, mean, squares);
}

void masked_gradient_rows(const MaskedGradient& source, int64_t pixels, int64_t channels, double* sum_d,
                          double* sum_dx) {
  HWY_DYNAMIC_DISPATCH(masked_gradient)(source, pixels, channels, sum_d, sum_dx);
}

void copy_rows(const float* from, int64_t from_stride, int64_t pixels, int64_t channels, float* to,
               int64_t to_stride) {
  if (pixels == 0 || channels == 0) return;  // pointers into nothing
  if (from_stride == channels && to_stride == channels) {
    std::memcpy(to, from, static_cast<size_t>(pixels * channels) * sizeof(float));
    return;
  }
  for (int64_t p = 0; p < pixels; ++p) {
    std::memcpy(to + p * to_stride, from + p * from_stride, static_cast<size_t>(channels) * sizeof(float));
  }
}

}  // namespace medfusion::kernels::gemm
#endif  // HWY_ONCE
