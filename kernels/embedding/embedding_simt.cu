// Backward gathers: a block per row of the table looks through all ids for its own, so that a row is summed
// in the order of the places, and nobody else writes it.
#include "kernels/embedding/embedding.h"
#include "kernels/gpu/device.cuh"
#include "kernels/registry.h"

namespace medfusion::kernels {
namespace {

using namespace cuda;  // NOLINT(google-build-using-namespace): the vocabulary of device code

constexpr int kThreads = 128;
constexpr int kIds = 4;  // of one thread at a time

template <int N>
__global__ void __launch_bounds__(kThreads)
    embedding_forward(Global<const float> weight, Global<const int64_t> ids, Global<float> y, int64_t count,
                      int64_t pieces, int64_t weight_stride, int64_t y_stride) {
  const int64_t step = int64_t{gridDim.x} * kThreads;
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < count * pieces; i += step) {
    const int64_t n = i / pieces, column = (i - n * pieces) * N;
    store<N>(y, n * y_stride + column, load<N>(weight, ids[n] * weight_stride + column));
  }
}

// Blocks (v, columns): grad_weight[v, N columns of each thread].
template <int N>
__global__ void __launch_bounds__(kThreads)
    embedding_backward(Global<const int64_t> ids, Global<const float> grad_y, Global<float> grad_weight,
                       int64_t count, int64_t width, int64_t grad_y_stride, int64_t grad_weight_stride) {
  SharedMemory memory;
  const Shared<uint32_t> found = memory.take<uint32_t>(kIds * kThreads / kWarp);  // one bit per id
  const int64_t v = blockIdx.x;
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
  const int64_t column = (int64_t{blockIdx.y} * kThreads + threadIdx.x) * N;
  Vector<float, N> sum;
#pragma unroll
  for (int i = 0; i < N; ++i) sum[i] = 0.0F;
  for (int64_t base = 0; base < count; base += kIds * kThreads) {
    bool any = false;
#pragma unroll
    for (int k = 0; k < kIds; ++k) {
      const int word = k * kThreads / kWarp + warp;
      const int64_t n = base + word * kWarp + lane;
      const bool mine = n < count && ids[n] == v;
      any = any || mine;
      const uint32_t bits = __ballot_sync(kFullWarp, mine ? 1 : 0);
      if (lane == 0) found[word] = bits;
    }
    if (__syncthreads_or(any ? 1 : 0) != 0) {
      for (int word = 0; word < kIds * kThreads / kWarp; ++word) {
        for (uint32_t bits = found[word]; bits != 0; bits &= bits - 1) {
          if (column >= width) break;
          const int64_t n = base + word * kWarp + __ffs(static_cast<int>(bits)) - 1;
          const auto g = load<N>(grad_y, n * grad_y_stride + column);
#pragma unroll
          for (int i = 0; i < N; ++i) sum[i] += g[i];
        }
      }
    }
    __syncthreads();
  }
  if (column < width) store<N>(grad_weight, v * grad_weight_stride + column, sum);
}

bool takes_vectors(const core::View& x) {
  return x.size(1) % 4 == 0 && x.stride(0) % 4 == 0 && reinterpret_cast<uintptr_t>(x.data) % 16 == 0;
}

void run_forward(const EmbeddingForward& a) {
  const int64_t count = a.ids.numel();
  const bool wide = takes_vectors(a.weight) && takes_vectors(a.y);
  const int64_t pieces = a.y.size(1) / (wide ? 4 : 1);
  launch({"embedding_forward", a.y.device, grid_for(count * pieces, kThreads), dim3(kThreads)},
         wide ? embedding_forward<4> : embedding_forward<1>, a.weight.as<float>(), a.ids.as<int64_t>(),
         a.y.as<float>(), count, pieces, a.weight.stride(0), a.y.stride(0));
}

void run_backward(const EmbeddingBackward& a) {
  const int64_t width = a.grad_weight.size(1);
  // Narrow rows: rather more threads than wide accesses.
  const bool wide = width >= 4 * kThreads && takes_vectors(a.grad_y) && takes_vectors(a.grad_weight);
  launch({"embedding_backward", a.grad_y.device,
          grid_of(a.grad_weight.size(0), ceil_div(width, kThreads * (wide ? 4 : 1))), dim3(kThreads),
          kIds * kThreads / kWarp * int64_t{sizeof(uint32_t)}},
         wide ? embedding_backward<4> : embedding_backward<1>, a.ids.as<int64_t>(), a.grad_y.as<float>(),
         a.grad_weight.as<float>(), a.ids.numel(), width, a.grad_y.stride(0), a.grad_weight.stride(0));
}

const Register<EmbeddingForward> forward("simt", kDevice, 10, {takes::f32, takes::adjacent_columns},
                                         run_forward);
const Register<EmbeddingBackward> backward("simt", kDevice, 10, {takes::f32, takes::adjacent_columns},
                                           run_backward);

}  // namespace
}  // namespace medfusion::kernels
