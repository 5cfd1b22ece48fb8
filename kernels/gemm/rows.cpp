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

template <int kVectors, bool kWhole>
HWY_INLINE void masked_columns(const MaskedGradient& s, int64_t pixels, int64_t c, size_t n, double* sum_d,
                               double* sum_dx) {
  const D d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const auto load = [&](const float* from) {
    if constexpr (kWhole) return hn::LoadU(d, from);
    return load_n(d, from, n);
  };
  hn::Vec<D> sums[kVectors], sums_x[kVectors], scale[kVectors], shift[kVectors];
  for (int v = 0; v < kVectors; ++v) {
    sums[v] = sums_x[v] = hn::Zero(d);
    scale[v] = load(s.scale + c + v * lanes);
    shift[v] = load(s.shift + c + v * lanes);
  }
  for (int64_t p = 0; p < pixels; ++p) {
    for (int v = 0; v < kVectors; ++v) {
      const int64_t column = c + v * lanes;
      const auto active = hn::Gt(load(s.active + p * s.active_stride + column), hn::Zero(d));
      const auto gradient = hn::IfThenElseZero(active, load(s.grad + p * s.grad_stride + column));
      const auto normalized = hn::MulAdd(load(s.x + p * s.x_stride + column), scale[v], shift[v]);
      sums[v] = hn::Add(sums[v], gradient);
      sums_x[v] = hn::MulAdd(gradient, normalized, sums_x[v]);
      float* to = s.to + p * s.to_stride + column;
      const auto result =
          s.factor == nullptr ? gradient : hn::MulAdd(load(s.factor + column), gradient, load(to));
      if constexpr (kWhole) {
        hn::StoreU(result, d, to);
      } else {
        store_n(result, d, to, n);
      }
    }
  }
  HWY_ALIGN float buffer[hn::MaxLanes(D())];
  for (int v = 0; v < kVectors; ++v) {
    const int64_t count = kWhole ? lanes : static_cast<int64_t>(n);
    hn::Store(sums[v], d, buffer);
    for (int64_t i = 0; i < count; ++i) sum_d[c + v * lanes + i] += static_cast<double>(buffer[i]);
    hn::Store(sums_x[v], d, buffer);
    for (int64_t i = 0; i < count; ++i) sum_dx[c + v * lanes + i] += static_cast<double>(buffer[i]);
  }
}

void masked_gradient(const MaskedGradient& s, int64_t pixels, int64_t channels, double* sum_d,
                     double* sum_dx) {
  const auto lanes = static_cast<int64_t>(hn::Lanes(D()));
  int64_t c = 0;
  for (; c + 2 * lanes <= channels; c += 2 * lanes) masked_columns<2, true>(s, pixels, c, 0, sum_d, sum_dx);
  for (; c + lanes <= channels; c += lanes) masked_columns<1, true>(s, pixels, c, 0, sum_d, sum_dx);
  if (c < channels) {
    masked_columns<1, false>(s, pixels, c, static_cast<size_t>(channels - c), sum_d, sum_dx);
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
