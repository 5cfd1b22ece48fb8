#include "layers/functional/embedding.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/random.h"
#include "core/threads.h"
#include "tests/layers/fixture.h"

namespace medfusion::layers {
namespace {

using core::DType;
using core::Tensor;
using core::Variable;

TEST(EmbeddingFunctional, AgreesWithPyTorch) {
  const Fixture fixture("ops_embedding");
  for (const std::string& name : fixture.cases("embedding")) {
    FixtureCase c(fixture, "embedding", name);
    const Tensor ids = c.get("ids");
    c.expect_parity({"weight"}, [&](const auto& in) { return embedding(in[0], ids); });
  }
}

TEST(EmbeddingFunctional, GradientsAgreeWithDifferences) {
  const Tensor ids = Tensor::from<int64_t>({2, 3}, {0, 2, 2, 4, 0, 2});
  EXPECT_TRUE(
      gradients_agree([&](const auto& in) { return embedding(in[0], ids); }, {random_tensor({5, 3}, 1)}));
}

TEST(EmbeddingFunctional, TakesStridedIdsAndKeepsThemForBackward) {
  const Tensor ids = Tensor::from<int64_t>({2, 2}, {0, 1, 2, 3});
  const Variable weight(Tensor::from<float>({4, 1}, {10, 11, 12, 13}), true);
  const Variable y = embedding(weight, ids.transpose(0, 1));
  EXPECT_EQ(y.shape(), (core::Shape{2, 2, 1}));
  EXPECT_EQ(y.value().at(1), 12.0);
  ids.fill(0.0);
  y.backward(Tensor::from<float>({2, 2, 1}, {1, 2, 3, 4}));
  EXPECT_EQ(weight.gradient().at(2), 2.0);
  EXPECT_EQ(weight.gradient().at(1), 3.0);
}

TEST(EmbeddingFunctional, AnIdOutsideTheTableIsNamed) {
  const Variable weight(Tensor::zeros({4, 2}));
  for (const int64_t bad : {int64_t{-1}, int64_t{4}}) {
    try {
      embedding(weight, Tensor::from<int64_t>({3}, {0, 3, bad}));
      ADD_FAILURE() << bad << " was accepted";
    } catch (const core::Error& error) {
      EXPECT_THAT(error.what(), ::testing::HasSubstr(fmt::format("id {} at place 2", bad)));
    }
  }
  EXPECT_THROW(embedding(weight, Tensor::zeros({3}, DType::i32)), core::Error);
  EXPECT_THROW(embedding(Variable(Tensor::zeros({4})), Tensor::zeros({3}, DType::i64)), core::Error);
}

TEST(EmbeddingFunctional, TheBytesDoNotDependOnTheThreads) {
  const Tensor ids = Tensor::empty({4000}, DType::i64);
  for (int64_t n = 0; n < 4000; ++n) {
    ids.data<int64_t>()[n] = core::Philox(3).word(static_cast<uint64_t>(n)) % 100;
  }
  const Tensor g = random_tensor({4000, 40}, 2).to(DType::f32);
  const auto run = [&](int threads) {
    const int before = core::num_threads();
    core::set_num_threads(threads);
    const Variable weight(Tensor::zeros({100, 40}), true);
    embedding(weight, ids).backward(g);
    core::set_num_threads(before);
    return weight.gradient();
  };
  expect_close(run(3), run(1), 0.0, "three threads");
}

}  // namespace
}  // namespace medfusion::layers
