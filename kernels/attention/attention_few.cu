// A few queries, at most 16, against many keys (labels that look at an image), bf16 on tensor cores. The
// warps of a block hold the same queries and each takes keys of its own; where the heads are few, several
// blocks share the keys of one. What they found is combined in a fixed order.
#include "kernels/attention/attention_mma.cuh"

namespace medfusion::kernels::cuda::attention {
namespace {

constexpr int kQueries = 16;

// 32 (or 16) keys per warp go by.
template <int kWidth_>
struct FewQueries : Tiles<kWidth_, kQueries, kWidth_ <= 64 ? 32 : 16> {
  using T = Tiles<kWidth_, kQueries, kWidth_ <= 64 ? 32 : 16>;
  using Queries = SharedTile<BFloat16, kQueries, kWidth_>;
  static constexpr int kKeys = kWarps * T::kColumns;
  using Keys = SharedTile<BFloat16, kKeys, kWidth_>;  // the warps' tiles, one after another
  static __device__ __forceinline__ typename T::Columns of_warp(const Keys& keys) {
    return {keys.data + warp_index() * T::Columns::kSize};
  }
  static constexpr int kSums = kQueries * kWidth_;  // one part of the result
  static constexpr int64_t bytes(int rows) { return rows * Queries::kBytes + 2 * kStages * Keys::kBytes; }
  static_assert(kWarps * (kSums + 2 * kQueries) * 4 <= 2 * kStages * Keys::kBytes);
};

// Keys of one head in `count` ranges of `keys` keys; the parts that their blocks leave to be combined:
// sums [count, B H, 16, kWidth] and, of a softmax, largest score and sum [count, B H, 16, 2].
struct KeyRanges {
  int64_t count, keys, heads;  // heads: of all samples
  Global<float> sums, softmax;
};

// One element of the sum of `parts` parts in order, where largest(n) and sum(n) are of the softmax of part n.
struct Combined {
  float largest, sum, value;
};
template <class Largest, class Sum, class Value>
__device__ __forceinline__ Combined combine_softmax(int64_t parts, const Largest& largest, const Sum& sum,
                                                    const Value& value) {
  Combined result{-INFINITY, 0.0F, 0.0F};
  for (int64_t n = 0; n < parts; ++n) result.largest = fmaxf(result.largest, largest(n));
  if (result.largest == -INFINITY) return result;
  for (int64_t n = 0; n < parts; ++n) {
    const float factor = exp2_fast(largest(n) - result.largest);
    result.sum += factor * sum(n);
    result.value += factor * value(n);
  }
  return result;
}

__device__ __forceinline__ void write_element(const Tokens<BFloat16>& y, const Sizes& size, int64_t head,
                                              int row, int c, float value) {
  if (row < size.queries && c < size.width)
    y.head(head / size.heads, head % size.heads, size.width)[row * y.token + c] = BFloat16(value);
}

__device__ __forceinline__ void write_softmax(const ForwardArguments<BFloat16>& a, const Sizes& size,
                                              int64_t head, int row, int c, const Combined& x) {
  write_element(a.y, size, head, row, c, x.sum == 0.0F ? 0.0F : x.value / x.sum);
  if (c == 0 && row < size.queries)
    a.log_sum_exp[head * size.queries + row] = (x.largest + log2f(x.sum)) * kLn2;
}

// Puts what each warp summed where the block finds it: sums[warp][row][column].
template <class T>
__device__ __forceinline__ void share_sums(Shared<float> sums, typename T::Result& result) {
  for_each(result, [&](float& value, int row, int c) {
    sums[(warp_index() * kQueries + row) * T::kWidth + c] = value;
  });
}

template <class T>
__global__ void __launch_bounds__(kThreads, 2)
    attention_few_forward(ForwardArguments<BFloat16> a, KeyRanges ranges, Sizes size) {
  SharedMemory memory;
  const auto q_tile = T::Queries::take(memory);
  const auto k_tiles = T::Keys::take(memory, kStages), v_tiles = T::Keys::take(memory, kStages);
  const int64_t head = blockIdx.x / ranges.count, part = blockIdx.x % ranges.count;
  const int64_t b = head / size.heads, h = head % size.heads;
  const int64_t first = part * ranges.keys;
  const int64_t end = first + ranges.keys < size.keys ? first + ranges.keys : size.keys;
  copy_tokens(q_tile, a.q, b, h, 0, size.queries, size.width);  // arrives with the first keys

  typename T::Result result;
  fill(result, 0.0F);
  OnlineSoftmax<T> softmax;
  pipeline<kStages>(
      end > first ? ceil_div(end - first, T::kKeys) : 0,
      [&](int64_t n, int stage) {
        copy_tokens(k_tiles[stage], a.k, b, h, first + n * T::kKeys, size.keys, size.width);
        copy_tokens(v_tiles[stage], a.v, b, h, first + n * T::kKeys, size.keys, size.width);
      },
      [&](int64_t n, int stage) {
        const int64_t key = first + n * T::kKeys + warp_index() * T::kColumns;
        typename T::Scores s;
        fill(s, 0.0F);
        multiply_transposed(s, q_tile, 0, T::of_warp(k_tiles[stage]));
        hide_keys<T>(s, a.masks, b, key, end);
        if (a.masks.pairs != nullptr) {
          hide_pairs(s, [&](int i, int j) { return a.masks.pair(b, i, size.queries, key + j, end); });
        }
        softmax.add(s, size.scale, result);
        typename T::Left p;
        round_to(p, s);
        multiply(result, p, T::of_warp(v_tiles[stage]));
      });
  combine_rows(softmax.sum, plus);

  copy_async_wait<0>();
  __syncthreads();  // the tiles have been read: their place holds the parts of the warps
  SharedMemory again;
  const auto sums = again.take<float>(kWarps * T::kSums);
  const auto stats = again.take<float>(kWarps * kQueries * 2);
  share_sums<T>(sums, result);
  for_each(softmax.largest, [&](float& value, int row) {
    if (lane_index() % 4 == 0) stats[(warp_index() * kQueries + row) * 2] = value * size.scale;
  });
  for_each(softmax.sum, [&](float& value, int row) {
    if (lane_index() % 4 == 0) stats[(warp_index() * kQueries + row) * 2 + 1] = value;
  });
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < T::kSums; i += kThreads) {
    const int row = i / T::kWidth, c = i % T::kWidth;
    const Combined x = combine_softmax(
        kWarps, [&](int64_t n) -> float { return stats[(n * kQueries + row) * 2]; },
        [&](int64_t n) -> float { return stats[(n * kQueries + row) * 2 + 1]; },
        [&](int64_t n) -> float { return sums[n * T::kSums + i]; });
    if (ranges.count == 1) {
      write_softmax(a, size, head, row, c, x);
      continue;
    }
    const int64_t place = part * ranges.heads + head;
    ranges.sums[place * T::kSums + i] = x.value;
    if (c != 0) continue;
    ranges.softmax[(place * kQueries + row) * 2] = x.largest;
    ranges.softmax[(place * kQueries + row) * 2 + 1] = x.sum;
  }
}

// The parts of a head's blocks: one block per head.
template <class T>
__global__ void __launch_bounds__(kThreads)
    attention_few_combine(ForwardArguments<BFloat16> a, KeyRanges ranges, Sizes size) {
  const int64_t head = blockIdx.x;
  for (int i = static_cast<int>(threadIdx.x); i < T::kSums; i += kThreads) {
    const int row = i / T::kWidth, c = i % T::kWidth;
    const auto stat = [&](int64_t n) { return ((n * ranges.heads + head) * kQueries + row) * 2; };
    const Combined x = combine_softmax(
        ranges.count, [&](int64_t n) { return ranges.softmax[stat(n)]; },
        [&](int64_t n) { return ranges.softmax[stat(n) + 1]; },
        [&](int64_t n) { return ranges.sums[(n * ranges.heads + head) * T::kSums + i]; });
    write_softmax(a, size, head, row, c, x);
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads, 2)
    attention_few_backward_queries(BackwardArguments<BFloat16> a, KeyRanges ranges, Sizes size) {
  SharedMemory memory;
  const auto q_tile = T::Queries::take(memory), grad_y_tile = T::Queries::take(memory);
  const auto k_tiles = T::Keys::take(memory, kStages), v_tiles = T::Keys::take(memory, kStages);
  const int64_t head = blockIdx.x / ranges.count, part = blockIdx.x % ranges.count;
  const int64_t b = head / size.heads, h = head % size.heads;
  const int64_t first = part * ranges.keys;
  const int64_t end = first + ranges.keys < size.keys ? first + ranges.keys : size.keys;
  copy_tokens(q_tile, a.q, b, h, 0, size.queries, size.width);
  copy_tokens(grad_y_tile, a.grad_y, b, h, 0, size.queries, size.width);
  RowValues<kQueries> l, delta;
  load_statistics(l, delta, a, head, 0, size);

  typename T::Result grad;
  fill(grad, 0.0F);
  pipeline<kStages>(
      end > first ? ceil_div(end - first, T::kKeys) : 0,
      [&](int64_t n, int stage) {
        copy_tokens(k_tiles[stage], a.k, b, h, first + n * T::kKeys, size.keys, size.width);
        copy_tokens(v_tiles[stage], a.v, b, h, first + n * T::kKeys, size.keys, size.width);
      },
      [&](int64_t n, int stage) {
        const int64_t key = first + n * T::kKeys + warp_index() * T::kColumns;
        typename T::Scores p, grad_s;
        fill(p, 0.0F);
        multiply_transposed(p, q_tile, 0, T::of_warp(k_tiles[stage]));
        fill(grad_s, 0.0F);
        multiply_transposed(grad_s, grad_y_tile, 0, T::of_warp(v_tiles[stage]));
        hide_keys<T>(p, a.masks, b, key, end);
        if (a.masks.pairs != nullptr) {
          hide_pairs(p, [&](int i, int j) { return a.masks.pair(b, i, size.queries, key + j, end); });
        }
        map_rows(p, l, [&](float x, float base) { return exp2_fast(x * size.scale - base); });
        map_rows(grad_s, delta, [](float x, float d) { return x - d; });
        map(grad_s, p, times);
        typename T::Left left;
        round_to(left, grad_s);
        multiply(grad, left, T::of_warp(k_tiles[stage]));
      });

  copy_async_wait<0>();
  __syncthreads();  // the tiles have been read: their place holds the parts of the warps
  SharedMemory again;
  const auto sums = again.take<float>(kWarps * T::kSums);
  share_sums<T>(sums, grad);
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < T::kSums; i += kThreads) {
    float sum = 0.0F;
#pragma unroll
    for (int n = 0; n < kWarps; ++n) sum += sums[n * T::kSums + i];
    sum *= size.scale * kLn2;
    if (ranges.count == 1) {
      write_element(a.grad_q, size, head, i / T::kWidth, i % T::kWidth, sum);
    } else {
      ranges.sums[(part * ranges.heads + head) * T::kSums + i] = sum;
    }
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    attention_few_combine_queries(BackwardArguments<BFloat16> a, KeyRanges ranges, Sizes size) {
  const int64_t head = blockIdx.x;
  for (int i = static_cast<int>(threadIdx.x); i < T::kSums; i += kThreads) {
    float sum = 0.0F;
    for (int64_t n = 0; n < ranges.count; ++n) sum += ranges.sums[(n * ranges.heads + head) * T::kSums + i];
    write_element(a.grad_q, size, head, i / T::kWidth, i % T::kWidth, sum);
  }
}

// Calls body with the tiles that hold heads of `width` channels.
template <class Body>
void with_few_queries(int64_t width, const Body& body) {
  if (width <= 16) return body(FewQueries<16>{});
  if (width <= 32) return body(FewQueries<32>{});
  if (width <= 64) return body(FewQueries<64>{});
  body(FewQueries<128>{});
}

// As many blocks as keep a large GPU busy, where there are keys for them.
template <class T>
struct Partition {
  core::Tensor sums, softmax;
  KeyRanges ranges;

  Partition(const core::View& q, const Sizes& size) {
    constexpr int64_t kBlocks = 264;
    const int64_t heads = q.size(0) * size.heads, tiles = ceil_div(size.keys, T::kKeys);
    const int64_t wanted = heads == 0 ? 1 : ceil_div(kBlocks, heads);
    const int64_t most = tiles < wanted ? tiles : wanted;
    const int64_t range = most == 0 ? T::kKeys : ceil_div(tiles, most) * T::kKeys;
    const int64_t count = size.keys == 0 ? 1 : ceil_div(size.keys, range);
    ranges = {count, range, heads, nullptr, nullptr};
    if (count == 1) return;
    sums = core::Tensor::empty({count, heads, T::kSums}, core::DType::f32, q.device);
    softmax = core::Tensor::empty({count, heads, kQueries * 2}, core::DType::f32, q.device);
    ranges.sums = sums.view().template as<float>();
    ranges.softmax = softmax.view().template as<float>();
  }
};

template <class Args>
std::vector<Requirement<Args>> requirements() {
  return tiles_take<Args>(takes::bf16, 128,
                          {{"up to 16 queries", [](const Args& a) { return a.q.size(1) <= kQueries; }}});
}

void run_forward(const AttentionForward& a) {
  const Sizes size = sizes_of(a);
  const auto arguments = forward_of<BFloat16>(a);
  if (size.queries > 0) {
    with_few_queries(size.width, [&]<class T>(T) {
      const Partition<T> partition(a.q, size);
      const KeyRanges& ranges = partition.ranges;
      launch({"attention_few_forward", a.q.device, grid_of(ranges.heads * ranges.count), dim3(kThreads),
              T::bytes(1)},
             attention_few_forward<T>, arguments, ranges, size);
      if (ranges.count == 1) return;
      launch({"attention_few_combine", a.q.device, grid_of(ranges.heads), dim3(kThreads)},
             attention_few_combine<T>, arguments, ranges, size);
    });
  }
  run_bf16_probabilities(a);
}

void run_backward(const AttentionBackward& a) {
  const Sizes size = sizes_of(a);
  const core::Tensor delta = delta_of(a, size);
  const auto arguments = backward_of<BFloat16>(a, delta);
  if (a.grad_q.defined() && size.queries > 0) {
    with_few_queries(size.width, [&]<class T>(T) {
      const Partition<T> partition(a.q, size);
      const KeyRanges& ranges = partition.ranges;
      launch({"attention_few_backward_queries", a.q.device, grid_of(ranges.heads * ranges.count),
              dim3(kThreads), T::bytes(2)},
             attention_few_backward_queries<T>, arguments, ranges, size);
      if (ranges.count == 1) return;
      launch({"attention_few_combine_queries", a.q.device, grid_of(ranges.heads), dim3(kThreads)},
             attention_few_combine_queries<T>, arguments, ranges, size);
    });
  }
  if (!a.grad_k.defined() && !a.grad_v.defined()) return;
  with_few_queries(size.width, [&]<class F>(F) {
    using T = Tiles<F::kWidth, 16, kQueries>;
    launch({"attention_backward_keys", a.q.device, size.grid(a.q.size(0), size.keys, T::kRows),
            dim3(kThreads), T::bytes(2, 2)},
           attention_backward<T, true>, arguments, size);
  });
}

const Register<AttentionForward> forward("few", kDevice, 30, requirements<AttentionForward>(), run_forward);
const Register<AttentionBackward> backward("few", kDevice, 30, requirements<AttentionBackward>(),
                                           run_backward);

}  // namespace
}  // namespace medfusion::kernels::cuda::attention
