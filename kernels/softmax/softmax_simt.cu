// Rows of up to 1024 elements are read once and held in registers, by a warp or, where they are narrow, by a
// part of one. Longer rows take a block each, and two passes.
#include "kernels/gpu/device.cuh"
#include "kernels/gpu/reduce.cuh"
#include "kernels/registry.h"
#include "kernels/softmax/softmax.h"

namespace medfusion::kernels {
namespace {

using namespace cuda;  // NOLINT(google-build-using-namespace): the vocabulary of device code

constexpr int kThreads = 128;
constexpr int64_t kHeld = 8;  // pieces of a row that a thread may hold

// [rows, n] with rows `stride` apart; `lanes` threads, a power of 2 up to a warp, share a row.
struct Rows {
  int64_t rows;
  int n;
  int lanes;
};

struct Max {
  __device__ float operator()(float a, float b) const { return a > b || a != a ? a : b; }  // keeps NaN
};
struct Sum {
  __device__ float operator()(float a, float b) const { return a + b; }
};

// op over the lanes that share the calling thread's row.
template <class Op>
__device__ __forceinline__ float row_reduce(float value, int lanes, const Op& op) {
  for (int half = lanes / 2; half > 0; half /= 2) value = op(value, __shfl_xor_sync(kFullWarp, value, half));
  return value;
}

// The piece k of N elements of the calling thread's row begins at column (lane + k lanes) N. Threads without
// a row, and pieces past its end, hold `fill`.
template <int N, int K>
struct RowPieces {
  Vector<float, N> v[K];

