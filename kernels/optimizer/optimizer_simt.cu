// One pass over memory each, 16 bytes per access where all tensors are aligned to that. A launch takes up to
// kMostTensors tensors, whose addresses are its parameters: a block finds its tensor by its number.
#include <cmath>

#include "core/tensor.h"
#include "kernels/gpu/device.cuh"
#include "kernels/gpu/reduce.cuh"
#include "kernels/optimizer/optimizer.h"
#include "kernels/registry.h"

namespace medfusion::kernels {
namespace {

using namespace cuda;  // NOLINT(google-build-using-namespace): the vocabulary of device code

constexpr int kThreads = 128;
constexpr int kMostTensors = 64;  // the parameters of a launch have 4096 bytes
constexpr int kPasses = 32;       // of a block over its chunk, with single elements
constexpr int64_t kChunk = int64_t{kThreads} * kPasses;

// The tensors of a launch: of each one that is read and `Written` that are written, all of one size.
template <int Written>
struct TensorList {
  int count = 0;
  int first[kMostTensors + 1] = {};  // block of each tensor; behind the last the number of blocks
  int64_t size[kMostTensors] = {};
  double weight_decay[kMostTensors] = {};
  Global<const float> read[kMostTensors] = {};
  Global<float> written[Written > 0 ? Written : 1][kMostTensors] = {};

