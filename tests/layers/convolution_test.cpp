#include "layers/functional/convolution.h"

#include <gtest/gtest.h>

#include "core/threads.h"

#include "tests/layers/fixture.h"

namespace medfusion::layers {
namespace {

using core::Tensor;
using core::Variable;

TEST(ConvolutionFunctional, AgreesWithPyTorch) {
  const Fixture fixture("ops_convolution");
  for (const std::string& name : fixture.cases("convolution")) {
    FixtureCase c(fixture, "convolution", name);
    const int64_t stride = c.integer("stride");
    const int64_t padding = c.integer("padding");
    std::vector<std::string> inputs{"x", "weight"};
    if (c.has("bias")) inputs.emplace_back("bias");
    c.expect_parity(inputs, [&](const auto& in) {
      return convolution(in[0], in[1], in.size() > 2 ? in[2] : Variable(), stride, padding);
    });
  }
}

TEST(ConvolutionFunctional, GradientsAgreeWithDifferences) {
  const auto strided = [](const auto& in) { return convolution(in[0], in[1], in[2], 2, 1); };
  EXPECT_TRUE(gradients_agree(
      strided, {random_tensor({2, 5, 4, 3}, 1), random_tensor({4, 3, 3, 3}, 2), random_tensor({4}, 3)}));
}

TEST(ConvolutionFunctional, TakesChannelSlices) {
  const Tensor x = random_tensor({2, 4, 4, 9}, 1).slice(3, 2, 7);
  const Variable weight(random_tensor({3, 5, 3, 3}, 2));
  expect_close(convolution(Variable(x), weight, {}, 1, 1).value(),
               convolution(Variable(x.clone()), weight, {}, 1, 1).value(), 0.0, "convolution of a slice");
}

// y and all gradients of one pass in f32.
std::vector<Tensor> run_on_threads(int threads, int64_t kernel, int64_t stride) {
  core::set_num_threads(threads);
  const Variable x(random_tensor({3, 20, 18, 19}, 1).to(core::DType::f32), true);
  const Variable weight(random_tensor({21, 19, kernel, kernel}, 2).to(core::DType::f32), true);
  const Variable bias(random_tensor({21}, 3).to(core::DType::f32), true);
  const Variable y = convolution(x, weight, bias, stride, kernel / 2);
  y.backward(random_tensor(y.shape(), 4).to(core::DType::f32));
  return {y.value(), x.gradient(), weight.gradient(), bias.gradient()};
}

TEST(ConvolutionFunctional, SameBytesOnAnyNumberOfThreads) {
  const int before = core::num_threads();
  for (const int64_t kernel : {1, 3}) {
    for (const int64_t stride : {1, 2}) {
      const auto one = run_on_threads(1, kernel, stride);
      const auto three = run_on_threads(3, kernel, stride);
      for (size_t i = 0; i < one.size(); ++i) expect_close(three[i], one[i], 0.0, "three threads");
    }
  }
  core::set_num_threads(before);
}

TEST(ConvolutionFunctional, RefusesShapesThatDoNotFit) {
  const auto zeros = [](const core::Shape& shape) { return Variable(Tensor::zeros(shape)); };
  EXPECT_THROW(convolution(zeros({1, 4, 4, 3}), zeros({2, 4, 3, 3})), core::Error);
  EXPECT_THROW(convolution(zeros({1, 2, 4, 3}), zeros({2, 3, 3, 3})), core::Error);
  EXPECT_THROW(convolution(zeros({1, 4, 4, 3}), zeros({2, 3, 3, 3}), zeros({3})), core::Error);
  EXPECT_THROW(convolution(zeros({1, 4, 4, 3}), zeros({2, 3, 3, 3}), {}, 0), core::Error);
  EXPECT_THROW(convolution(zeros({4, 4, 3}), zeros({2, 3, 3, 3})), core::Error);
}

}  // namespace
}  // namespace medfusion::layers
