// One pass over memory each, 16 bytes per access where all tensors are aligned to that.
#include <cmath>

#include "core/tensor.h"
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/reduce.cuh"
#include "kernels/optimizer/optimizer.h"
#include "kernels/registry.h"

namespace medfusion::kernels {
namespace {

using namespace cuda;  // NOLINT(google-build-using-namespace): the vocabulary of device code

constexpr int kThreads = 128;
constexpr int64_t kMostBlocks = 1024;  // of the norm

// Calls body(std::integral_constant<int, W>, i) for all of [0, n): pieces of W = N elements from i on, and
// single ones where the last piece is not whole.
template <int N, class Body>
__device__ __forceinline__ void for_pieces(int64_t n, const Body& body) {
  const int64_t step = int64_t{gridDim.x} * kThreads * N;
  for (int64_t i = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * N; i < n; i += step) {
    if (i + N <= n) {
      body(std::integral_constant<int, N>(), i);
    } else {
      for (int64_t k = i; k < n; ++k) body(std::integral_constant<int, 1>(), k);
    }
  }
}

// The scalars of a step, rounded once.
struct AdamWScalars {
  float grad_scale, one_minus_beta1, one_minus_beta2, rate, decay, second_scale, eps;
};
struct SgdScalars {
  float grad_scale, weight_decay, momentum, rate;
  bool nesterov;
};

template <int N>
__global__ void __launch_bounds__(kThreads) adamw(AdamWScalars s, Global<float> p, Global<const float> g,
                                                  Global<float> m, Global<float> v, int64_t n) {
  for_pieces<N>(n, [&]<int W>(std::integral_constant<int, W>, int64_t i) {
    const auto gradient = load<W>(g, i);
    auto first = load<W>(m, i), second = load<W>(v, i), value = load<W>(p, i);
#pragma unroll
    for (int k = 0; k < W; ++k) {
      const float scaled = s.grad_scale * gradient[k];
      first[k] += s.one_minus_beta1 * (scaled - first[k]);
      second[k] += s.one_minus_beta2 * (scaled * scaled - second[k]);
      const float direction = s.rate * first[k] / (sqrtf(second[k]) * s.second_scale + s.eps);
      value[k] -= s.decay * value[k] + direction;
    }
    store<W>(m, i, first);
    store<W>(v, i, second);
    store<W>(p, i, value);
  });
}

// u may be null: no momentum.
template <int N>
__global__ void __launch_bounds__(kThreads)
    sgd(SgdScalars s, Global<float> p, Global<const float> g, Global<float> u, int64_t n) {
  for_pieces<N>(n, [&]<int W>(std::integral_constant<int, W>, int64_t i) {
    auto value = load<W>(p, i), direction = load<W>(g, i);
#pragma unroll
    for (int k = 0; k < W; ++k) direction[k] = s.grad_scale * direction[k] + s.weight_decay * value[k];
    if (u != nullptr) {
      auto velocity = load<W>(u, i);
#pragma unroll
      for (int k = 0; k < W; ++k) {
        velocity[k] = s.momentum * velocity[k] + direction[k];
        direction[k] = s.nesterov ? direction[k] + s.momentum * velocity[k] : velocity[k];
      }
      store<W>(u, i, velocity);
    }
#pragma unroll
    for (int k = 0; k < W; ++k) value[k] -= s.rate * direction[k];
    store<W>(p, i, value);
  });
}

template <int N>
__global__ void __launch_bounds__(kThreads)
    average(float rate, Global<const float> x, Global<float> mean, int64_t n) {
  for_pieces<N>(n, [&]<int W>(std::integral_constant<int, W>, int64_t i) {
    const auto value = load<W>(x, i);
    auto result = load<W>(mean, i);
#pragma unroll
    for (int k = 0; k < W; ++k) result[k] += rate * (value[k] - result[k]);
    store<W>(mean, i, result);
  });
}

// partial[block] = the sum of squares of the block's elements.
template <int N>
__global__ void __launch_bounds__(kThreads)
    squared_norm(Global<const float> x, Global<double> partial, int64_t n) {
  SharedMemory memory;
  const Shared<double> scratch = memory.take<double>(kThreads / kWarp);
  double sum = 0.0;
  for_pieces<N>(n, [&]<int W>(std::integral_constant<int, W>, int64_t i) {
    const auto v = load<W>(x, i);
#pragma unroll
    for (int k = 0; k < W; ++k) sum += static_cast<double>(v[k]) * static_cast<double>(v[k]);
  });
  sum = block_sum(sum, scratch);
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

__global__ void __launch_bounds__(kThreads)
    squared_norm_combine(int64_t blocks, Global<const double> partial, Global<double> result) {
  SharedMemory memory;
  const Shared<double> scratch = memory.take<double>(kThreads / kWarp);
  double sum = 0.0;
  for (int64_t i = threadIdx.x; i < blocks; i += kThreads) sum += partial[i];
  sum = block_sum(sum, scratch);
  if (threadIdx.x == 0) result[0] = sum;
}

// Whether all that are defined may be moved 16 bytes at a time.
bool wide(std::initializer_list<const core::View*> views) {
  return std::all_of(views.begin(), views.end(),
                     [](const core::View* v) { return reinterpret_cast<uintptr_t>(v->data) % 16 == 0; });
}
dim3 grid_of_pieces(int64_t n, bool by_fours, int64_t most = int64_t{1} << 16) {
  return grid_for(ceil_div(n, by_fours ? 4 : 1), kThreads, most);
}

void run_adamw(const AdamWStep& a) {
  const auto t = static_cast<double>(a.step);
  const AdamWScalars s{
      .grad_scale = static_cast<float>(a.grad_scale),
      .one_minus_beta1 = static_cast<float>(1.0 - a.beta1),
      .one_minus_beta2 = static_cast<float>(1.0 - a.beta2),
      .rate = static_cast<float>(a.learning_rate / (1.0 - std::pow(a.beta1, t))),
      .decay = static_cast<float>(a.learning_rate * a.weight_decay),
      .second_scale = static_cast<float>(1.0 / std::sqrt(1.0 - std::pow(a.beta2, t))),
      .eps = static_cast<float>(a.eps),
  };
  const int64_t n = a.parameter.numel();
  const bool fours = wide({&a.parameter, &a.gradient, &a.first_moment, &a.second_moment});
  launch({"adamw", a.parameter.device, grid_of_pieces(n, fours), dim3(kThreads)}, fours ? adamw<4> : adamw<1>,
         s, a.parameter.as<float>(), a.gradient.as<float>(), a.first_moment.as<float>(),
         a.second_moment.as<float>(), n);
}

void run_sgd(const SgdStep& a) {
  const SgdScalars s{static_cast<float>(a.grad_scale), static_cast<float>(a.weight_decay),
                     static_cast<float>(a.momentum), static_cast<float>(a.learning_rate), a.nesterov};
  const int64_t n = a.parameter.numel();
  const bool fours = wide({&a.parameter, &a.gradient, &a.velocity});
  launch({"sgd", a.parameter.device, grid_of_pieces(n, fours), dim3(kThreads)}, fours ? sgd<4> : sgd<1>, s,
         a.parameter.as<float>(), a.gradient.as<float>(),
         a.momentum != 0.0 ? a.velocity.as<float>() : nullptr, n);
}

void run_average(const AverageStep& a) {
  const int64_t n = a.value.numel();
  const bool fours = wide({&a.value, &a.average});
  launch({"average", a.value.device, grid_of_pieces(n, fours), dim3(kThreads)},
         fours ? average<4> : average<1>, static_cast<float>(1.0 - a.decay), a.value.as<float>(),
         a.average.as<float>(), n);
}

void run_squared_norm(const SquaredNorm& a) {
  const int64_t n = a.x.numel();
  const bool fours = wide({&a.x});
  const dim3 grid = grid_of_pieces(n, fours, kMostBlocks);
  constexpr int64_t kShared = sizeof(double) * kThreads / kWarp;
  const core::Tensor partial = core::Tensor::empty({grid.x}, core::DType::f64, a.x.device);
  launch({"squared_norm", a.x.device, grid, dim3(kThreads), kShared},
         fours ? squared_norm<4> : squared_norm<1>, a.x.as<float>(), partial.view().as<double>(), n);
  launch({"squared_norm_combine", a.x.device, dim3(1), dim3(kThreads), kShared}, squared_norm_combine,
         int64_t{grid.x}, partial.view().as<double>(), a.result.as<double>());
}

template <class Args, core::View Args::*kTensor>
bool is_float(const Args& a) {
  return (a.*kTensor).dtype == core::DType::f32;
}

const Register<AdamWStep> adamw_variant({"simt", kDevice, 10, is_float<AdamWStep, &AdamWStep::parameter>,
                                         run_adamw});
const Register<SgdStep> sgd_variant({"simt", kDevice, 10, is_float<SgdStep, &SgdStep::parameter>, run_sgd});
const Register<SquaredNorm> squared_norm_variant({"simt", kDevice, 10, is_float<SquaredNorm, &SquaredNorm::x>,
                                                  run_squared_norm});
const Register<AverageStep> average_variant({"simt", kDevice, 10, is_float<AverageStep, &AverageStep::value>,
                                             run_average});

}  // namespace
}  // namespace medfusion::kernels
