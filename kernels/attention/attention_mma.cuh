// What the variants of attention on mma.sync share: tiles of tokens, masks on scores in registers, and the
// kernels that more than one of them starts.
#pragma once

#include "kernels/attention/attention_softmax.cuh"
#include "kernels/gpu/takes.cuh"

namespace medfusion::kernels::cuda::attention {
inline namespace MEDFUSION_GPU {

constexpr int kWarps = kThreads / kWarp;
constexpr int kStages = 2;

// The types of bf16: of the elements, of a left factor in registers and of a product's sums.
struct Bf16Types {
  using Element = BFloat16;
  template <int kRows, int kDepth>
  using Left = LeftTile<kRows, kDepth>;
  template <int kRows, int kColumns>
  using Result = Accumulators<kRows, kColumns>;
};

// kWarpRows rows per warp stay, kColumns of the other side go by, of heads of up to kWidth channels.
template <int kWidth_, int kWarpRows_, int kColumns_ = (kWidth_ <= 64 ? 64 : 32), class Types = Bf16Types>
struct Tiles {
  using Element = typename Types::Element;
  static constexpr int kWidth = kWidth_, kWarpRows = kWarpRows_;
  static constexpr int kRows = kWarps * kWarpRows;
  static constexpr int kColumns = kColumns_;
  using Rows = SharedTile<Element, kRows, kWidth>;
  using Columns = SharedTile<Element, kColumns, kWidth>;
  using Scores = Accumulators<kWarpRows, kColumns>;
  using Left = typename Types::template Left<kWarpRows, kColumns>;
  using Result = typename Types::template Result<kWarpRows, kWidth>;
  static constexpr int64_t bytes(int rows, int columns) {
    return rows * Rows::kBytes + kStages * columns * Columns::kBytes;
  }
};

// Starts the copy of the tile of tokens from `first` on, by a block of kBlock threads.
template <int kBlock = kThreads, class Tile, class E>
__device__ __forceinline__ void copy_tokens(const Tile& tile, const Tokens<const E>& x, int64_t b, int64_t h,
                                            int64_t first, int64_t count, int width) {
  copy_async<kBlock>(tile, x.head(b, h, width) + first * x.token, x.token, count - first, width, x.wide);
}

// Rounds a warp's rows of the result to the tile, and the block writes them out.
template <class T>
__device__ __forceinline__ void write_tokens(const Tokens<typename T::Element>& y, int64_t b, int64_t h,
                                             int64_t first, int64_t count, int width,
                                             const typename T::Rows& tile, const typename T::Result& result) {
  __syncthreads();  // nobody reads the tile any more
  store(tile, warp_index() * T::kWarpRows, result);
  __syncthreads();
  copy_out<kThreads>(y.head(b, h, width) + first * y.token, y.token, count - first, width, y.wide, tile);
}

// -inf in the scores of keys past the last or masked, where the columns are the keys from `key` on.
template <class T>
__device__ __forceinline__ void hide_keys(typename T::Scores& s, const Masks& masks, int64_t b, int64_t key,
                                          int64_t keys) {
  uint64_t seen = 0;
  bool all = true;
#pragma unroll
  for (int n = 0; n < T::kColumns; n += kWarp) {
    const int64_t j = key + n + lane_index();
    const bool is_column = T::kColumns % kWarp == 0 || n + lane_index() < T::kColumns;
    const bool sees = !is_column || (j < keys && (masks.keys == nullptr || masks.key(b, j)));
    const unsigned bits = __ballot_sync(kFullWarp, sees);
    seen |= uint64_t{bits} << n;
    all = all && bits == kFullWarp;
  }
  if (all) return;
  seen >>= T::Scores::column_of(0);
#pragma unroll
  for (int i = 0; i < T::Scores::kI; ++i) {
#pragma unroll
    for (int j = 0; j < T::Scores::kJ; ++j) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        if ((seen >> (8 * j + e % 2) & 1U) == 0) s.v[i][j][e] = -INFINITY;
      }
    }
  }
}

// Four warps take rows of one tile each; tiles of the other side come by cp.async, one ahead. Scores stay in
// registers, where they turn into the left factor of the second product. Every result is gathered by one
// block, in order. (Dao, "FlashAttention-2", 2023)
template <class T>
__global__ void __launch_bounds__(kThreads, 2)
    attention_forward(ForwardArguments<typename T::Element> a, Sizes size) {
  SharedMemory memory;
  const auto q_tile = T::Rows::take(memory);
  const auto k_tiles = T::Columns::take(memory, kStages), v_tiles = T::Columns::take(memory, kStages);
  const Place at(size, size.queries, T::kRows);
  const int row = warp_index() * T::kWarpRows;
  copy_tokens(q_tile, a.q, at.b, at.h, at.first, size.queries, size.width);  // arrives with the first keys

  typename T::Result result;
  fill(result, 0.0F);
  OnlineSoftmax<T> softmax;
  pipeline<kStages>(
      ceil_div(size.keys, T::kColumns),
      [&](int64_t n, int stage) {
        copy_tokens(k_tiles[stage], a.k, at.b, at.h, n * T::kColumns, size.keys, size.width);
        copy_tokens(v_tiles[stage], a.v, at.b, at.h, n * T::kColumns, size.keys, size.width);
      },
      [&](int64_t n, int stage) {
        const int64_t key = n * T::kColumns;
        typename T::Scores s;
        fill(s, 0.0F);
        multiply_transposed(s, q_tile, row, k_tiles[stage]);
        hide_keys<T>(s, a.masks, at.b, key, size.keys);
        if (a.masks.pairs != nullptr) {
          hide_pairs(s, [&](int i, int j) {
            return a.masks.pair(at.b, at.first + row + i, size.queries, key + j, size.keys);
          });
        }
        softmax.add(s, size.scale, result);
        typename T::Left p;
        round_to(p, s);
        multiply(result, p, v_tiles[stage]);
      });

  finish_rows(softmax, result, a, at.head, at.first + row, size);
  copy_async_wait<0>();
  write_tokens<T>(a.y, at.b, at.h, at.first, size.queries, size.width, q_tile, result);
}

