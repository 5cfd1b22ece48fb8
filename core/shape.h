// Shapes and strides: up to kMaxRank sizes held in place.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>

#include "core/error.h"

namespace medfusion::core {

inline constexpr int kMaxRank = 6;

class Shape {
 public:
  Shape() = default;
  Shape(std::initializer_list<int64_t> sizes) : Shape(std::span(sizes.begin(), sizes.size())) {}
  explicit Shape(std::span<const int64_t> sizes) : rank_(static_cast<int>(sizes.size())) {
    MEDFUSION_CHECK(rank_ <= kMaxRank, "shape: at most {} dimensions, got {}", kMaxRank, rank_);
    std::copy(sizes.begin(), sizes.end(), sizes_.begin());
  }

  int rank() const { return rank_; }
  int64_t operator[](int i) const { return sizes_[static_cast<size_t>(i)]; }
  int64_t& operator[](int i) { return sizes_[static_cast<size_t>(i)]; }
  // Dimension i; negative counts from the end.
  int64_t at(int i) const { return sizes_[static_cast<size_t>(normalize(i))]; }
  int normalize(int i) const {
    const int index = i < 0 ? i + rank_ : i;
    MEDFUSION_CHECK(index >= 0 && index < rank_, "dimension {} of a shape of rank {}", i, rank_);
    return index;
  }

  // Number of elements; 1 for rank 0.
  int64_t numel() const {
    int64_t product = 1;
    for (const int64_t size : *this) product *= size;
    return product;
  }

  void push_back(int64_t size) {
    MEDFUSION_CHECK(rank_ < kMaxRank, "shape: at most {} dimensions", kMaxRank);
    sizes_[static_cast<size_t>(rank_++)] = size;
  }

  const int64_t* begin() const { return sizes_.data(); }
  const int64_t* end() const { return sizes_.data() + rank_; }
  int64_t* begin() { return sizes_.data(); }
  int64_t* end() { return sizes_.data() + rank_; }

  bool operator==(const Shape& other) const {
    return rank_ == other.rank_ && std::equal(begin(), end(), other.begin());
  }

  // "[2, 3, 4]"
  std::string str() const {
    std::string text = "[";
    for (int i = 0; i < rank_; ++i) text += (i > 0 ? ", " : "") + std::to_string((*this)[i]);
    return text + "]";
  }

 private:
  std::array<int64_t, kMaxRank> sizes_{};
  int rank_ = 0;
};

// Strides count elements, not bytes.
using Strides = Shape;

// Row-major strides of `shape`.
inline Strides contiguous_strides(const Shape& shape) {
  Strides strides = shape;
  int64_t step = 1;
  for (int i = shape.rank() - 1; i >= 0; --i) {
    strides[i] = step;
    step *= std::max<int64_t>(1, shape[i]);
  }
  return strides;
}

// NumPy broadcasting of two shapes; throws where they do not fit.
inline Shape broadcast_shapes(const Shape& a, const Shape& b) {
  Shape result = a.rank() >= b.rank() ? a : b;
  for (int i = 0; i < result.rank(); ++i) {
    const int ia = i - (result.rank() - a.rank());
    const int ib = i - (result.rank() - b.rank());
    const int64_t sa = ia < 0 ? 1 : a[ia];
    const int64_t sb = ib < 0 ? 1 : b[ib];
    MEDFUSION_CHECK(sa == sb || sa == 1 || sb == 1, "shapes {} and {} do not broadcast", a.str(), b.str());
    result[i] = sa == 1 ? sb : sa;
  }
  return result;
}

}  // namespace medfusion::core
