#include "kernels/gemm/gemm.h"

#include <algorithm>
#include <utility>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/gemm/gemm.cpp"
#include "kernels/simd.h"

HWY_BEFORE_NAMESPACE();
namespace medfusion::kernels::gemm::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;
using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;

constexpr int kLanes = static_cast<int>(hn::MaxLanes(D()));
// Accumulators, one row of b and a broadcast fill the registers: 16 (AVX2, SSE2), 32 (AVX-512).
constexpr int kRows = HWY_TARGET == HWY_AVX3 ? 12 : 6;
constexpr int kVectors = 2;
constexpr int kColumns = kVectors * kLanes;

int64_t rows_of_tile() { return kRows; }
int64_t columns_of_tile() { return kColumns; }

// Adds acc to or overwrites c; `columns` may be fewer than the tile has.
template <int kTileRows>
HWY_INLINE void store_tile(V (&acc)[kTileRows][kVectors], const float* bias, float* c, int64_t c_stride,
                           int64_t columns, bool accumulate) {
  const D d;
  if (columns == kColumns) {
    if (bias != nullptr) {
#pragma GCC unroll 16
      for (int i = 0; i < kTileRows; ++i) {
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) acc[i][v] = hn::Add(acc[i][v], hn::LoadU(d, bias + v * kLanes));
      }
    }
    if (accumulate) {
#pragma GCC unroll 16
      for (int i = 0; i < kTileRows; ++i) {
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) {
          acc[i][v] = hn::Add(acc[i][v], hn::LoadU(d, c + i * c_stride + v * kLanes));
        }
      }
    }
#pragma GCC unroll 16
    for (int i = 0; i < kTileRows; ++i) {
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) hn::StoreU(acc[i][v], d, c + i * c_stride + v * kLanes);
    }
    return;
  }
  HWY_ALIGN float buffer[kTileRows * kColumns];
#pragma GCC unroll 16
  for (int i = 0; i < kTileRows; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) hn::Store(acc[i][v], d, buffer + i * kColumns + v * kLanes);
  }
  for (int i = 0; i < kTileRows; ++i) {
    for (int64_t j = 0; j < columns; ++j) {
      float value = buffer[i * kColumns + j];
      if (bias != nullptr) value += bias[j];
      float& to = c[i * c_stride + j];
      to = accumulate ? to + value : value;
    }
  }
}

template <int kTileRows>
void indirect_tile(const float* const* a, int64_t a_stride, int64_t taps, int64_t first_channel,
                   int64_t channels, const float* HWY_RESTRICT b, const float* bias, float* c,
                   int64_t c_stride, int64_t columns, bool accumulate) {
  const D d;
  V acc[kTileRows][kVectors];
#pragma GCC unroll 16
  for (int i = 0; i < kTileRows; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) acc[i][v] = hn::Zero(d);
  }
  for (int64_t t = 0; t < taps; ++t) {
    const float* HWY_RESTRICT row[kTileRows];
#pragma GCC unroll 16
    for (int i = 0; i < kTileRows; ++i) row[i] = a[t * a_stride + i] + first_channel;
    for (int64_t k = 0; k < channels; ++k) {
      V right[kVectors];
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) right[v] = hn::LoadU(d, b + v * kLanes);
      b += kColumns;
#pragma GCC unroll 16
      for (int i = 0; i < kTileRows; ++i) {
        const V left = hn::Set(d, row[i][k]);
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) acc[i][v] = hn::MulAdd(left, right[v], acc[i][v]);
      }
    }
  }
  store_tile<kTileRows>(acc, bias, c, c_stride, columns, accumulate);
}

