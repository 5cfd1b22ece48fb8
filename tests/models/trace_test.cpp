// What a trace shows of a forward pass, and that it changes nothing.
#include "layers/trace.h"

#include <gtest/gtest.h>

#include "models/network.h"
#include "tests/models/filler.h"

namespace medfusion::models {
namespace {

using core::DType;
using core::Tensor;
using core::Variable;
using layers::Trace;

struct Traced {
  std::unique_ptr<Network> network;
  core::Batch inputs;
};

Traced tiny(const std::string& name = "medfusionnet") {
  NetworkOptions options;
  options.name = name;
  options.size = "tiny";
  options.labels = 3;
  options.dtype = DType::f64;
  options.table_features = 2;
  options.vocabulary = 6;
  options.text_length = 4;
  options.layers = 2;
  Traced result{make_network(options), {}};
  fill_module(*result.network);
  result.inputs.images = signed_tensor("images", {2, 32, 32, 1}, DType::f64);
  result.inputs.table.values = signed_tensor("table", {2, 2}, DType::f64);
  result.inputs.text = Tensor::from<int64_t>({2, 4}, {2, 3, 0, 0, 5, 4, 3, 2});
  return result;
}

void backward_of(const Variable& logits, int64_t label) {
  Tensor direction = Tensor::zeros(logits.shape(), logits.dtype());
  direction.slice(1, label, label + 1).fill(1.0);
  logits.backward(direction);
}

Tensor gradient_of(Network& network, const std::string& name) {
  for (const auto& [each, parameter] : network.parameters()) {
    if (each == name) return parameter.gradient();
  }
  ADD_FAILURE() << "no parameter " << name;
  return {};
}

// C3 = relu(z + bias), so the bias's gradient is the sum of C3's wherever C3 is positive: what a pass without
// a trace computes for the bias must follow from what the cut gives.
void expect_cut_gradient(const std::string& network_name) {
  const Traced plain = tiny(network_name);
  layers::Context context;
  const Variable logits = plain.network->forward(plain.inputs, context);
  backward_of(logits, 1);
  const Tensor expected = gradient_of(*plain.network, "features.transition2.norm.bias");

  Trace trace;
  trace.wanted = {"C3"};
  layers::Context traced;
  traced.trace = &trace;
  const Variable again = plain.network->forward(plain.inputs, traced);
  for (int64_t i = 0; i < logits.value().numel(); ++i) EXPECT_EQ(again.value().at(i), logits.value().at(i));
  ASSERT_TRUE(trace.cuts.contains("C3"));
  backward_of(again, 1);
  const Variable& c3 = trace.cuts.at("C3");
  const Tensor gradient = c3.gradient();
  const int64_t channels = c3.size(3);
  double largest = 0.0;
  for (int64_t c = 0; c < channels; ++c) {
    double sum = 0.0;
    for (int64_t i = c; i < c3.value().numel(); i += channels) {
      if (c3.value().at(i) > 0.0) sum += gradient.at(i);
    }
    EXPECT_NEAR(sum, expected.at(c), 1e-9) << "channel " << c;
    largest = std::max(largest, std::abs(sum));
  }
  EXPECT_GT(largest, 1e-4);
}

TEST(Trace, ACutHasTheGradientOfTheLevelInMedFusionNet) { expect_cut_gradient("medfusionnet"); }
TEST(Trace, ACutHasTheGradientOfTheLevelInDenseNet) { expect_cut_gradient("densenet"); }

TEST(Trace, NothingBeforeACutIsDifferentiated) {
  const Traced plain = tiny("densenet");
  Trace trace;
  trace.wanted = {"C5"};
  layers::Context context;
  context.trace = &trace;
  backward_of(plain.network->forward(plain.inputs, context), 0);
  const Tensor before = gradient_of(*plain.network, "features.conv0.weight");
  for (int64_t i = 0; i < before.numel(); ++i) EXPECT_EQ(before.at(i), 0.0);
  EXPECT_NE(gradient_of(*plain.network, "classifier.bias").at(0), 0.0);
}

TEST(Trace, AttentionAndGateAreDistributionsAndTheTokensCoverTheSequence) {
  const Traced plain = tiny();
  Trace trace;
  trace.attention = true;
  layers::Context context;
  context.trace = &trace;
  plain.network->forward(plain.inputs, context);
  int64_t next = 0;
  for (const Trace::Tokens& tokens : trace.tokens) {
    EXPECT_EQ(tokens.first, next);
    next += tokens.count;
    if (tokens.kind == Trace::Tokens::Kind::image) {
      EXPECT_EQ(tokens.height * tokens.width, tokens.count);
    }
  }
  ASSERT_EQ(trace.tokens.size(), 5U);  // labels, P4, P5, table, text
  EXPECT_EQ(next, 3 + 4 * 4 + 2 * 2 + 2 + 4);
  ASSERT_EQ(trace.probabilities.size(), 2U);
  EXPECT_EQ(trace.probabilities[0].shape(), core::Shape({2, next, next}));
  EXPECT_EQ(trace.probabilities[1].shape(), core::Shape({2, 3, next}));
  for (const Tensor& p : trace.probabilities) {
    for (int64_t row = 0; row < p.numel() / next; ++row) {
      double sum = 0.0;
      for (int64_t j = 0; j < next; ++j) sum += p.at(row * next + j);
      EXPECT_NEAR(sum, 1.0, 1e-12);
    }
  }
  // The padding of the first sample's text is not attended to.
  EXPECT_EQ(trace.probabilities[1].at(next - 1), 0.0);
  EXPECT_GT(trace.probabilities[1].at(next - 3), 0.0);
  EXPECT_EQ(trace.branches, (std::vector<std::string>{"attention", "dense", "pyramid"}));
  ASSERT_EQ(trace.gate.shape(), core::Shape({2, 3, 3}));
  for (int64_t row = 0; row < 6; ++row) {
    EXPECT_NEAR(trace.gate.at(3 * row) + trace.gate.at(3 * row + 1) + trace.gate.at(3 * row + 2), 1.0, 1e-12);
  }
}

}  // namespace
}  // namespace medfusion::models
