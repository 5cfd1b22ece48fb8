// One thread per label. The sum goes by blocks, in double, and a second launch adds those up in order.
#include "core/tensor.h"
#include "kernels/gpu/device.cuh"
#include "kernels/gpu/reduce.cuh"
#include "kernels/loss/loss.h"
#include "kernels/registry.h"

namespace medfusion::kernels {
namespace {

using namespace cuda;  // NOLINT(google-build-using-namespace): the vocabulary of device code

constexpr int kThreads = 128;
constexpr int64_t kMostBlocks = 512;  // of the sum

struct Formula {
  float positive_scale, negative_scale, positive_gamma, negative_gamma, clip, target_scale, target_offset;
};

// [rows, labels] with rows a stride apart.
struct Matrix {
  int64_t count, labels, logits_stride, targets_stride;
};

struct Term {
  float value;
  float derivative;  // by the logit
};

// x^gamma for x = exp(-cost)
__device__ __forceinline__ float power(float gamma, float cost) {
  return gamma == 0.0F ? 1.0F : expf(-gamma * cost);
}

__device__ __forceinline__ Term term_of(const Formula& f, float x, float target, float weight) {
  const float e = expf(-fabsf(x));  // of a non-positive number: never overflows
  const float larger = 1.0F / (1.0F + e), smaller = e * larger;
  const float p = x < 0.0F ? smaller : larger, q = x < 0.0F ? larger : smaller;
  const float rest = log1pf(e);
  const float cost_positive = (x > 0.0F ? 0.0F : -x) + rest;  // -log p; fmaxf would hide NaN
  float cost_negative = (x < 0.0F ? 0.0F : x) + rest;         // -log q
  const float y = target * f.target_scale + f.target_offset;
  const float share_positive = f.positive_scale * weight * y * power(f.positive_gamma, cost_negative);
  float share_negative = f.negative_scale * (1.0F - y);
  float slope_negative;
  if (f.clip == 0.0F) {
    share_negative *= power(f.negative_gamma, cost_positive);
    slope_negative = f.negative_gamma * q * cost_negative + p;
  } else {
    const float margin = p - f.clip;
    if (margin > 0.0F) {
      cost_negative = -log1pf(-margin);
      share_negative *= power(f.negative_gamma, -logf(margin));
      slope_negative = p * q * (f.negative_gamma * cost_negative / margin + 1.0F / (q + f.clip));
    } else {
      cost_negative = share_negative = slope_negative = 0.0F;
    }
  }
  const float slope_positive = f.positive_gamma * p * cost_positive + q;
  return {share_positive * cost_positive + share_negative * cost_negative,
          share_negative * slope_negative - share_positive * slope_positive};
}

// partial[block], known[block] = the sum of the terms of the block's labels, and how many are known.
__global__ void __launch_bounds__(kThreads)
    loss_forward(Formula f, Matrix m, Global<const float> logits, Global<const float> targets,
                 Global<const float> positive_weight, Global<double> partial, Global<int64_t> known) {
  SharedMemory memory;
  const Shared<double> sums = memory.take<double>(kThreads / kWarp);
  const Shared<int64_t> counts = memory.take<int64_t>(kThreads / kWarp);
  double sum = 0.0;
  int64_t count = 0;
  const int64_t step = int64_t{gridDim.x} * kThreads;
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < m.count; i += step) {
    const int64_t row = i / m.labels, label = i - row * m.labels;
    const float target = targets[row * m.targets_stride + label];
    if (!(target >= 0.0F)) continue;
    const float weight = positive_weight != nullptr ? static_cast<float>(positive_weight[label]) : 1.0F;
    sum += static_cast<double>(term_of(f, logits[row * m.logits_stride + label], target, weight).value);
    ++count;
  }
  sum = block_sum(sum, sums);
  count = block_sum(count, counts);
  if (threadIdx.x == 0) {
    partial[blockIdx.x] = sum;
    known[blockIdx.x] = count;
  }
}

__global__ void __launch_bounds__(kThreads)
    loss_combine(int64_t blocks, Global<const double> partial, Global<const int64_t> partial_known,
                 Global<float> loss, Global<int64_t> known) {
  SharedMemory memory;
  const Shared<double> sums = memory.take<double>(kThreads / kWarp);
  const Shared<int64_t> counts = memory.take<int64_t>(kThreads / kWarp);
  double sum = 0.0;
  int64_t count = 0;
  for (int64_t i = threadIdx.x; i < blocks; i += kThreads) {
    sum += partial[i];
    count += partial_known[i];
  }
  sum = block_sum(sum, sums);
  count = block_sum(count, counts);
  if (threadIdx.x == 0) {
    loss[0] = count > 0 ? static_cast<float>(sum / static_cast<double>(count)) : 0.0F;
    known[0] = count;
  }
}

__global__ void __launch_bounds__(kThreads)
    loss_backward(Formula f, Matrix m, Global<const float> logits, Global<const float> targets,
                  Global<const float> positive_weight, Global<const int64_t> known,
                  Global<const float> grad_loss, Global<float> grad_logits, int64_t grad_stride) {
  const int64_t count = known[0];
  const float scale =
      static_cast<float>(static_cast<double>(grad_loss[0]) / static_cast<double>(count > 0 ? count : 1));
  const int64_t step = int64_t{gridDim.x} * kThreads;
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < m.count; i += step) {
    const int64_t row = i / m.labels, label = i - row * m.labels;
    const float target = targets[row * m.targets_stride + label];
    float slope = 0.0F;
    if (target >= 0.0F) {
      const float weight = positive_weight != nullptr ? static_cast<float>(positive_weight[label]) : 1.0F;
      slope = term_of(f, logits[row * m.logits_stride + label], target, weight).derivative;
    }
    grad_logits[row * grad_stride + label] = scale * slope;
  }
}

