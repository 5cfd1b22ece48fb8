// What the forward and backward of attention_cpu.cpp share that does not depend on the instruction set.
#pragma once

#include <cstdint>
#include <limits>
#include <vector>

#include "core/view.h"

namespace medfusion::kernels {

inline constexpr int64_t kQueryTile = 72;  // twelve times the rows that a product holds in registers
inline constexpr int64_t kKeyTile = 64;
inline constexpr int64_t kLeastQueries = 144;  // of one forward task, which packs the keys once
inline constexpr int64_t kMaxLanes = 16;
inline constexpr float kInfinity = std::numeric_limits<float>::infinity();

constexpr int64_t round_up(int64_t n, int64_t step) { return (n + step - 1) / step * step; }

// Memory of the calling thread, kept between calls; aligned to cache lines.
inline float* scratch(int64_t count) {
  thread_local std::vector<float> memory;
  constexpr int64_t kLine = 64 / sizeof(float);
  if (static_cast<int64_t>(memory.size()) < count + kLine) memory.resize(static_cast<size_t>(count + kLine));
  const auto address = reinterpret_cast<uintptr_t>(memory.data());
  return memory.data() + (round_up(static_cast<int64_t>(address), 64) - static_cast<int64_t>(address)) / 4;
}

// Hands out consecutive pieces of scratch memory.
class Arena {
 public:
  explicit Arena(float* begin) : next_(begin) {}
  float* take(int64_t count) {
    float* piece = next_;
    next_ += round_up(count, 16);
    return piece;
  }

 private:
  float* next_;
};

// Floats that one head's buffers may need: every count below rounded up.
inline int64_t scratch_size(int64_t queries, int64_t keys, int64_t width) {
  const int64_t q = round_up(queries, kQueryTile);
  const int64_t k = round_up(keys, kKeyTile) + kKeyTile;
  const int64_t w = round_up(width, kMaxLanes);
  return 4 * q * w + 6 * k * w + 2 * k + 4 * q + 2 * kQueryTile * kKeyTile + 1024;
}

// One sample and head of a [B, T, C] view whose channels are contiguous.
struct Head {
  float* data = nullptr;
  int64_t row_stride = 0;
  int64_t width = 0;

  Head() = default;
  Head(const core::View& x, int64_t heads, int64_t b, int64_t h) {
    if (!x.defined()) return;
    width = x.size(2) / heads;
    if (x.numel() == 0) return;  // no memory to point into
    data = x.as<float>() + b * x.stride(0) + h * width;
    row_stride = x.stride(1);
  }
  bool defined() const { return data != nullptr; }
  float* row(int64_t t) const { return data + t * row_stride; }
};

// The masks of one sample, with contiguous keys; undefined ones are null.
struct SampleMasks {
  const bool* keys = nullptr;
  const bool* pairs = nullptr;
  int64_t pair_stride = 0;

  template <class Args>
  SampleMasks(const Args& a, int64_t b) {
    if (a.key_mask.numel() == 0 || a.pair_mask.numel() == 0) return;  // no key or no query
    if (a.key_mask.defined()) keys = a.key_mask.template as<bool>() + b * a.key_mask.stride(0);
    if (!a.pair_mask.defined()) return;
    pairs = a.pair_mask.template as<bool>() + (a.pair_mask.rank() == 3 ? b * a.pair_mask.stride(0) : 0);
    pair_stride = a.pair_mask.stride(-2);
  }
};

struct BackwardHead {
  Head q, k, v, y, grad_y, grad_q, grad_k, grad_v;
  SampleMasks masks;
  float scale;
  int64_t queries, keys;
  const float* log_sum_exp;
};

}  // namespace medfusion::kernels
