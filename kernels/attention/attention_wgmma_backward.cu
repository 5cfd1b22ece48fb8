// Backward in bf16 on Hopper, for long sequences: one launch for the gradients of keys and values, one for
// that of queries. The rows of a block, 128 keys or queries of a head, stay and tiles of the other side go
// by: one warp brings them by bulk copies, and two warpgroups take 64 rows each. While a warpgroup computes
// probabilities of a tile, its products of the tile before and the other warpgroup's run (Shah et al.,
// "FlashAttention-3", 2024). Every result is gathered by one block, in order: no gradient is added up in
// memory, and seven products of a tile are computed instead of five.
#include "kernels/attention/attention_wgmma.cuh"

namespace medfusion::kernels::cuda::attention {
namespace {

// With kOfKeys_ the rows of a block are keys and queries go by, otherwise the other way round.
template <int kWidth_, bool kOfKeys_>
struct HopperBackward {
  static constexpr bool kOfKeys = kOfKeys_;
  static constexpr int kWidth = kWidth_, kWarpRows = 16;
  // Two results of 128 channels leave registers for the scores of 64 columns.
  static constexpr int kColumns = kOfKeys && kWidth == 128 ? 64 : kTileKeys;
  // Whether the registers hold what goes into the gradients of a tile beside all scores of the next.
  static constexpr bool kAllAtOnce = !kOfKeys && kWidth == 64;
  // Of the larger tiles fewer fit; those of column_value are needed for a shorter time.
  static constexpr bool kSmall = kWidth * kColumns <= 64 * 128;
  static constexpr int kStages = kSmall ? 4 : 3, kValueStages = kSmall ? 4 : 2;
  using Rows = SwizzledTile<kTileRows, kWidth>;
  using Columns = SwizzledTile<kColumns, kWidth>;
  using Scores = Accumulators<kWarpRows, kColumns>;
  using Left = LeftTile<kWarpRows, kColumns>;
  using Result = Accumulators<kWarpRows, kWidth>;
  static constexpr int kStatistics = kOfKeys ? kStages * kColumns : 0;  // of columns, in shared memory
  static constexpr int kBarriers = 1 + 2 * (kStages + kValueStages);
  static constexpr int64_t kBytes =
      2 * Rows::kBytes + (kStages + kValueStages) * Columns::kBytes + 8 * (kStatistics + kBarriers);
};

// The shared memory of a block: with queries come their gradients of y, with keys their values.
template <class T>
struct Buffers {
  typename T::Rows row, row_value;
  TileRing<typename T::Columns, T::kStages> column;
  TileRing<typename T::Columns, T::kValueStages> column_value;
  Shared<float> base, delta;  // of `column`
  Shared<uint64_t> rows_full;

