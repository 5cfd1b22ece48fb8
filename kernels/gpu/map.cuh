// Element-wise maps of strided and broadcast views: to = op(from...), 16 bytes per access where all of them
// allow it.
#pragma once

#include <algorithm>
#include <array>
#include <numeric>
#include <utility>

#include "kernels/gpu/device.cuh"
#include "kernels/loop_nest.h"

namespace medfusion::kernels::cuda {
inline namespace MEDFUSION_GPU {

// A loop nest as kernels take it. Its innermost dimension, number 0, goes in pieces of N elements, of which
// the last may be shorter.
template <int Views>
struct Nest {
  int rank = 0;
  int64_t count = 0;                            // pieces in all
  int64_t inner = 0;                            // elements of dimension 0
  int64_t sizes[core::kMaxRank] = {};           // dimension 0 in pieces
  int64_t strides[Views][core::kMaxRank] = {};  // in elements, from one piece to the next

  // Where piece `index` begins in each view; returns the number of its elements.
  template <int N>
  __device__ __forceinline__ int locate(int64_t index, int64_t (&at)[Views]) const {
    int64_t first = 0;
#pragma unroll
    for (int v = 0; v < Views; ++v) at[v] = 0;
#pragma unroll
    for (int d = 0; d < core::kMaxRank; ++d) {
      if (d >= rank) break;
      int64_t position = index;
      if (d + 1 < rank) {
        index = position / sizes[d];
        position -= index * sizes[d];
      }
      if (d == 0) first = position * N;
#pragma unroll
      for (int v = 0; v < Views; ++v) at[v] += position * strides[v][d];
    }
    return N == 1 || inner - first >= N ? N : static_cast<int>(inner - first);
  }
};

template <int Views>
Nest<Views> make_nest(const kernels::LoopNest<Views>& loop, int piece) {
  Nest<Views> nest;
  nest.rank = loop.rank;
  nest.inner = loop.inner();
  nest.count = loop.rows() * ceil_div(loop.inner(), piece);
  for (int d = 0; d < loop.rank; ++d) {
    const auto from = static_cast<size_t>(loop.rank - 1 - d);
    nest.sizes[d] = d == 0 ? ceil_div(loop.sizes[from], piece) : loop.sizes[from];
    for (int v = 0; v < Views; ++v) {
      nest.strides[v][d] = loop.strides[static_cast<size_t>(v)][from] * (d == 0 ? piece : 1);
    }
  }
  return nest;
}

constexpr int kMapThreads = 128;

template <int N, class T>
__device__ __forceinline__ Vector<T, N> load_piece(const Global<const T>& from, int64_t at, int64_t stride) {
  if (stride != 0) return load<N>(from, at);
  Vector<T, N> same;
  const T value = from[at];
#pragma unroll
  for (int k = 0; k < N; ++k) same[k] = value;
  return same;
}

template <class To, int N, class Op, class... From>
__device__ __forceinline__ Vector<To, N> map_piece(const Op& op, const Vector<From, N>&... from) {
  Vector<To, N> result;
#pragma unroll
  for (int k = 0; k < N; ++k) result[k] = op(from[k]...);
  return result;
}

template <int N, class Op, class To, class... From>
__global__ void __launch_bounds__(kMapThreads) map_kernel(Nest<1 + static_cast<int>(sizeof...(From))> nest,
                                                          Op op, Global<To> to, Global<const From>... from) {
  const int64_t step = int64_t{gridDim.x} * kMapThreads;
  for (int64_t i = int64_t{blockIdx.x} * kMapThreads + threadIdx.x; i < nest.count; i += step) {
    int64_t at[1 + sizeof...(From)];
    const int n = nest.template locate<N>(i, at);
    [&]<size_t... V>(std::index_sequence<V...>) {
      if (n == N) {
        store<N>(to, at[0],
                 map_piece<To, N>(op, load_piece<N, From>(from, at[1 + V], nest.strides[1 + V][0])...));
      } else {
        for (int k = 0; k < n; ++k) {
          to[at[0] + k] = op(static_cast<From>(from[at[1 + V] + (nest.strides[1 + V][0] != 0 ? k : 0)])...);
        }
      }
    }
    (std::index_sequence_for<From...>());
  }
}

// The dimensions of all views in the order in which those of the first lie in memory.
template <size_t Views>
void order_dimensions(std::array<core::View, Views>& views) {
  const int rank = views[0].rank();
  std::array<int, core::kMaxRank> order{};
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.begin() + rank,
                   [&](int a, int b) { return views[0].strides[a] > views[0].strides[b]; });
  for (core::View& view : views) {
    const core::View before = view;
    for (int i = 0; i < rank; ++i) {
      view.shape[i] = before.shape[order[static_cast<size_t>(i)]];
      view.strides[i] = before.strides[order[static_cast<size_t>(i)]];
    }
  }
}

// Whether pieces of N elements are whole, aligned accesses of the view (or one value for all of them).
template <int N, class T, size_t Views>
bool moves_in_pieces(const kernels::LoopNest<Views>& loop, size_t view, const void* data, bool may_repeat) {
  bool fits = reinterpret_cast<uintptr_t>(data) % (N * sizeof(T)) == 0 && loop.inner() >= N;
  for (int d = 0; d + 1 < loop.rank; ++d) fits = fits && loop.strides[view][static_cast<size_t>(d)] % N == 0;
  return loop.inner_stride(view) == 1 ? fits
                                      : may_repeat && loop.inner_stride(view) == 0 && loop.inner() >= N;
}

// An op that says kWide = false goes element by element: half the machine code, for what is rarely called.
template <class Op>
constexpr bool kMayGoWide = [] {
  if constexpr (requires { Op::kWide; }) return Op::kWide;
  return true;
}();

// to = op(from...), element by element; op is a device function object of the values. Every view has the
// rank of `to`, and its sizes or 1 (broadcast). The caller vouches for the element types. `from` may lie
// where `to` does, element on element.
template <class To, class... From, class Op>
void map(const char* name, const Op& op, const core::View& to,
         const std::array<const core::View*, sizeof...(From)>& from) {
  constexpr int kViews = 1 + static_cast<int>(sizeof...(From));
  constexpr int kWide = kMayGoWide<Op> ? static_cast<int>(16 / std::max({sizeof(To), sizeof(From)...})) : 1;
  using Kernel = void (*)(Nest<kViews>, Op, Global<To>, Global<const From>...);
  std::array<core::View, kViews> views{to};
  std::transform(from.begin(), from.end(), views.begin() + 1, [](const core::View* view) { return *view; });
  order_dimensions(views);
  [&]<size_t... V>(std::index_sequence<V...>) {
    const kernels::LoopNest<kViews> loop(views[0].shape, {&views[0], &views[V + 1]...});
    const bool wide = kWide > 1 && moves_in_pieces<kWide, To>(loop, 0, to.data, false) &&
                      (moves_in_pieces<kWide, From>(loop, V + 1, from[V]->data, true) && ...);
    const Nest<kViews> nest = make_nest<kViews>(loop, wide ? kWide : 1);
    const Kernel kernel =
        wide ? Kernel(map_kernel<kWide, Op, To, From...>) : Kernel(map_kernel<1, Op, To, From...>);
    launch({name, to.device, grid_for(nest.count, kMapThreads), dim3(kMapThreads)}, kernel, nest, op,
           static_cast<To*>(to.data), static_cast<const From*>(from[V]->data)...);
  }
  (std::index_sequence_for<From...>());
}

}  // namespace MEDFUSION_GPU
}  // namespace medfusion::kernels::cuda
