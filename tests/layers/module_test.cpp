#include "layers/module.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kernels/convolution/convolution.h"
#include "kernels/matmul/matmul.h"
#include "kernels/registry.h"
#include "kernels/simulator/device_type.h"
#include "layers/attention.h"
#include "layers/convolution.h"
#include "layers/dense_block.h"
#include "layers/functional/elementwise.h"
#include "tests/layers/fixture.h"

namespace medfusion::layers {
namespace {

using core::DType;
using core::Tensor;
using core::Variable;
using ::testing::ElementsAre;

// Two layers in an order of choice.
class Pair : public Module {
 public:
  explicit Pair(bool reversed)
      : a(40, 30, Init::xavier_uniform(), DType::f32),
        b(40, 30, Init::normal(0.02), DType::f32),
        norm(3, DType::f32) {
    if (reversed) {
      add_child("b", b);
      add_child("a", a);
    } else {
      add_child("a", a);
      add_child("b", b);
    }
    add_child("norm", norm);
    queries = add_parameter("queries", {2, 3}, Init::constant(0.5));
  }
  Linear a, b;
  BatchNorm norm;
  Variable queries;
};

template <class T>
std::vector<std::string> names_of(const std::vector<std::pair<std::string, T>>& list) {
  std::vector<std::string> names;
  for (const auto& [name, value] : list) names.push_back(name);
  return names;
}

Tensor parameter(const Module& module, const std::string& name) {
  for (const auto& [own, variable] : module.parameters()) {
    if (own == name) return variable.value();
  }
  throw core::Error("no parameter " + name);
}

// Mean of the squares.
double mean_square(const Tensor& x) {
  double sum = 0.0;
  for (int64_t i = 0; i < x.numel(); ++i) sum += x.at(i) * x.at(i);
  return sum / static_cast<double>(x.numel());
}

TEST(Module, NamesFollowTheTree) {
  const Pair pair(false);
  EXPECT_THAT(names_of(pair.parameters()),
              ElementsAre("queries", "a.weight", "a.bias", "b.weight", "b.bias", "norm.weight", "norm.bias"));
  EXPECT_THAT(names_of(pair.buffers()), ElementsAre("norm.running_mean", "norm.running_var"));
  EXPECT_EQ(pair.parameter_count(), 6 + 2 * (1200 + 30) + 6);
}

TEST(Module, InitialValuesDependOnSeedAndNameOnly) {
  Pair first(false), second(true), other(false);
  first.initialize(1);
  second.initialize(1);
  other.initialize(2);
  for (const char* name : {"a.weight", "b.weight"}) {
    expect_close(parameter(second, name), parameter(first, name), 0.0, name);
    EXPECT_GT(mean_square(parameter(first, name)), 0.0);
    EXPECT_NE(parameter(first, name).at(0), parameter(other, name).at(0));
  }
  EXPECT_NE(parameter(first, "a.weight").at(0), parameter(first, "b.weight").at(0));
}

TEST(Module, InitialValuesHaveTheSpreadThatWasAsked) {
  Pair pair(false);
  pair.initialize(3);
  const Tensor xavier = parameter(pair, "a.weight");
  const double bound = std::sqrt(6.0 / 70.0);
  EXPECT_NEAR(mean_square(xavier), bound * bound / 3.0, 0.1 * bound * bound / 3.0);
  for (int64_t i = 0; i < xavier.numel(); ++i) ASSERT_LE(std::abs(xavier.at(i)), bound);
  EXPECT_NEAR(mean_square(parameter(pair, "b.weight")), 4e-4, 0.15 * 4e-4);
  EXPECT_EQ(mean_square(parameter(pair, "a.bias")), 0.0);
  EXPECT_EQ(mean_square(parameter(pair, "queries")), 0.25);
  EXPECT_EQ(mean_square(parameter(pair, "norm.weight")), 1.0);
  Convolution convolution(8, 32, {.kernel = 3}, DType::f32);
  convolution.initialize(3);
  EXPECT_NEAR(mean_square(parameter(convolution, "weight")), 2.0 / 72.0, 0.15 * 2.0 / 72.0);
}

TEST(BatchNormModule, UpdatesItsStatisticsInTrainingOnly) {
  BatchNorm norm(2, DType::f64);
  norm.initialize(1);
  const Variable x(random_tensor({2, 3, 3, 2}, 1));
  norm.forward(x, {});
  EXPECT_EQ(norm.buffers()[0].second.at(0), 0.0);
  norm.forward(x, {.training = true});
  double mean = 0.0;
  for (int64_t i = 0; i < 18; ++i) mean += x.value().at(2 * i) / 18.0;
  EXPECT_NEAR(norm.buffers()[0].second.at(0), 0.1 * mean, 1e-12);
}

class EncoderLayerTest : public ::testing::Test {
 protected:
  EncoderLayerTest() : layer_(8, 2, 12, 0.5, DType::f64) { layer_.initialize(4); }
  Tensor run(int64_t queries, Context context = {}) {
    return layer_.forward(Variable(x_), queries, masks_, context).value();
  }
  EncoderLayer layer_;
  Tensor x_ = random_tensor({2, 5, 8}, 1);
  AttentionMasks masks_;
};

TEST_F(EncoderLayerTest, ParametersHaveTheDocumentedNames) {
  EXPECT_THAT(names_of(layer_.parameters()),
              ElementsAre("norm1.weight", "norm1.bias", "attention.qkv.weight", "attention.qkv.bias",
                          "attention.out.weight", "attention.out.bias", "norm2.weight", "norm2.bias",
                          "mlp.fc1.weight", "mlp.fc1.bias", "mlp.fc2.weight", "mlp.fc2.bias"));
}

TEST_F(EncoderLayerTest, GradientsAgreeWithDifferences) {
  masks_.keys = Tensor::from<uint8_t>({2, 5}, {1, 1, 0, 1, 1, 1, 0, 1, 1, 1}).to(DType::boolean);
  for (const int64_t queries : {5, 3}) {
    EXPECT_TRUE(gradients_agree(
        [&](const auto& in) {
          Context context{.training = true, .seed = 1, .stream = 2};
          return layer_.forward(in[0], queries, masks_, context);
        },
        {x_}));
  }
}

TEST_F(EncoderLayerTest, FewerQueriesGiveTheFirstTokens) {
  expect_close(run(2), run(5).slice(1, 0, 2), 1e-12, "two queries");
}

TEST_F(EncoderLayerTest, AMaskedTokenHasNoInfluence) {
  masks_.keys = Tensor::full({2, 5}, 1.0, DType::boolean);
  masks_.keys.slice(1, 4, 5).fill(0.0);
  const Tensor before = run(4);
  x_.slice(1, 4, 5).fill(7.0);
  expect_close(run(4), before, 0.0, "masked token changed");
  x_.slice(1, 3, 4).fill(7.0);
  EXPECT_NE(run(4).at(0), before.at(0));
}

TEST_F(EncoderLayerTest, DropoutTakesItsStreamsFromTheContext) {
  const Tensor evaluated = run(5);
  expect_close(run(5, {.training = false, .seed = 9, .stream = 9}), evaluated, 0.0, "evaluation");
  const Context training{.training = true, .seed = 1, .stream = 0};
  const Tensor first = run(5, training);
  expect_close(run(5, training), first, 0.0, "the same streams");
  const Context later{.training = true, .seed = 1, .stream = 2};
  const Tensor second = run(5, later);
  double difference = 0.0;
  for (int64_t i = 0; i < first.numel(); ++i) difference += std::abs(first.at(i) - second.at(i));
  EXPECT_GT(difference, 0.1);
  Context context = training;
  layer_.forward(Variable(x_), 5, masks_, context);
  EXPECT_EQ(context.stream, 2U);
}

// Kernels of `sim` that only note what they may round, and only while somebody listens.
std::vector<bool>* heard = nullptr;
template <class Arguments>
const kernels::Register<Arguments> ear("ear", simulator::kDeviceType, 99,
                                       {{"somebody listens",
                                         [](const Arguments&) { return heard != nullptr; }}},
                                       [](const Arguments& a) { heard->push_back(a.tf32); });
template const kernels::Register<kernels::MatmulForward> ear<kernels::MatmulForward>;
template const kernels::Register<kernels::MatmulBackward> ear<kernels::MatmulBackward>;
template const kernels::Register<kernels::ConvolutionForward> ear<kernels::ConvolutionForward>;
template const kernels::Register<kernels::ConvolutionBackward> ear<kernels::ConvolutionBackward>;

TEST(Tf32, OfTheContextReachesProductsAndConvolutionsInBothPasses) {
  const core::Device sim{simulator::kDeviceType, 0};
  Linear linear(8, 4, Init::normal(1.0), {DType::f32, sim});
  Convolution convolution(8, 8, {}, {DType::f32, sim});
  const Variable x(Tensor::zeros({1, 2, 2, 8}, DType::f32, sim), true);
  for (const Precision precision : {Precision::f32, Precision::tf32}) {
    const Context context{.precision = precision};
    std::vector<bool> rounds;
    heard = &rounds;
    const Variable y = linear.forward(convolution.forward(x, context), context);
    y.backward(Tensor::zeros(y.shape(), DType::f32, sim));
    heard = nullptr;
    EXPECT_THAT(rounds, ElementsAre(context.tf32(), context.tf32(), context.tf32(), context.tf32()));
  }
}

// The 3x3 convolutions of a dense block are most of a DenseNet's work.
TEST(Tf32, OfTheContextReachesTheConvolutionsOfADenseBlock) {
  const core::Device sim{simulator::kDeviceType, 0};
  DenseBlock block(2, 8, 4, 8, {DType::f32, sim});
  const Variable x(Tensor::zeros({1, 4, 4, 8}, DType::f32, sim), true);
  for (const Precision precision : {Precision::f32, Precision::tf32}) {
    const Context context{.training = true, .precision = precision};
    std::vector<bool> rounds;
    heard = &rounds;
    const Variable y = block.forward(x, context);
    y.backward(Tensor::zeros(y.shape(), DType::f32, sim));
    heard = nullptr;
    EXPECT_THAT(rounds, ElementsAre(context.tf32(), context.tf32(), context.tf32(), context.tf32()));
  }
}

TEST(Operators, AreTheFunctionsOfTheirNames) {
  const Variable a(random_tensor({2, 3}, 1)), b(random_tensor({3}, 2));
  expect_close((a + b).value(), add(a, b).value(), 0.0, "+");
  expect_close((a - b).value(), sub(a, b).value(), 0.0, "-");
  expect_close((a * b).value(), mul(a, b).value(), 0.0, "*");
}

}  // namespace
}  // namespace medfusion::layers
