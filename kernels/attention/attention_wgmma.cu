// bf16 on Hopper, for long sequences. A block takes 128 queries of a head: one warp brings tiles of 128 keys
// and values by bulk copies, and two warpgroups take 64 queries each. Two overlaps keep the tensor cores busy
// while exponentials are computed: a warpgroup's softmax of a tile runs beside its product of the tile before
// with the values, and the warpgroups take turns in starting products, so that one computes while the other's
// run. (Shah et al., "FlashAttention-3", 2024)
#include "kernels/attention/attention_wgmma.cuh"

namespace medfusion::kernels::cuda::attention {
namespace {

template <int kWidth_>
struct Hopper {
  static constexpr int kWidth = kWidth_, kWarpRows = 16;
  static constexpr int kStages = kWidth <= 64 ? 4 : 2;
  using Rows = SwizzledTile<kTileRows, kWidth>;
  using Keys = SwizzledTile<kTileKeys, kWidth>;
  using Scores = Accumulators<kWarpRows, kTileKeys>;
  using Left = LeftTile<kWarpRows, kTileKeys>;
  using Result = Accumulators<kWarpRows, kWidth>;
  static constexpr int kBarriers = 1 + 4 * kStages;
  static constexpr int64_t kBytes = Rows::kBytes + 2 * kStages * Keys::kBytes + 8 * kBarriers;
};

// The shared memory of a block.
template <class T>
struct Buffers {
  typename T::Rows q;
  TileRing<typename T::Keys, T::kStages> k, v;
  Shared<uint64_t> q_full;

