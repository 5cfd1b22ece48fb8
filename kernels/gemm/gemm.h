// The register-tiled products under matmul, convolution and dense_block on the CPU, f32. Written once with
// Highway vectors (gemm.cpp), the instruction set chosen at run time. The callers cut the work so that the
// operands of a call lie in the caches.
#pragma once

#include <array>
#include <cstdint>

#include "core/tensor.h"

namespace medfusion::kernels::gemm {

// Tile sizes of the chosen instruction set: rows x columns of the output held in registers.
int64_t tile_rows();
int64_t tile_columns();

// The right operand [depth, columns], packed: panels of tile_columns() columns, each [depth][tile_columns()],
// the last one padded with zeros.
class Packed {
 public:
  Packed() = default;
  Packed(int64_t depth, int64_t columns);
  // b(first + k, j) = from[k * row_stride + j * column_stride] for 0 <= k < count and all columns of the
  // panels [first_panel, last_panel).
  void set(const float* from, int64_t row_stride, int64_t column_stride, int64_t first, int64_t count,
           int64_t first_panel, int64_t last_panel) const;
  void set(const float* from, int64_t row_stride, int64_t column_stride) const {
    set(from, row_stride, column_stride, 0, depth_, 0, panels());
  }

  int64_t depth() const { return depth_; }
  int64_t columns() const { return columns_; }
  int64_t panels() const { return (columns_ + tile_columns() - 1) / tile_columns(); }
  const float* panel(int64_t index) const { return data_.data<float>() + index * depth_ * tile_columns(); }

 private:
  core::Tensor data_;
  int64_t depth_ = 0, columns_ = 0;
};

// Rows of memory that will be read soon: brought into the second-level cache while a product computes.
struct Prefetch {
  const float* data = nullptr;
  int64_t stride = 0, rows = 0, columns = 0;  // in floats; rows <= 0: nothing
};
using Prefetches = std::array<Prefetch, 2>;

// c[i, j] (+)= bias[j] + sum over taps t and channels k of
//   a[t * a_stride + i][k] * b[b_row + t * channels + k, b_column + j]
// for rows 0 <= i < rows: `a` holds one pointer per tap and row, so rows and taps may lie anywhere.
struct Indirect {
  const float* const* a = nullptr;
  int64_t a_stride = 0;  // pointers from tap to tap, >= rows
  int64_t rows = 0, taps = 1, channels = 0;
  const Packed* b = nullptr;
  int64_t b_row = 0;
  int64_t b_column = 0;         // a multiple of tile_columns()
  int64_t columns = -1;         // of c; -1: as many as b has from b_column on
  const float* bias = nullptr;  // [columns]
  float* c = nullptr;
  int64_t c_stride = 0;
  bool accumulate = false;
  Prefetches prefetch = {};
};
void multiply(const Indirect& product);

// c[i, j] (+)= sum over segments s and steps p of a[s * a_segment + p * a_step + i] * b[s * b_segment + p *
// b_step + j]: a^T b, the form of weight gradients.
struct Transposed {
  const float* a;
  int64_t a_segment, a_step;
  const float* b;
  int64_t b_segment, b_step;
  int64_t segments, steps;
  int64_t rows, columns;  // of c
  float* c;
  int64_t c_stride;
  bool accumulate = false;
  Prefetches prefetch = {};
};
void multiply(const Transposed& product);

// A row stride (floats) of at least `columns` whose cache lines spread over all sets of the first-level
// cache.
inline int64_t padded_stride(int64_t columns) {
  const int64_t lines = (columns + 15) / 16;
  return (lines | 1) * 16;
}

}  // namespace medfusion::kernels::gemm
