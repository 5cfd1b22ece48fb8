// The online softmax of scores in registers, for the bf16 variants of attention.
#pragma once

#include "kernels/attention/attention_device.cuh"
#include "kernels/cuda/tile.cuh"

namespace medfusion::kernels {
namespace {

__device__ __forceinline__ float larger(float x, float y) { return fmaxf(x, y); }
__device__ __forceinline__ float plus(float x, float y) { return x + y; }
__device__ __forceinline__ float times(float x, float y) { return x * y; }

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
template <class T>
__device__ __forceinline__ void finish_rows(OnlineSoftmax<T>& softmax, typename T::Result& result,
                                            const Forward<BFloat16>& a, int64_t head, int64_t first,
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

}  // namespace
}  // namespace medfusion::kernels