template <int kTileRows>
void transposed_tile(const Transposed& p, const float* a, const float* b, float* c, int64_t columns) {
  const D d;
  V acc[kTileRows][kVectors];
#pragma GCC unroll 16
  for (int i = 0; i < kTileRows; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) acc[i][v] = hn::Zero(d);
  }
  const int64_t a_step = p.a_step;
  const int64_t b_step = p.b_step;
  for (int64_t s = 0; s < p.segments; ++s) {
    const float* HWY_RESTRICT left = a + s * p.a_segment;
    const float* HWY_RESTRICT right = b + s * p.b_segment;
    for (int64_t k = 0; k < p.steps; ++k) {
      V row[kVectors];
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) row[v] = hn::LoadU(d, right + v * kLanes);
#pragma GCC unroll 16
      for (int i = 0; i < kTileRows; ++i) {
        const V value = hn::Set(d, left[i]);
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) acc[i][v] = hn::MulAdd(value, row[v], acc[i][v]);
      }
      left += a_step;
      right += b_step;
    }
  }
  store_tile<kTileRows>(acc, nullptr, c, p.c_stride, columns, p.accumulate);
}

using IndirectTile = void (*)(const float* const*, int64_t, int64_t, int64_t, int64_t, const float*,
                              const float*, float*, int64_t, int64_t, bool);
using TransposedTile = void (*)(const Transposed&, const float*, const float*, float*, int64_t);

// Tiles of 1 to kRows rows: index rows - 1.
template <int... kIndices>
IndirectTile indirect_tile_of(int64_t rows, std::integer_sequence<int, kIndices...>) {
  static constexpr IndirectTile kTiles[] = {indirect_tile<kIndices + 1>...};
  return kTiles[rows - 1];
}
template <int... kIndices>
TransposedTile transposed_tile_of(int64_t rows, std::integer_sequence<int, kIndices...>) {
  static constexpr TransposedTile kTiles[] = {transposed_tile<kIndices + 1>...};
  return kTiles[rows - 1];
}
using TileIndices = std::make_integer_sequence<int, kRows>;

// The slice of b that stays in the first-level cache while the rows pass by.
constexpr int64_t kPanelDepth = 256;

// Spreads the lines of Prefetches over the tiles of a product.
class Prefetcher {
 public:
  Prefetcher(const Prefetches& wanted, int64_t tiles) : wanted_(wanted) {
    int64_t lines = 0;
    for (const Prefetch& p : wanted) lines += std::max<int64_t>(0, p.rows) * lines_per_row(p);
    lines_per_tile_ = (lines + tiles - 1) / std::max<int64_t>(1, tiles);
  }

  void next_tile() {
    for (int64_t i = 0; i < lines_per_tile_; ++i) {
      while (row_ >= wanted_[index_].rows) {
        row_ = 0;
        if (++index_ == wanted_.size()) {
          lines_per_tile_ = index_ = 0;  // all done
          return;
        }
      }
      const Prefetch& p = wanted_[index_];
      __builtin_prefetch(p.data + row_ * p.stride + line_ * kLineFloats, 0, 2);
      if (++line_ == lines_per_row(p)) {
        line_ = 0;
        ++row_;
      }
    }
  }

 private:
  static constexpr int64_t kLineFloats = 16;
  static int64_t lines_per_row(const Prefetch& p) { return (p.columns + kLineFloats - 1) / kLineFloats; }

  Prefetches wanted_;
  int64_t lines_per_tile_;
  size_t index_ = 0;
  int64_t row_ = 0, line_ = 0;
};

int64_t tiles_of(int64_t rows, int64_t columns) {
  return ((rows + kRows - 1) / kRows) * ((columns + kColumns - 1) / kColumns);
}

// One slice of the depth: taps [tap, tap + taps), channels [first, first + channels) of each.
void indirect_slice(const Indirect& p, int64_t width, int64_t tap, int64_t taps, int64_t first,
                    int64_t channels, Prefetcher& prefetcher) {
  const bool start = tap == 0 && first == 0;
  const bool accumulate = p.accumulate || !start;
  const int64_t depth_offset = (p.b_row + tap * p.channels + first) * kColumns;
  for (int64_t j = 0; j < width; j += kColumns) {
    const float* b = p.b->panel((p.b_column + j) / kColumns) + depth_offset;
    const float* bias = start && p.bias != nullptr ? p.bias + j : nullptr;
    const int64_t columns = std::min<int64_t>(kColumns, width - j);
    for (int64_t i = 0; i < p.rows; i += kRows) {
      const int64_t rows = std::min<int64_t>(kRows, p.rows - i);
      prefetcher.next_tile();
      indirect_tile_of(rows, TileIndices())(p.a + tap * p.a_stride + i, p.a_stride, taps, first, channels, b,
                                            bias, p.c + i * p.c_stride + j, p.c_stride, columns, accumulate);
    }
  }
}