  __device__ __forceinline__ void read(const Rows& r, bool inside, int lane, const Global<const float>& row,
                                       float fill) {
#pragma unroll
    for (int k = 0; k < K; ++k) {
      const int column = (lane + k * r.lanes) * N;
      if (inside && column < r.n) {
        v[k] = load<N>(row, column);
      } else {
#pragma unroll
        for (int i = 0; i < N; ++i) v[k][i] = fill;
      }
    }
  }
  __device__ __forceinline__ void write(const Rows& r, bool inside, int lane,
                                        const Global<float>& row) const {
#pragma unroll
    for (int k = 0; k < K; ++k) {
      const int column = (lane + k * r.lanes) * N;
      if (inside && column < r.n) store<N>(row, column, v[k]);
    }
  }
  template <class F>
  __device__ __forceinline__ void for_each(const F& f) {
#pragma unroll
    for (int k = 0; k < K; ++k) {
#pragma unroll
      for (int i = 0; i < N; ++i) f(v[k][i], k, i);
    }
  }
};

template <int N, int K>
__global__ void __launch_bounds__(kThreads)
    softmax_forward(Rows r, Global<const float> x, Global<float> y, int64_t x_stride, int64_t y_stride) {
  const int64_t row = (int64_t{blockIdx.x} * kThreads + threadIdx.x) / r.lanes;
  const int lane = static_cast<int>(threadIdx.x) % r.lanes;
  const bool inside = row < r.rows;
  RowPieces<N, K> e;
  e.read(r, inside, lane, x + (inside ? row * x_stride : 0), -INFINITY);
  float largest = -INFINITY;
  e.for_each([&](float v, int, int) { largest = Max()(largest, v); });
  largest = row_reduce(largest, r.lanes, Max());
  const float shift = largest == -INFINITY ? 0.0F : largest;  // masked throughout: every exp gives 0
  float sum = 0.0F;
  e.for_each([&](float& v, int, int) { sum += v = expf(v - shift); });
  sum = row_reduce(sum, r.lanes, Sum());
  const float share = largest == -INFINITY ? 0.0F : 1.0F / sum;
  e.for_each([&](float& v, int, int) { v *= share; });
  e.write(r, inside, lane, y + (inside ? row * y_stride : 0));
}

template <int N, int K>
__global__ void __launch_bounds__(kThreads)
    softmax_backward(Rows r, Global<const float> y, Global<const float> grad_y, Global<float> grad_x,
                     int64_t y_stride, int64_t grad_y_stride, int64_t grad_x_stride) {
  const int64_t row = (int64_t{blockIdx.x} * kThreads + threadIdx.x) / r.lanes;
  const int lane = static_cast<int>(threadIdx.x) % r.lanes;
  const bool inside = row < r.rows;
  RowPieces<N, K> p, g;
  p.read(r, inside, lane, y + (inside ? row * y_stride : 0), 0.0F);
  g.read(r, inside, lane, grad_y + (inside ? row * grad_y_stride : 0), 0.0F);
  float dot = 0.0F;
  p.for_each([&](float v, int k, int i) { dot += v * g.v[k][i]; });
  dot = row_reduce(dot, r.lanes, Sum());
  p.for_each([&](float& v, int k, int i) { v *= g.v[k][i] - dot; });
  p.write(r, inside, lane, grad_x + (inside ? row * grad_x_stride : 0));
}

// A maximum and the sum of exp(x - maximum), which grow together as elements come.
struct Running {
  float largest = -INFINITY, sum = 0.0F;
};
struct Join {
  __device__ Running operator()(const Running& a, const Running& b) const {
    Running both;
    both.largest = Max()(a.largest, b.largest);
    if (both.largest == -INFINITY) return both;
    both.sum = a.sum * expf(a.largest - both.largest) + b.sum * expf(b.largest - both.largest);
    return both;
  }
};

// op over the threads of the block, as a tree; everyone gets it.
template <class T, class Op>
__device__ __forceinline__ T block_reduce(T value, Shared<T> scratch, const Op& op) {
  const int thread = static_cast<int>(threadIdx.x);
  scratch[thread] = value;
  for (int half = kThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (thread >= half) continue;
    value = op(value, static_cast<T>(scratch[thread + half]));
    scratch[thread] = value;
  }
  __syncthreads();
  return scratch[0];
}

template <int N>
__global__ void __launch_bounds__(kThreads)
    softmax_forward_long(int64_t n, Global<const float> x, Global<float> y, int64_t x_stride,
                         int64_t y_stride) {
  SharedMemory memory;
  const Shared<Running> scratch = memory.take<Running>(kThreads);
  x += int64_t{blockIdx.x} * x_stride;
  y += int64_t{blockIdx.x} * y_stride;
  Running mine;
  for (int64_t i = int64_t{threadIdx.x} * N; i < n; i += kThreads * N) {
    const auto v = load<N>(x, i);
    Running piece;
#pragma unroll
    for (int k = 0; k < N; ++k) piece.largest = Max()(piece.largest, v[k]);
    if (piece.largest == -INFINITY) continue;
#pragma unroll
    for (int k = 0; k < N; ++k) piece.sum += expf(v[k] - piece.largest);
    mine = Join()(mine, piece);
  }
  const Running all = block_reduce(mine, scratch, Join());
  const bool masked = all.largest == -INFINITY;
  const float shift = masked ? 0.0F : all.largest;
  const float share = masked ? 0.0F : 1.0F / all.sum;
  for (int64_t i = int64_t{threadIdx.x} * N; i < n; i += kThreads * N) {
    auto v = load<N>(x, i);
#pragma unroll
    for (int k = 0; k < N; ++k) v[k] = expf(v[k] - shift) * share;
    store<N>(y, i, v);
  }
}

template <int N>
__global__ void __launch_bounds__(kThreads)
    softmax_backward_long(int64_t n, Global<const float> y, Global<const float> grad_y, Global<float> grad_x,
                          int64_t y_stride, int64_t grad_y_stride, int64_t grad_x_stride) {
  SharedMemory memory;
  const Shared<float> scratch = memory.take<float>(kThreads);
  y += int64_t{blockIdx.x} * y_stride;
  grad_y += int64_t{blockIdx.x} * grad_y_stride;
  grad_x += int64_t{blockIdx.x} * grad_x_stride;
  float dot = 0.0F;
  for (int64_t i = int64_t{threadIdx.x} * N; i < n; i += kThreads * N) {
    const auto v = load<N>(y, i);
    const auto g = load<N>(grad_y, i);
#pragma unroll
    for (int k = 0; k < N; ++k) dot += v[k] * g[k];
  }
  dot = block_reduce(dot, scratch, Sum());
  for (int64_t i = int64_t{threadIdx.x} * N; i < n; i += kThreads * N) {
    auto v = load<N>(y, i);
    const auto g = load<N>(grad_y, i);
#pragma unroll
    for (int k = 0; k < N; ++k) v[k] *= g[k] - dot;
    store<N>(grad_x, i, v);
  }
}

// Calls body(std::integral_constant<int, N>, std::integral_constant<int, K>) with the size of the pieces and
// how many a thread holds; K is 0 for rows that are too long for that.
template <class Body>
void with_pieces(int64_t n, bool wide, const Body& body) {
  const auto held = [&]<int N>(std::integral_constant<int, N> pieces) {
    const int64_t count = ceil_div(n, N * kWarp);
    if (count <= 1) return body(pieces, std::integral_constant<int, 1>());
    if (count <= 2) return body(pieces, std::integral_constant<int, 2>());
    if (count <= kHeld) return body(pieces, std::integral_constant<int, kHeld>());
    return body(pieces, std::integral_constant<int, 0>());
  };
  if (wide) {
    held(std::integral_constant<int, 4>());
  } else {
    held(std::integral_constant<int, 1>());
  }
}

// As many threads per row as it has pieces of N elements.
Rows rows_of(const core::View& x, int piece) {
  Rows r{x.rows(), static_cast<int>(x.size(-1)), 1};
  while (r.lanes < kWarp && r.lanes * piece < r.n) r.lanes *= 2;
  return r;
}
dim3 grid_of_rows(const Rows& r) { return grid_of(ceil_div(r.rows, kThreads / r.lanes)); }

bool takes_vectors(const core::View& x) { return x.size(-1) % 4 == 0 && aligned_rows<16>(x); }

void run_forward(const SoftmaxForward& a) {
  const int64_t n = a.x.size(-1);
  with_pieces(n, takes_vectors(a.x) && takes_vectors(a.y),
              [&]<int N, int K>(std::integral_constant<int, N>, std::integral_constant<int, K>) {
                if constexpr (K == 0) {
                  launch({"softmax_forward_long", a.x.device, grid_of(a.x.rows()), dim3(kThreads),
                          kThreads * sizeof(Running)},
                         softmax_forward_long<N>, n, a.x.as<float>(), a.y.as<float>(), a.x.row_stride(),
                         a.y.row_stride());
                } else {
                  const Rows r = rows_of(a.x, N);
                  launch({"softmax_forward", a.x.device, grid_of_rows(r), dim3(kThreads)},
                         softmax_forward<N, K>, r, a.x.as<float>(), a.y.as<float>(), a.x.row_stride(),
                         a.y.row_stride());
                }
              });
}

void run_backward(const SoftmaxBackward& a) {
  const int64_t n = a.y.size(-1);
  with_pieces(
      n, takes_vectors(a.y) && takes_vectors(a.grad_y) && takes_vectors(a.grad_x),
      [&]<int N, int K>(std::integral_constant<int, N>, std::integral_constant<int, K>) {
        const auto start = [&](const Launch& config, auto kernel, auto size) {
          launch(config, kernel, size, a.y.as<float>(), a.grad_y.as<float>(), a.grad_x.as<float>(),
                 a.y.row_stride(), a.grad_y.row_stride(), a.grad_x.row_stride());
        };
        if constexpr (K == 0) {
          start({"softmax_backward_long", a.y.device, grid_of(a.y.rows()), dim3(kThreads),
                 kThreads * sizeof(float)},
                softmax_backward_long<N>, n);
        } else {
          const Rows r = rows_of(a.y, N);
          start({"softmax_backward", a.y.device, grid_of_rows(r), dim3(kThreads)}, softmax_backward<N, K>, r);
        }
      });
}

const Register<SoftmaxForward> forward("simt", kDevice, 10, {takes::f32, takes::uniform_rows}, run_forward);
const Register<SoftmaxBackward> backward("simt", kDevice, 10, {takes::f32, takes::uniform_rows},
                                         run_backward);

}  // namespace
}  // namespace medfusion::kernels
