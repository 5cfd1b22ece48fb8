#include "kernels/loss/loss.h"

#include <cmath>
#include <limits>

#include "core/tensor.h"
#include "core/threads.h"
#include "kernels/registry.h"
#include "kernels/simulator/device_type.h"
#include "tests/kernels/kernel_test.h"

MEDFUSION_KERNEL_TESTS(loss)

namespace medfusion::kernels {
namespace {

using core::Tensor;

const float kUnknown = std::numeric_limits<float>::quiet_NaN();
const float kInfinity = std::numeric_limits<float>::infinity();

struct Result {
  double loss;
  int64_t known;
  Tensor gradient;
};

// On the device of the logits.
Result run(const LossFormula& formula, const Tensor& logits, const Tensor& targets) {
  const core::DType dtype = logits.dtype();
  const core::Device device = logits.device();
  const Tensor loss = Tensor::full({1}, std::nan(""), dtype, device);
  const Tensor known = Tensor::full({1}, -5.0, core::DType::i64, device);
  const Tensor gradient = Tensor::full(logits.shape(), std::nan(""), dtype, device);
  const Tensor one = Tensor::full({1}, 1.0, dtype, device);
  dispatch<LossForward>({formula, logits.view(), targets.view(), {}, loss.view(), known.view()}, device.type);
  dispatch<LossBackward>(
      {formula, logits.view(), targets.view(), {}, known.view(), one.view(), gradient.view()}, device.type);
  const core::Device host;
  return {loss.to(host).item(), known.to(host).data<int64_t>()[0], gradient.to(host)};
}

// What does not fit into exp() must not become NaN, 0 or infinity.
TEST(Loss, IsStableForLargeLogits) {
  for (const core::DType dtype : {core::DType::f32, core::DType::f64}) {
    const Tensor logits = Tensor::from<float>({1, 4}, {2000, -2000, 2000, -2000}).to(dtype);
    const Tensor targets = Tensor::from<float>({1, 4}, {1, 1, 0, 0}).to(dtype);
    const Result bce = run({}, logits, targets);
    EXPECT_EQ(bce.loss, 1000.0);
    for (const auto& [i, slope] : {std::pair{0, 0.0}, {1, -0.25}, {2, 0.25}, {3, 0.0}})
      EXPECT_EQ(bce.gradient.at(i), slope) << i;
    const Result focal = run({.positive_gamma = 2, .negative_gamma = 2}, logits, targets);
    EXPECT_EQ(focal.loss, 1000.0);
    // Of the wrong ones a negative costs at most -log(clip).
    const Result asymmetric = run({.positive_gamma = 1, .negative_gamma = 4, .clip = 0.05}, logits, targets);
    EXPECT_NEAR(asymmetric.loss, 500.0 - std::pow(0.95, 4) * std::log(0.05) / 4, 1e-3);
    for (int64_t i = 0; i < 4; ++i) EXPECT_TRUE(std::isfinite(asymmetric.gradient.at(i))) << i;
  }
}

// Logits that are no numbers show: a maximum could hide them.
TEST(Loss, OfNaNIsNaN) {
  const core::Device cpu, sim{simulator::kDeviceType, 0};
  for (const auto& [dtype, device] :
       {std::pair{core::DType::f32, cpu}, {core::DType::f64, cpu}, {core::DType::f32, sim}}) {
    for (const float target : {0.0F, 1.0F}) {
      const Tensor logits = Tensor::from<float>({1, 2}, {kUnknown, 1}).to(dtype).to(device);
      const Tensor targets = Tensor::from<float>({1, 2}, {target, 0}).to(dtype).to(device);
      EXPECT_TRUE(std::isnan(run({}, logits, targets).loss));
      EXPECT_TRUE(std::isnan(run({.positive_gamma = 2, .negative_gamma = 2}, logits, targets).loss));
    }
  }
}

// Where p is the clip exactly the margin is 0, and so are value and slope.
TEST(Loss, IsFiniteAtTheClip) {
  for (const core::DType dtype : {core::DType::f32, core::DType::f64}) {
    const Result r =
        run({.negative_gamma = 1, .clip = 0.5}, Tensor::zeros({1, 1}, dtype), Tensor::zeros({1, 1}, dtype));
    EXPECT_EQ(r.loss, 0.0);
    EXPECT_EQ(r.gradient.at(0), 0.0);
  }
}

TEST(Loss, IgnoresTheLogitsOfUnknownLabels) {
  const Tensor targets = Tensor::from<float>({2, 3}, {1, kUnknown, -1, kUnknown, 0, kUnknown});
  const LossFormula formulas[] = {{.label_smoothing = 0.1},
                                  {.positive_gamma = 1, .negative_gamma = 4, .clip = 0.05}};
  for (const LossFormula& formula : formulas) {
    const Result plain = run(formula, Tensor::from<float>({2, 3}, {1, 0, 0, 0, 2, 0}), targets);
    const Result wild =
        run(formula, Tensor::from<float>({2, 3}, {1, kUnknown, kInfinity, -kInfinity, 2, 1e30F}), targets);
    EXPECT_EQ(wild.known, 2);
    EXPECT_EQ(wild.loss, plain.loss);
    for (const int64_t i : {1, 2, 3, 5}) EXPECT_EQ(wild.gradient.at(i), 0.0) << i;
    for (const int64_t i : {0, 4}) EXPECT_EQ(wild.gradient.at(i), plain.gradient.at(i)) << i;
    EXPECT_NE(wild.gradient.at(0), 0.0);
  }
}

TEST(Loss, DoesNotDependOnTheThreads) {
  const Tensor logits = Tensor::empty({3001, 7});
  for (int64_t i = 0; i < logits.numel(); ++i)
    logits.data<float>()[i] = 0.37F * static_cast<float>(i % 23) - 4.0F;
  const Tensor targets = Tensor::full(logits.shape(), 0.3);
  const int before = core::num_threads();
  core::set_num_threads(1);
  const Result one = run({.positive_gamma = 2, .negative_gamma = 2}, logits, targets);
  core::set_num_threads(3);
  const Result three = run({.positive_gamma = 2, .negative_gamma = 2}, logits, targets);
  core::set_num_threads(before);
  EXPECT_EQ(one.loss, three.loss);
  for (int64_t i = 0; i < logits.numel(); ++i) ASSERT_EQ(one.gradient.at(i), three.gradient.at(i));
}

}  // namespace
}  // namespace medfusion::kernels
