// The loop nest splits into kept and reduced dimensions. The threads of a block share some outputs; where
// those are too few to fill the device, the terms are cut into chunks whose results a second launch reduces.
#include <limits>

#include "core/tensor.h"
#include "kernels/elementwise/tensor_ops_simt.h"
#include "kernels/gpu/device.cuh"
#include "kernels/gpu/floats.cuh"
#include "kernels/gpu/map.cuh"
#include "kernels/reduction/reduction.h"
#include "kernels/registry.h"

namespace medfusion::kernels {
namespace {

using namespace cuda;  // NOLINT(google-build-using-namespace): the vocabulary of device code

constexpr int kThreads = 128;
constexpr int64_t kEnoughBlocks = 1024;  // to fill a large device
constexpr int64_t kLeastTerms = 8;       // of one thread, before terms are cut into chunks

enum : int { kX, kY, kIndex, kArgmax };  // the views of the nest; kIndex counts the elements of x row by row

// How a block works: `lanes` threads (a power of 2), `lane_step` apart, share each of its outputs. Lanes that
// are neighbours read along a row of terms; outputs that are neighbours read along a row of outputs.
struct Plan {
  Nest<4> kept, reduced;
  int lanes = 1, lane_step = 1;
  int64_t chunk = 0;   // terms of one block
  int64_t chunks = 1;  // the second dimension of the grid

