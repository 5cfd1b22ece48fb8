#include "kernels/optimizer/optimizer.h"

#include <cmath>

#include "core/random.h"
#include "core/tensor.h"
#include "core/threads.h"
#include "kernels/registry.h"
#include "tests/kernels/kernel_test.h"

MEDFUSION_KERNEL_TESTS(optimizer)

namespace medfusion::kernels {
namespace {

double squared_norm(const core::Tensor& x) {
  const core::Tensor result = core::Tensor::full({1}, std::nan(""), core::DType::f64);
  dispatch<SquaredNorm>({{x.view()}, result.view()}, core::DeviceType::cpu);
  return result.item();
}

// 1e20^2 is beyond float, and 1 beside 1e10 beyond its precision.
TEST(SquaredNorm, IsAccumulatedInDouble) {
  EXPECT_DOUBLE_EQ(squared_norm(core::Tensor::full({3}, 1e20)),
                   3.0 * std::pow(static_cast<double>(1e20F), 2.0));
  const core::Tensor x = core::Tensor::full({1001}, 1.0);
  x.data<float>()[0] = 1e5F;
  EXPECT_EQ(squared_norm(x), 1e10 + 1000.0);
}

TEST(SquaredNorm, DoesNotDependOnTheThreads) {
  const core::Tensor x = core::Tensor::empty({100003});
  const core::Philox philox(3);
  for (int64_t i = 0; i < x.numel(); ++i) x.data<float>()[i] = philox.uniform(static_cast<uint64_t>(i));
  const int before = core::num_threads();
  core::set_num_threads(1);
  const double one = squared_norm(x);
  core::set_num_threads(3);
  const double three = squared_norm(x);
  core::set_num_threads(before);
  EXPECT_EQ(one, three);
}

}  // namespace
}  // namespace medfusion::kernels
