// What a bulk tensor copy (the tensor memory accelerator of compute capability 9.0) can take.
#pragma once

#include <array>
#include <cstdint>

#include "core/dtype.h"
#include "core/error.h"

namespace medfusion::kernels::cuda {

constexpr int64_t kBoxColumns = 64;  // bf16 in the 128 bytes that the swizzle takes

// A bf16 tensor of three dimensions, the innermost first and dense, and boxes of it, of 64 x rows x 1
// elements.
struct TensorBoxes {
  const core::BFloat16* data;
  std::array<int64_t, 3> sizes;
  std::array<int64_t, 3> strides;  // elements
  int64_t rows;
};

// Whether cuTensorMapEncodeTiled takes the tensor.
inline bool has_boxes(const TensorBoxes& x) {
  constexpr int64_t kMostElements = int64_t{1} << 31,
                    kMostStride = int64_t{1} << 39;  // so that places are int
  bool fits = reinterpret_cast<uintptr_t>(x.data) % 16 == 0 && x.strides[0] == 1;
  for (size_t i = 0; i < 3; ++i) {
    fits = fits && x.sizes[i] >= 1 && x.sizes[i] < kMostElements;
    if (i > 0) fits = fits && x.strides[i] > 0 && x.strides[i] % 8 == 0 && x.strides[i] < kMostStride;
  }
  return fits && x.rows >= 1 && x.rows <= 256;
}
inline void check_tensor_boxes(const TensorBoxes& x) {
  MEDFUSION_CHECK(
      has_boxes(x),
      "tensor map: sizes ({}, {}, {}), strides ({}, {}, {}), boxes of {} rows: a bulk tensor copy wants "
      "sizes and strides above 0, addresses and strides in whole 16 bytes, at most 256 rows",
      x.sizes[0], x.sizes[1], x.sizes[2], x.strides[0], x.strides[1], x.strides[2], x.rows);
}

// Makes a CUtensorMap at `map`, with the 128-byte swizzle and zeros out of bounds. Throws where the driver is
// too old or refuses. Only in builds with CUDA.
void encode_tensor_map(const TensorBoxes& boxes, void* map);

}  // namespace medfusion::kernels::cuda
