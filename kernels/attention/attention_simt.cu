// fp32 on any GPU. A block takes 64 queries of one head and lets the keys go by (forward and grad_q), or 64
// keys and lets the queries go by (grad_k and grad_v): every result is gathered by one block, in order.
#include "kernels/attention/attention_simt.cuh"

#include "kernels/registry.h"

namespace medfusion::kernels {
namespace {

// Over the eight threads that share a row.
template <class Op>
__device__ __forceinline__ float row_reduce(float value, const Op& op) {
#pragma unroll
  for (int lanes = kThreadColumns / 2; lanes > 0; lanes /= 2)
    value = op(value, __shfl_xor_sync(kFullWarp, value, lanes));
  return value;
}

// For which of the thread's scores sees(i, j) holds: bit i kN + j. Not unrolled: it needs many addresses.
template <class T, class Sees>
__device__ __forceinline__ unsigned visible_scores(const Sees& sees) {
  unsigned bits = 0;
#pragma unroll 1
  for (int i = 0; i < T::kM; ++i) {
#pragma unroll 1
    for (int j = 0; j < T::kN; ++j) {
      if (sees(i * kThreadRows, j * kThreadColumns)) bits |= 1U << (i * T::kN + j);
    }
  }
  return bits;
}
template <class T>
__device__ __forceinline__ bool is_visible(unsigned bits, int i, int j) {
  return (bits >> (i * T::kN + j) & 1U) != 0;
}

template <class T>
__global__ void __launch_bounds__(kThreads, 2) attention_forward(Forward<float> a, Sizes size) {
  SharedMemory memory;
  const auto q_tile = memory.take<float>(T::kRows * T::kStride);
  const auto k_tile = memory.take<float>(T::kColumns * T::kStride);
  const auto v_tile = memory.take<float>(T::kColumns * T::kStride);
  const auto p_tile = memory.take<float>(T::kRows * T::kScoreStride);
  const Place at(size, size.queries, T::kRows);
  load_tile<T, T::kRows>(q_tile, a.q, at.b, at.h, at.first, size.queries, size.width);

  float largest[T::kM], sum[T::kM], result[T::kM][T::kChannels];
#pragma unroll
  for (int i = 0; i < T::kM; ++i) {
    largest[i] = -INFINITY;
    sum[i] = 0.0F;
#pragma unroll
    for (int c = 0; c < T::kChannels; ++c) result[i][c] = 0.0F;
  }
  for (int64_t key = 0; key < size.keys; key += T::kColumns) {
    __syncthreads();  // the tiles before have been read
    load_tile<T, T::kColumns>(k_tile, a.k, at.b, at.h, key, size.keys, size.width);
    load_tile<T, T::kColumns>(v_tile, a.v, at.b, at.h, key, size.keys, size.width);
    __syncthreads();
    float s[T::kM][T::kN];
    multiply_transposed<T>(q_tile, k_tile, s);
    const unsigned visible = visible_scores<T>([&](int i, int j) {
      return a.masks.see(at.b, at.first + thread_row() + i, size.queries, key + thread_column() + j,
                         size.keys);
    });
#pragma unroll
    for (int i = 0; i < T::kM; ++i) {
      float most = largest[i];
#pragma unroll
      for (int j = 0; j < T::kN; ++j) {
        s[i][j] = is_visible<T>(visible, i, j) ? s[i][j] * size.scale : -INFINITY;
        most = fmaxf(most, s[i][j]);
      }
      most = row_reduce(most, [](float x, float z) { return fmaxf(x, z); });
      const float base = most == -INFINITY ? 0.0F : most;  // nothing seen yet: exp2(-inf - 0) = 0
      const float shrink = exp2f(largest[i] - base);
      largest[i] = most;
      float part = 0.0F;
#pragma unroll
      for (int j = 0; j < T::kN; ++j) {
        s[i][j] = exp2f(s[i][j] - base);
        part += s[i][j];
      }
      sum[i] = sum[i] * shrink + part;
#pragma unroll
      for (int c = 0; c < T::kChannels; ++c) result[i][c] *= shrink;
    }
    share_scores<T>(p_tile, s);
    multiply<T>(p_tile, v_tile, result);
  }
  float inverse[T::kM];
#pragma unroll
  for (int i = 0; i < T::kM; ++i) {
    const float total = row_reduce(sum[i], [](float x, float z) { return x + z; });
    inverse[i] = total == 0.0F ? 0.0F : 1.0F / total;
    const int64_t query = at.first + thread_row() + i * kThreadRows;
    if (query < size.queries && thread_column() == 0)
      a.log_sum_exp[at.head * size.queries + query] = (largest[i] + log2f(total)) * kLn2;
  }
  store_rows<T>(a.y, at.b, at.h, at.first, size.queries, size.width, result,
                [&](int i) { return inverse[i]; });
}

// The probabilities again from the scores and their log-sum-exp: one block per tile of the result.
template <class T>
__global__ void __launch_bounds__(kThreads, 2)
    attention_probabilities(Forward<float> a, Probabilities p, Sizes size) {
  SharedMemory memory;
  const auto q_tile = memory.take<float>(T::kRows * T::kStride);
  const auto k_tile = memory.take<float>(T::kColumns * T::kStride);
  const ProbabilityPlace at(p, size, T::kRows, T::kColumns);
  const unsigned visible = visible_scores<T>([&](int i, int j) {
    return a.masks.see(at.b, at.first + thread_row() + i, size.queries, at.key + thread_column() + j,
                       size.keys);
  });
  float result[T::kM][T::kN] = {};
#pragma unroll 1
  for (int64_t h = at.first_head; h < at.first_head + p.averaged; ++h) {
    __syncthreads();
    load_tile<T, T::kRows>(q_tile, a.q, at.b, h, at.first, size.queries, size.width);
    load_tile<T, T::kColumns>(k_tile, a.k, at.b, h, at.key, size.keys, size.width);
    __syncthreads();
    float s[T::kM][T::kN];
    multiply_transposed<T>(q_tile, k_tile, s);
#pragma unroll
    for (int i = 0; i < T::kM; ++i) {
      const int64_t query = at.first + thread_row() + i * kThreadRows;
      if (query >= size.queries) continue;
      const float l = a.log_sum_exp[(at.b * size.heads + h) * size.queries + query] * kLog2E;
#pragma unroll
      for (int j = 0; j < T::kN; ++j) {
        if (is_visible<T>(visible, i, j)) result[i][j] += exp2f(s[i][j] * size.scale - l);
      }
    }
  }
  const auto averaged = static_cast<float>(p.averaged);
  const auto to = p.data + (at.b * p.sample + at.first_head * p.head);
#pragma unroll
  for (int i = 0; i < T::kM; ++i) {
    const int64_t query = at.first + thread_row() + i * kThreadRows;
#pragma unroll
    for (int j = 0; j < T::kN; ++j) {
      const int64_t key = at.key + thread_column() + j * kThreadColumns;
      if (query < size.queries && key < size.keys)
        to[query * p.query + key * p.key] = result[i][j] / averaged;
    }
  }
}

// With kOfKeys the rows of a block are keys and queries go by: grad_k and grad_v. Otherwise the rows are
// queries: grad_q. Scores are those of (row, column) either way.
template <class T, bool kOfKeys>
__global__ void __launch_bounds__(kThreads, 2) attention_backward(Backward<float> a, Sizes size) {
  SharedMemory memory;
  const auto row_tile = memory.take<float>(T::kRows * T::kStride);         // k or q
  const auto row_value = memory.take<float>(T::kRows * T::kStride);        // v or grad_y
  const auto column_tile = memory.take<float>(T::kColumns * T::kStride);   // q or k
  const auto column_value = memory.take<float>(T::kColumns * T::kStride);  // grad_y or v
  const auto scores = memory.take<float>(T::kRows * T::kScoreStride);
  const int64_t rows = kOfKeys ? size.keys : size.queries, columns = kOfKeys ? size.queries : size.keys;
  const Place at(size, rows, T::kRows);
  load_tile<T, T::kRows>(row_tile, kOfKeys ? a.k : a.q, at.b, at.h, at.first, rows, size.width);
  load_tile<T, T::kRows>(row_value, kOfKeys ? a.v : a.grad_y, at.b, at.h, at.first, rows, size.width);

  const auto log_sum_exp = a.log_sum_exp + at.head * size.queries, delta = a.delta + at.head * size.queries;
  float grad[T::kM][T::kChannels] = {}, grad_value[kOfKeys ? T::kM : 1][kOfKeys ? T::kChannels : 1] = {};
  for (int64_t column = 0; column < columns; column += T::kColumns) {
    __syncthreads();  // the tiles before have been read
    load_tile<T, T::kColumns>(column_tile, kOfKeys ? a.q : a.k, at.b, at.h, column, columns, size.width);
    load_tile<T, T::kColumns>(column_value, kOfKeys ? a.grad_y : a.v, at.b, at.h, column, columns,
                              size.width);
    __syncthreads();
    float p[T::kM][T::kN], grad_s[T::kM][T::kN];
    multiply_transposed<T>(row_tile, column_tile, p);
    multiply_transposed<T>(row_value, column_value, grad_s);
    const unsigned visible = visible_scores<T>([&](int i, int j) {
      const int64_t row = at.first + thread_row() + i, other = column + thread_column() + j;
      return kOfKeys ? a.masks.see(at.b, other, columns, row, rows)
                     : a.masks.see(at.b, row, rows, other, columns);
    });
#pragma unroll
    for (int i = 0; i < T::kM; ++i) {
#pragma unroll
      for (int j = 0; j < T::kN; ++j) {
        const int64_t query = kOfKeys ? column + thread_column() + j * kThreadColumns
                                      : at.first + thread_row() + i * kThreadRows;
        const bool sees = is_visible<T>(visible, i, j);
        p[i][j] = sees ? exp2f(p[i][j] * size.scale - log_sum_exp[query] * kLog2E) : 0.0F;
        grad_s[i][j] = sees ? p[i][j] * (grad_s[i][j] - delta[query]) : 0.0F;
      }
    }
    if constexpr (kOfKeys) {
      share_scores<T>(scores, p);
      multiply<T>(scores, column_value, grad_value);
    }
    share_scores<T>(scores, grad_s);
    multiply<T>(scores, column_tile, grad);
  }
  const auto store_head = [&](const Tokens<float>& x, const auto& sums, float factor) {
    if (x.data == nullptr) return;
    store_rows<T>(x, at.b, at.h, at.first, rows, size.width, sums, [&](int) { return factor; });
  };
  store_head(kOfKeys ? a.grad_k : a.grad_q, grad, size.scale * kLn2);
  if constexpr (kOfKeys) store_head(a.grad_v, grad_value, 1.0F);
}

bool supports_forward(const AttentionForward& a) {
  return a.q.size(2) / a.heads <= 128 && dense_channels(core::DType::f32, {&a.q, &a.k, &a.v, &a.y});
}

void run_forward(const AttentionForward& a) {
  const Sizes size = sizes_of(a);
  const auto arguments = forward_of<float>(a);
  with_tiles(size.width, [&]<class T>(T) {
    launch({"attention_forward", a.q.device, size.grid(a.q.size(0), size.queries, T::kRows), dim3(kThreads),
            T::bytes(1, 2, true)},
           attention_forward<T>, arguments, size);
    if (!a.probabilities.defined()) return;
    launch({"attention_probabilities", a.q.device, probability_grid(a, T::kRows, T::kColumns), dim3(kThreads),
            T::bytes(1, 1, false)},
           attention_probabilities<T>, arguments, probabilities_of(a), size);
  });
}

bool supports_backward(const AttentionBackward& a) {
  return a.q.size(2) / a.heads <= 128 && dense_channels(core::DType::f32, {&a.q, &a.k, &a.v, &a.y, &a.grad_y,
                                                                           &a.grad_q, &a.grad_k, &a.grad_v});
}

void run_backward(const AttentionBackward& a) {
  const Sizes size = sizes_of(a);
  const core::Tensor delta = delta_of<float>(a, size);
  const auto arguments = backward_of<float>(a, delta);
  with_backward_tiles(a.q.device, size.width, [&]<class T>(T) {
    const auto start = [&](const char* name, auto kernel, int64_t tokens) {
      launch(
          {name, a.q.device, size.grid(a.q.size(0), tokens, T::kRows), dim3(kThreads), T::bytes(2, 2, true)},
          kernel, arguments, size);
    };
    if (a.grad_q.defined()) start("attention_backward_queries", attention_backward<T, false>, size.queries);
    if (a.grad_k.defined() || a.grad_v.defined())
      start("attention_backward_keys", attention_backward<T, true>, size.keys);
  });
}

const Register<AttentionForward> forward({"simt", kDevice, 10, supports_forward, run_forward},
                                         "f32, adjacent channels, heads of up to 128 channels");
const Register<AttentionBackward> backward({"simt", kDevice, 10, supports_backward, run_backward},
                                           "f32, adjacent channels, heads of up to 128 channels");

}  // namespace
}  // namespace medfusion::kernels
