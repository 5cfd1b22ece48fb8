// What tests of the tile vocabulary share.
#pragma once

#include <vector>

#include "core/random.h"
#include "core/tensor.h"
#include "kernels/gpu/tile.cuh"
#include "kernels/simulator/device_type.h"

namespace medfusion::kernels::cuda::tile_test {

using core::Tensor;

constexpr core::Device kSim{simulator::kDeviceType, 0};
constexpr int kThreads = 64;  // two warps where an operation belongs to the block

template <class Kernel>
void run(int threads, int64_t shared_bytes, const Kernel& kernel) {
  simulator::run("tile_test", {1}, {static_cast<unsigned>(threads)}, shared_bytes, kernel);
}

// A matrix of the host, row after row; values are exact in bf16.
struct Matrix {
  int rows, columns;
  std::vector<float> v;
  Matrix(int r, int c, uint64_t seed = 0) : rows(r), columns(c), v(static_cast<size_t>(r * c), 0.0F) {
    if (seed == 0) return;
    const core::Philox philox(seed, 0);
    for (size_t i = 0; i < v.size(); ++i)
      v[i] = static_cast<float>(core::BFloat16(static_cast<float>(philox.normal(i))));
  }
  float& operator()(int r, int c) { return v[static_cast<size_t>(r * columns + c)]; }
  float operator()(int r, int c) const { return v[static_cast<size_t>(r * columns + c)]; }
};

inline float rounded(float x) { return static_cast<float>(core::BFloat16(x)); }

// A device tensor of bf16 with the matrix in it.
inline Tensor upload(const Matrix& m) {
  Tensor host = Tensor::empty({m.rows, m.columns}, core::DType::bf16);
  for (int64_t i = 0; i < host.numel(); ++i)
    host.data<core::BFloat16>()[i] = core::BFloat16(m.v[static_cast<size_t>(i)]);
  const Tensor device = Tensor::empty(host.shape(), core::DType::bf16, kSim);
  core::Runtime& runtime = core::runtime(kSim);
  runtime.copy_to_device(device.view().data, host.view().data, host.bytes(), {});
  runtime.synchronize({});
  return device;
}

// By one thread, element for element; with a barrier.
template <class Tile>
void fill_tile(const Tile& tile, const Matrix& m) {
  if (threadIdx.x == 0) {
    for (int r = 0; r < m.rows; ++r) {
      for (int c = 0; c < m.columns; ++c) tile.data[Tile::offset(r, c)] = core::BFloat16(m(r, c));
    }
  }
  __syncthreads();
}

template <int kRows, int kColumns>
void set(Accumulators<kRows, kColumns>& x, const Matrix& m) {
  for_each(x, [&](float& value, int row, int column) { value = m(row, column); });
}
// Every element once: lanes hold different ones.
template <int kRows, int kColumns>
void get(Accumulators<kRows, kColumns>& x, Matrix& m) {
  for_each(x, [&](float& value, int row, int column) { m(row, column) += value; });
}

template <int kRows_, int kColumns_, int kDepth_ = 16>
struct Shape {
  static constexpr int kRows = kRows_, kColumns = kColumns_, kDepth = kDepth_;
};

// The tile's elements, by the calling thread.
template <class Tile>
void read_tile(const Tile& tile, Matrix& m) {
  for (int r = 0; r < m.rows; ++r) {
    for (int c = 0; c < m.columns; ++c) {
      const BFloat16 value = tile.data[Tile::offset(r, c)];
      m(r, c) = static_cast<float>(value);
    }
  }
}

}  // namespace medfusion::kernels::cuda::tile_test
