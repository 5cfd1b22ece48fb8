// A warp per row. The sums go by blocks, in double, and a second launch adds those up in order.
#include "core/tensor.h"
#include "kernels/cross_entropy/cross_entropy.h"
#include "kernels/gpu/device.cuh"
#include "kernels/gpu/reduce.cuh"
#include "kernels/registry.h"

namespace medfusion::kernels {
namespace {

using namespace cuda;  // NOLINT(google-build-using-namespace): the vocabulary of device code

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / kWarp;
constexpr int64_t kMostBlocks = 512;  // of the sum

// [rows, labels] with rows a stride apart; the smoothing as 1 - s and s / labels.
struct Shapes {
  int64_t rows, labels, logits_stride, targets_stride;
  float kept, spread;
};

struct Inputs {
  Global<const float> logits, targets, class_weight;  // class_weight may be null: 1
};

// What the lanes of a warp find out of their row together.
struct Row {
  Global<const float> logits, targets;
  bool known;
  float largest, sum;  // of the logits, of exp(logit - largest)
};

__device__ __forceinline__ float weight_of(const Inputs& in, int64_t label) {
  return in.class_weight != nullptr ? static_cast<float>(in.class_weight[label]) : 1.0F;
}
__device__ __forceinline__ float share_of(const Shapes& s, const Inputs& in, const Row& row, int64_t label) {
  return weight_of(in, label) * (s.kept * row.targets[label] + s.spread);
}

__device__ __forceinline__ Row row_of(const Shapes& s, const Inputs& in, int64_t index, int lane) {
  Row row{in.logits + index * s.logits_stride, in.targets + index * s.targets_stride, true, 0.0F, 0.0F};
  int unknown = 0;
  float largest = -INFINITY;
  for (int64_t c = lane; c < s.labels; c += kWarp) {
    const float x = row.logits[c];
    unknown += row.targets[c] >= 0.0F ? 0 : 1;  // NaN counts
    largest = largest > x ? largest : x;
  }
  row.known = warp_sum(unknown) == 0;
  row.largest = warp_reduce(largest, [](float a, float b) { return a > b ? a : b; });
  float sum = 0.0F;  // of NaN, where a logit is one
  for (int64_t c = lane; c < s.labels; c += kWarp) sum += expf(row.logits[c] - row.largest);
  row.sum = warp_sum(sum);
  return row;
}

// partial[block], partial_total[block]: what the rows of the block add to the loss, and their weights.
__global__ void __launch_bounds__(kThreads)
    cross_entropy_forward(Shapes s, Inputs in, Global<double> partial, Global<double> partial_total) {
  SharedMemory memory;
  const Shared<double> sums = memory.take<double>(kWarps);
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  double loss = 0.0, total = 0.0;
  for (int64_t i = int64_t{blockIdx.x} * kWarps + threadIdx.x / kWarp; i < s.rows;
       i += int64_t{gridDim.x} * kWarps) {
    const Row row = row_of(s, in, i, lane);
    const float rest = logf(row.sum);
    for (int64_t c = lane; row.known && c < s.labels; c += kWarp) {
      loss += static_cast<double>(share_of(s, in, row, c) * (row.largest - row.logits[c] + rest));
      total += static_cast<double>(weight_of(in, c) * row.targets[c]);
    }
  }
  loss = block_sum(loss, sums);
  total = block_sum(total, sums);
  if (threadIdx.x == 0) {
    partial[blockIdx.x] = loss;
    partial_total[blockIdx.x] = total;
  }
}

__global__ void __launch_bounds__(kThreads)
    cross_entropy_combine(int64_t blocks, Global<const double> partial, Global<const double> partial_total,
                          Global<float> loss, Global<float> total) {
  SharedMemory memory;
  const Shared<double> sums = memory.take<double>(kWarps);
  double loss_sum = 0.0, total_sum = 0.0;
  for (int64_t i = threadIdx.x; i < blocks; i += kThreads) {
    loss_sum += partial[i];
    total_sum += partial_total[i];
  }
  loss_sum = block_sum(loss_sum, sums);
  total_sum = block_sum(total_sum, sums);
  if (threadIdx.x == 0) {
    loss[0] = total_sum > 0.0 ? static_cast<float>(loss_sum / total_sum) : 0.0F;
    total[0] = static_cast<float>(total_sum);
  }
}

__global__ void __launch_bounds__(kThreads)
    cross_entropy_backward(Shapes s, Inputs in, Global<const float> total, Global<const float> grad_loss,
                           Global<float> grad_logits, int64_t grad_stride) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const float divisor = total[0];
  const float scale = divisor > 0.0F ? grad_loss[0] / divisor : 0.0F;
  for (int64_t i = int64_t{blockIdx.x} * kWarps + threadIdx.x / kWarp; i < s.rows;
       i += int64_t{gridDim.x} * kWarps) {
    const Row row = row_of(s, in, i, lane);
    float shares = 0.0F;
    for (int64_t c = lane; c < s.labels; c += kWarp) shares += share_of(s, in, row, c);
    shares = warp_sum(shares);
    for (int64_t c = lane; c < s.labels; c += kWarp) {
      const float p = expf(row.logits[c] - row.largest) / row.sum;
      grad_logits[i * grad_stride + c] = row.known ? scale * (shares * p - share_of(s, in, row, c)) : 0.0F;
    }
  }
}

template <class Args>
Shapes shapes_of(const Args& a) {
  const int64_t labels = a.logits.size(1);
  return {a.logits.size(0),
          labels,
          a.logits.row_stride(),
          a.targets.row_stride(),
          static_cast<float>(1.0 - a.label_smoothing),
          static_cast<float>(a.label_smoothing / static_cast<double>(labels))};
}
template <class Args>
Inputs inputs_of(const Args& a) {
  return {a.logits.template as<float>(), a.targets.template as<float>(),
          a.class_weight.defined() ? a.class_weight.template as<float>() : nullptr};
}

void run_forward(const CrossEntropyForward& a) {
  const core::Device device = a.logits.device;
  const dim3 grid = grid_for(a.logits.size(0), kWarps, kMostBlocks);
  constexpr int64_t kShared = 8 * kWarps;
  const core::Tensor partial = core::Tensor::empty({grid.x}, core::DType::f64, device);
  const core::Tensor total = core::Tensor::empty({grid.x}, core::DType::f64, device);
  launch({"cross_entropy_forward", device, grid, dim3(kThreads), kShared}, cross_entropy_forward,
         shapes_of(a), inputs_of(a), partial.view().as<double>(), total.view().as<double>());
  launch({"cross_entropy_combine", device, dim3(1), dim3(kThreads), kShared}, cross_entropy_combine,
         int64_t{grid.x}, partial.view().as<double>(), total.view().as<double>(), a.loss.as<float>(),
         a.total.as<float>());
}

void run_backward(const CrossEntropyBackward& a) {
  launch({"cross_entropy_backward", a.logits.device, grid_for(a.logits.size(0), kWarps), dim3(kThreads)},
         cross_entropy_backward, shapes_of(a), inputs_of(a), a.total.as<float>(), a.grad_loss.as<float>(),
         a.grad_logits.as<float>(), a.grad_logits.row_stride());
}

const Register<CrossEntropyForward> forward("simt", kDevice, 10, {takes::f32, takes::uniform_rows},
                                            run_forward);
const Register<CrossEntropyBackward> backward("simt", kDevice, 10, {takes::f32, takes::uniform_rows},
                                              run_backward);

}  // namespace
}  // namespace medfusion::kernels
