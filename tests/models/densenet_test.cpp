// DenseNet-121 against PyTorch: logits, the gradient of every parameter, running statistics.
#include "models/densenet/densenet.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "tests/layers/fixture.h"
#include "tests/models/filler.h"

namespace medfusion::models {
namespace {

using core::DType;
using core::Tensor;
using core::Variable;

// |a - b| in norm and probe, relative to the norm.
double difference(const Tensor& actual, const Tensor& expected) {
  const double scale = std::max(1e-12, expected.at(0));
  return std::max(std::abs(actual.at(0) - expected.at(0)), std::abs(actual.at(1) - expected.at(1))) / scale;
}

struct Tolerance {
  double logits, median_gradient, worst_gradient, statistics;
};

void compare(DType dtype, const Tolerance& tolerance) {
  const layers::Fixture fixture("densenet121");
  NetworkOptions options;
  options.name = "densenet";
  options.size = "densenet121";
  options.image_channels = 3;
  options.labels = 10;
  options.dtype = dtype;
  const auto network = make_network(options);
  fill_module(*network);
  core::Batch inputs;
  inputs.images = signed_tensor("input.image", {2, 64, 64, 3}, dtype);

  layers::Context evaluation;
  layers::expect_close(network->forward(inputs, evaluation).value(), fixture.get("eval.logits"),
                       tolerance.logits, "eval.logits");
  layers::Context training{.training = true};
  const Variable logits = network->forward(inputs, training);
  layers::expect_close(logits.value(), fixture.get("train.logits"), tolerance.logits, "train.logits");
  logits.backward(signed_tensor("input.grad_logits", {2, 10}, dtype));

  std::set<std::string> unread;
  for (const auto& [name, tensor] : fixture.tensors()) unread.insert(name);
  std::vector<double> differences;
  for (const auto& [name, parameter] : network->parameters()) {
    const Tensor& expected = fixture.get("grad." + name);
    differences.push_back(difference(summary(name, parameter.gradient()), expected));
    EXPECT_LE(differences.back(), tolerance.worst_gradient) << "gradient of " << name;
    unread.erase("grad." + name);
  }
  std::nth_element(differences.begin(), differences.begin() + static_cast<long>(differences.size() / 2),
                   differences.end());
  EXPECT_LE(differences[differences.size() / 2], tolerance.median_gradient);
  for (const auto& [name, buffer] : network->buffers()) {
    EXPECT_LE(difference(summary(name, buffer), fixture.get("new." + name)), tolerance.statistics) << name;
    unread.erase("new." + name);
  }
  unread.erase("eval.logits");
  unread.erase("train.logits");
  EXPECT_TRUE(unread.empty()) << *unread.begin() << " was not compared";
}

TEST(DenseNet121, MatchesPyTorchInDouble) { compare(DType::f64, {1e-6, 1e-7, 1e-6, 1e-7}); }

// Three times what PyTorch's own float32 differs by (tests/fixtures/README.md).
TEST(DenseNet121, MatchesPyTorchInFloat) { compare(DType::f32, {3e-5, 4e-5, 4.2e-2, 6e-6}); }

TEST(DenseNet121, HasThePublishedParameterCount) {
  NetworkOptions options;
  options.name = "densenet";
  options.size = "densenet121";
  options.image_channels = 3;
  options.labels = 1000;
  EXPECT_EQ(make_network(options)->parameter_count(), 7978856);
}

TEST(DenseNet, UnknownSizeIsAnInputError) {
  NetworkOptions options;
  options.size = "huge";
  EXPECT_THROW(make_network(options), core::InputError);
}

}  // namespace
}  // namespace medfusion::models
