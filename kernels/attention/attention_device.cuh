// What the device variants of attention share: their arguments as kernels take them, and what needs no tiles.
#pragma once

#include <algorithm>
#include <initializer_list>

#include "core/tensor.h"
#include "kernels/attention/attention.h"
#include "kernels/gpu/device.cuh"
#include "kernels/gpu/reduce.cuh"

namespace medfusion::kernels {
namespace {

using namespace cuda;  // NOLINT(google-build-using-namespace): the vocabulary of device code

constexpr int kThreads = 128;
constexpr float kLog2E = 1.4426950408889634F;
constexpr float kLn2 = 0.6931471805599453F;

struct Sizes {
  int64_t heads, queries, keys;
  int width;
  float scale;  // for base-2 exponentials: log2(e) included

  // Heads (of all samples) times tiles of `rows` of the tokens are the blocks of a launch.
  dim3 grid(int64_t batch, int64_t tokens, int64_t rows) const {
    return grid_of(batch * heads * ceil_div(tokens, rows));
  }
};

// Which tile of tokens the block works on.
struct Place {
  int64_t head, b, h, first;
  __device__ Place(const Sizes& size, int64_t tokens, int64_t rows) {
    const int64_t tiles = ceil_div(tokens, rows);
    head = blockIdx.x / tiles;
    b = head / size.heads;
    h = head % size.heads;
    first = blockIdx.x % tiles * rows;
  }
};

// A [batch, token, channel] tensor with channels next to each other.
template <class T>
struct Tokens {
  Global<T> data;
  int64_t sample, token;  // strides
  bool wide;              // rows of every head are aligned to 16 bytes, and so is their width

  // Rows of head h of sample b.
  __device__ Global<T> head(int64_t b, int64_t h, int width) const { return data + (b * sample + h * width); }
};

template <class T>
Tokens<T> tokens_of(const core::View& x, int64_t heads) {
  if (!x.defined()) return {nullptr, 0, 0, false};
  constexpr int64_t kPiece = 16 / sizeof(T);
  const bool wide = reinterpret_cast<uintptr_t>(x.data) % 16 == 0 && x.stride(0) % kPiece == 0 &&
                    x.stride(1) % kPiece == 0 && x.size(2) / heads % kPiece == 0;
  return {x.as<std::remove_const_t<T>>(), x.stride(0), x.stride(1), wide};
}

struct Masks {
  Global<const bool> keys;   // null: all
  Global<const bool> pairs;  // null: all
  int64_t key_sample, key_token, pair_sample, pair_query, pair_key;

