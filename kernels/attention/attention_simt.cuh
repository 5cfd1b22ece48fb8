// What the fp32 kernels of attention share: tiles of one head's rows in shared memory, and the two products
// on them, each thread holding a small block of the result.
#pragma once

#include "kernels/attention/attention_device.cuh"

namespace medfusion::kernels {
namespace {

constexpr int kThreadColumns = 8;                       // a thread is (y, x) of a 16 x 8 grid;
constexpr int kThreadRows = kThreads / kThreadColumns;  // those of one row are neighbours in one warp

// Tiles for heads of up to kWidth channels: kRows rows stay, kColumns rows of the other side go by. Thread
// (y, x) computes the scores of rows y + 16 i and columns x + 8 j.
template <int kWidth_, int kRows_ = 64>
struct Tiles {
  static constexpr int kWidth = kWidth_;
  static constexpr int kRows = kRows_;
  static constexpr int kColumns = kWidth <= 64 ? 64 : 32;
  static constexpr int kStride = kWidth + 4;         // 8 (or 4) neighbouring rows: no bank twice
  static constexpr int kScoreStride = kColumns + 8;  // likewise
  static constexpr int kM = kRows / kThreadRows;     // block of a thread: kM x kN scores
  static constexpr int kN = kColumns / kThreadColumns;
  static constexpr int kVector = kWidth >= 32 ? 4 : 2;                // channels per access of a result,
  static constexpr int kVectors = kWidth / kThreadColumns / kVector;  // and how many of them
  static constexpr int kChannels = kVector * kVectors;
  static constexpr int kUnroll = kWidth <= 64 ? 2 : 1;  // of the products: more would spill
  // floats of `rows` tiles that stay, `columns` that go by, and one of scores
  static constexpr int64_t bytes(int rows, int columns, bool scores) {
    return int64_t{4} * ((rows * kRows + columns * kColumns) * kStride + (scores ? kRows * kScoreStride : 0));
  }
};

__device__ __forceinline__ int thread_row() { return static_cast<int>(threadIdx.x) / kThreadColumns; }
__device__ __forceinline__ int thread_column() { return static_cast<int>(threadIdx.x) % kThreadColumns; }

// Rows [first, first + kRows) of head h of sample b into a tile, zeros past the last token and channel.
template <class T, int kRows>
__device__ __forceinline__ void load_tile(Shared<float> tile, const Tokens<const float>& tokens, int64_t b,
                                          int64_t h, int64_t first, int64_t count, int width) {
  const auto x = tokens.head(b, h, width) + first * tokens.token;
  const int64_t stride = tokens.token;
  const int64_t rows = count - first;
  if (tokens.wide) {
    constexpr int kPieces = T::kWidth / 4;
#pragma unroll 4
    for (int n = 0; n < kRows * kPieces / kThreads; ++n) {
      const int piece = n * kThreads + static_cast<int>(threadIdx.x);
      const int row = piece / kPieces, c = piece % kPieces * 4;
      Vector<float, 4> value{};
      if (row < rows && c < width) value = load<4>(x, row * stride + c);
      store<4>(tile, row * T::kStride + c, value);
    }
    return;
  }
  for (int n = static_cast<int>(threadIdx.x); n < kRows * T::kWidth; n += kThreads) {
    const int row = n / T::kWidth, c = n % T::kWidth;
    tile[row * T::kStride + c] = row < rows && c < width ? x[row * stride + c] : 0.0F;
  }
}

// scores[i][j] = dot(rows[y + 16 i], columns[x + 8 j])
template <class T>
__device__ __forceinline__ void multiply_transposed(Shared<float> rows, Shared<float> columns,
                                                    float (&scores)[T::kM][T::kN]) {
  rows += thread_row() * T::kStride;
  columns += thread_column() * T::kStride;
#pragma unroll
  for (int i = 0; i < T::kM; ++i) {
#pragma unroll
    for (int j = 0; j < T::kN; ++j) scores[i][j] = 0.0F;
  }
#pragma unroll T::kUnroll
  for (int c = 0; c < T::kWidth; c += 4) {
    Vector<float, 4> left[T::kM];
#pragma unroll
    for (int i = 0; i < T::kM; ++i) left[i] = load<4>(rows, i * kThreadRows * T::kStride + c);
#pragma unroll
    for (int j = 0; j < T::kN; ++j) {
      const auto right = load<4>(columns, j * kThreadColumns * T::kStride + c);
#pragma unroll
      for (int i = 0; i < T::kM; ++i) {
#pragma unroll
        for (int n = 0; n < 4; ++n) scores[i][j] += left[i][n] * right[n];
      }
    }
  }
}

// Puts a thread's scores where the threads of its warp find them; no others read these rows.
template <class T>
__device__ __forceinline__ void share_scores(Shared<float> tile, const float (&scores)[T::kM][T::kN]) {
  __syncwarp();  // what was there has been read
#pragma unroll
  for (int i = 0; i < T::kM; ++i) {
#pragma unroll
    for (int j = 0; j < T::kN; ++j) {
      tile[(thread_row() + i * kThreadRows) * T::kScoreStride + thread_column() + j * kThreadColumns] =
          scores[i][j];
    }
  }
  __syncwarp();
}

// The channels of a thread: vector n begins at channel_of<T>(n).
template <class T>
__device__ __forceinline__ int channel_of(int n) {
  return (n * kThreadColumns + thread_column()) * T::kVector;
}

// sums[i] += sum over columns j of scores[y + 16 i][j] x[j], for the channels of the thread
template <class T>
__device__ __forceinline__ void multiply(Shared<float> scores, Shared<float> x,
                                         float (&sums)[T::kM][T::kChannels]) {
  scores += thread_row() * T::kScoreStride;
#pragma unroll T::kUnroll
  for (int j = 0; j < T::kColumns; j += 4) {
    Vector<float, 4> left[T::kM];
#pragma unroll
    for (int i = 0; i < T::kM; ++i) left[i] = load<4>(scores, i * kThreadRows * T::kScoreStride + j);
#pragma unroll
    for (int k = 0; k < 4; ++k) {
#pragma unroll
      for (int n = 0; n < T::kVectors; ++n) {
        const auto right = load<T::kVector>(x, (j + k) * T::kStride + channel_of<T>(n));
#pragma unroll
        for (int i = 0; i < T::kM; ++i) {
#pragma unroll
          for (int v = 0; v < T::kVector; ++v) sums[i][n * T::kVector + v] += left[i][k] * right[v];
        }
      }
    }
  }
}

// The thread's part of rows first + y + 16 i, times factor(i), to head h of sample b.
template <class T, class Factor>
__device__ __forceinline__ void store_rows(const Tokens<float>& tokens, int64_t b, int64_t h, int64_t first,
                                           int64_t count, int width, const float (&sums)[T::kM][T::kChannels],
                                           const Factor& factor) {
  const auto y = tokens.head(b, h, width);
  const int64_t stride = tokens.token;
#pragma unroll
  for (int i = 0; i < T::kM; ++i) {
    const int64_t row = first + thread_row() + i * kThreadRows;
    if (row >= count) continue;
    const float f = factor(i);
#pragma unroll
    for (int n = 0; n < T::kVectors; ++n) {
      const int c = channel_of<T>(n);
      Vector<float, T::kVector> value;
#pragma unroll
      for (int v = 0; v < T::kVector; ++v) value[v] = f * sums[i][n * T::kVector + v];
      if (tokens.wide && c < width) {
        store<T::kVector>(y, row * stride + c, value);
        continue;
      }
#pragma unroll
      for (int v = 0; v < T::kVector; ++v) {
        if (c + v < width) y[row * stride + c + v] = value[v];
      }
    }
  }
}

// Calls body with the Tiles that hold heads of `width` channels.
template <class Body>
void with_tiles(int64_t width, const Body& body) {
  if (width <= 16) return body(Tiles<16>{});
  if (width <= 32) return body(Tiles<32>{});
  if (width <= 64) return body(Tiles<64>{});
  body(Tiles<128>{});
}
// The same for the backward, whose four tiles of 128 channels are more than some cards have room for.
template <class Body>
void with_backward_tiles(core::Device device, int64_t width, const Body& body) {
  if (width > 64 && !fits_shared(device, Tiles<128>::bytes(2, 2, true))) return body(Tiles<128, 32>{});
  with_tiles(width, body);
}

}  // namespace
}  // namespace medfusion::kernels