void multiply_indirect(const Indirect& p) {
  const int64_t width = p.columns < 0 ? p.b->columns() - p.b_column : p.columns;
  const int64_t slices = std::max<int64_t>(1, (p.channels + kPanelDepth - 1) / kPanelDepth);
  if (slices > 1) {
    Prefetcher prefetcher(p.prefetch, tiles_of(p.rows, width) * slices * p.taps);
    const int64_t step = (p.channels + slices - 1) / slices;
    for (int64_t tap = 0; tap < p.taps; ++tap) {
      for (int64_t first = 0; first < p.channels; first += step) {
        indirect_slice(p, width, tap, 1, first, std::min(step, p.channels - first), prefetcher);
      }
    }
    return;
  }
  const int64_t step = std::max<int64_t>(1, kPanelDepth / std::max<int64_t>(1, p.channels));
  Prefetcher prefetcher(p.prefetch, tiles_of(p.rows, width) * ((p.taps + step - 1) / step));
  for (int64_t tap = 0; tap < p.taps; tap += step) {
    indirect_slice(p, width, tap, std::min(step, p.taps - tap), 0, p.channels, prefetcher);
  }
}

void multiply_transposed(const Transposed& p) {
  Prefetcher prefetcher(p.prefetch, tiles_of(p.rows, p.columns));
  for (int64_t j = 0; j < p.columns; j += kColumns) {
    const int64_t columns = std::min<int64_t>(kColumns, p.columns - j);
    for (int64_t i = 0; i < p.rows; i += kRows) {
      const int64_t rows = std::min<int64_t>(kRows, p.rows - i);
      prefetcher.next_tile();
      transposed_tile_of(rows, TileIndices())(p, p.a + i, p.b + j, p.c + i * p.c_stride + j, columns);
    }
  }
}

}  // namespace medfusion::kernels::gemm::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace medfusion::kernels::gemm {

HWY_EXPORT(rows_of_tile);
HWY_EXPORT(columns_of_tile);
HWY_EXPORT(multiply_indirect);
HWY_EXPORT(multiply_transposed);

int64_t tile_rows() { return HWY_DYNAMIC_DISPATCH(rows_of_tile)(); }
int64_t tile_columns() { return HWY_DYNAMIC_DISPATCH(columns_of_tile)(); }

void multiply(const Indirect& product) { HWY_DYNAMIC_DISPATCH(multiply_indirect)(product); }
void multiply(const Transposed& product) { HWY_DYNAMIC_DISPATCH(multiply_transposed)(product); }

Packed::Packed(int64_t depth, int64_t columns) : depth_(depth), columns_(columns) {
  data_ = core::Tensor::empty({panels(), depth, tile_columns()});
}

void Packed::set(const float* from, int64_t row_stride, int64_t column_stride, int64_t first, int64_t count,
                 int64_t first_panel, int64_t last_panel) const {
  const int64_t width = tile_columns();
  for (int64_t panel = first_panel; panel < last_panel; ++panel) {
    float* to = data_.data<float>() + (panel * depth_ + first) * width;
    const float* corner = from + panel * width * column_stride;
    const int64_t columns = std::min(width, columns_ - panel * width);
    for (int64_t k = 0; k < count; ++k, to += width) {
      const float* row = corner + k * row_stride;
      if (column_stride == 1) {
        std::copy_n(row, columns, to);
      } else {
        for (int64_t j = 0; j < columns; ++j) to[j] = row[j * column_stride];
      }
      std::fill(to + columns, to + width, 0.0F);
    }
  }
}

}  // namespace medfusion::kernels::gemm
#endif  // HWY_ONCE
