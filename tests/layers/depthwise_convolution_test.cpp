#include "layers/functional/depthwise_convolution.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/threads.h"
#include "layers/convolution.h"
#include "layers/functional/convolution.h"
#include "tests/layers/fixture.h"

namespace medfusion::layers {
namespace {

using core::Tensor;
using core::Variable;

TEST(DepthwiseConvolution, AgreesWithPyTorch) {
  const Fixture fixture("ops_depthwise_convolution");
  for (const std::string& name : fixture.cases("depthwise_convolution")) {
    FixtureCase c(fixture, "depthwise_convolution", name);
    const int64_t stride = c.integer("stride");
    const Tensor sides = c.get("padding");
    const Padding padding{static_cast<int64_t>(sides.at(0)), static_cast<int64_t>(sides.at(1))};
    std::vector<std::string> inputs{"x", "weight"};
    if (c.has("bias")) inputs.emplace_back("bias");
    c.expect_parity(inputs, [&](const auto& in) {
      return depthwise_convolution(in[0], in[1], in.size() > 2 ? in[2] : Variable(), stride, padding,
                                   padding);
    });
  }
}

TEST(DepthwiseConvolution, GradientsAgreeWithDifferences) {
  const auto strided = [](const auto& in) {
    return depthwise_convolution(in[0], in[1], in[2], 2, {0, 1}, {0, 1});
  };
  EXPECT_TRUE(gradients_agree(
      strided, {random_tensor({2, 6, 4, 3}, 1), random_tensor({3, 1, 3, 3}, 2), random_tensor({3}, 3)}));
}

TEST(DepthwiseConvolution, SamePaddingGivesAStridedPart) {
  for (int64_t size = 1; size < 20; ++size) {
    for (const int64_t kernel : {1, 3, 5, 7}) {
      for (const int64_t stride : {1, 2, 3}) {
        const Padding padding = same_padding(size, kernel, stride);
        const int64_t padded = size + padding.before + padding.after;
        ASSERT_EQ((std::max(padded, kernel) - kernel) / stride + 1, (size + stride - 1) / stride);
        ASSERT_TRUE(padding.after == padding.before || padding.after == padding.before + 1);
      }
    }
  }
}

// The stem of EfficientNet: zeros below and to the right of an even image.
TEST(DepthwiseConvolution, AConvolutionPadsTheSame) {
  const Tensor x = random_tensor({2, 8, 8, 3}, 1);
  Convolution same(3, 4, {.kernel = 3, .stride = 2, .same = true}, core::DType::f64);
  same.initialize(1);
  Tensor padded = Tensor::zeros({2, 9, 9, 3}, core::DType::f64);
  padded.slice(1, 0, 8).slice(2, 0, 8).copy_from(x);
  expect_close(same.forward(Variable(x), {}).value(),
               convolution(Variable(padded), same.weight, {}, 2).value(), 1e-12, "same padding");
}

std::vector<Tensor> depthwise_on_threads(int threads) {
  core::set_num_threads(threads);
  const Variable x(random_tensor({3, 20, 18, 19}, 1).to(core::DType::f32), true);
  const Variable weight(random_tensor({19, 1, 5, 5}, 2).to(core::DType::f32), true);
  const Variable bias(random_tensor({19}, 3).to(core::DType::f32), true);
  const Variable y = depthwise_convolution(x, weight, bias, 2, {1, 2}, {1, 2});
  y.backward(random_tensor(y.shape(), 4).to(core::DType::f32));
  return {y.value(), x.gradient(), weight.gradient(), bias.gradient()};
}

TEST(DepthwiseConvolution, SameBytesOnAnyNumberOfThreads) {
  const int before = core::num_threads();
  const auto one = depthwise_on_threads(1), three = depthwise_on_threads(3);
  core::set_num_threads(before);
  for (size_t i = 0; i < one.size(); ++i) expect_close(three[i], one[i], 0.0, "three threads");
}

TEST(DepthwiseConvolution, ShapesThatDoNotFitAreRefused) {
  const Variable x(Tensor::zeros({1, 4, 4, 3}));
  const auto run = [&](const core::Shape& weight, const Padding& padding) {
    return depthwise_convolution(x, Variable(Tensor::zeros(weight)), {}, 1, padding, padding);
  };
  EXPECT_THAT(
      [&] {
        run({3, 3, 3, 3}, {});
      },
      testing::ThrowsMessage<core::Error>(testing::HasSubstr("weight [channels, 1, ")));
  EXPECT_THAT(
      [&] {
        run({3, 1, 7, 7}, {1, 1});
      },
      testing::ThrowsMessage<core::Error>(testing::HasSubstr("larger than 6 padded pixels")));
}

}  // namespace
}  // namespace medfusion::layers