  static __device__ __forceinline__ Buffers take(SharedMemory& memory) {
    Buffers s;
    s.row = T::Rows::take(memory);
    s.row_value = T::Rows::take(memory);
    s.column.take_tiles(memory);
    s.column_value.take_tiles(memory);
    s.base = memory.take<float>(T::kStatistics);
    s.delta = memory.take<float>(T::kStatistics);
    s.column.take_barriers(memory);
    s.column_value.take_barriers(memory);
    s.rows_full = memory.take<uint64_t>(1, 8);
    return s;
  }
  // By one thread; a __syncthreads shows them to the others.
  __device__ __forceinline__ void init() const {
    mbarrier_init(rows_full, 0, 1);
    column.init(T::kOfKeys ? 2 : 1);  // the statistics come, too
    column_value.init();
    fence_proxy_async();
  }
};

// One warp brings all tiles, as fast as their places become empty: its first lane by bulk copies, all lanes
// the statistics of queries.
template <class T>
__device__ __forceinline__ void produce(const Buffers<T>& s, const TensorMap& row, const TensorMap& row_value,
                                        const TensorMap& column, const TensorMap& column_value,
                                        const BackwardArguments<BFloat16>& a, const Place& at,
                                        const Sizes& size, int64_t tiles) {
  const int channel = static_cast<int>(at.h) * T::kWidth, b = static_cast<int>(at.b);
  const bool first_lane = lane_index() == 0;
  if (first_lane) {
    mbarrier_arrive_expect(s.rows_full, 0, static_cast<int>(2 * T::Rows::kBytes));
    copy_tile_async(s.row, s.rows_full, 0, row, channel, static_cast<int>(at.first), b);
    copy_tile_async(s.row_value, s.rows_full, 0, row_value, channel, static_cast<int>(at.first), b);
  }
  Ring<T::kStages> ring;
  Ring<T::kValueStages> values;
#pragma unroll 1
  for (int64_t n = 0; n < tiles; ++n, ring.next(), values.next()) {
    const int first = static_cast<int>(n) * T::kColumns;
    if (first_lane) {
      s.column.bring(ring, column, channel, first, b);
      s.column_value.bring(values, column_value, channel, first, b);
    }
    if constexpr (T::kOfKeys) {
      s.column.wait_empty(ring);
#pragma unroll 1
      for (int i = lane_index(); i < T::kColumns; i += kWarp) {
        s.base[ring.stage * T::kColumns + i] = base_at(a, at.head, first + i, size);
        s.delta[ring.stage * T::kColumns + i] = delta_at(a, at.head, first + i, size);
      }
      __syncwarp();
      if (first_lane) mbarrier_arrive(s.column.full, ring.stage);
    }
  }
}

// For a wait: how many products, the latest, may still run.
template <int kProducts>
using Latest = std::integral_constant<int, kProducts>;

// The values of a tile's columns, from[i] on.
template <int kColumns>
__device__ __forceinline__ ColumnValues<kColumns> load_columns(const Shared<float>& from, int i) {
  ColumnValues<kColumns> values;
#pragma unroll
  for (int j = 0; j < kColumns / 8; ++j) {
    const auto pair = load<2>(from, i + 8 * j + lane_index() % 4 * 2);
    values.v[j][0] = pair[0];
    values.v[j][1] = pair[1];
  }
  return values;
}

// 64 rows of the gradients, rows 16 w to 16 w + 15 in warp w: keys' and values', or queries'.
template <class T>
__device__ __forceinline__ void consume(const Buffers<T>& s, const BackwardArguments<BFloat16>& a,
                                        const Place& at, const Sizes& size, int64_t tiles, int row,
                                        int64_t first, typename T::Result& grad,
                                        typename T::Result& grad_value) {
  typename T::Scores p, grad_s;
  typename T::Left left_p, left_s;
  RowValues<T::kWarpRows> base, delta;  // of rows that are queries
  if constexpr (!T::kOfKeys) load_statistics(base, delta, a, at.head, first, size);
  Ring<T::kStages> ring;
  Ring<T::kValueStages> values;
  // x = f(x, its query's value)
  const auto combine = [&](typename T::Scores& x, const RowValues<T::kWarpRows>& rows,
                           const Shared<float>& columns, const auto& f) {
    if constexpr (T::kOfKeys) {
      map_columns(x, load_columns<T::kColumns>(columns, ring.stage * T::kColumns), f);
    } else {
      map_rows(x, rows, f);
    }
  };
  const auto start_scores = [&] { start_multiply_transposed(p, s.row, row, s.column.wait(ring)); };
  const auto start_grad_scores = [&] {
    start_multiply_transposed(grad_s, s.row_value, row, s.column_value.wait(values));
  };
  const auto start_gradients = [&](int stage, int value_stage) {
    if constexpr (T::kOfKeys) start_multiply(grad_value, left_p, s.column_value.tiles[value_stage]);
    start_multiply(grad, left_s, s.column.tiles[stage]);
  };
  const auto wait_gradients = [&]<int kLeft>(Latest<kLeft>) {
    if constexpr (T::kOfKeys) wait_products<kLeft>(grad_value, left_p);
    wait_products<kLeft>(grad, left_s);
  };
  // Of tile n.
  const auto make_probabilities = [&]<int kLeft>(int64_t n, Latest<kLeft>) {
    const int64_t column = n * T::kColumns;
    if constexpr (T::kOfKeys) {
      wait_products<kLeft>(p);
    } else {
      const SeenKeys seen(a.masks, at.b, column, size.keys);
      wait_products<kLeft>(p);
      seen.hide_others(p);
    }
    if (a.masks.pairs != nullptr) {
      hide_pairs<4>(p, [&](int i, int j) {
        const int64_t x = first + i, y = column + j;
        return T::kOfKeys ? a.masks.pair(at.b, y, size.queries, x, size.keys)
                          : a.masks.pair(at.b, x, size.queries, y, size.keys);
      });
    }
    combine(p, base, s.base, [&](float x, float b) { return exp2_fast(x * size.scale - b); });
    no_wait_before(p);
  };
  const auto make_left_factors = [&] {
    wait_products<0>(grad_s);
    if constexpr (!T::kOfKeys) s.column_value.release(values.stage);
    combine(grad_s, delta, s.delta, [](float x, float d) { return x - d; });
    map(grad_s, p, times);
    if constexpr (T::kOfKeys) round_to(left_p, p);
    round_to(left_s, grad_s);
  };

  mbarrier_wait(s.rows_full, 0, 0);
  start_scores();
  make_probabilities(0, Latest<0>{});
  start_grad_scores();
  make_left_factors();
#pragma unroll 1
  for (int64_t n = 1; n < tiles; ++n) {
    const int stage = ring.stage, value_stage = values.stage;
    ring.next();
    values.next();
    start_scores();
    start_gradients(stage, value_stage);
    if constexpr (T::kAllAtOnce) start_grad_scores();
    constexpr int kGradScores = T::kAllAtOnce ? 1 : 0, kGradients = T::kOfKeys ? 2 : 1;
    make_probabilities(n, Latest<kGradients + kGradScores>{});
    wait_gradients(Latest<kGradScores>{});
    __syncwarp();  // all lanes have read the statistics
    s.column.release(stage);
    if constexpr (T::kOfKeys) s.column_value.release(value_stage);
    if constexpr (!T::kAllAtOnce) start_grad_scores();
    make_left_factors();
  }
  start_gradients(ring.stage, values.stage);
  wait_gradients(Latest<0>{});
}

template <class T>
__global__ void __launch_bounds__(kBlock, 1)
    attention_wgmma_backward(const __grid_constant__ TensorMap row,
                             const __grid_constant__ TensorMap row_value,
                             const __grid_constant__ TensorMap column,
                             const __grid_constant__ TensorMap column_value, BackwardArguments<BFloat16> a,
                             Sizes size) {
  SharedMemory memory;
  const auto s = Buffers<T>::take(memory);
  if (threadIdx.x == 0) s.init();
  __syncthreads();
  const int64_t rows = T::kOfKeys ? size.keys : size.queries;
  const Place at(size, rows, kTileRows);
  const int64_t tiles = ceil_div(T::kOfKeys ? size.queries : size.keys, T::kColumns);
  const int group = warpgroup_index();
  if (group == 0) {
    fewer_registers<kProducerRegisters>();
    if (warp_index() == 0) produce<T>(s, row, row_value, column, column_value, a, at, size, tiles);
    return;
  }
  more_registers<kConsumerRegisters>();
  const int consumer = group - 1, group_row = consumer * kGroupRows;
  const int warp_row = group_row + warp_index() % (kWarpgroup / kWarp) * T::kWarpRows;
  const int64_t first = at.first + warp_row;
  typename T::Result grad, grad_value;
  fill(grad, 0.0F);
  if constexpr (T::kOfKeys) fill(grad_value, 0.0F);
  consume<T>(s, a, at, size, tiles, group_row, first, grad, grad_value);

  scale_rows<T::kOfKeys>(grad, size.scale * kLn2, a.masks, at.b, first, rows);
  sync_named(kResult + consumer, kWarpgroup);  // the warpgroup's rows have been read
  const Tokens<BFloat16>& to = T::kOfKeys ? a.grad_k : a.grad_q;
  if (to.data != nullptr) write_rows<T>(to, at, first, rows, s.row, warp_row, grad);
  if constexpr (T::kOfKeys) {
    scale_rows<true>(grad_value, 1.0F, a.masks, at.b, first, rows);
    if (a.grad_v.data != nullptr) write_rows<T>(a.grad_v, at, first, rows, s.row_value, warp_row, grad_value);
  }
}

bool in_pieces(const AttentionBackward& a) {
  const auto writable = [&](const core::View& x) {
    return !x.defined() || tokens_of<BFloat16>(x, a.heads).wide;
  };
  const auto copied = [](const core::View& x) { return has_boxes(boxes_of(x, kTileRows)); };
  return copied(a.q) && copied(a.k) && copied(a.v) && copied(a.grad_y) && writable(a.grad_q) &&
         writable(a.grad_k) && writable(a.grad_v);
}

template <int kWidth>
void run_backward_of(const AttentionBackward& a) {
  const Sizes size = sizes_of(a);
  const core::Tensor delta = delta_of(a, size);
  const auto arguments = backward_of<BFloat16>(a, delta);
  const auto run = [&]<class T>(T, const char* name, const core::View& row, const core::View& row_value,
                                const core::View& column, const core::View& column_value) {
    const auto rows = [](const core::View& x) { return tensor_map(boxes_of(x, kTileRows)); };
    const auto columns = [](const core::View& x) { return tensor_map(boxes_of(x, T::kColumns)); };
    launch({name, a.q.device, size.grid(a.q.size(0), row.size(1), kTileRows), dim3(kBlock), T::kBytes},
           attention_wgmma_backward<T>, rows(row), rows(row_value), columns(column), columns(column_value),
           arguments, size);
  };
  if (a.grad_q.defined())
    run(HopperBackward<kWidth, false>{}, "attention_wgmma_backward_queries", a.q, a.grad_y, a.k, a.v);
  if (a.grad_k.defined() || a.grad_v.defined())
    run(HopperBackward<kWidth, true>{}, "attention_wgmma_backward_keys", a.k, a.v, a.q, a.grad_y);
}

void run_backward(const AttentionBackward& a) {
  return a.q.size(2) / a.heads == 64 ? run_backward_of<64>(a) : run_backward_of<128>(a);
}

const Register<AttentionBackward> backward("wgmma", kDevice, 22, wgmma_takes<AttentionBackward>(in_pieces),
                                           run_backward, wgmma_should<AttentionBackward>());

}  // namespace
}  // namespace medfusion::kernels::cuda::attention