Formula formula_of(const LossFormula& f) {
  return {static_cast<float>(f.positive_scale),
          static_cast<float>(f.negative_scale),
          static_cast<float>(f.positive_gamma),
          static_cast<float>(f.negative_gamma),
          static_cast<float>(f.clip),
          static_cast<float>(1.0 - f.label_smoothing),
          static_cast<float>(0.5 * f.label_smoothing)};
}
template <class Args>
Matrix matrix_of(const Args& a) {
  return {a.logits.numel(), a.logits.size(1), a.logits.row_stride(), a.targets.row_stride()};
}
const float* weight_of(const core::View& weight) { return weight.defined() ? weight.as<float>() : nullptr; }

void run_forward(const LossForward& a) {
  const core::Device device = a.logits.device;
  const dim3 grid = grid_for(a.logits.numel(), kThreads, kMostBlocks);
  constexpr int64_t kShared = 2 * 8 * kThreads / kWarp;
  const core::Tensor partial = core::Tensor::empty({grid.x}, core::DType::f64, device);
  const core::Tensor known = core::Tensor::empty({grid.x}, core::DType::i64, device);
  launch({"loss_forward", device, grid, dim3(kThreads), kShared}, loss_forward, formula_of(a.formula),
         matrix_of(a), a.logits.as<float>(), a.targets.as<float>(), weight_of(a.positive_weight),
         partial.view().as<double>(), known.view().as<int64_t>());
  launch({"loss_combine", device, dim3(1), dim3(kThreads), kShared}, loss_combine, int64_t{grid.x},
         partial.view().as<double>(), known.view().as<int64_t>(), a.loss.as<float>(), a.known.as<int64_t>());
}

void run_backward(const LossBackward& a) {
  launch({"loss_backward", a.logits.device, grid_for(a.logits.numel(), kThreads), dim3(kThreads)},
         loss_backward, formula_of(a.formula), matrix_of(a), a.logits.as<float>(), a.targets.as<float>(),
         weight_of(a.positive_weight), a.known.as<int64_t>(), a.grad_loss.as<float>(),
         a.grad_logits.as<float>(), a.grad_logits.row_stride());
}

const Register<LossForward> forward("simt", kDevice, 10, {takes::f32, takes::uniform_rows}, run_forward);
const Register<LossBackward> backward("simt", kDevice, 10, {takes::f32, takes::uniform_rows}, run_backward);

}  // namespace
}  // namespace medfusion::kernels