// The probabilities again from the scores and their log-sum-exp: one block per tile of the result.
template <class T>
__global__ void __launch_bounds__(kThreads, 2)
    attention_probabilities(ForwardArguments<typename T::Element> a, Probabilities p, Sizes size) {
  SharedMemory memory;
  const auto q_tile = T::Rows::take(memory);
  const auto k_tile = T::Columns::take(memory);
  const ProbabilityPlace at(p, size, T::kRows, T::kColumns);
  const int row = warp_index() * T::kWarpRows;
  typename T::Scores result;
  fill(result, 0.0F);
#pragma unroll 1
  for (int64_t h = at.first_head; h < at.first_head + p.averaged; ++h) {
    __syncthreads();  // the tiles before have been read
    copy_tokens(q_tile, a.q, at.b, h, at.first, size.queries, size.width);
    copy_tokens(k_tile, a.k, at.b, h, at.key, size.keys, size.width);
    copy_async_commit();
    copy_async_wait<0>();
    __syncthreads();
    typename T::Scores s;
    fill(s, 0.0F);
    multiply_transposed(s, q_tile, row, k_tile);
    hide_keys<T>(s, a.masks, at.b, at.key, size.keys);
    if (a.masks.pairs != nullptr) {
      hide_pairs(s, [&](int i, int j) {
        return a.masks.pair(at.b, at.first + row + i, size.queries, at.key + j, size.keys);
      });
    }
    RowValues<T::kWarpRows> l;
    for_each(l, [&](float& value, int i) {
      const int64_t query = at.first + row + i;
      value = query < size.queries ? a.log_sum_exp[(at.b * size.heads + h) * size.queries + query] : 0.0F;
      value = value == -INFINITY ? INFINITY : value * kLog2E;  // exp2(s - inf) = 0: it sees nothing
    });
    map_rows(s, l, [&](float x, float base) { return exp2_fast(x * size.scale - base); });
    map(result, s, plus);
  }
  const auto averaged = static_cast<float>(p.averaged);
  const auto to = p.data + (at.b * p.sample + at.first_head * p.head);
  for_each(result, [&](float& value, int i, int j) {
    const int64_t query = at.first + row + i, key = at.key + j;
    if (query < size.queries && key < size.keys) to[query * p.query + key * p.key] = value / averaged;
  });
}

