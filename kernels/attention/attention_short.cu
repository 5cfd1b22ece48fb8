// Sequences of up to 256 tokens, heads of up to 64 channels, bf16 on tensor cores. A block holds all tokens
// of one head: keys are read once for all queries, and one pass makes all three gradients, without computing
// the scores twice and without partial sums in memory.
#include "kernels/attention/attention_mma.cuh"
#include "kernels/registry.h"

namespace medfusion::kernels {
namespace {

// Up to kTokens queries and as many keys. Forward: a warp takes 16 queries at a time, kKeys keys after
// another. Backward: a warp has kWarpKeys keys, and kQueries queries at a time go by.
template <int kWidth_, int kTokens_>
struct Short {
  static constexpr int kWidth = kWidth_, kTokens = kTokens_;
  static constexpr int kBlock = kTokens == 64 ? 128 : 256;  // threads
  static constexpr int kBlockWarps = kBlock / kWarp;
  using All = SharedTile<BFloat16, kTokens, kWidth>;

  static constexpr int kKeys = kTokens == 64 ? 64 : 32;  // 32: two blocks of 256 threads per multiprocessor
  using Forward = Tiles<kWidth, 16, kKeys>;
  static constexpr int64_t kForwardBytes = 3 * All::kBytes;

  static constexpr int kWarpKeys = kTokens / kBlockWarps;
  static constexpr int kQueries = kTokens < 256 ? 64 : kWidth == 64 ? 16 : 32;  // more would spill
  using Backward = Tiles<kWidth, kWarpKeys, kQueries>;
  using Some = SharedTile<BFloat16, kQueries, kWidth>;     // queries of a step
  using Slopes = SharedTile<BFloat16, kTokens, kQueries>;  // gradients of scores, [key, query]
  static constexpr int kSlopes =
      Slopes::kSize > All::kSize ? Slopes::kSize : All::kSize;  // y is there before
  static constexpr int64_t kBackwardBytes = 4 * All::kBytes + 2 * kSlopes + 2 * 4 * kTokens;
  // grad_q of a step: parts of 16 queries and kPartWidth channels, one per warp.
  static constexpr int kParts = kQueries / 16;
  static constexpr int kMostColumns = kBlockWarps / kParts, kColumnsOfWidth = kWidth / 16;
  static constexpr int kPartColumns = kMostColumns < kColumnsOfWidth ? kMostColumns : kColumnsOfWidth;
  static constexpr int kPartWidth = kWidth / kPartColumns;
};

template <class T>
__global__ void __launch_bounds__(T::kBlock, 2) attention_short_forward(Forward<BFloat16> a, Sizes size) {
  using Step = typename T::Forward;
  SharedMemory memory;
  const auto q_tile = T::All::take(memory), k_tile = T::All::take(memory), v_tile = T::All::take(memory);
  const int64_t head = blockIdx.x, b = head / size.heads, h = head % size.heads;
  copy_tokens<T::kBlock>(q_tile, a.q, b, h, 0, size.queries, size.width);
  copy_tokens<T::kBlock>(k_tile, a.k, b, h, 0, size.keys, size.width);
  copy_tokens<T::kBlock>(v_tile, a.v, b, h, 0, size.keys, size.width);
  copy_async_commit();
  copy_async_wait<0>();
  __syncthreads();
  const auto queries = static_cast<int>(size.queries), keys = static_cast<int>(size.keys);
#pragma unroll 1
  for (int row = warp_index() * 16; row < queries; row += T::kBlockWarps * 16) {
    typename Step::Result result;
    fill(result, 0.0F);
    OnlineSoftmax<Step> softmax;
#pragma unroll 1
    for (int key = 0; key < keys; key += T::kKeys) {
      typename Step::Scores s;
      fill(s, 0.0F);
      multiply_transposed(s, q_tile, row, typename Step::Columns{k_tile.data + key * T::kWidth});
      hide_keys<Step>(s, a.masks, b, key, keys);
      if (a.masks.pairs != nullptr)
        hide_pairs(s, [&](int i, int j) { return a.masks.pair(b, row + i, queries, key + j, keys); });
      softmax.add(s, size.scale, result);
      typename Step::Left p;
      round_to(p, s);
      multiply(result, p, typename Step::Columns{v_tile.data + key * T::kWidth});
    }
    finish_rows(softmax, result, a, head, row, size);
    store(q_tile, row, result);  // nobody else reads these rows
  }
  __syncthreads();
  copy_out<T::kBlock>(a.y.head(b, h, size.width), a.y.token, size.queries, size.width, a.y.wide, q_tile);
}

// delta_i = dot(grad_y_i, y_i) and the log-sum-exp, to base 2, of every query. exp2(s - inf) = 0: where there
// is no query, or it sees nothing.
template <class T>
__device__ __forceinline__ void find_statistics(Shared<float> l, Shared<float> delta,
                                                const typename T::All& y, const typename T::All& grad_y,
                                                Global<const float> log_sum_exp, int queries) {
  for (int i = static_cast<int>(threadIdx.x); i < T::kTokens; i += T::kBlock) {
    float sum = 0.0F;
#pragma unroll 2
    for (int c = 0; c < T::kWidth; c += 8) {
      const auto left = load<8>(y.data, T::All::offset(i, c)),
                 right = load<8>(grad_y.data, T::All::offset(i, c));
#pragma unroll
      for (int n = 0; n < 8; ++n) sum += static_cast<float>(left[n]) * static_cast<float>(right[n]);
    }
    delta[i] = sum;
    const float value = i < queries ? log_sum_exp[i] * kLog2E : -INFINITY;
    l[i] = value == -INFINITY ? INFINITY : value;
  }
}

// grad_q of the queries of one step, a part of it per warp, over the queries in their tile.
template <class T>
__device__ __forceinline__ void replace_by_gradient(const typename T::Some& q,
                                                    const typename T::Slopes& slopes,
                                                    const typename T::All& k_tile, float factor) {
  if (warp_index() >= T::kParts * T::kPartColumns) return;
  const int row = warp_index() % T::kParts * 16, column = warp_index() / T::kParts * T::kPartWidth;
  Accumulators<16, T::kPartWidth> grad;
  fill(grad, 0.0F);
  multiply_of_transposed(grad, slopes, row, k_tile, column);
  for_each(grad, [&](float& value, int, int) { value *= factor; });
  store(q, row, grad, column);
}

template <class T>
__global__ void __launch_bounds__(T::kBlock)
    attention_short_backward(Backward<BFloat16> a, Tokens<const BFloat16> y, Sizes size) {
  using Step = typename T::Backward;
  SharedMemory memory;
  const auto q_tile = T::All::take(memory), k_tile = T::All::take(memory), v_tile = T::All::take(memory);
  const auto grad_y_tile = T::All::take(memory);
  const auto place = memory.take<BFloat16>(T::kSlopes, 128);
  const auto l = memory.take<float>(T::kTokens), delta = memory.take<float>(T::kTokens);
  const typename T::Slopes slopes{place};
  const typename T::All y_tile{place};
  const int64_t head = blockIdx.x, b = head / size.heads, h = head % size.heads;
  const auto queries = static_cast<int>(size.queries), keys = static_cast<int>(size.keys);
  copy_tokens<T::kBlock>(q_tile, a.q, b, h, 0, queries, size.width);
  copy_tokens<T::kBlock>(k_tile, a.k, b, h, 0, keys, size.width);
  copy_tokens<T::kBlock>(v_tile, a.v, b, h, 0, keys, size.width);
  copy_tokens<T::kBlock>(grad_y_tile, a.grad_y, b, h, 0, queries, size.width);
  copy_tokens<T::kBlock>(y_tile, y, b, h, 0, queries, size.width);
  copy_async_commit();
  copy_async_wait<0>();
  __syncthreads();
  find_statistics<T>(l, delta, y_tile, grad_y_tile, a.log_sum_exp + head * size.queries, queries);
  __syncthreads();  // y has been read: its place is for the slopes

  const int row = warp_index() * T::kWarpKeys;
  RowValues<T::kWarpKeys> hidden;  // added to the scores of a key
  for_each(hidden, [&](float& value, int i) {
    const bool seen = row + i < keys && (a.masks.keys == nullptr || a.masks.key(b, row + i));
    value = seen ? 0.0F : -INFINITY;
  });
  const float factor = size.scale * kLn2;
  typename Step::Result grad_k, grad_v;
  fill(grad_k, 0.0F);
  fill(grad_v, 0.0F);
#pragma unroll 1
  for (int first = 0; first < queries; first += T::kQueries) {
    const typename T::Some q{q_tile.data + first * T::kWidth}, grad_y{grad_y_tile.data + first * T::kWidth};
    typename Step::Scores p, grad_s;
    fill(p, 0.0F);
    multiply_transposed(p, k_tile, row, q);
    fill(grad_s, 0.0F);
    multiply_transposed(grad_s, v_tile, row, grad_y);
    map_rows(p, hidden, plus);
    if (a.masks.pairs != nullptr)
      hide_pairs(p, [&](int i, int j) { return a.masks.pair(b, first + j, queries, row + i, keys); });
    ColumnValues<T::kQueries> base, mean;
    for_each(base, [&](float& value, int i) { value = l[first + i]; });
    map_columns(p, base, [&](float x, float of_query) { return exp2_fast(x * size.scale - of_query); });
    for_each(mean, [&](float& value, int i) { value = delta[first + i]; });
    map_columns(grad_s, mean, [](float x, float of_query) { return x - of_query; });
    map(grad_s, p, times);
    typename Step::Left left;
    round_to(left, p);
    multiply(grad_v, left, grad_y);
    round_to(left, grad_s);
    multiply(grad_k, left, q);
    store(slopes, row, grad_s);
    __syncthreads();  // all slopes are there, and nobody needs the queries of this step any more
    replace_by_gradient<T>(q, slopes, k_tile, factor);
    __syncthreads();  // the slopes have been read
  }
  for_each(grad_k, [&](float& value, int, int) { value *= factor; });
  store(k_tile, row, grad_k);
  store(v_tile, row, grad_v);
  __syncthreads();
  const auto write = [&](const Tokens<BFloat16>& to, const typename T::All& tile, int count) {
    if (to.data == nullptr) return;
    copy_out<T::kBlock>(to.head(b, h, size.width), to.token, count, size.width, to.wide, tile);
  };
  write(a.grad_q, q_tile, queries);
  write(a.grad_k, k_tile, keys);
  write(a.grad_v, v_tile, keys);
}

template <int kWidth, class Body>
void with_tokens(int64_t tokens, const Body& body) {
  if (tokens <= 64) return body(Short<kWidth, 64>{});
  if (tokens <= 128) return body(Short<kWidth, 128>{});
  body(Short<kWidth, 256>{});
}
// Calls body with the Short that holds the sequences and heads.
template <class Body>
void with_short(const Sizes& size, const Body& body) {
  const int64_t tokens = size.queries > size.keys ? size.queries : size.keys;
  if (size.width <= 16) return with_tokens<16>(tokens, body);
  if (size.width <= 32) return with_tokens<32>(tokens, body);
  with_tokens<64>(tokens, body);
}

template <class Args>
bool supports(const Args& a) {
  return a.q.size(1) <= 256 && a.k.size(1) <= 256 && a.q.size(2) / a.heads <= 64 && supports_bf16(a);
}

void run_forward(const AttentionForward& a) {
  const Sizes size = sizes_of(a);
  const auto arguments = forward_of<BFloat16>(a);
  with_short(size, [&]<class T>(T) {
    launch({"attention_short_forward", a.q.device, grid_of(a.q.size(0) * size.heads), dim3(T::kBlock),
            T::kForwardBytes},
           attention_short_forward<T>, arguments, size);
  });
  run_probabilities(a, arguments, size);
}

void run_backward(const AttentionBackward& a) {
  const Sizes size = sizes_of(a);
  const auto arguments = backward_of<BFloat16>(a, {});
  with_short(size, [&]<class T>(T) {
    launch({"attention_short_backward", a.q.device, grid_of(a.q.size(0) * size.heads), dim3(T::kBlock),
            T::kBackwardBytes},
           attention_short_backward<T>, arguments, tokens_of<const BFloat16>(a.y, a.heads), size);
  });
}

const Register<AttentionForward> forward({"short", kDevice, 25, supports<AttentionForward>, run_forward});
const Register<AttentionBackward> backward({"short", kDevice, 25, supports<AttentionBackward>, run_backward});

}  // namespace
}  // namespace medfusion::kernels
