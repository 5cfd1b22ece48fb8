// The simulator's counterpart of CUtensorMap: how a tensor lies in global memory, and the box of it that one
// bulk tensor copy brings. Only what kernels use: bf16, boxes of 64 elements by rows under the 128-byte
// swizzle.
#pragma once

#include <array>
#include <cstdint>

#include "core/dtype.h"
#include "kernels/simulator/memory.h"

namespace medfusion::simulator {

constexpr int kTensorRank = 3;
constexpr int64_t kSwizzleLine = 128;  // bytes: a row of the box

struct TensorMap {
  Global<const core::BFloat16> data;
  std::array<int64_t, kTensorRank> sizes{};    // elements, the innermost first
  std::array<int64_t, kTensorRank> strides{};  // bytes; of the innermost: 2
  std::array<int64_t, kTensorRank> box{};      // elements

  using Place = std::array<int64_t, kTensorRank>;
  int64_t box_bytes() const { return box[0] * box[1] * box[2] * 2; }
  bool holds(const Place& at) const {
    for (size_t i = 0; i < at.size(); ++i) {
      if (at[i] < 0 || at[i] >= sizes[i]) return false;
    }
    return true;
  }
  // False where the map names memory that is not the tensor's.
  bool read(const Place& at, core::BFloat16& value) const {
    const int64_t offset = at[0] + (at[1] * strides[1] + at[2] * strides[2]) / 2;
    if (!data.reachable(offset)) return false;
    value = data.pointer()[offset];
    return true;
  }
};

// Where byte `address` of shared memory lies under the 128-byte swizzle, which exchanges the eight 16-byte
// pieces of a line of 128 bytes: bits 4 to 6 of the address are combined by exclusive or with bits 7 to 9.
constexpr int64_t swizzled_128(int64_t address) { return address ^ (address >> 7 & 7) << 4; }

}  // namespace medfusion::simulator
