// Walks over matrices [rows, channels] with adjacent channels, for sums over rows and maps per channel:
// threads side by side (lanes) take N channels each, groups of them take every so-manieth row, blocks take
// chunks of rows. The split depends on the shape only.
#pragma once

#include <algorithm>

#include "kernels/gpu/device.cuh"
#include "kernels/gpu/floats.cuh"
#include "kernels/gpu/reduce.cuh"

namespace medfusion::kernels::cuda {
inline namespace MEDFUSION_GPU {

constexpr int kColumnThreads = 128;
constexpr int kColumnRows = 8;  // of one thread in flight, at most

struct Columns {
  int64_t rows = 0;
  int64_t chunk = 0;  // rows of a block
  int channels = 0;
  int lanes = 1;  // a power of two, at most a warp

  // With N channels to a thread and about `blocks` blocks, where there is work for so many.
  Columns(int64_t row_count, int64_t channel_count, int channels_per_thread, int64_t blocks)
      : rows(row_count), channels(static_cast<int>(channel_count)) {
    MEDFUSION_CHECK(channel_count < (1 << 30), "columns: {} channels are too many", channel_count);
    while (lanes < kWarp && lanes * channels_per_thread < channels) lanes *= 2;
    const int64_t step = kColumnThreads / lanes * kColumnRows;
    const int64_t across = ceil_div(channels, lanes * channels_per_thread);
    chunk = std::max<int64_t>(1, ceil_div(rows * across, blocks * step)) * step;
    grid = grid_of(across, ceil_div(rows, chunk));
  }
  int64_t chunks() const { return grid.y; }

  dim3 grid;
};

// What one thread takes: channels from `channel` on, rows first, first + groups, ... below last.
struct ColumnPart {
  int lane, group, groups;
  int channel;
  int64_t first, last;
  bool active;  // false where the channel is past the last one

  __device__ __forceinline__ ColumnPart(const Columns& c, int channels_per_thread) {
    const int thread = static_cast<int>(threadIdx.x);
    lane = thread % c.lanes;
    group = thread / c.lanes;
    groups = kColumnThreads / c.lanes;
    channel = (static_cast<int>(blockIdx.x) * c.lanes + lane) * channels_per_thread;
    const int64_t begin = int64_t{blockIdx.y} * c.chunk;
    const int64_t end = begin + c.chunk;
    first = begin + group;
    last = end < c.rows ? end : c.rows;
    active = channel < c.channels;
  }
};

// Calls body(count, row) for up to R rows at a time: row, row + groups, ...
template <int R, class Body>
__device__ __forceinline__ void for_column_rows(const ColumnPart& part, const Body& body) {
  if (!part.active) return;
  for (int64_t row = part.first; row < part.last; row += int64_t{R} * part.groups) {
    const auto left = static_cast<int>((part.last - row + part.groups - 1) / part.groups);
    body(left < R ? left : R, row);
  }
}

// The rows' N channels, those past `count` zero.
template <int R, int N>
__device__ __forceinline__ void load_rows(Vector<float, N> (&v)[R], const Global<const float>& x,
                                          int64_t stride, const ColumnPart& part, int count, int64_t row) {
#pragma unroll
  for (int k = 0; k < R; ++k) {
    v[k] = Vector<float, N>{};
    if (k < count) v[k] = load<N>(x, (row + int64_t{k} * part.groups) * stride + part.channel);
  }
}
// The same of f32 or bf16, as they lie in memory.
template <int R, int N, class T>
__device__ __forceinline__ void load_rows(Pack<T, N> (&v)[R], const Global<const T>& x, int64_t stride,
                                          const ColumnPart& part, int count, int64_t row) {
#pragma unroll
  for (int k = 0; k < R; ++k) {
    v[k] = Pack<T, N>{};
    if (k < count) v[k] = load_pack<N>(x, (row + int64_t{k} * part.groups) * stride + part.channel);
  }
}

}  // namespace MEDFUSION_GPU
}  // namespace medfusion::kernels::cuda
