#include "kernels/concat/concat.h"

#include "kernels/registry.h"
#include "tests/kernels/kernel_test.h"

MEDFUSION_KERNEL_TESTS(concat)

namespace medfusion::kernels {
namespace {

TEST(Concat, TakesTransposedInputs) {
  const core::Tensor a = core::Tensor::from<float>({2, 3}, {0, 1, 2, 3, 4, 5}).transpose(0, 1);  // [3, 2]
  const core::Tensor b = core::Tensor::from<float>({3, 1}, {6, 7, 8});
  const core::Tensor y = core::Tensor::empty({3, 3});
  dispatch<ConcatForward>({1, {a.view(), b.view()}, y.view()}, core::DeviceType::cpu, "cpu");
  const std::vector<float> expected{0, 3, 6, 1, 4, 7, 2, 5, 8};
  for (int64_t i = 0; i < 9; ++i) EXPECT_EQ(y.at(i), expected[static_cast<size_t>(i)]) << i;
}

}  // namespace
}  // namespace medfusion::kernels
