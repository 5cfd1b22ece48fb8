// One thread per Philox counter, whose four words decide on four elements.
#include <cmath>

#include "core/random.h"
#include "kernels/dropout/dropout.h"
#include "kernels/gpu/device.cuh"
#include "kernels/registry.h"

namespace medfusion::kernels {
namespace {

using namespace cuda;  // NOLINT(google-build-using-namespace): the vocabulary of device code

constexpr int kThreads = 128;

// to = from * scale where 24 random bits are at least `threshold`, else 0. N is 4 where elements lie in a row
// and are aligned by fours, otherwise 1; rows of `width` are a stride apart.
template <int N>
__global__ void __launch_bounds__(kThreads)
    dropout_apply(uint64_t seed, uint64_t stream, Global<const int64_t> base, uint32_t threshold, float scale,
                  Global<const float> from, Global<float> to, int64_t count, int64_t width,
                  int64_t from_stride, int64_t to_stride) {
  const core::Philox philox(seed, stream + (base != nullptr ? static_cast<uint64_t>(base[0]) : 0));
  const int64_t step = int64_t{gridDim.x} * kThreads;
  for (int64_t b = int64_t{blockIdx.x} * kThreads + threadIdx.x; b * 4 < count; b += step) {
    const auto words = philox.block(static_cast<uint64_t>(b));
    const auto apply = [&](float x, int k) {
      return words[static_cast<size_t>(k)] >> 8 >= threshold ? x * scale : 0.0F;
    };
    if (N == 4 && b * 4 + 4 <= count) {
      auto v = load<N>(from, b * 4);
#pragma unroll
      for (int k = 0; k < N; ++k) v[k] = apply(v[k], k);
      store<N>(to, b * 4, v);
      continue;
    }
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const int64_t i = b * 4 + k;
      if (i >= count) break;
      const int64_t row = N == 4 ? 0 : i / width, column = i - row * width;
      to[row * to_stride + column] = apply(from[row * from_stride + column], k);
    }
  }
}

void run(double probability, uint64_t seed, uint64_t stream, const core::View& base, const core::View& from,
         const core::View& to) {
  if (from.numel() == 0) return;
  // uniform = bits * 2^-24 >= probability, exactly, in integers; 2^24 where nothing is kept
  const auto threshold = static_cast<uint32_t>(std::ceil(probability * 0x1p24));
  const float scale = probability < 1.0 ? static_cast<float>(1.0 / (1.0 - probability)) : 0.0F;
  const bool flat = from.contiguous() && to.contiguous();
  const int64_t width = flat ? from.numel() : from.size(-1);
  const auto aligned = [](const core::View& x) { return reinterpret_cast<uintptr_t>(x.data) % 16 == 0; };
  launch({"dropout_apply", from.device, grid_for(ceil_div(from.numel(), 4), kThreads), dim3(kThreads)},
         flat && aligned(from) && aligned(to) ? dropout_apply<4> : dropout_apply<1>, seed, stream,
         base.defined() ? base.as<int64_t>() : nullptr, threshold, scale, from.as<float>(), to.as<float>(),
         from.numel(), width, flat ? width : from.row_stride(), flat ? width : to.row_stride());
}

void run_forward(const DropoutForward& a) { run(a.probability, a.seed, a.stream, a.base, a.x, a.y); }

void run_backward(const DropoutBackward& a) {
  run(a.probability, a.seed, a.stream, a.base, a.grad_y, a.grad_x);
}

const Register<DropoutForward> forward("simt", kDevice, 10, {takes::f32, takes::uniform_rows}, run_forward);
const Register<DropoutBackward> backward("simt", kDevice, 10, {takes::f32, takes::uniform_rows},
                                         run_backward);

}  // namespace
}  // namespace medfusion::kernels
