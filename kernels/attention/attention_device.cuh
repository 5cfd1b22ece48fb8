// What the device variants of attention share: their arguments as kernels take them, and what needs no tiles.
#pragma once

#include "core/tensor.h"
#include "kernels/attention/attention.h"
#include "kernels/gpu/device.cuh"
#include "kernels/gpu/reduce.cuh"
#include "kernels/registry.h"

namespace medfusion::kernels::cuda::attention {
inline namespace MEDFUSION_GPU {

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
struct ForwardArguments {
  Tokens<const T> q, k, v;
  Masks masks;
  Tokens<T> y;
  Global<float> log_sum_exp;
};

template <class T>
ForwardArguments<T> forward_of(const AttentionForward& a) {
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
struct BackwardArguments {
  Tokens<const T> q, k, v, grad_y;
  Masks masks;
  Global<const float> log_sum_exp, delta;
  Tokens<T> grad_q, grad_k, grad_v;
};

template <class T>
BackwardArguments<T> backward_of(const AttentionBackward& a, const core::Tensor& delta) {
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

// [B, H, Tq]: delta of a query is the dot product of its rows of grad_y and y. In attention_simt.cu.
core::Tensor delta_of(const AttentionBackward& a, const Sizes& size);

template <class Args>
Sizes sizes_of(const Args& a) {
  return {a.heads, a.q.size(1), a.k.size(1), static_cast<int>(a.q.size(2) / a.heads),
          static_cast<float>(a.scale * 1.4426950408889634)};
}

// What variants ask of the heads.
template <class Args>
Requirement<Args> heads_up_to(int64_t most) {
  return {fmt::format("heads of up to {} channels", most),
          [most](const Args& a) { return a.q.size(2) / a.heads <= most; }};
}
// It keeps the order of the scores.
template <class Args>
Requirement<Args> positive_scale() {
  return {"a scale above 0", [](const Args& a) { return a.scale > 0.0; }};
}

}  // namespace MEDFUSION_GPU
}  // namespace medfusion::kernels::cuda::attention
