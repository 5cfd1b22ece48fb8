#include "kernels/gpu/math_mode.h"

#include <gtest/gtest.h>

#include <cstdlib>

namespace medfusion::cuda {
namespace {

TEST(MathMode, ProductsKeepAllDigitsUnlessAskedNotTo) {
  if (std::getenv("MEDFUSION_ALLOW_TF32") != nullptr) GTEST_SKIP() << "MEDFUSION_ALLOW_TF32 is set";
  EXPECT_FALSE(allow_tf32());
  set_allow_tf32(true);
  EXPECT_TRUE(allow_tf32());
  set_allow_tf32(false);
  EXPECT_FALSE(allow_tf32());
}

}  // namespace
}  // namespace medfusion::cuda
