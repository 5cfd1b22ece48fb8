// What the two directions of the fused block share.
#pragma once

#include <cmath>
#include <vector>

#include "kernels/dense_block/dense_block.h"
#include "kernels/gemm/strips.h"

namespace medfusion::kernels::dense_block {

// A batch norm as scale x + shift, and the normalized x as inv_std x + centre. Both directions make it from
// the same floats by the same operations, so that they agree on which ReLUs are open.
struct Norm {
  std::vector<float> scale, shift, inv_std, centre;

  Norm(const core::View& weight, const core::View& bias, const float* mean, std::vector<float> inverse)
      : inv_std(std::move(inverse)) {
    for (size_t c = 0; c < inv_std.size(); ++c) {
      const double s = static_cast<double>(weight.as<float>()[c]) * static_cast<double>(inv_std[c]);
      const auto m = static_cast<double>(mean[c]);
      scale.push_back(static_cast<float>(s));
      shift.push_back(static_cast<float>(static_cast<double>(bias.as<float>()[c]) - m * s));
      centre.push_back(static_cast<float>(-m * static_cast<double>(inv_std[c])));
    }
  }

  // From statistics of the batch.
  static Norm of_batch(const core::View& weight, const core::View& bias, const core::View& mean,
                       const core::View& inv_std) {
    const auto* inverse = inv_std.as<float>();
    return {weight, bias, mean.as<float>(), {inverse, inverse + weight.numel()}};
  }
  // From running statistics.
  static Norm of_running(const core::View& weight, const core::View& bias, const core::View& mean,
                         const core::View& var, double eps) {
    std::vector<float> inverse;
    for (int64_t c = 0; c < weight.numel(); ++c) {
      inverse.push_back(static_cast<float>(1.0 / std::sqrt(static_cast<double>(var.as<float>()[c]) + eps)));
    }
    return {weight, bias, mean.as<float>(), std::move(inverse)};
  }
};

// The norms of a layer; mean and inv_std are those of the buffer's channels.
inline Norm first_norm(const DenseBlockLayer& l, const core::View& mean, const core::View& inv_std,
                       bool training, double eps) {
  return training ? Norm::of_batch(l.norm1_weight, l.norm1_bias, mean, inv_std)
                  : Norm::of_running(l.norm1_weight, l.norm1_bias, l.norm1_mean, l.norm1_var, eps);
}
inline Norm second_norm(const DenseBlockLayer& l, bool training, double eps) {
  return training ? Norm::of_batch(l.norm2_weight, l.norm2_bias, l.z_mean, l.z_inv_std)
                  : Norm::of_running(l.norm2_weight, l.norm2_bias, l.norm2_mean, l.norm2_var, eps);
}

inline gemm::Window window3x3(const core::View& image) {
  return {.kernel_rows = 3,
          .kernel_columns = 3,
          .top = 1,
          .left = 1,
          .out_height = image.size(1),
          .out_width = image.size(2)};
}

// Row pointers `stride` floats apart.
inline std::vector<const float*> row_pointers(const float* first, int64_t count, int64_t stride) {
  std::vector<const float*> rows;
  rows.reserve(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) rows.push_back(first + i * stride);
  return rows;
}

}  // namespace medfusion::kernels::dense_block
