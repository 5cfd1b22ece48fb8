// What the variants of attention on tensor cores do with scores in registers: masks of pairs, the online
// softmax, and backward's statistics and factors.
#pragma once

#include "kernels/attention/attention_device.cuh"
#include "kernels/gpu/tile.cuh"

namespace medfusion::kernels::cuda::attention {
inline namespace MEDFUSION_GPU {

__device__ __forceinline__ float larger(float x, float y) { return fmaxf(x, y); }
__device__ __forceinline__ float plus(float x, float y) { return x + y; }
__device__ __forceinline__ float times(float x, float y) { return x * y; }

// -inf in the scores of pairs for which sees(row, column) does not hold. The bits of a lane first, kAtOnce of
// them at a time: each needs an address.
template <int kAtOnce = 1, class Scores, class Sees>
__device__ __forceinline__ void hide_pairs(Scores& s, const Sees& sees) {
  uint64_t seen = 0;
#pragma unroll kAtOnce
  for (int n = 0; n < Scores::kI * Scores::kJ * 4; ++n) {
    const int row = n / (4 * Scores::kJ) * 16 + Scores::row_of(n % 4);
    const int column = n / 4 % Scores::kJ * 8 + Scores::column_of(n % 4);
    if (sees(row, column)) seen |= uint64_t{1} << n;
  }
#pragma unroll
  for (int n = 0; n < Scores::kI * Scores::kJ * 4; ++n) {
    if ((seen >> n & 1U) == 0) s.v[n / (4 * Scores::kJ)][n / 4 % Scores::kJ][n % 4] = -INFINITY;
  }
}

// The softmax of scores that come tile by tile: the largest and the sum so far of each row.
template <class T>
struct OnlineSoftmax {
  RowValues<T::kWarpRows> largest, sum;  // of raw scores; of this lane's elements

  __device__ __forceinline__ OnlineSoftmax() {
    for_each(largest, [](float& value, int) { value = -INFINITY; });
    for_each(sum, [](float& value, int) { value = 0.0F; });
  }
  // Scores become exp(score - largest), and the sum so far shrinks to the same base; returns the factor by
  // which a result so far must.
  __device__ __forceinline__ RowValues<T::kWarpRows> add(typename T::Scores& s, float scale) {
    RowValues<T::kWarpRows> shrink = largest, base;
    reduce_lane_rows(largest, s, larger);
    combine_rows(largest, larger);
#pragma unroll
    for (int i = 0; i < T::kWarpRows / 16; ++i) {
#pragma unroll
      for (int e = 0; e < 2; ++e) {  // nothing seen yet: exp2(-inf - 0) = 0
        base.v[i][e] = largest.v[i][e] == -INFINITY ? 0.0F : largest.v[i][e] * scale;
        shrink.v[i][e] = exp2_fast(shrink.v[i][e] * scale - base.v[i][e]);
        sum.v[i][e] *= shrink.v[i][e];
      }
    }
    map_rows(s, base, [scale](float x, float b) { return exp2_fast(x * scale - b); });
    reduce_lane_rows(sum, s, plus);
    return shrink;
  }
  __device__ __forceinline__ void add(typename T::Scores& s, float scale, typename T::Result& result) {
    map_rows(result, add(s, scale), times);
  }
};

// Divides the rows of the warp, queries from `first` on, by their sums, and writes their log-sum-exp.
template <class T, class E>
__device__ __forceinline__ void finish_rows(OnlineSoftmax<T>& softmax, typename T::Result& result,
                                            const ForwardArguments<E>& a, int64_t head, int64_t first,
                                            const Sizes& size) {
  combine_rows(softmax.sum, plus);
#pragma unroll
  for (int i = 0; i < T::kWarpRows / 16; ++i) {
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const int64_t query = first + 16 * i + 8 * e + lane_index() / 4;
      float& sum = softmax.sum.v[i][e];
      if (query < size.queries && lane_index() % 4 == 0)
        a.log_sum_exp[head * size.queries + query] =
            (softmax.largest.v[i][e] * size.scale + log2f(sum)) * kLn2;
      sum = sum == 0.0F ? 0.0F : 1.0F / sum;
    }
  }
  map_rows(result, softmax.sum, times);
}

// Log-sum-exp of a query, to base 2, as backward subtracts it: exp2(s - inf) = 0 where there is no such query
// or it sees nothing.
template <class E>
__device__ __forceinline__ float base_at(const BackwardArguments<E>& a, int64_t head, int64_t query,
                                         const Sizes& size) {
  const float l = query < size.queries ? a.log_sum_exp[head * size.queries + query] * kLog2E : -INFINITY;
  return l == -INFINITY ? INFINITY : l;
}
template <class E>
__device__ __forceinline__ float delta_at(const BackwardArguments<E>& a, int64_t head, int64_t query,
                                          const Sizes& size) {
  return query < size.queries ? a.delta[head * size.queries + query] : 0.0F;
}
// Both, of the queries from `first` on, for the rows or columns that they are.
template <class Values, class E>
__device__ __forceinline__ void load_statistics(Values& l, Values& delta, const BackwardArguments<E>& a,
                                                int64_t head, int64_t first, const Sizes& size) {
  for_each(l, [&](float& value, int i) { value = base_at(a, head, first + i, size); });
  for_each(delta, [&](float& value, int i) { value = delta_at(a, head, first + i, size); });
}

// Multiplies gradients by the factor, those of a masked key by 0: its row holds what it would be unmasked.
// The warp's rows, keys or queries, are those from `first` on of `count`.
template <bool kOfKeys, int kRows, int kColumns>
__device__ __forceinline__ void scale_rows(Accumulators<kRows, kColumns>& grad, float factor,
                                           const Masks& masks, int64_t b, int64_t first, int64_t count) {
  RowValues<kRows> factors;
  for_each(factors, [&](float& value, int i) {
    const int64_t key = first + i;
    value = !kOfKeys || masks.keys == nullptr || (key < count && masks.key(b, key)) ? factor : 0.0F;
  });
  map_rows(grad, factors, [](float x, float f) { return f == 0.0F ? 0.0F : x * f; });
}

}  // namespace MEDFUSION_GPU
}  // namespace medfusion::kernels::cuda::attention
