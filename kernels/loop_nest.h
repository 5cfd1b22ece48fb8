// The loop nest shared by several views of one shape: what broadcasting and reducing kernels run over.
#pragma once

#include <algorithm>
#include <array>

#include "core/threads.h"
#include "core/view.h"

namespace medfusion::kernels {

// Dimensions of size 1 are dropped and neighbours merged where every view allows it, so that the last
// dimension is as long as possible. Rank is at least 1.
template <size_t N>
struct LoopNest {
  int rank = 0;
  std::array<int64_t, core::kMaxRank> sizes{};
  std::array<std::array<int64_t, core::kMaxRank>, N> strides{};

  // Views have the rank of `shape`; a size of 1 where the shape has another is broadcast (stride 0).
  LoopNest(const core::Shape& shape, const std::array<const core::View*, N>& views) {
    for (int i = 0; i < shape.rank(); ++i) {
      if (shape[i] == 1) continue;
      std::array<int64_t, N> step{};
      for (size_t v = 0; v < N; ++v) step[v] = views[v]->shape[i] == 1 ? 0 : views[v]->strides[i];
      push(shape[i], step);
    }
    if (rank == 0) push(1, {});
  }

  int64_t inner() const { return sizes[static_cast<size_t>(rank - 1)]; }
  int64_t inner_stride(size_t view) const { return strides[view][static_cast<size_t>(rank - 1)]; }
  // Number of rows of inner() elements; 0 where there is no element.
  int64_t rows() const {
    int64_t product = inner() == 0 ? 0 : 1;
    for (int i = 0; i + 1 < rank; ++i) product *= sizes[static_cast<size_t>(i)];
    return product;
  }
  // Where the row begins, per view.
  std::array<int64_t, N> offsets(int64_t row) const {
    std::array<int64_t, N> result{};
    for (int i = rank - 2; i >= 0; --i) {
      const auto dimension = static_cast<size_t>(i);
      const int64_t index = row % sizes[dimension];
      row /= sizes[dimension];
      for (size_t v = 0; v < N; ++v) result[v] += index * strides[v][dimension];
    }
    return result;
  }

 private:
  void push(int64_t size, const std::array<int64_t, N>& step) {
    bool merges = rank > 0;
    const auto last = static_cast<size_t>(std::max(0, rank - 1));
    for (size_t v = 0; v < N; ++v) merges = merges && strides[v][last] == step[v] * size;
    const size_t place = merges ? last : static_cast<size_t>(rank++);
    sizes[place] = merges ? sizes[place] * size : size;
    for (size_t v = 0; v < N; ++v) strides[v][place] = step[v];
  }
};

// Calls body(offsets, count) in parallel for pieces of rows; a piece has at most `grain` elements.
template <size_t N, class Body>
void for_row_pieces(const LoopNest<N>& nest, int64_t grain, const Body& body) {
  const int64_t inner = nest.inner();
  const int64_t length = std::min(inner, grain);
  if (nest.rows() == 0) return;
  const int64_t pieces = (inner + length - 1) / length;
  core::parallel_for(0, nest.rows() * pieces, std::max<int64_t>(1, grain / length),
                     [&](int64_t first, int64_t last) {
                       for (int64_t i = first; i < last; ++i) {
                         const int64_t start = i % pieces * length;
                         auto offsets = nest.offsets(i / pieces);
                         for (size_t v = 0; v < N; ++v) offsets[v] += start * nest.inner_stride(v);
                         body(offsets, std::min(length, inner - start));
                       }
                     });
}

}  // namespace medfusion::kernels