  __device__ __forceinline__ int tensor_of(int block) const {
    int low = 0, high = count;
    while (high - low > 1) {
      const int middle = (low + high) / 2;
      (first[middle] <= block ? low : high) = middle;
    }
    return low;
  }
};

// Calls body(std::integral_constant<int, W>, i) for the elements of tensor t that are this block's: pieces of
// W = N from i on, and single ones where the last piece is not whole.
template <int N, int Written, class Body>
__device__ __forceinline__ void for_pieces(const TensorList<Written>& list, int t, const Body& body) {
  const int64_t begin = (static_cast<int64_t>(blockIdx.x) - list.first[t]) * kChunk;
  const int64_t end = begin + kChunk < list.size[t] ? begin + kChunk : list.size[t];
  for (int pass = 0; pass < kPasses / N; ++pass) {
    const int64_t i = begin + (int64_t{pass} * kThreads + threadIdx.x) * N;
    if (i + N <= end) {
      body(std::integral_constant<int, N>(), i);
    } else {
      for (int64_t k = i; k < end; ++k) body(std::integral_constant<int, 1>(), k);
    }
  }
}

// What is the same in every step, rounded once.
struct AdamWConstants {
  float one_minus_beta1, one_minus_beta2, eps;
};
struct SgdConstants {
  float momentum;
  bool nesterov;
};

// Written: parameters, first and second moments.
template <int N>
__global__ void __launch_bounds__(kThreads) adamw(AdamWConstants c, Global<const double> scalars,
                                                  Global<const double> grad_scale, TensorList<3> list) {
  const int t = list.tensor_of(static_cast<int>(blockIdx.x));
  const Global<const float> g = list.read[t];
  const Global<float> p = list.written[0][t], m = list.written[1][t], v = list.written[2][t];
  if (!isfinite(static_cast<double>(grad_scale[0]))) return;
  const double learning_rate = scalars[0];
  const auto scale = static_cast<float>(grad_scale[0]);
  // In float: division in double is a call that spills registers. It costs two roundings of 2^-24 each, of
  // the whole step alike.
  const float rate = static_cast<float>(learning_rate) / static_cast<float>(scalars[1]);
  const float second_scale = 1.0F / sqrtf(static_cast<float>(scalars[2]));
  const auto decay = static_cast<float>(learning_rate * list.weight_decay[t]);
  for_pieces<N>(list, t, [&]<int W>(std::integral_constant<int, W>, int64_t i) {
    const auto gradient = load<W>(g, i);
    auto first = load<W>(m, i), second = load<W>(v, i), value = load<W>(p, i);
#pragma unroll
    for (int k = 0; k < W; ++k) {
      const float scaled = scale * gradient[k];
      first[k] += c.one_minus_beta1 * (scaled - first[k]);
      second[k] += c.one_minus_beta2 * (scaled * scaled - second[k]);
      const float direction = rate * first[k] / (sqrtf(second[k]) * second_scale + c.eps);
      value[k] -= decay * value[k] + direction;
    }
    store<W>(m, i, first);
    store<W>(v, i, second);
    store<W>(p, i, value);
  });
}

// Written: parameters and velocities, which are null without momentum.
template <int N>
__global__ void __launch_bounds__(kThreads)
    sgd(SgdConstants c, Global<const double> scalars, Global<const double> grad_scale, TensorList<2> list) {
  const int t = list.tensor_of(static_cast<int>(blockIdx.x));
  const Global<const float> g = list.read[t];
  const Global<float> p = list.written[0][t], u = list.written[1][t];
  if (!isfinite(static_cast<double>(grad_scale[0]))) return;
  const auto scale = static_cast<float>(grad_scale[0]);
  const auto rate = static_cast<float>(scalars[0]);
  const auto weight_decay = static_cast<float>(list.weight_decay[t]);
  for_pieces<N>(list, t, [&]<int W>(std::integral_constant<int, W>, int64_t i) {
    auto value = load<W>(p, i);
    const auto gradient = load<W>(g, i);
    auto direction = value;
#pragma unroll
    for (int k = 0; k < W; ++k) direction[k] = scale * gradient[k] + weight_decay * value[k];
    if (u != nullptr) {
      auto velocity = load<W>(u, i);
#pragma unroll
      for (int k = 0; k < W; ++k) {
        velocity[k] = c.momentum * velocity[k] + direction[k];
        direction[k] = c.nesterov ? direction[k] + c.momentum * velocity[k] : velocity[k];
      }
      store<W>(u, i, velocity);
    }
#pragma unroll
    for (int k = 0; k < W; ++k) value[k] -= rate * direction[k];
    store<W>(p, i, value);
  });
}

// Written: averages.
template <int N>
__global__ void __launch_bounds__(kThreads)
    average(Global<const double> rate, Global<const double> gate, TensorList<1> list) {
  const int t = list.tensor_of(static_cast<int>(blockIdx.x));
  const Global<const float> x = list.read[t];
  const Global<float> mean = list.written[0][t];
  if (gate != nullptr && !isfinite(static_cast<double>(gate[0]))) return;
  const auto factor = static_cast<float>(rate[0]);
  for_pieces<N>(list, t, [&]<int W>(std::integral_constant<int, W>, int64_t i) {
    const auto value = load<W>(x, i);
    auto result = load<W>(mean, i);
#pragma unroll
    for (int k = 0; k < W; ++k) result[k] += factor * (value[k] - result[k]);
    store<W>(mean, i, result);
  });
}

// Written: what is cleared.
template <int N>
__global__ void __launch_bounds__(kThreads) clear(TensorList<1> list) {
  const int t = list.tensor_of(static_cast<int>(blockIdx.x));
  const Global<float> x = list.written[0][t];
  for_pieces<N>(
      list, t, [&]<int W>(std::integral_constant<int, W>, int64_t i) { store<W>(x, i, Vector<float, W>{}); });
}

// partial[block] = the sum of squares of the block's elements.
template <int N>
__global__ void __launch_bounds__(kThreads) squared_norm(Global<double> partial, TensorList<0> list) {
  SharedMemory memory;
  const Shared<double> scratch = memory.take<double>(kThreads / kWarp);
  const int t = list.tensor_of(static_cast<int>(blockIdx.x));
  const Global<const float> x = list.read[t];
  double sum = 0.0;
  for_pieces<N>(list, t, [&]<int W>(std::integral_constant<int, W>, int64_t i) {
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

__global__ void clip(double largest, Global<const double> squared_norm, Global<double> norm,
                     Global<double> grad_scale, Global<const double> loss) {
  const double root = sqrt(static_cast<double>(squared_norm[0]));
  norm[0] = root;
  const bool finite = isfinite(root) && (loss == nullptr || isfinite(static_cast<double>(loss[0])));
  const double scale = largest > 0.0 && root > largest ? largest / root : 1.0;
  grad_scale[0] = finite ? scale : static_cast<double>(NAN);
}

// Collects tensors and calls start(list, whether all are aligned to 16 bytes) for every full list, and for
// the last one in finish().
template <int Written, class Start>
class Lists {
 public:
  explicit Lists(const Start& start) : start_(start) {}

  void add(const core::View& read, const std::array<core::View, Written>& written,
           double weight_decay = 0.0) {
    const core::View& sized = read.defined() ? read : written[0];
    if (sized.numel() == 0) return;
    const int64_t blocks = ceil_div(sized.numel(), kChunk);
    constexpr int64_t kMostBlocks = 0x7fffffff;
    MEDFUSION_CHECK(blocks <= kMostBlocks, "optimizer: a tensor of {} elements is too large", sized.numel());
    if (list_.count == kMostTensors || list_.first[list_.count] + blocks > kMostBlocks) finish();
    const int t = list_.count++;
    list_.first[t + 1] = list_.first[t] + static_cast<int>(blocks);
    list_.size[t] = sized.numel();
    list_.weight_decay[t] = weight_decay;
    if (read.defined()) list_.read[t] = take<const float>(read);
    for (size_t w = 0; w < written.size(); ++w) {
      if (written[w].defined()) list_.written[w][t] = take<float>(written[w]);
    }
  }

  void finish() {
    if (list_.count == 0) return;
    start_(list_, dim3(static_cast<unsigned>(list_.first[list_.count])), wide_);
    list_ = TensorList<Written>();
    wide_ = true;
  }

 private:
  template <class T>
  T* take(const core::View& view) {
    wide_ = wide_ && reinterpret_cast<uintptr_t>(view.data) % 16 == 0;
    return view.as<float>();
  }

  const Start& start_;
  TensorList<Written> list_;
  bool wide_ = true;
};

// Null where nobody gave it.
const double* or_null(const core::View& view) { return view.defined() ? view.as<double>() : nullptr; }

void run_adamw(const AdamWStep& a) {
  const AdamWConstants c{static_cast<float>(1.0 - a.beta1), static_cast<float>(1.0 - a.beta2),
                         static_cast<float>(a.eps)};
  const auto start = [&](const TensorList<3>& list, dim3 grid, bool fours) {
    launch({"adamw", a.scalars.device, grid, dim3(kThreads)}, fours ? adamw<4> : adamw<1>, c,
           a.scalars.as<double>(), a.grad_scale.as<double>(), list);
  };
  Lists<3, decltype(start)> lists(start);
  for (const auto& e : a.entries) {
    lists.add(e.gradient, {e.parameter, e.first_moment, e.second_moment}, e.weight_decay);
  }
  lists.finish();
}

void run_sgd(const SgdStep& a) {
  const SgdConstants c{static_cast<float>(a.momentum), a.nesterov};
  const auto start = [&](const TensorList<2>& list, dim3 grid, bool fours) {
    launch({"sgd", a.scalars.device, grid, dim3(kThreads)}, fours ? sgd<4> : sgd<1>, c,
           a.scalars.as<double>(), a.grad_scale.as<double>(), list);
  };
  Lists<2, decltype(start)> lists(start);
  for (const auto& e : a.entries) {
    lists.add(e.gradient, {e.parameter, a.momentum != 0.0 ? e.velocity : core::View{}}, e.weight_decay);
  }
  lists.finish();
}

void run_average(const AverageStep& a) {
  const auto start = [&](const TensorList<1>& list, dim3 grid, bool fours) {
    launch({"average", a.rate.device, grid, dim3(kThreads)}, fours ? average<4> : average<1>,
           a.rate.as<double>(), or_null(a.gate), list);
  };
  Lists<1, decltype(start)> lists(start);
  for (const auto& e : a.entries) lists.add(e.value, {e.average});
  lists.finish();
}

void run_clear(const ClearTensors& a) {
  if (a.x.empty()) return;
  const auto start = [&](const TensorList<1>& list, dim3 grid, bool fours) {
    launch({"clear", a.x.front().device, grid, dim3(kThreads)}, fours ? clear<4> : clear<1>, list);
  };
  Lists<1, decltype(start)> lists(start);
  for (const core::View& x : a.x) lists.add({}, {x});
  lists.finish();
}

void run_squared_norm(const SquaredNorm& a) {
  constexpr int64_t kShared = sizeof(double) * kThreads / kWarp;
  const core::Device device = a.result.device;
  int64_t blocks = 0;
  for (const core::View& x : a.x) blocks += ceil_div(x.numel(), kChunk);
  const core::Tensor partial = core::Tensor::empty({std::max<int64_t>(1, blocks)}, core::DType::f64, device);
  auto* next = partial.view().as<double>();
  const auto start = [&](const TensorList<0>& list, dim3 grid, bool fours) {
    launch({"squared_norm", device, grid, dim3(kThreads), kShared}, fours ? squared_norm<4> : squared_norm<1>,
           next, list);
    next += grid.x;
  };
  Lists<0, decltype(start)> lists(start);
  for (const core::View& x : a.x) lists.add(x, {});
  lists.finish();
  launch({"squared_norm_combine", device, dim3(1), dim3(kThreads), kShared}, squared_norm_combine, blocks,
         partial.view().as<double>(), a.result.as<double>());
}

void run_clip(const ClipByNorm& a) {
  launch({"clip", a.norm.device, dim3(1), dim3(1)}, clip, a.largest, a.squared_norm.as<double>(),
         a.norm.as<double>(), a.grad_scale.as<double>(), or_null(a.loss));
}

const Register<AdamWStep> adamw_variant("simt", kDevice, 10, {takes::f32, takes::contiguous}, run_adamw);
const Register<SgdStep> sgd_variant("simt", kDevice, 10, {takes::f32, takes::contiguous}, run_sgd);
const Register<SquaredNorm> squared_norm_variant("simt", kDevice, 10, {takes::f32, takes::contiguous},
                                                 run_squared_norm);
const Register<AverageStep> average_variant("simt", kDevice, 10, {takes::f32, takes::contiguous},
                                            run_average);
const Register<ClearTensors> clear_variant("simt", kDevice, 10, {takes::f32, takes::contiguous}, run_clear);
const Register<ClipByNorm> clip_variant("simt", kDevice, 10, {takes::f64}, run_clip);

}  // namespace
}  // namespace medfusion::kernels
