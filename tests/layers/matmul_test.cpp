#include "layers/functional/matmul.h"

#include <gtest/gtest.h>

#include "core/threads.h"

#include "tests/layers/fixture.h"

namespace medfusion::layers {
namespace {

using core::Tensor;
using core::Variable;

TEST(MatmulFunctional, AgreesWithPyTorch) {
  const Fixture fixture("ops_matmul");
  for (const std::string& name : fixture.cases("matmul")) {
    FixtureCase c(fixture, "matmul", name);
    c.expect_parity({"a", "b"}, [](const auto& in) { return matmul(in[0], in[1]); });
  }
}

TEST(LinearFunctional, AgreesWithPyTorch) {
  const Fixture fixture("ops_linear");
  for (const std::string& name : fixture.cases("linear")) {
    FixtureCase c(fixture, "linear", name);
    if (c.has("bias")) {
      c.expect_parity({"x", "weight", "bias"}, [](const auto& in) { return linear(in[0], in[1], in[2]); });
    } else {
      c.expect_parity({"x", "weight"}, [](const auto& in) { return linear(in[0], in[1]); });
    }
  }
}

TEST(MatmulFunctional, GradientsAgreeWithDifferences) {
  const auto product = [](const auto& in) { return matmul(in[0], in[1]); };
  EXPECT_TRUE(gradients_agree(product, {random_tensor({2, 3, 4}, 1), random_tensor({2, 4, 5}, 2)}));
  const auto affine = [](const auto& in) { return linear(in[0], in[1], in[2]); };
  EXPECT_TRUE(gradients_agree(
      affine, {random_tensor({2, 3, 4}, 1), random_tensor({5, 4}, 2), random_tensor({5}, 3)}));
}

// A batch that cannot be merged into one stride is copied, not misread.
TEST(MatmulFunctional, TakesTransposedBatches) {
  const Tensor a = random_tensor({3, 2, 4, 5}, 1);
  const Tensor b = random_tensor({2, 3, 5, 2}, 2);
  const Variable swapped = matmul(Variable(a.transpose(0, 1)), Variable(b));
  const Variable copied = matmul(Variable(a.transpose(0, 1).clone()), Variable(b));
  expect_close(swapped.value(), copied.value(), 0.0, "matmul of a transposed batch");
}

TEST(LinearFunctional, TakesSlicesAndSkipsWhatNobodyWants) {
  const Tensor x = random_tensor({4, 3, 6}, 1).slice(2, 1, 5);
  const Variable weight(random_tensor({2, 4}, 2), true);
  const Variable y = linear(Variable(x), weight);
  expect_close(y.value(), linear(Variable(x.clone()), weight).value(), 0.0, "linear of a slice");
  y.backward(random_tensor({4, 3, 2}, 3));
  EXPECT_NE(weight.gradient().at(0), 0.0);
}

TEST(LinearFunctional, SameBytesOnAnyNumberOfThreads) {
  const int before = core::num_threads();
  std::vector<Tensor> results[2];
  for (const int threads : {1, 3}) {
    core::set_num_threads(threads);
    for (const int64_t rows : {3, 301}) {
      const Variable x(random_tensor({rows, 70}, 1).to(core::DType::f32), true);
      const Variable weight(random_tensor({150, 70}, 2).to(core::DType::f32), true);
      const Variable bias(random_tensor({150}, 3).to(core::DType::f32), true);
      const Variable y = linear(x, weight, bias);
      y.backward(random_tensor(y.shape(), 4).to(core::DType::f32));
      for (const Tensor& t : {y.value(), x.gradient(), weight.gradient(), bias.gradient()}) {
        results[threads == 1 ? 0 : 1].push_back(t);
      }
    }
  }
  for (size_t i = 0; i < results[0].size(); ++i) {
    expect_close(results[1][i], results[0][i], 0.0, "three threads");
  }
  core::set_num_threads(before);
}

TEST(MatmulFunctional, RefusesShapesThatDoNotFit) {
  const auto zeros = [](const core::Shape& shape) { return Variable(Tensor::zeros(shape)); };
  EXPECT_THROW(matmul(zeros({2, 3}), zeros({2, 3})), core::Error);
  EXPECT_THROW(matmul(zeros({2, 3, 4}), zeros({3, 4, 5})), core::Error);
  EXPECT_THROW(linear(zeros({2, 3}), zeros({3, 4})), core::Error);
  EXPECT_THROW(linear(zeros({2, 3}), zeros({4, 3}), zeros({3})), core::Error);
  EXPECT_THROW(matmul(zeros({2, 3}), Variable(Tensor::zeros({3, 2}, core::DType::f64))), core::Error);
}

}  // namespace
}  // namespace medfusion::layers
