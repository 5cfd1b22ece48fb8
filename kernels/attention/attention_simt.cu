// fp32 on any GPU. A block takes 64 queries of one head and lets the keys go by (forward and grad_q), or 64
// keys and lets the queries go by (grad_k and grad_v): every result is gathered by one block, in order.
#include "kernels/attention/attention_device.cuh"
#include "kernels/gpu/floats.cuh"

namespace medfusion::kernels::cuda::attention {
namespace {

constexpr int kThreadColumns = 8;                       // a thread is (y, x) of a 16 x 8 grid;
constexpr int kThreadRows = kThreads / kThreadColumns;  // those of one row are neighbours in one warp

// Tiles for heads of up to kWidth channels: kRows rows stay, kColumns rows of the other side go by. Thread
// (y, x) computes the scores of rows y + 16 i and columns x + 8 j.
template <int kWidth_, int kRows_ = 64>
struct Tiles {
  static constexpr int kWidth = kWidth_;
  static constexpr int kRows = kRows_;
  static constexpr int kColumns = kWidth <= 64 ? 64 : 32;
  static constexpr int kStride = kWidth + 4;         // 8 (or 4) neighbouring rows: no bank twice
  static constexpr int kScoreStride = kColumns + 8;  // likewise
  static constexpr int kM = kRows / kThreadRows;     // block of a thread: kM x kN scores
  static constexpr int kN = kColumns / kThreadColumns;
  static constexpr int kVector = kWidth >= 32 ? 4 : 2;                // channels per access of a result,
  static constexpr int kVectors = kWidth / kThreadColumns / kVector;  // and how many of them
  static constexpr int kChannels = kVector * kVectors;
  static constexpr int kUnroll = kWidth <= 64 ? 2 : 1;  // of the products: more would spill
  // floats of `rows` tiles that stay, `columns` that go by, and one of scores
  static constexpr int64_t bytes(int rows, int columns, bool scores) {
    return int64_t{4} * ((rows * kRows + columns * kColumns) * kStride + (scores ? kRows * kScoreStride : 0));
  }
};

__device__ __forceinline__ int thread_row() { return static_cast<int>(threadIdx.x) / kThreadColumns; }
__device__ __forceinline__ int thread_column() { return static_cast<int>(threadIdx.x) % kThreadColumns; }

// Rows [first, first + kRows) of head h of sample b into a tile, zeros past the last token and channel.
template <class T, int kRows>
__device__ __forceinline__ void load_tile(Shared<float> tile, const Tokens<const float>& tokens, int64_t b,
                                          int64_t h, int64_t first, int64_t count, int width) {
  const auto x = tokens.head(b, h, width) + first * tokens.token;
  const int64_t stride = tokens.token;
  const int64_t rows = count - first;
  if (tokens.wide) {
    constexpr int kPieces = T::kWidth / 4;
#pragma unroll 4
    for (int n = 0; n < kRows * kPieces / kThreads; ++n) {
      const int piece = n * kThreads + static_cast<int>(threadIdx.x);
      const int row = piece / kPieces, c = piece % kPieces * 4;
      Vector<float, 4> value{};
      if (row < rows && c < width) value = load<4>(x, row * stride + c);
      store<4>(tile, row * T::kStride + c, value);
    }
    return;
  }
  for (int n = static_cast<int>(threadIdx.x); n < kRows * T::kWidth; n += kThreads) {
    const int row = n / T::kWidth, c = n % T::kWidth;
    tile[row * T::kStride + c] = row < rows && c < width ? x[row * stride + c] : 0.0F;
  }
}

// scores[i][j] = dot(rows[y + 16 i], columns[x + 8 j])
template <class T>
__device__ __forceinline__ void multiply_transposed(Shared<float> rows, Shared<float> columns,
                                                    float (&scores)[T::kM][T::kN]) {
  rows += thread_row() * T::kStride;
  columns += thread_column() * T::kStride;
#pragma unroll
  for (int i = 0; i < T::kM; ++i) {
#pragma unroll
    for (int j = 0; j < T::kN; ++j) scores[i][j] = 0.0F;
  }
#pragma unroll T::kUnroll
  for (int c = 0; c < T::kWidth; c += 4) {
    Vector<float, 4> left[T::kM];
#pragma unroll
    for (int i = 0; i < T::kM; ++i) left[i] = load<4>(rows, i * kThreadRows * T::kStride + c);
#pragma unroll
    for (int j = 0; j < T::kN; ++j) {
      const auto right = load<4>(columns, j * kThreadColumns * T::kStride + c);
#pragma unroll
      for (int i = 0; i < T::kM; ++i) {
#pragma unroll
        for (int n = 0; n < 4; ++n) scores[i][j] += left[i][n] * right[n];
      }
    }
  }
}

// Puts a thread's scores where the threads of its warp find them; no others read these rows.
template <class T>
__device__ __forceinline__ void share_scores(Shared<float> tile, const float (&scores)[T::kM][T::kN]) {
  __syncwarp();  // what was there has been read
#pragma unroll
  for (int i = 0; i < T::kM; ++i) {
#pragma unroll
    for (int j = 0; j < T::kN; ++j) {
      tile[(thread_row() + i * kThreadRows) * T::kScoreStride + thread_column() + j * kThreadColumns] =
          scores[i][j];
    }
  }
  __syncwarp();
}

// The channels of a thread: vector n begins at channel_of<T>(n).
template <class T>
__device__ __forceinline__ int channel_of(int n) {
  return (n * kThreadColumns + thread_column()) * T::kVector;
}

// sums[i] += sum over columns j of scores[y + 16 i][j] x[j], for the channels of the thread
template <class T>
__device__ __forceinline__ void multiply(Shared<float> scores, Shared<float> x,
                                         float (&sums)[T::kM][T::kChannels]) {
  scores += thread_row() * T::kScoreStride;
#pragma unroll T::kUnroll
  for (int j = 0; j < T::kColumns; j += 4) {
    Vector<float, 4> left[T::kM];
#pragma unroll
    for (int i = 0; i < T::kM; ++i) left[i] = load<4>(scores, i * kThreadRows * T::kScoreStride + j);
#pragma unroll
    for (int k = 0; k < 4; ++k) {
#pragma unroll
      for (int n = 0; n < T::kVectors; ++n) {
        const auto right = load<T::kVector>(x, (j + k) * T::kStride + channel_of<T>(n));
#pragma unroll
        for (int i = 0; i < T::kM; ++i) {
#pragma unroll
          for (int v = 0; v < T::kVector; ++v) sums[i][n * T::kVector + v] += left[i][k] * right[v];
        }
      }
    }
  }
}

// The thread's part of rows first + y + 16 i, times factor(i), to head h of sample b.
template <class T, class Factor>
__device__ __forceinline__ void store_rows(const Tokens<float>& tokens, int64_t b, int64_t h, int64_t first,
                                           int64_t count, int width, const float (&sums)[T::kM][T::kChannels],
                                           const Factor& factor) {
  const auto y = tokens.head(b, h, width);
  const int64_t stride = tokens.token;
#pragma unroll
  for (int i = 0; i < T::kM; ++i) {
    const int64_t row = first + thread_row() + i * kThreadRows;
    if (row >= count) continue;
    const float f = factor(i);
#pragma unroll
    for (int n = 0; n < T::kVectors; ++n) {
      const int c = channel_of<T>(n);
      Vector<float, T::kVector> value;
#pragma unroll
      for (int v = 0; v < T::kVector; ++v) value[v] = f * sums[i][n * T::kVector + v];
      if (tokens.wide && c < width) {
        store<T::kVector>(y, row * stride + c, value);
        continue;
      }
#pragma unroll
      for (int v = 0; v < T::kVector; ++v) {
        if (c + v < width) y[row * stride + c + v] = value[v];
      }
    }
  }
}

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
__global__ void __launch_bounds__(kThreads, 2) attention_forward(ForwardArguments<float> a, Sizes size) {
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
    attention_probabilities(ForwardArguments<float> a, Probabilities p, Sizes size) {
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
__global__ void __launch_bounds__(kThreads, 2) attention_backward(BackwardArguments<float> a, Sizes size) {
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

// Calls body with the Tiles that hold heads of `width` channels.
template <class Body>
void with_tiles(int64_t width, const Body& body) {
  if (width <= 16) return body(Tiles<16>{});
  if (width <= 32) return body(Tiles<32>{});
  if (width <= 64) return body(Tiles<64>{});
  body(Tiles<128>{});
}
// The same for the backward, whose four tiles of 128 channels are more than some cards have room for.
template <class Body>
void with_backward_tiles(core::Device device, int64_t width, const Body& body) {
  if (width > 64 && !fits_shared(device, Tiles<128>::bytes(2, 2, true))) return body(Tiles<128, 32>{});
  with_tiles(width, body);
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

}  // namespace

inline namespace MEDFUSION_GPU {

core::Tensor delta_of(const AttentionBackward& a, const Sizes& size) {
  const int64_t rows = a.q.size(0) * size.heads * size.queries;
  core::Tensor delta = core::Tensor::empty({rows}, core::DType::f32, a.q.device);
  visit_floats(a.y.dtype, [&]<class T>(T /*element*/) {
    constexpr int kWide = 16 / sizeof(T);
    const auto y = tokens_of<const T>(a.y, a.heads), grad_y = tokens_of<const T>(a.grad_y, a.heads);
    const bool wide = y.wide && grad_y.wide;
    const int64_t block_rows = kThreads / (wide ? kDeltaLanes<kWide> : kDeltaLanes<1>);
    launch({"attention_delta", a.q.device, grid_of(ceil_div(rows, block_rows)), dim3(kThreads)},
           wide ? attention_delta<T, kWide> : attention_delta<T, 1>, y, grad_y, delta.view().as<float>(),
           rows, size);
  });
  return delta;
}

}  // namespace MEDFUSION_GPU

namespace {

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

void run_backward(const AttentionBackward& a) {
  const Sizes size = sizes_of(a);
  const core::Tensor delta = delta_of(a, size);
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

template <class Args>
std::vector<Requirement<Args>> requirements() {
  return {takes::f32, takes::adjacent_channels, heads_up_to<Args>(128)};
}
const Register<AttentionForward> forward("simt", kDevice, 10, requirements<AttentionForward>(), run_forward);
const Register<AttentionBackward> backward("simt", kDevice, 10, requirements<AttentionBackward>(),
                                           run_backward);

}  // namespace
}  // namespace medfusion::kernels::cuda::attention
