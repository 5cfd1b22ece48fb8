// Sequences of up to 256 tokens, heads of up to 64 channels, bf16 on tensor cores. All tokens of a head lie
// in shared memory: keys are read once for all queries, and one pass makes all three gradients, without
// computing the scores twice and without partial sums in memory. Where the sequence is short, the warps of a
// block form groups that take a head each, neighbours in memory; groups wait for nobody but themselves. Above
// 64 tokens one head has work for all eight warps of a block, and more heads in it would only wait together.
#include "kernels/attention/attention_mma.cuh"

namespace medfusion::kernels::cuda::attention {
namespace {

// Up to kTokens queries and as many keys. Forward: a warp takes 16 queries at a time, kKeys keys after
// another. Backward: a warp takes kWarpKeys keys at a time, and kQueries queries at a time go by.
template <int kWidth_, int kTokens_>
struct Short {
  static constexpr int kWidth = kWidth_, kTokens = kTokens_;
  static constexpr int kBlockWarps = kTokens <= 64 ? 4 : 8;
  static constexpr int kHeadWarps = kTokens <= 32 ? 1 : kTokens <= 64 ? 2 : kBlockWarps;
  static constexpr int kHeads = kBlockWarps / kHeadWarps;  // of a block
  static constexpr int kBlock = kBlockWarps * kWarp, kHeadThreads = kHeadWarps * kWarp;
  using All = SharedTile<BFloat16, kTokens, kWidth>;

  static constexpr int kKeys = 32;  // more registers would leave room for fewer heads
  using Forward = Tiles<kWidth, 16, kKeys>;
  // Of a multiprocessor, at least: what the registers of the width allow.
  static constexpr int kForwardBlocks = (kWidth == 16                 ? 24
                                         : kWidth == 32 && kHeads > 1 ? 20
                                                                      : 16) /
                                        kBlockWarps;
  static constexpr int64_t kForwardBytes = kHeads * 3 * All::kBytes;

