#include "layers/functional/attention.h"

#include <gtest/gtest.h>

#include "core/threads.h"
#include "kernels/registry.h"
#include "tests/layers/fixture.h"

namespace medfusion::layers {
namespace {

using core::DType;
using core::Tensor;
using core::Variable;

void expect_parity_with_pytorch() {
  const Fixture fixture("ops_attention");
  for (const std::string& name : fixture.cases("attention")) {
    FixtureCase c(fixture, "attention", name);
    const int64_t heads = c.integer("heads");
    AttentionOptions options;
    options.key_mask = c.get_or_undefined("key_mask");
    options.pair_mask = c.get_or_undefined("pair_mask");
    Tensor probabilities;
    options.probabilities = &probabilities;
    const auto run = [&](const auto& in) { return attention(in[0], in[1], in[2], heads, options); };
    for (const bool mean : {false, true}) {
      options.mean_over_heads = mean;
      c.expect_parity({"q", "k", "v"}, run);
      expect_close(probabilities, c.get(mean ? "mean_probabilities" : "probabilities"), 2e-5, name);
    }
  }
}

TEST(AttentionFunctional, AgreesWithPyTorch) { expect_parity_with_pytorch(); }

TEST(AttentionFunctional, TheSecondOpinionAgreesWithPyTorch) {
  kernels::set_kernel_override("attention", "eigen");
  expect_parity_with_pytorch();
  kernels::set_kernel_override("attention", "");
}

TEST(AttentionFunctional, GradientsAgreeWithDifferences) {
  AttentionOptions options;
  options.key_mask = Tensor::from<uint8_t>({2, 5}, {1, 0, 1, 1, 1, 1, 1, 0, 0, 1}).to(DType::boolean);
  options.scale = 0.7;
  EXPECT_TRUE(gradients_agree(
      [&](const auto& in) { return attention(in[0], in[1], in[2], 2, options); },
      {random_tensor({2, 3, 8}, 1), random_tensor({2, 5, 8}, 2), random_tensor({2, 5, 8}, 3)}));
}

TEST(AttentionFunctional, SelfAttentionIsAttentionOfSlices) {
  const Tensor pair_mask = Tensor::full({3, 5}, 1.0, DType::boolean);
  pair_mask.slice(0, 1, 2).slice(1, 2, 4).fill(0.0);
  AttentionOptions options;
  options.pair_mask = pair_mask;
  const Tensor qkv = random_tensor({2, 5, 24}, 4);
  EXPECT_TRUE(gradients_agree([&](const auto& in) { return self_attention(in[0], 2, 3, options); }, {qkv}));
  const Variable together = self_attention(Variable(qkv), 2, 3, options);
  const Variable apart = attention(Variable(qkv.slice(2, 0, 8).slice(1, 0, 3)), Variable(qkv.slice(2, 8, 16)),
                                   Variable(qkv.slice(2, 16, 24)), 2, options);
  expect_close(together.value(), apart.value(), 0.0, "self_attention");
}

TEST(AttentionFunctional, BlindQueriesGiveZerosAndNoGradient) {
  for (const DType dtype : {DType::f64, DType::f32}) {
    AttentionOptions options;
    options.key_mask = Tensor::from<uint8_t>({2, 3}, {1, 1, 1, 0, 0, 0}).to(DType::boolean);
    std::vector<Variable> in;
    for (uint64_t i = 0; i < 3; ++i) in.emplace_back(random_tensor({2, 3, 4}, i).to(dtype), true);
    const Variable y = attention(in[0], in[1], in[2], 2, options);
    y.backward(Tensor::full({2, 3, 4}, 1.0, dtype));
    for (int64_t i = 12; i < 24; ++i) {  // the second sample
      EXPECT_EQ(y.value().at(i), 0.0);
      for (const Variable& x : in) EXPECT_EQ(x.gradient().at(i), 0.0);
    }
    EXPECT_NE(y.value().at(0), 0.0);
  }
}

TEST(AttentionFunctional, OneInputMayWantAGradientAlone) {
  const Tensor q = random_tensor({1, 3, 4}, 1), k = random_tensor({1, 5, 4}, 2),
               v = random_tensor({1, 5, 4}, 3);
  for (size_t wanted = 0; wanted < 3; ++wanted) {
    for (const DType dtype : {DType::f64, DType::f32}) {
      const auto gradient = [&](bool all) {
        std::vector<Variable> in;
        for (const Tensor& x : {q, k, v}) in.emplace_back(x.to(dtype), all || in.size() == wanted);
        attention(in[0], in[1], in[2], 2).backward(Tensor::full({1, 3, 4}, 1.0, dtype));
        return in[wanted].gradient();
      };
      expect_close(gradient(false), gradient(true), 0.0, "gradient");
    }
  }
}

// The values, and the gradients of q, k and v, of a larger problem.
std::vector<Tensor> run_with_threads(int threads) {
  const int before = core::num_threads();
  core::set_num_threads(threads);
  const Variable qkv(random_tensor({3, 150, 48}, 5).to(DType::f32), true);
  Tensor probabilities;
  AttentionOptions options;
  options.probabilities = &probabilities;
  const Variable y = self_attention(qkv, 2, 150, options);
  y.backward(random_tensor({3, 150, 16}, 6).to(DType::f32));
  core::set_num_threads(before);
  return {y.value(), probabilities, qkv.gradient()};
}

TEST(AttentionFunctional, TheBytesDoNotDependOnTheThreads) {
  const auto one = run_with_threads(1);
  const auto three = run_with_threads(3);
  for (size_t i = 0; i < one.size(); ++i) expect_close(three[i], one[i], 0.0, "three threads");
}

TEST(AttentionFunctional, RefusesWhatDoesNotFit) {
  const Variable x(Tensor::zeros({2, 3, 8}));
  const auto mask = [](const core::Shape& shape) { return Tensor::full(shape, 1.0, DType::boolean); };
  AttentionOptions options;
  EXPECT_THROW(attention(x, x, x, 3), core::Error);
  EXPECT_THROW(attention(x, x, x, 0), core::Error);
  EXPECT_THROW(attention(x, x, Variable(Tensor::zeros({2, 4, 8})), 2), core::Error);
  EXPECT_THROW(attention(x, x, Variable(Tensor::zeros({2, 3, 8}, DType::f64)), 2), core::Error);
  options.key_mask = mask({2, 4});
  EXPECT_THROW(attention(x, x, x, 2, options), core::Error);
  options.key_mask = Tensor::zeros({2, 3});
  EXPECT_THROW(attention(x, x, x, 2, options), core::Error);
  options.key_mask = mask({2, 3});
  options.pair_mask = mask({3, 2});
  EXPECT_THROW(attention(x, x, x, 2, options), core::Error);
  EXPECT_THROW(self_attention(x, 1, 3), core::Error);
  EXPECT_THROW(self_attention(Variable(Tensor::zeros({2, 3, 6})), 1, 4), core::Error);
}

}  // namespace
}  // namespace medfusion::layers
