#include "kernels/gemm/gemm.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

// As kernels/simd.h has it: what is not compiled cannot be chosen.
#ifndef HWY_DISABLED_TARGETS
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL)
#endif
#include <hwy/targets.h>

#include "kernels/gemm/rows.h"
#include "kernels/gemm/strips.h"
#include "tests/kernels/kernel_test.h"

namespace medfusion::kernels {
namespace {

// Every instruction set that this build holds and this machine has must pass the same cases as the best one.
TEST(Gemm, AllInstructionSetsPassTheCases) {
  for (const int64_t target : hwy::SupportedAndGeneratedTargets()) {
    SCOPED_TRACE(hwy::TargetName(target));
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().Update(target);
    for (const char* operation : {"matmul", "convolution", "dense_block"}) {
      for (const OpCase& op_case : cases_of(operation)) {
        if (op_case.bench) continue;
        for (const auto& failure : check_parity(op_case, "cpu")) ADD_FAILURE() << failure;
      }
    }
  }
  hwy::SetSupportedTargetsForTest(0);
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
}

TEST(Gemm, NaNPassesTheRectifier) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> from{nan, -1.0F, 2.0F, nan, 1.0F, -3.0F, 4.0F, 5.0F, -6.0F, nan, 1.0F};
  const std::vector<float> one(from.size(), 1.0F);
  const std::vector<float> zero(from.size(), 0.0F);
  std::vector<float> to(from.size());
  const auto channels = static_cast<int64_t>(from.size());
  gemm::affine_relu_rows(from.data(), channels, 1, channels, one.data(), zero.data(), to.data(), channels);
  for (size_t i = 0; i < from.size(); ++i) {
    if (std::isnan(from[i])) {
      EXPECT_TRUE(std::isnan(to[i])) << i;
    } else {
      EXPECT_EQ(to[i], std::max(from[i], 0.0F)) << i;
    }
  }
}

// Values far from zero: a plain sum of squares would lose all digits in f32.
TEST(Gemm, MomentsAreSoundFarFromZero) {
  for (const int64_t channels : {1, 7, 8, 33, 70}) {
    std::vector<float> x;
    for (int64_t p = 0; p < 100; ++p) {
      for (int64_t c = 0; c < channels; ++c) x.push_back(4096.0F + static_cast<float>(p % 2));
    }
    std::vector<float> mean(static_cast<size_t>(channels));
    std::vector<float> squares(static_cast<size_t>(channels));
    gemm::column_moments(x.data(), channels, 100, channels, mean.data(), squares.data());
    for (size_t c = 0; c < mean.size(); ++c) {
      EXPECT_NEAR(mean[c], 4096.5F, 1e-3F);
      EXPECT_NEAR(squares[c], 25.0F, 1e-2F);
    }
  }
}

// The strips of a convolution cover every row once and hold a useful number of pixels.
TEST(Gemm, StripsFillTheTiles) {
  for (const int64_t width : {1, 3, 7, 14, 28, 56, 112, 500}) {
    for (const int64_t rows : {1, 2, 16, 112, 896, 50176}) {
      const int64_t taken = gemm::rows_per_strip(rows, width);
      EXPECT_GE(taken, 1);
      EXPECT_TRUE(taken == 1 || taken * width <= 168) << taken << " rows of " << width;
    }
  }
}

}  // namespace
}  // namespace medfusion::kernels
