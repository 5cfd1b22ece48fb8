// What forward and backward of attention on wgmma share: the roles of a block's warpgroups, masks, and what
// bulk copies can take.
#pragma once

#include "kernels/attention/attention_softmax.cuh"
#include "kernels/gpu/takes.cuh"
#include "kernels/gpu/warpgroup_tile.cuh"

namespace medfusion::kernels::cuda::attention {
inline namespace MEDFUSION_GPU {

constexpr int kConsumers = 2;  // warpgroups behind the producer's
constexpr int kBlock = (1 + kConsumers) * kWarpgroup;
constexpr int kGroupRows = 64, kTileRows = kConsumers * kGroupRows, kTileKeys = 128;
// Of 65536 / 384, in eights, 168 per thread: what the producer does not need goes to the consumers.
constexpr int kProducerRegisters = 24, kConsumerRegisters = 240;
// Named barriers, one per consumer each.
constexpr int kTurn = 1, kResult = 3;

// Place in a ring of stages, and how often it has gone round.
template <int kStages>
struct Ring {
  int stage = 0, parity = 0;
  __device__ __forceinline__ void next() {
    if (++stage < kStages) return;
    stage = 0;
    parity ^= 1;
  }
};

// Tiles that go by in shared memory. A barrier of `full` ends a phase when a tile has come, one of `empty`
// when all warps that read it are done with it.
template <class Tile, int kStages>
struct TileRing {
  Tile tiles;
  Shared<uint64_t> full, empty;

  __device__ __forceinline__ void take_tiles(SharedMemory& memory) { tiles = Tile::take(memory, kStages); }
  __device__ __forceinline__ void take_barriers(SharedMemory& memory) {
    full = memory.take<uint64_t>(kStages, 8);
    empty = memory.take<uint64_t>(kStages, 8);
  }
  // By one thread. A tile has come when `arrivals` say so, `bring` among them.
  __device__ __forceinline__ void init(int arrivals = 1) const {
#pragma unroll
    for (int i = 0; i < kStages; ++i) {
      mbarrier_init(full, i, arrivals);
      mbarrier_init(empty, i, kConsumers * kWarpgroup / kWarp);
    }
  }
  // The first time round nothing is to be waited for.
  __device__ __forceinline__ void wait_empty(const Ring<kStages>& at, Site site = Site::current()) const {
    mbarrier_wait(empty, at.stage, at.parity ^ 1, site);
  }
  // By one thread: the tile from (row, column) of sample b on, as soon as its place is empty.
  __device__ __forceinline__ void bring(const Ring<kStages>& at, const TensorMap& map, int column, int row,
                                        int b, Site site = Site::current()) const {
    wait_empty(at, site);
    mbarrier_arrive_expect(full, at.stage, static_cast<int>(Tile::kBytes));
    copy_tile_async(tiles[at.stage], full, at.stage, map, column, row, b);
  }
  __device__ __forceinline__ Tile wait(const Ring<kStages>& at, Site site = Site::current()) const {
    mbarrier_wait(full, at.stage, at.parity, site);
    return tiles[at.stage];
  }
  // Frees a stage for the producer: this warp is done with it.
  __device__ __forceinline__ void release(int stage) const {
    if (lane_index() == 0) mbarrier_arrive(empty, stage);
  }
};

// Which of the 128 keys from `key` on are there and not masked, in the same registers of all lanes.
struct SeenKeys {
  unsigned bits[kTileKeys / kWarp];
  bool all = true;

  __device__ __forceinline__ SeenKeys(const Masks& masks, int64_t b, int64_t key, int64_t keys) {
    all = masks.keys == nullptr && key + kTileKeys <= keys;
    if (all) return;
#pragma unroll
    for (int n = 0; n < kTileKeys / kWarp; ++n) {
      const int64_t j = key + n * kWarp + lane_index();
      bits[n] = __ballot_sync(kFullWarp, j < keys && (masks.keys == nullptr || masks.key(b, j)));
    }
  }
  // -inf in the scores of the other keys.
  template <class Scores>
  __device__ __forceinline__ void hide_others(Scores& s) const {
    if (all) return;
#pragma unroll
    for (int j = 0; j < Scores::kJ; ++j) {
      const unsigned seen = bits[j / 4] >> (j % 4 * 8 + Scores::column_of(0));
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        if ((seen >> (e % 2) & 1U) == 0) s.v[0][j][e] = -INFINITY;
      }
    }
  }
};

// Rows [first, first + 16) of the warp, through its rows of a tile that has been read.
template <class T>
__device__ __forceinline__ void write_rows(const Tokens<BFloat16>& y, const Place& at, int64_t first,
                                           int64_t count, const typename T::Rows& tile, int row,
                                           const typename T::Result& result) {
  constexpr int kPiece = T::Rows::kPiece, kPieces = T::kWidth / kPiece;
  store(tile, row, result);
  __syncwarp();
  const auto to = y.head(at.b, at.h, T::kWidth) + first * y.token;
#pragma unroll
  for (int step = 0; step < T::kWarpRows * kPieces / kWarp; ++step) {
    const int n = step * kWarp + lane_index(), i = n / kPieces, column = n % kPieces * kPiece;
    const auto piece = load<kPiece>(tile.data, T::Rows::offset(row + i, column));
    if (first + i < count) store_16(to, i * y.token + column, piece);
  }
}

inline TensorBoxes boxes_of(const core::View& x, int64_t rows) {
  const auto stride = [&](int i) {  // of a single element any will do
    return x.size(i) == 1 ? (x.size(2) + 7) / 8 * 8 : x.stride(i);
  };
  return {x.as<BFloat16>(), {x.size(2), x.size(1), x.size(0)}, {1, stride(1), stride(0)}, rows};
}

// What both directions take; `in_pieces`: whether bulk copies can bring what is read and rows be written.
template <class Args>
std::vector<Requirement<Args>> wgmma_takes(bool (*in_pieces)(const Args& a)) {
  const auto width_fits = [](const Args& a) {
    const int64_t width = a.q.size(2) / a.heads;
    return width == 64 || width == 128;
  };
  return {takes::bf16,
          takes::adjacent_channels,
          {"heads of 64 or 128 channels", width_fits},
          positive_scale<Args>(),
          {"rows in pieces of 16 bytes", in_pieces},
          kComputeCapability90};
}
// Shorter sequences leave most of a block without work. The simulator takes the variant only where it is
// named.
template <class Args>
Requirement<Args> wgmma_should() {
  return {"from 512 tokens", [](const Args& a) {
            constexpr int64_t kLong = 512;
            return kDevice == kDeviceType && a.q.size(1) >= kLong && a.k.size(1) >= kLong;
          }};
}

}  // namespace MEDFUSION_GPU
}  // namespace medfusion::kernels::cuda::attention
