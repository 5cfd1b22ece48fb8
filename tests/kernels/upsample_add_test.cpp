#include "kernels/upsample_add/upsample_add.h"

#include "core/random.h"
#include "core/threads.h"
#include "kernels/registry.h"
#include "tests/kernels/kernel_test.h"

MEDFUSION_KERNEL_TESTS(upsample_add)
MEDFUSION_KERNEL_TESTS_IN_BF16(upsample_add, "", "simt")

namespace medfusion::kernels {
namespace {

TEST(UpsampleAdd, TapsOfADoublingAreQuarters) {
  const auto taps = resize_taps(Resize::bilinear, 3, 6);
  const std::vector<std::pair<int64_t, double>> expected{{0, 0.0},  {0, 0.25}, {0, 0.75},
                                                         {1, 0.25}, {1, 0.75}, {2, 0.0}};
  for (size_t i = 0; i < 6; ++i) {
    EXPECT_EQ(taps[i].first, expected[i].first) << i;
    EXPECT_EQ(taps[i].weight, expected[i].second) << i;
  }
  EXPECT_EQ(taps[5].second, 2);  // no pixel beyond the last
}

TEST(UpsampleAdd, NearestTakesTheFloor) {
  const auto taps = resize_taps(Resize::nearest, 3, 7);
  const std::vector<int64_t> expected{0, 0, 0, 1, 1, 2, 2};
  for (size_t i = 0; i < 7; ++i) EXPECT_EQ(taps[i].first, expected[i]) << i;
}

TEST(UpsampleAdd, MayOverwriteTheLateral) {
  const core::Tensor x = core::Tensor::from<float>({1, 1, 1, 2}, {1, 2});
  const core::Tensor y = core::Tensor::from<float>({1, 2, 1, 2}, {10, 20, 30, 40});
  dispatch<UpsampleAddForward>({Resize::nearest, x.view(), y.view(), {}, y.view()}, core::DeviceType::cpu);
  const std::vector<float> expected{11, 22, 31, 42};
  for (int64_t i = 0; i < 4; ++i) EXPECT_EQ(y.at(i), expected[static_cast<size_t>(i)]);
}

TEST(UpsampleAdd, TheBytesDoNotDependOnTheThreads) {
  const core::Tensor g = core::Tensor::empty({3, 40, 40, 17});
  for (int64_t i = 0; i < g.numel(); ++i) {
    g.data<float>()[i] = static_cast<float>(core::Philox(1).normal(static_cast<uint64_t>(i)));
  }
  const auto run = [&](int threads) {
    const int before = core::num_threads();
    core::set_num_threads(threads);
    std::vector<core::Tensor> grads{core::Tensor::empty({3, 20, 20, 17}), core::Tensor::empty({17})};
    dispatch<UpsampleAddBackward>({Resize::bilinear, g.view(), grads[0].view(), grads[1].view()},
                                  core::DeviceType::cpu);
    core::set_num_threads(before);
    return grads;
  };
  const auto one = run(1);
  const auto four = run(4);
  for (size_t n = 0; n < 2; ++n) {
    for (int64_t i = 0; i < one[n].numel(); ++i) ASSERT_EQ(one[n].at(i), four[n].at(i)) << i;
  }
}

}  // namespace
}  // namespace medfusion::kernels