  // Not to be asked where the mask is null.
  __device__ bool key(int64_t b, int64_t j) const { return keys[b * key_sample + j * key_token]; }
  // False where there is no such query or key.
  __device__ bool pair(int64_t b, int64_t i, int64_t queries, int64_t j, int64_t key_count) const {
    const bool there = i < queries && j < key_count;
    const bool seen = pairs[there ? b * pair_sample + i * pair_query + j * pair_key : 0];
    return there && seen;
  }
  // Whether query i of `queries` sees key j of `key_count`; not where there is no such query or key.
  __device__ bool see(int64_t b, int64_t i, int64_t queries, int64_t j, int64_t key_count) const {
    return i < queries && j < key_count && (keys == nullptr || key(b, j)) &&
           (pairs == nullptr || pair(b, i, queries, j, key_count));
  }
};

template <class Args>
Masks masks_of(const Args& a) {
  Masks m{nullptr, nullptr, 0, 0, 0, 0, 0};
  if (a.key_mask.defined()) {
    m.keys = a.key_mask.template as<bool>();
    m.key_sample = a.key_mask.stride(0);
    m.key_token = a.key_mask.stride(1);
  }
  if (a.pair_mask.defined()) {
    m.pairs = a.pair_mask.template as<bool>();
    m.pair_sample = a.pair_mask.rank() == 3 ? a.pair_mask.stride(0) : 0;
    m.pair_query = a.pair_mask.stride(-2);
    m.pair_key = a.pair_mask.stride(-1);
  }
  return m;
}

template <class T>
struct Forward {
  Tokens<const T> q, k, v;
  Masks masks;
  Tokens<T> y;
  Global<float> log_sum_exp;
};

template <class T>
Forward<T> forward_of(const AttentionForward& a) {
  return {tokens_of<const T>(a.q, a.heads), tokens_of<const T>(a.k, a.heads),
          tokens_of<const T>(a.v, a.heads), masks_of(a),
          tokens_of<T>(a.y, a.heads),       a.log_sum_exp.as<float>()};
}

struct Probabilities {
  Global<float> data;
  int64_t sample, head, query, key;  // strides
  int64_t averaged;                  // heads in one result: 1 or all
};

inline Probabilities probabilities_of(const AttentionForward& a) {
  const core::View& p = a.probabilities;
  const bool mean = p.rank() == 3;
  return {p.as<float>(), p.stride(0), mean ? 0 : p.stride(1), p.stride(-2), p.stride(-1), mean ? a.heads : 1};
}

// Which tile of probabilities the block works on: of `averaged` heads of sample b, from first_head on.
struct ProbabilityPlace {
  int64_t b, first_head, first, key;
  __device__ ProbabilityPlace(const Probabilities& p, const Sizes& size, int64_t rows, int64_t columns) {
    const int64_t row_tiles = ceil_div(size.queries, rows), column_tiles = ceil_div(size.keys, columns);
    const int64_t group = blockIdx.x / (row_tiles * column_tiles), groups = size.heads / p.averaged;
    b = group / groups;
    first_head = group % groups * p.averaged;
    first = blockIdx.x / column_tiles % row_tiles * rows;
    key = blockIdx.x % column_tiles * columns;
  }
};
inline dim3 probability_grid(const AttentionForward& a, int64_t rows, int64_t columns) {
  return grid_of(a.q.size(0) * (a.probabilities.rank() == 3 ? 1 : a.heads) * ceil_div(a.q.size(1), rows) *
                 ceil_div(a.k.size(1), columns));
}

template <class T>
struct Backward {
  Tokens<const T> q, k, v, grad_y;
  Masks masks;
  Global<const float> log_sum_exp, delta;
  Tokens<T> grad_q, grad_k, grad_v;
};

template <class T>
Backward<T> backward_of(const AttentionBackward& a, const core::Tensor& delta) {
  return {tokens_of<const T>(a.q, a.heads),
          tokens_of<const T>(a.k, a.heads),
          tokens_of<const T>(a.v, a.heads),
          tokens_of<const T>(a.grad_y, a.heads),
          masks_of(a),
          a.log_sum_exp.as<float>(),
          delta.view().as<float>(),
          tokens_of<T>(a.grad_q, a.heads),
          tokens_of<T>(a.grad_k, a.heads),
          tokens_of<T>(a.grad_v, a.heads)};
}

// delta[b, h, i] = dot(grad_y_i, y_i): eight lanes per row where it comes in pieces, otherwise a warp.
template <int kPiece>
constexpr int kDeltaLanes = kPiece == 1 ? kWarp : 8;
template <class T, int kPiece>
__global__ void __launch_bounds__(kThreads) attention_delta(Tokens<const T> y, Tokens<const T> grad_y,
                                                            Global<float> delta, int64_t rows, Sizes size) {
  constexpr int kLanes = kDeltaLanes<kPiece>;
  const int64_t row = int64_t{blockIdx.x} * (kThreads / kLanes) + threadIdx.x / kLanes;
  const int lane = static_cast<int>(threadIdx.x) % kLanes;
  float sum = 0.0F;
  if (row < rows) {
    const int64_t b = row / size.queries / size.heads, h = row / size.queries % size.heads;
    const int64_t query = row % size.queries;
    const auto at = y.head(b, h, size.width) + query * y.token;
    const auto grad_at = grad_y.head(b, h, size.width) + query * grad_y.token;
    for (int c = lane * kPiece; c < size.width; c += kLanes * kPiece) {
      const auto value = load<kPiece>(at, c), grad = load<kPiece>(grad_at, c);
#pragma unroll
      for (int k = 0; k < kPiece; ++k) sum += static_cast<float>(value[k]) * static_cast<float>(grad[k]);
    }
  }
#pragma unroll
  for (int lanes = 1; lanes < kLanes; lanes *= 2) sum += __shfl_xor_sync(kFullWarp, sum, lanes);
  if (row < rows && lane == 0) delta[row] = sum;
}

template <class T>
core::Tensor delta_of(const AttentionBackward& a, const Sizes& size) {
  const int64_t rows = a.q.size(0) * size.heads * size.queries;
  const core::Tensor delta = core::Tensor::empty({rows}, core::DType::f32, a.q.device);
  const auto y = tokens_of<const T>(a.y, a.heads), grad_y = tokens_of<const T>(a.grad_y, a.heads);
  const auto run = [&]<int kPiece>(std::integral_constant<int, kPiece>) {
    launch({"attention_delta", a.q.device, grid_of(ceil_div(rows, kThreads / kDeltaLanes<kPiece>)),
            dim3(kThreads)},
           attention_delta<T, kPiece>, y, grad_y, delta.view().as<float>(), rows, size);
  };
  if (y.wide && grad_y.wide) {
    run(std::integral_constant<int, 16 / sizeof(T)>{});
  } else {
    run(std::integral_constant<int, 1>{});
  }
  return delta;
}

template <class Args>
Sizes sizes_of(const Args& a) {
  return {a.heads, a.q.size(1), a.k.size(1), static_cast<int>(a.q.size(2) / a.heads),
          static_cast<float>(a.scale * 1.4426950408889634)};
}

// Whether all are of the type, with channels next to each other. Undefined ones are.
inline bool dense_channels(core::DType dtype, std::initializer_list<const core::View*> views) {
  return std::all_of(views.begin(), views.end(), [&](const core::View* x) {
    return !x->defined() || (x->dtype == dtype && (x->stride(2) == 1 || x->size(2) == 1));
  });
}

}  // namespace
}  // namespace medfusion::kernels