  static __device__ __forceinline__ Buffers take(SharedMemory& memory) {
    Buffers s;
    s.q = T::Rows::take(memory);
    for (auto* ring : {&s.k, &s.v}) ring->take_tiles(memory);
    for (auto* ring : {&s.k, &s.v}) ring->take_barriers(memory);
    s.q_full = memory.take<uint64_t>(1, 8);
    return s;
  }
  // By one thread; a __syncthreads shows them to the others.
  __device__ __forceinline__ void init() const {
    mbarrier_init(q_full, 0, 1);
    k.init();
    v.init();
    fence_proxy_async();
  }
};

// One thread brings all tiles, as fast as their places become empty.
template <class T>
__device__ __forceinline__ void produce(const Buffers<T>& s, const TensorMap& q, const TensorMap& k,
                                        const TensorMap& v, const Place& at, int64_t tiles) {
  const int column = static_cast<int>(at.h) * T::kWidth, b = static_cast<int>(at.b);
  mbarrier_arrive_expect(s.q_full, 0, static_cast<int>(T::Rows::kBytes));
  copy_tile_async(s.q, s.q_full, 0, q, column, static_cast<int>(at.first), b);
  Ring<T::kStages> ring;
#pragma unroll 1
  for (int64_t n = 0; n < tiles; ++n, ring.next()) {
    const int key = static_cast<int>(n) * kTileKeys;
    s.k.bring(ring, k, column, key, b);
    s.v.bring(ring, v, column, key, b);
  }
}

// The warpgroups start products in turn: 0, 1, 0, 1, ..., once per tile.
__device__ __forceinline__ void take_turn(int consumer) {
  sync_named(kTurn + consumer, kConsumers * kWarpgroup);
}
__device__ __forceinline__ void pass_turn(int consumer) {
  arrive_named(kTurn + 1 - consumer, kConsumers * kWarpgroup);
}

// 64 rows of the result, rows 16 w to 16 w + 15 in warp w.
template <class T>
__device__ __forceinline__ void consume(const Buffers<T>& s, const ForwardArguments<BFloat16>& a,
                                        const Place& at, const Sizes& size, int64_t tiles, int consumer,
                                        int64_t first, OnlineSoftmax<T>& softmax,
                                        typename T::Result& result) {
  const int row = consumer * kGroupRows;
  typename T::Scores scores;
  typename T::Left p;
  Ring<T::kStages> ring;  // of the keys; the values are one tile behind
  const auto hide_pairs_from = [&](int64_t key) {
    if (a.masks.pairs == nullptr) return;
    hide_pairs<8>(scores, [&](int i, int j) {
      return a.masks.pair(at.b, first + i, size.queries, key + j, size.keys);
    });
  };
  if (consumer == 1) pass_turn(consumer);
  mbarrier_wait(s.q_full, 0, 0);
  {
    const SeenKeys seen(a.masks, at.b, 0, size.keys);
    const auto k = s.k.wait(ring);
    take_turn(consumer);
    start_multiply_transposed(scores, s.q, row, k);
    if (consumer == 0 || tiles > 1) pass_turn(consumer);  // nobody waits for one more
    wait_products<0>(scores);
    s.k.release(0);
    seen.hide_others(scores);
    hide_pairs_from(0);
    softmax.add(scores, size.scale);
    round_to(p, scores);
  }
#pragma unroll 1
  for (int64_t n = 1; n < tiles; ++n) {
    const Ring<T::kStages> values = ring;
    ring.next();
    const SeenKeys seen(a.masks, at.b, n * kTileKeys, size.keys);
    const auto k = s.k.wait(ring);
    take_turn(consumer);
    start_multiply_transposed(scores, s.q, row, k);
    start_multiply(result, p, s.v.wait(values));
    if (consumer == 0 || n + 1 < tiles) pass_turn(consumer);
    wait_products<1>(scores);
    s.k.release(ring.stage);
    seen.hide_others(scores);
    hide_pairs_from(n * kTileKeys);
    const auto shrink = softmax.add(scores, size.scale);
    no_wait_before(softmax.sum.v[0][0] + softmax.sum.v[0][1]);
    wait_products<0>(result, p, scores);
    s.v.release(values.stage);
    map_rows(result, shrink, times);
    round_to(p, scores);
  }
  start_multiply(result, p, s.v.wait(ring));
  wait_products<0>(result, p);
}

template <class T>
__global__ void __launch_bounds__(kBlock, 1)
    attention_wgmma_forward(const __grid_constant__ TensorMap q, const __grid_constant__ TensorMap k,
                            const __grid_constant__ TensorMap v, ForwardArguments<BFloat16> a, Sizes size) {
  SharedMemory memory;
  const auto s = Buffers<T>::take(memory);
  if (threadIdx.x == 0) s.init();
  __syncthreads();
  const Place at(size, size.queries, kTileRows);
  const int64_t tiles = ceil_div(size.keys, kTileKeys);
  const int group = warpgroup_index();
  if (group == 0) {
    fewer_registers<kProducerRegisters>();
    if (threadIdx.x == 0) produce<T>(s, q, k, v, at, tiles);
    return;
  }
  more_registers<kConsumerRegisters>();
  const int consumer = group - 1;
  OnlineSoftmax<T> softmax;
  typename T::Result result;
  fill(result, 0.0F);
  const int row = consumer * kGroupRows + warp_index() % (kWarpgroup / kWarp) * T::kWarpRows;
  const int64_t first = at.first + row;
  consume<T>(s, a, at, size, tiles, consumer, first, softmax, result);

  finish_rows(softmax, result, a, at.head, first, size);
  sync_named(kResult + consumer, kWarpgroup);  // the warpgroup's queries have been read
  write_rows<T>(a.y, at, first, size.queries, s.q, row, result);
}

bool in_pieces(const AttentionForward& a) {
  return has_boxes(boxes_of(a.q, kTileRows)) && has_boxes(boxes_of(a.k, kTileKeys)) &&
         has_boxes(boxes_of(a.v, kTileKeys)) && tokens_of<BFloat16>(a.y, a.heads).wide;
}
std::vector<Requirement<AttentionForward>> requirements() {
  auto all = wgmma_takes<AttentionForward>(in_pieces);
  all.push_back({"no probabilities", [](const AttentionForward& a) { return !a.probabilities.defined(); }});
  return all;
}

void run_forward(const AttentionForward& a) {
  const Sizes size = sizes_of(a);
  const auto run = [&]<class T>(T) {
    launch({"attention_wgmma_forward", a.q.device, size.grid(a.q.size(0), size.queries, kTileRows),
            dim3(kBlock), T::kBytes},
           attention_wgmma_forward<T>, tensor_map(boxes_of(a.q, kTileRows)),
           tensor_map(boxes_of(a.k, kTileKeys)), tensor_map(boxes_of(a.v, kTileKeys)),
           forward_of<BFloat16>(a), size);
  };
  if (size.width == 64) {
    run(Hopper<64>{});
  } else {
    run(Hopper<128>{});
  }
}

const Register<AttentionForward> forward("wgmma", kDevice, 22, requirements(), run_forward,
                                         wgmma_should<AttentionForward>());

}  // namespace
}  // namespace medfusion::kernels::cuda::attention