  static constexpr bool kWhole = kTokens <= 128;  // the gradients of all scores lie in shared memory
  static constexpr int kWarpKeys = kWhole ? 16 : kTokens / kBlockWarps;
  static constexpr int kQueries = kWidth < 64 ? 32 : 16;  // more would spill
  using Backward = Tiles<kWidth, kWarpKeys, kQueries>;
  using Some = SharedTile<BFloat16, kQueries, kWidth>;  // queries of a step
  using Slopes =
      SharedTile<BFloat16, kTokens, kWhole ? kTokens : kQueries>;  // gradients of scores, [key, query]
  static constexpr int kSlopes =
      Slopes::kSize > All::kSize ? Slopes::kSize : All::kSize;  // y is there before
  static constexpr int64_t kBackwardBytes = kHeads * (4 * All::kBytes + 2 * kSlopes + 2 * 4 * kTokens);
};

// The head that the calling warp works on with others.
template <class T>
struct Group {
  int index = warp_index() / T::kHeadWarps;  // within the block
  int warp = warp_index() % T::kHeadWarps;   // within the group
  int64_t head = int64_t{blockIdx.x} * T::kHeads + index, b, h;
  __device__ __forceinline__ explicit Group(const Sizes& size) : b(head / size.heads), h(head % size.heads) {}
  // A barrier whose number is not a constant would take all sixteen of the block.
  __device__ __forceinline__ void sync() const {
    static_assert(T::kHeadWarps == 1 || T::kHeads <= 2);
    if constexpr (T::kHeadWarps == 1) {
      __syncwarp();
    } else if constexpr (T::kHeads == 1) {
      __syncthreads();
    } else if (index == 0) {
      sync_named(1, T::kHeadThreads);
    } else {
      sync_named(2, T::kHeadThreads);
    }
  }
};

template <class T>
__global__ void __launch_bounds__(T::kBlock, T::kForwardBlocks)
    attention_short_forward(ForwardArguments<BFloat16> a, Sizes size, int64_t heads) {
  using Step = typename T::Forward;
  SharedMemory memory;
  const Group<T> group(size);
  const auto q_tile = T::All::take(memory, T::kHeads)[group.index];
  const auto k_tile = T::All::take(memory, T::kHeads)[group.index];
  const auto v_tile = T::All::take(memory, T::kHeads)[group.index];
  if (group.head >= heads) return;
  copy_tokens<T::kHeadThreads>(q_tile, a.q, group.b, group.h, 0, size.queries, size.width);
  copy_tokens<T::kHeadThreads>(k_tile, a.k, group.b, group.h, 0, size.keys, size.width);
  copy_tokens<T::kHeadThreads>(v_tile, a.v, group.b, group.h, 0, size.keys, size.width);
  copy_async_commit();
  copy_async_wait<0>();
  group.sync();
  const auto queries = static_cast<int>(size.queries), keys = static_cast<int>(size.keys);
#pragma unroll 1
  for (int row = group.warp * 16; row < queries; row += T::kHeadWarps * 16) {
    typename Step::Result result;
    fill(result, 0.0F);
    OnlineSoftmax<Step> softmax;
#pragma unroll 1
    for (int key = 0; key < keys; key += T::kKeys) {
      typename Step::Scores s;
      fill(s, 0.0F);
      multiply_transposed(s, q_tile, row, typename Step::Columns{k_tile.data + key * T::kWidth});
      hide_keys<Step>(s, a.masks, group.b, key, keys);
      if (a.masks.pairs != nullptr)
        hide_pairs(s, [&](int i, int j) { return a.masks.pair(group.b, row + i, queries, key + j, keys); });
      softmax.add(s, size.scale, result);
      typename Step::Left p;
      round_to(p, s);
      multiply(result, p, typename Step::Columns{v_tile.data + key * T::kWidth});
    }
    finish_rows(softmax, result, a, group.head, row, size);
    __syncwarp();                // all lanes have read these rows of q
    store(q_tile, row, result);  // and no other warp does
  }
  group.sync();
  copy_out<T::kHeadThreads>(a.y.head(group.b, group.h, size.width), a.y.token, size.queries, size.width,
                            a.y.wide, q_tile);
}

// delta_i = dot(grad_y_i, y_i) and the log-sum-exp, to base 2, of every query. exp2(s - inf) = 0: where there
// is no query, or it sees nothing.
template <class T>
__device__ __forceinline__ void find_statistics(Shared<float> l, Shared<float> delta,
                                                const typename T::All& y, const typename T::All& grad_y,
                                                Global<const float> log_sum_exp, int queries) {
  for (int i = static_cast<int>(threadIdx.x) % T::kHeadThreads; i < T::kTokens; i += T::kHeadThreads) {
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

// What a group of warps holds of its head for the gradients.
template <class T>
struct HeadTiles {
  typename T::All q, k, v, grad_y, y;
  typename T::Slopes slopes;  // where y is
  Shared<float> l, delta;

  __device__ __forceinline__ HeadTiles(SharedMemory& memory, int index)
      : q(T::All::take(memory, T::kHeads)[index]),
        k(T::All::take(memory, T::kHeads)[index]),
        v(T::All::take(memory, T::kHeads)[index]),
        grad_y(T::All::take(memory, T::kHeads)[index]) {
    const auto place = memory.take<BFloat16>(T::kHeads * T::kSlopes, 128) + index * T::kSlopes;
    y = {place};
    slopes = {place};
    l = memory.take<float>(T::kHeads * T::kTokens) + index * T::kTokens;
    delta = memory.take<float>(T::kHeads * T::kTokens) + index * T::kTokens;
  }
  // Copies what is given and finds the statistics; y is not there afterwards.
  __device__ __forceinline__ void fetch(const BackwardArguments<BFloat16>& a,
                                        const Tokens<const BFloat16>& y_from, const Group<T>& group,
                                        const Sizes& size) const {
    const auto copy = [&](const typename T::All& to, const Tokens<const BFloat16>& from, int64_t count) {
      copy_tokens<T::kHeadThreads>(to, from, group.b, group.h, 0, count, size.width);
    };
    copy(q, a.q, size.queries);
    copy(k, a.k, size.keys);
    copy(v, a.v, size.keys);
    copy(grad_y, a.grad_y, size.queries);
    copy(y, y_from, size.queries);
    copy_async_commit();
    copy_async_wait<0>();
    group.sync();
    find_statistics<T>(l, delta, y, grad_y, a.log_sum_exp + group.head * size.queries,
                       static_cast<int>(size.queries));
    group.sync();
  }
};

// -inf, to be added to the scores of keys that nobody sees.
template <class T>
__device__ __forceinline__ RowValues<T::kWarpKeys> hidden_keys(const Masks& masks, int64_t b, int row,
                                                               int keys) {
  RowValues<T::kWarpKeys> hidden;
  for_each(hidden, [&](float& value, int i) {
    const bool seen = row + i < keys && (masks.keys == nullptr || masks.key(b, row + i));
    value = seen ? 0.0F : -INFINITY;
  });
  return hidden;
}

// Probabilities of the keys from `row` on and the queries of a step, from `first` on, and the gradients of
// their scores.
template <class T>
__device__ __forceinline__ void find_slopes(typename T::Backward::Scores& p,
                                            typename T::Backward::Scores& grad_s, const HeadTiles<T>& tiles,
                                            const RowValues<T::kWarpKeys>& hidden, const Masks& masks,
                                            int64_t b, int row, int first, const Sizes& size) {
  const typename T::Some q{tiles.q.data + first * T::kWidth}, grad_y{tiles.grad_y.data + first * T::kWidth};
  fill(p, 0.0F);
  multiply_transposed(p, tiles.k, row, q);
  fill(grad_s, 0.0F);
  multiply_transposed(grad_s, tiles.v, row, grad_y);
  map_rows(p, hidden, plus);
  if (masks.pairs != nullptr)
    hide_pairs(p, [&](int i, int j) { return masks.pair(b, first + j, size.queries, row + i, size.keys); });
  ColumnValues<T::kQueries> base, mean;
  for_each(base, [&](float& value, int i) { value = tiles.l[first + i]; });
  map_columns(p, base, [&](float x, float of_query) { return exp2_fast(x * size.scale - of_query); });
  for_each(mean, [&](float& value, int i) { value = tiles.delta[first + i]; });
  map_columns(grad_s, mean, [](float x, float of_query) { return x - of_query; });
  map(grad_s, p, times);
}

template <class T>
__device__ __forceinline__ void write_head(const Tokens<BFloat16>& to, const typename T::All& tile,
                                           const Group<T>& group, int64_t count, const Sizes& size) {
  if (to.data == nullptr) return;
  copy_out<T::kHeadThreads>(to.head(group.b, group.h, size.width), to.token, count, size.width, to.wide,
                            tile);
}

// With the slopes of the whole head in shared memory: first these and grad_v, keys by keys, then grad_q, then
// grad_k, so that a warp holds sums of one kind at a time.
template <class T>
__global__ void __launch_bounds__(T::kBlock, T::kHeads > 1 ? 4 : 2)
    attention_short_backward(BackwardArguments<BFloat16> a, Tokens<const BFloat16> y, Sizes size,
                             int64_t heads) {
  using Step = typename T::Backward;
  constexpr int kRound = T::kHeadWarps * 16;  // rows that the warps of a head take at once
  SharedMemory memory;
  const Group<T> group(size);
  const HeadTiles<T> tiles(memory, group.index);
  if (group.head >= heads) return;
  tiles.fetch(a, y, group, size);
  const auto queries = static_cast<int>(size.queries), keys = static_cast<int>(size.keys);
#pragma unroll 1
  for (int row = group.warp * 16; row < T::kTokens; row += kRound) {
    const auto hidden = hidden_keys<T>(a.masks, group.b, row, keys);
    typename Step::Result grad_v;
    fill(grad_v, 0.0F);
#pragma unroll 1
    for (int first = 0; first < queries; first += T::kQueries) {
      typename Step::Scores p, grad_s;
      find_slopes<T>(p, grad_s, tiles, hidden, a.masks, group.b, row, first, size);
      store(tiles.slopes, row, grad_s, first);
      typename Step::Left left;
      round_to(left, p);
      multiply(grad_v, left, typename T::Some{tiles.grad_y.data + first * T::kWidth});
    }
    __syncwarp();                 // all lanes have read these rows of v
    store(tiles.v, row, grad_v);  // and no other warp does
  }
  group.sync();  // all slopes are there, and grad_y has been read: its place is for grad_q

  const float factor = size.scale * kLn2;
  const auto scale = [&](float& value, int, int) { value *= factor; };
#pragma unroll 1
  for (int row = group.warp * 16; row < queries; row += kRound) {
    typename Step::Result grad_q;
    fill(grad_q, 0.0F);
    multiply_of_transposed(grad_q, tiles.slopes, row, tiles.k, 0);
    for_each(grad_q, scale);
    store(tiles.grad_y, row, grad_q);
  }
  group.sync();  // k has been read: its place is for grad_k
#pragma unroll 1
  for (int row = group.warp * 16; row < keys; row += kRound) {
    typename Step::Result grad_k;
    fill(grad_k, 0.0F);
#pragma unroll 1
    for (int first = 0; first < queries; first += T::kQueries) {
      typename Step::Left left;
      load(left, tiles.slopes, row, first);
      multiply(grad_k, left, typename T::Some{tiles.q.data + first * T::kWidth});
    }
    for_each(grad_k, scale);
    store(tiles.k, row, grad_k);
  }
  group.sync();
  write_head<T>(a.grad_q, tiles.grad_y, group, queries, size);
  write_head<T>(a.grad_k, tiles.k, group, keys, size);
  write_head<T>(a.grad_v, tiles.v, group, keys, size);
}

// grad_q of the queries of one step, over the queries in their tile: parts of 16 queries and kPartWidth
// channels, one per warp.
template <class T>
__device__ __forceinline__ void replace_by_gradient(const typename T::Some& q,
                                                    const typename T::Slopes& slopes,
                                                    const typename T::All& k_tile, float factor) {
  constexpr int kParts = T::kQueries / 16;
  constexpr int kMostColumns = T::kBlockWarps / kParts, kColumnsOfWidth = T::kWidth / 16;
  constexpr int kPartColumns = kMostColumns < kColumnsOfWidth ? kMostColumns : kColumnsOfWidth;
  constexpr int kPartWidth = T::kWidth / kPartColumns;
  if (warp_index() >= kParts * kPartColumns) return;
  const int row = warp_index() % kParts * 16, column = warp_index() / kParts * kPartWidth;
  Accumulators<16, kPartWidth> grad;
  fill(grad, 0.0F);
  multiply_of_transposed(grad, slopes, row, k_tile, column);
  for_each(grad, [&](float& value, int, int) { value *= factor; });
  store(q, row, grad, column);
}

// A warp keeps its keys, and the slopes of some queries at a time are in shared memory.
template <class T>
__global__ void __launch_bounds__(T::kBlock)
    attention_short_backward_in_steps(BackwardArguments<BFloat16> a, Tokens<const BFloat16> y, Sizes size) {
  static_assert(T::kHeads == 1);
  using Step = typename T::Backward;
  SharedMemory memory;
  const Group<T> group(size);
  const HeadTiles<T> tiles(memory, group.index);
  tiles.fetch(a, y, group, size);
  const auto queries = static_cast<int>(size.queries), keys = static_cast<int>(size.keys);
  const int row = group.warp * T::kWarpKeys;
  const auto hidden = hidden_keys<T>(a.masks, group.b, row, keys);
  const float factor = size.scale * kLn2;
  typename Step::Result grad_k, grad_v;
  fill(grad_k, 0.0F);
  fill(grad_v, 0.0F);
#pragma unroll 1
  for (int first = 0; first < queries; first += T::kQueries) {
    const typename T::Some q{tiles.q.data + first * T::kWidth}, grad_y{tiles.grad_y.data + first * T::kWidth};
    typename Step::Scores p, grad_s;
    find_slopes<T>(p, grad_s, tiles, hidden, a.masks, group.b, row, first, size);
    typename Step::Left left;
    round_to(left, p);
    multiply(grad_v, left, grad_y);
    round_to(left, grad_s);
    multiply(grad_k, left, q);
    store(tiles.slopes, row, grad_s);
    __syncthreads();  // all slopes are there, and nobody needs the queries of this step any more
    replace_by_gradient<T>(q, tiles.slopes, tiles.k, factor);
    __syncthreads();  // the slopes have been read
  }
  for_each(grad_k, [&](float& value, int, int) { value *= factor; });
  store(tiles.k, row, grad_k);
  store(tiles.v, row, grad_v);
  __syncthreads();
  write_head<T>(a.grad_q, tiles.q, group, queries, size);
  write_head<T>(a.grad_k, tiles.k, group, keys, size);
  write_head<T>(a.grad_v, tiles.v, group, keys, size);
}

template <int kWidth, class Body>
void with_tokens(int64_t tokens, const Body& body) {
  if (tokens <= 32) return body(Short<kWidth, 32>{});
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
bool fits(const Args& a) {
  bool result = false;
  with_short(sizes_of(a), [&]<class T>(T) {
    constexpr bool kForward = std::is_same_v<Args, AttentionForward>;
    result = fits_shared(a.q.device, kForward ? T::kForwardBytes : T::kBackwardBytes);
  });
  return result && a.q.size(1) <= 256 && a.k.size(1) <= 256;
}
template <class Args>
std::vector<Requirement<Args>> requirements() {
  return tiles_take<Args>(takes::bf16, 64, {{"up to 256 tokens that fit shared memory", fits<Args>}});
}

void run_forward(const AttentionForward& a) {
  const Sizes size = sizes_of(a);
  const auto arguments = forward_of<BFloat16>(a);
  const int64_t heads = a.q.size(0) * size.heads;
  with_short(size, [&]<class T>(T) {
    launch({"attention_short_forward", a.q.device, grid_of(ceil_div(heads, T::kHeads)), dim3(T::kBlock),
            T::kForwardBytes},
           attention_short_forward<T>, arguments, size, heads);
  });
  run_bf16_probabilities(a);
}

void run_backward(const AttentionBackward& a) {
  const Sizes size = sizes_of(a);
  const auto arguments = backward_of<BFloat16>(a, {});
  const auto y = tokens_of<const BFloat16>(a.y, a.heads);
  const int64_t heads = a.q.size(0) * size.heads;
  with_short(size, [&]<class T>(T) {
    const Launch start{"attention_short_backward", a.q.device, grid_of(ceil_div(heads, T::kHeads)),
                       dim3(T::kBlock), T::kBackwardBytes};
    if constexpr (T::kWhole) {
      launch(start, attention_short_backward<T>, arguments, y, size, heads);
    } else {
      launch(start, attention_short_backward_in_steps<T>, arguments, y, size);
    }
  });
}

const Register<AttentionForward> forward("short", kDevice, 25, requirements<AttentionForward>(), run_forward);
const Register<AttentionBackward> backward("short", kDevice, 25, requirements<AttentionBackward>(),
                                           run_backward);

}  // namespace
}  // namespace medfusion::kernels::cuda::attention
