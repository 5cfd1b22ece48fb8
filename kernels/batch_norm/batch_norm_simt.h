// The steps of batch norm on a device, for other rooms as well: x and y f32 or bf16, all else f32. Included
// by .cu files only.
#pragma once

#include "kernels/batch_norm/batch_norm.h"
#include "kernels/gpu/device.cuh"

namespace medfusion::kernels::batch_norm {
inline namespace MEDFUSION_GPU {

// What to make of the statistics of a batch; what is undefined is not wanted. All [C], contiguous.
struct StatisticsOutputs {
  core::View mean, variance;                       // biased
  core::View inv_std = {};                         // 1 / sqrt(variance + eps)
  core::View running_mean = {}, running_var = {};  // moved by momentum, with the unbiased variance
  double momentum = 0.0;
  double eps = 0.0;
};
void statistics(const core::View& x, const StatisticsOutputs& to);

// y = (x - mean) inv_std weight + bias, with relu negatives set to 0. x, y: uniform rows; y may be x.
struct Normalization {
  core::View x, mean, inv_std, weight, bias, y;
  bool relu = false;
};
void normalize(const Normalization& a);

// inv_std = 1 / sqrt(running_var + eps), mean = running_mean; mean may be undefined.
void from_running(const core::View& running_mean, const core::View& running_var, double eps,
                  const core::View& mean, const core::View& inv_std);

}  // namespace MEDFUSION_GPU
}  // namespace medfusion::kernels::batch_norm