// With kOfKeys the rows of a block are keys and queries go by: grad_k and grad_v. Otherwise the rows are
// queries: grad_q. Scores are those of (row, column) either way.
template <class T, bool kOfKeys>
__global__ void __launch_bounds__(kThreads, 2)
    attention_backward(BackwardArguments<typename T::Element> a, Sizes size) {
  SharedMemory memory;
  const auto row_tile = T::Rows::take(memory), row_value = T::Rows::take(memory);  // k and v, or q and grad_y
  const auto column_tiles = T::Columns::take(memory, kStages);                     // q or k
  const auto column_values = T::Columns::take(memory, kStages);                    // grad_y or v
  const int64_t rows = kOfKeys ? size.keys : size.queries, columns = kOfKeys ? size.queries : size.keys;
  const Place at(size, rows, T::kRows);
  const int row = warp_index() * T::kWarpRows;
  copy_tokens(row_tile, kOfKeys ? a.k : a.q, at.b, at.h, at.first, rows, size.width);
  copy_tokens(row_value, kOfKeys ? a.v : a.grad_y, at.b, at.h, at.first, rows, size.width);

  using Values = std::conditional_t<kOfKeys, ColumnValues<T::kColumns>, RowValues<T::kWarpRows>>;
  Values l, delta;
  if constexpr (!kOfKeys) load_statistics(l, delta, a, at.head, at.first + row, size);
  const auto combine = [](typename T::Scores& x, const Values& values, const auto& f) {
    if constexpr (kOfKeys) {
      map_columns(x, values, f);
    } else {
      map_rows(x, values, f);
    }
  };

  typename T::Result grad, grad_value;
  fill(grad, 0.0F);
  if constexpr (kOfKeys) fill(grad_value, 0.0F);
  pipeline<kStages>(
      ceil_div(columns, T::kColumns),
      [&](int64_t n, int stage) {
        const int64_t first = n * T::kColumns;
        copy_tokens(column_tiles[stage], kOfKeys ? a.q : a.k, at.b, at.h, first, columns, size.width);
        copy_tokens(column_values[stage], kOfKeys ? a.grad_y : a.v, at.b, at.h, first, columns, size.width);
      },
      [&](int64_t n, int stage) {
        const int64_t first = n * T::kColumns;
        if constexpr (kOfKeys) load_statistics(l, delta, a, at.head, first, size);
        typename T::Scores p, grad_s;
        fill(p, 0.0F);
        multiply_transposed(p, row_tile, row, column_tiles[stage]);
        fill(grad_s, 0.0F);
        multiply_transposed(grad_s, row_value, row, column_values[stage]);
        if constexpr (!kOfKeys) hide_keys<T>(p, a.masks, at.b, first, size.keys);
        if (a.masks.pairs != nullptr) {
          hide_pairs(p, [&](int i, int j) {
            const int64_t x = at.first + row + i, y = first + j;
            return kOfKeys ? a.masks.pair(at.b, y, size.queries, x, size.keys)
                           : a.masks.pair(at.b, x, size.queries, y, size.keys);
          });
        }
        combine(p, l, [&](float x, float base) { return exp2_fast(x * size.scale - base); });
        combine(grad_s, delta, [](float x, float d) { return x - d; });
        map(grad_s, p, times);
        typename T::Left left;
        if constexpr (kOfKeys) {
          round_to(left, p);
          multiply(grad_value, left, column_values[stage]);
        }
        round_to(left, grad_s);
        multiply(grad, left, column_tiles[stage]);
      });

  scale_rows<kOfKeys>(grad, size.scale * kLn2, a.masks, at.b, at.first + row, rows);
  if constexpr (kOfKeys) scale_rows<true>(grad_value, 1.0F, a.masks, at.b, at.first + row, rows);
  copy_async_wait<0>();
  const Tokens<typename T::Element>& to = kOfKeys ? a.grad_k : a.grad_q;
  if (to.data != nullptr) write_tokens<T>(to, at.b, at.h, at.first, rows, size.width, row_tile, grad);
  if constexpr (kOfKeys) {
    if (a.grad_v.data != nullptr)
      write_tokens<T>(a.grad_v, at.b, at.h, at.first, rows, size.width, row_value, grad_value);
  }
}

// What variants on these tiles take, of heads of up to `most` channels, and what else they ask.
template <class Args>
std::vector<Requirement<Args>> tiles_take(const TensorRequirement& type, int64_t most,
                                          const std::vector<Requirement<Args>>& more = {}) {
  std::vector<Requirement<Args>> all{type, takes::adjacent_channels, heads_up_to<Args>(most),
                                     positive_scale<Args>()};
  all.insert(all.end(), more.begin(), more.end());
  all.push_back(kComputeCapability80);
  return all;
}

template <class Family>
void run_probabilities(const AttentionForward& a) {
  if (!a.probabilities.defined()) return;
  const Sizes size = sizes_of(a);
  Family::template with_tiles<16>(size.width, [&]<class T>(T) {
    launch({"attention_probabilities", a.q.device, probability_grid(a, T::kRows, T::kColumns), dim3(kThreads),
            T::Rows::kBytes + T::Columns::kBytes},
           attention_probabilities<T>, forward_of<typename Family::Element>(a), probabilities_of(a), size);
  });
}

// Of bf16. In attention_mma.cu.
void run_bf16_probabilities(const AttentionForward& a);

template <class Family>
void run_forward(const AttentionForward& a) {
  const Sizes size = sizes_of(a);
  const auto arguments = forward_of<typename Family::Element>(a);
  const auto run = [&]<class T>(T) {
    launch({"attention_forward", a.q.device, size.grid(a.q.size(0), size.queries, T::kRows), dim3(kThreads),
            T::bytes(1, 2)},
           attention_forward<T>, arguments, size);
  };
  if (size.queries > 64) {
    Family::template with_tiles<32>(size.width, run);
  } else {
    Family::template with_tiles<16>(size.width, run);
  }
  run_probabilities<Family>(a);
}

template <class Family>
void run_backward(const AttentionBackward& a) {
  const Sizes size = sizes_of(a);
  const core::Tensor delta = delta_of(a, size);
  const auto arguments = backward_of<typename Family::Element>(a, delta);
  Family::with_backward_tiles(size.width, [&]<class T>(T) {
    const auto start = [&](const char* name, auto kernel, int64_t tokens) {
      launch({name, a.q.device, size.grid(a.q.size(0), tokens, T::kRows), dim3(kThreads), T::bytes(2, 2)},
             kernel, arguments, size);
    };
    if (a.grad_q.defined()) start("attention_backward_queries", attention_backward<T, false>, size.queries);
    if (a.grad_k.defined() || a.grad_v.defined())
      start("attention_backward_keys", attention_backward<T, true>, size.keys);
  });
}

}  // namespace MEDFUSION_GPU
}  // namespace medfusion::kernels::cuda::attention