  int outputs_per_block() const { return kThreads / lanes; }
  __device__ int lane() const { return static_cast<int>(threadIdx.x) / lane_step % lanes; }
  // The number of the output, which may lie past the last.
  __device__ int64_t output() const {
    const int thread = static_cast<int>(threadIdx.x);
    return int64_t{blockIdx.x} * (kThreads / lanes) + (lane_step == 1 ? thread / lanes : thread % lane_step);
  }
  __device__ int64_t first_term() const { return int64_t{blockIdx.y} * chunk; }
  __device__ int64_t last_term() const {
    const int64_t last = first_term() + chunk;
    return last < reduced.count ? last : reduced.count;
  }
};

// op over the lanes of each output, as a tree; the first lane gets it.
template <class T, class Op>
__device__ __forceinline__ T combine_lanes(const Plan& plan, T value, Shared<T> scratch, const Op& op) {
  const int thread = static_cast<int>(threadIdx.x);
  const int lane = plan.lane();
  scratch[thread] = value;
  for (int half = plan.lanes / 2; half > 0; half /= 2) {
    __syncthreads();
    if (lane >= half) continue;
    value = op(value, static_cast<T>(scratch[thread + half * plan.lane_step]));
    scratch[thread] = value;
  }
  return value;
}

// y = factor * sum of x. X is float or bf16, or double in the second launch; Y is double where one follows.
template <class X, class Y>
__global__ void __launch_bounds__(kThreads)
    reduce_sum(Plan plan, Global<const X> x, Global<Y> y, double factor) {
  SharedMemory memory;
  const Shared<double> scratch = memory.take<double>(kThreads);
  const int64_t output = plan.output();
  int64_t at[4] = {};
  double total = 0.0;
  if (output < plan.kept.count) {
    plan.kept.locate<1>(output, at);
    const auto term = [&](int64_t t) {
      int64_t offset[4];
      plan.reduced.locate<1>(t, offset);
      if constexpr (std::is_same_v<X, BFloat16>) {
        return load_floats<1>(x, at[kX] + offset[kX])[0];
      } else {
        return static_cast<X>(x[at[kX] + offset[kX]]);
      }
    };
    const int64_t last = plan.last_term();
    const int step = plan.lanes;
    int64_t t = plan.first_term() + plan.lane();
    for (; t + 3 * step < last; t += 4 * step) {
      const auto a = term(t), b = term(t + step), c = term(t + 2 * step), d = term(t + 3 * step);
      total += static_cast<double>((a + b) + (c + d));
    }
    for (; t < last; t += step) total += static_cast<double>(term(t));
  }
  total = combine_lanes(plan, total, scratch, [](double a, double b) { return a + b; });
  if (output < plan.kept.count && plan.lane() == 0) {
    y[int64_t{blockIdx.y} * plan.kept.count + at[kY]] = static_cast<Y>(total * factor);
  }
}

struct Best {
  float value;
  int64_t place;
};

// The first NaN, or else the first of the largest.
struct Better {
  __device__ Best operator()(const Best& a, const Best& b) const {
    const bool a_nan = a.value != a.value, b_nan = b.value != b.value;
    const bool tied = a_nan ? b_nan : a.value == b.value;
    const bool second = tied ? b.place < a.place : b_nan || (!a_nan && b.value > a.value);
    return second ? b : a;
  }
};

// The largest of x and where it stands: the places of the elements are counted, or those in `places`.
__global__ void __launch_bounds__(kThreads)
    reduce_max(Plan plan, Global<const float> x, Global<const int64_t> places, Global<float> y,
               Global<int64_t> argmax) {
  SharedMemory memory;
  const Shared<Best> scratch = memory.take<Best>(kThreads);
  const int64_t output = plan.output();
  int64_t at[4] = {};
  Best best{-INFINITY, INT64_MAX};
  if (output < plan.kept.count) {
    plan.kept.locate<1>(output, at);
    const int64_t last = plan.last_term();
#pragma unroll 4
    for (int64_t t = plan.first_term() + plan.lane(); t < last; t += plan.lanes) {
      int64_t offset[4];
      plan.reduced.locate<1>(t, offset);
      int64_t place = at[kIndex] + offset[kIndex];
      if (places != nullptr) place = places[place];
      best = Better()(best, Best{x[at[kX] + offset[kX]], place});
    }
  }
  best = combine_lanes(plan, best, scratch, Better());
  if (output < plan.kept.count && plan.lane() == 0) {
    const int64_t chunk_start = int64_t{blockIdx.y} * plan.kept.count;
    y[chunk_start + at[kY]] = best.value;
    if (argmax != nullptr) argmax[chunk_start + at[kArgmax]] = best.place;
  }
}

void push(Nest<4>& nest, int64_t size, const std::array<int64_t, 4>& strides) {
  nest.sizes[nest.rank] = size;
  for (size_t v = 0; v < strides.size(); ++v) nest.strides[v][nest.rank] = strides[v];
  ++nest.rank;
  nest.count *= size;
}

// Chooses lanes and chunks; these depend on the shapes only.
void schedule(Plan& plan, bool may_cut) {
  const auto width = [](int64_t n) {
    int64_t power = 1;
    while (power < n && power < kThreads) power *= 2;
    return static_cast<int>(power);
  };
  const int64_t outputs = plan.kept.count, terms = plan.reduced.count;
  const bool along_outputs =
      outputs > 1 && (plan.reduced.rank == 0 || plan.kept.strides[kX][0] < plan.reduced.strides[kX][0]);
  if (along_outputs) {
    // The few terms that chunks left over are read once, from cache: rather more lanes than long rows.
    plan.lane_step = std::min(may_cut ? kWarp : kWarp / 4, width(outputs));
    // Few terms: rather more outputs than idle lanes.
    while (plan.lane_step < kThreads && terms <= kLeastTerms * (kThreads / plan.lane_step) / 2 &&
           plan.lane_step < width(outputs)) {
      plan.lane_step *= 2;
    }
    plan.lanes = kThreads / plan.lane_step;
  } else {
    plan.lanes = width(ceil_div(terms, kLeastTerms / 2));
  }
  const int64_t blocks = ceil_div(outputs, plan.outputs_per_block());
  const int64_t most = may_cut ? ceil_div(terms, plan.lanes * kLeastTerms) : 1;
  const int64_t wanted = std::max<int64_t>(1, std::min(most, ceil_div(kEnoughBlocks, blocks)));
  plan.chunk = ceil_div(ceil_div(terms, wanted), plan.lanes) * plan.lanes;
  plan.chunks = ceil_div(terms, plan.chunk);
}

Plan make_plan(const core::View& x, const core::View& y, const core::View& argmax) {
  core::View index = x;
  index.strides = core::contiguous_strides(x.shape);
  std::array<core::View, 4> views{x, y, index, argmax.defined() ? argmax : y};
  order_dimensions(views);
  const LoopNest<4> loop(views[kX].shape, {&views[kX], &views[kY], &views[kIndex], &views[kArgmax]});
  Plan plan;
  plan.kept.count = plan.reduced.count = 1;
  for (int i = loop.rank - 1; i >= 0; --i) {
    const auto d = static_cast<size_t>(i);
    const std::array<int64_t, 4> strides{loop.strides[kX][d], loop.strides[kY][d], loop.strides[kIndex][d],
                                         loop.strides[kArgmax][d]};
    push(strides[kY] != 0 ? plan.kept : plan.reduced, loop.sizes[d], strides);
  }
  schedule(plan, true);
  return plan;
}

// The reduction of [chunks, outputs] to what `plan` would have written itself. Turns `plan` into one that
// writes the chunks.
Plan split_off_chunks(Plan& plan) {
  Plan second;
  second.kept = plan.kept;
  second.reduced.count = 1;
  int64_t step = 1;
  for (int d = 0; d < plan.kept.rank; ++d) {
    second.kept.strides[kX][d] = second.kept.strides[kIndex][d] = step;
    plan.kept.strides[kY][d] = plan.kept.strides[kArgmax][d] = step;
    step *= plan.kept.sizes[d];
  }
  push(second.reduced, plan.chunks, {step, 0, step, 0});
  schedule(second, false);
  return second;
}

Launch config_of(const char* name, const Plan& plan, core::Device device, int64_t element_bytes) {
  return {name, device, grid_of(ceil_div(plan.kept.count, plan.outputs_per_block()), plan.chunks),
          dim3(kThreads), kThreads * element_bytes};
}

template <class X>
void run_sum(const ReduceForward& a, Plan plan) {
  const core::Device device = a.x.device;
  const double factor = a.function == Reduction::mean
                            ? static_cast<double>(a.y.numel()) / static_cast<double>(a.x.numel())
                            : 1.0;
  constexpr int64_t kBytes = sizeof(double);
  if (plan.chunks == 1) {
    launch(config_of("reduce_sum", plan, device, kBytes), reduce_sum<X, float>, plan, a.x.as<X>(),
           a.y.as<float>(), factor);
    return;
  }
  const Plan second = split_off_chunks(plan);
  const core::Tensor partial = core::Tensor::empty({plan.chunks * plan.kept.count}, core::DType::f64, device);
  launch(config_of("reduce_sum", plan, device, kBytes), reduce_sum<X, double>, plan, a.x.as<X>(),
         partial.view().as<double>(), 1.0);
  launch(config_of("reduce_sum", second, device, kBytes), reduce_sum<double, float>, second,
         partial.view().as<double>(), a.y.as<float>(), factor);
}

void run_max(const ReduceForward& a, Plan plan) {
  const core::Device device = a.x.device;
  int64_t* const argmax = a.argmax.defined() ? a.argmax.as<int64_t>() : nullptr;
  if (plan.chunks == 1) {
    launch(config_of("reduce_max", plan, device, sizeof(Best)), reduce_max, plan, a.x.as<float>(), nullptr,
           a.y.as<float>(), argmax);
    return;
  }
  const Plan second = split_off_chunks(plan);
  const core::Shape shape{plan.chunks * plan.kept.count};
  const core::Tensor values = core::Tensor::empty(shape, core::DType::f32, device);
  const core::Tensor places = core::Tensor::empty(shape, core::DType::i64, device);
  launch(config_of("reduce_max", plan, device, sizeof(Best)), reduce_max, plan, a.x.as<float>(), nullptr,
         values.view().as<float>(), places.view().as<int64_t>());
  launch(config_of("reduce_max", second, device, sizeof(Best)), reduce_max, second, values.view().as<float>(),
         places.view().as<int64_t>(), a.y.as<float>(), argmax);
}

struct Scale {
  float factor;
  __device__ float operator()(float x) const { return x * factor; }
};
struct Constant {
  float value;
  __device__ float operator()() const { return value; }
};

void run_forward(const ReduceForward& a) {
  if (a.y.numel() == 0) return;
  if (a.x.numel() == 0) {
    const float nothing = a.function == Reduction::sum ? 0.0F : std::numeric_limits<float>::quiet_NaN();
    map<float>("reduce_nothing", Constant{nothing}, a.y, {});
  } else if (a.function == Reduction::max) {
    run_max(a, make_plan(a.x, a.y, a.argmax));
  } else if (a.x.shape == a.y.shape) {
    convert_view(a.x, a.y);
  } else {
    visit_floats(a.x.dtype, [&]<class X>(X /*element*/) { run_sum<X>(a, make_plan(a.x, a.y, a.argmax)); });
  }
}

// grad_x = grad_y where the maximum stood, else 0.
__global__ void __launch_bounds__(kThreads)
    reduce_max_backward(Nest<4> nest, Global<const float> grad_y, Global<const int64_t> argmax,
                        Global<float> grad_x) {
  const int64_t step = int64_t{gridDim.x} * kThreads;
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < nest.count; i += step) {
    int64_t at[4];
    nest.locate<1>(i, at);
    grad_x[at[kX]] = argmax[at[kArgmax]] == at[kIndex] ? static_cast<float>(grad_y[at[kY]]) : 0.0F;
  }
}

void run_backward(const ReduceBackward& a) {
  if (a.grad_x.numel() == 0) return;
  if (a.function == Reduction::max) {
    core::View index = a.grad_x;
    index.strides = core::contiguous_strides(a.grad_x.shape);
    const Nest<4> nest = make_nest<4>({a.grad_x.shape, {&a.grad_x, &a.grad_y, &index, &a.argmax}}, 1);
    launch({"reduce_max_backward", a.grad_x.device, grid_for(nest.count, kThreads), dim3(kThreads)},
           reduce_max_backward, nest, a.grad_y.as<float>(), a.argmax.as<int64_t>(), a.grad_x.as<float>());
    return;
  }
  const double share = a.function == Reduction::mean
                           ? static_cast<double>(a.grad_y.numel()) / static_cast<double>(a.grad_x.numel())
                           : 1.0;
  map<float, float>("reduce_backward", Scale{static_cast<float>(share)}, a.grad_x, {&a.grad_y});
}

bool takes_types(const ReduceForward& a) {
  const bool narrow = a.x.dtype == core::DType::bf16 && a.function == Reduction::sum;
  return a.y.dtype == core::DType::f32 && (narrow || a.x.dtype == core::DType::f32);
}

const Register<ReduceForward> forward("simt", kDevice, 10,
                                      {{"f32, and sums of bf16 into f32", takes_types}, takes::any_strides},
                                      run_forward);
const Register<ReduceBackward> backward("simt", kDevice, 10, {takes::f32, takes::any_strides}, run_backward);

}  // namespace
}  // namespace medfusion::kernels
