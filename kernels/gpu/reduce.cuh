// Reductions over a warp and over a block, in a fixed order: the same bits every time.
#pragma once

#include "kernels/gpu/device.cuh"

namespace medfusion::kernels::cuda {
inline namespace MEDFUSION_GPU {

// op over the lanes of the whole warp; every lane gets the result.
template <class T, class Op>
__device__ __forceinline__ T warp_reduce(T value, const Op& op) {
#pragma unroll
  for (int lanes = kWarp / 2; lanes > 0; lanes /= 2)
    value = op(value, __shfl_xor_sync(kFullWarp, value, lanes));
  return value;
}
template <class T>
__device__ __forceinline__ T warp_sum(T value) {
  return warp_reduce(value, [](T a, T b) { return a + b; });
}

// The sum over all threads of a one-dimensional block of whole warps; every thread gets it. `scratch` holds
// one element per warp and may be reused at once.
template <class T>
__device__ __forceinline__ T block_sum(T value, Shared<T> scratch) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int warps = static_cast<int>(blockDim.x) / kWarp;
  value = warp_sum(value);
  if (lane == 0) scratch[warp] = value;
  __syncthreads();
  T total = T(0);
  for (int i = 0; i < warps; ++i) total += static_cast<T>(scratch[i]);
  __syncthreads();
  return total;
}

}  // namespace MEDFUSION_GPU
}  // namespace medfusion::kernels::cuda
