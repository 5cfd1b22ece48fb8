#include "kernels/cross_entropy/cross_entropy.h"

#include <cmath>
#include <limits>

#include "core/tensor.h"
#include "core/threads.h"
#include "kernels/registry.h"
#include "kernels/simulator/device_type.h"
#include "tests/kernels/kernel_test.h"

MEDFUSION_KERNEL_TESTS(cross_entropy)

namespace medfusion::kernels {
namespace {

using core::Tensor;

const float kNoNumber = std::numeric_limits<float>::quiet_NaN();
const core::Device kHost, kSimulated{simulator::kDeviceType, 0};

struct Result {
  double loss, total;
  Tensor gradient;
};

// On the device of the logits.
Result run(const Tensor& logits, const Tensor& targets, double smoothing = 0.0) {
  const core::DType dtype = logits.dtype();
  const core::Device device = logits.device();
  const Tensor loss = Tensor::full({1}, std::nan(""), dtype, device);
  const Tensor total = Tensor::full({1}, std::nan(""), dtype, device);
  const Tensor gradient = Tensor::full(logits.shape(), std::nan(""), dtype, device);
  const Tensor one = Tensor::full({1}, 1.0, dtype, device);
  dispatch<CrossEntropyForward>({smoothing, logits.view(), targets.view(), {}, loss.view(), total.view()},
                                device.type);
  dispatch<CrossEntropyBackward>(
      {smoothing, logits.view(), targets.view(), {}, total.view(), one.view(), gradient.view()}, device.type);
  return {loss.to(kHost).item(), total.to(kHost).item(), gradient.to(kHost)};
}

// -log of softmax([log 1, log 2, log 5]) at the second is log 4.
TEST(CrossEntropy, OfOneRowIsTheLogarithmOfItsProbability) {
  const Tensor logits = Tensor::from<double>({1, 3}, {0.0, std::log(2.0), std::log(5.0)});
  const Result r = run(logits, Tensor::from<double>({1, 3}, {0, 1, 0}));
  EXPECT_NEAR(r.loss, std::log(4.0), 1e-12);
  EXPECT_EQ(r.total, 1.0);
  for (const auto& [i, slope] : {std::pair{0, 0.125}, {1, -0.75}, {2, 0.625}})
    EXPECT_NEAR(r.gradient.at(i), slope, 1e-12) << i;
}

TEST(CrossEntropy, IsStableForLargeLogits) {
  for (const auto& [dtype, device] :
       {std::pair{core::DType::f32, kHost}, {core::DType::f64, kHost}, {core::DType::f32, kSimulated}}) {
    const Tensor logits = Tensor::from<float>({2, 2}, {2000, -2000, 2000, -2000}).to(dtype).to(device);
    const Tensor targets = Tensor::from<float>({2, 2}, {1, 0, 0, 1}).to(dtype).to(device);
    const Result r = run(logits, targets);
    EXPECT_EQ(r.loss, 2000.0);
    for (const auto& [i, slope] : {std::pair{0, 0.0}, {1, 0.0}, {2, 0.5}, {3, -0.5}})
      EXPECT_EQ(r.gradient.at(i), slope) << i;
  }
}

TEST(CrossEntropy, LeavesOutRowsWithAnUnknownTarget) {
  const float inf = std::numeric_limits<float>::infinity();
  for (const core::Device device : {kHost, kSimulated}) {
    const Tensor targets = Tensor::from<float>({3, 2}, {1, 0, kNoNumber, 1, -1, 0}).to(device);
    const Result r =
        run(Tensor::from<float>({3, 2}, {1, 2, kNoNumber, inf, -inf, 3}).to(device), targets, 0.1);
    const Result alone = run(Tensor::from<float>({1, 2}, {1, 2}).to(device),
                             Tensor::from<float>({1, 2}, {1, 0}).to(device), 0.1);
    EXPECT_EQ(r.loss, alone.loss);
    EXPECT_EQ(r.total, 1.0);
    for (int64_t i = 0; i < 6; ++i) EXPECT_EQ(r.gradient.at(i), i < 2 ? alone.gradient.at(i) : 0.0) << i;
  }
}

TEST(CrossEntropy, OfNaNIsNaN) {
  for (const core::Device device : {kHost, kSimulated}) {
    for (const std::vector<float>& logits : {std::vector<float>{kNoNumber, 1}, {1, kNoNumber}}) {
      EXPECT_TRUE(std::isnan(
          run(Tensor::from<float>({1, 2}, logits).to(device), Tensor::from<float>({1, 2}, {0, 1}).to(device))
              .loss));
    }
  }
}

TEST(CrossEntropy, DoesNotDependOnTheThreads) {
  const Tensor logits = Tensor::empty({3001, 7}), targets = Tensor::zeros({3001, 7});
  for (int64_t i = 0; i < logits.numel(); ++i)
    logits.data<float>()[i] = 0.37F * static_cast<float>(i % 23) - 4.0F;
  for (int64_t row = 0; row < 3001; ++row) targets.data<float>()[row * 7 + row % 5] = 1.0F;
  const int before = core::num_threads();
  core::set_num_threads(1);
  const Result one = run(logits, targets);
  core::set_num_threads(3);
  const Result three = run(logits, targets);
  core::set_num_threads(before);
  EXPECT_EQ(one.loss, three.loss);
  for (int64_t i = 0; i < logits.numel(); ++i) ASSERT_EQ(one.gradient.at(i), three.gradient.at(i));
}

}  // namespace
}  // namespace medfusion::kernels
