// A tiny MedFusionNet against the independent PyTorch version: every switch, and three AdamW steps.
#include "models/medfusionnet/network.h"

#include <gtest/gtest.h>

#include <functional>
#include <map>

#include "layers/functional/loss.h"
#include "optim/optimizer.h"
#include "tests/layers/fixture.h"
#include "tests/models/filler.h"

namespace medfusion::models {
namespace {

using core::DType;
using core::Tensor;
using core::Variable;

NetworkOptions tiny(DType dtype) {
  NetworkOptions options;
  options.size = "tiny";
  options.labels = 5;
  options.table_features = 6;
  options.vocabulary = 20;
  options.text_length = 8;
  options.dtype = dtype;
  options.dropout = options.modality_dropout = 0.0;
  return options;
}

core::Batch inputs_of(const layers::Fixture& fixture, DType dtype) {
  core::Batch inputs;
  inputs.images = fixture.get("input.image").to(dtype);
  inputs.image_present = fixture.get("input.image_present");
  inputs.table.values = fixture.get("input.table").to(dtype).clone();
  inputs.table.missing = Tensor::zeros(inputs.table.values.shape(), DType::boolean);
  for (int64_t i = 0; i < inputs.table.values.numel(); ++i) {
    inputs.table.missing.data<bool>()[i] = std::isnan(inputs.table.values.at(i));
  }
  inputs.table_present = fixture.get("input.table_present");
  inputs.text = fixture.get("input.text");
  inputs.other_images = fixture.get("input.other").to(dtype);
  inputs.other_present = fixture.get("input.other_present");
  return inputs;
}

using Change = std::function<void(NetworkOptions&)>;

std::map<std::string, Change> variants(const layers::Fixture& fixture) {
  const auto no_image = [](NetworkOptions& o) {
    o.modalities.image = o.branches.dense = o.branches.pyramid = false;
  };
  return {
      {"full", [](NetworkOptions&) {}},
      {"no_attention", [](NetworkOptions& o) { o.branches.attention = false; }},
      {"no_pyramid", [](NetworkOptions& o) { o.branches.pyramid = false; }},
      {"no_dense", [](NetworkOptions& o) { o.branches.dense = false; }},
      {"only_attention", [](NetworkOptions& o) { o.branches.dense = o.branches.pyramid = false; }},
      {"only_dense", [](NetworkOptions& o) { o.branches.attention = o.branches.pyramid = false; }},
      {"only_pyramid", [](NetworkOptions& o) { o.branches.attention = o.branches.dense = false; }},
      {"no_table", [](NetworkOptions& o) { o.table_features = 0; }},
      {"no_text", [](NetworkOptions& o) { o.vocabulary = 0; }},
      {"image_only", [](NetworkOptions& o) { o.table_features = o.vocabulary = 0; }},
      {"table_only",
       [=](NetworkOptions& o) {
         no_image(o);
         o.vocabulary = 0;
       }},
      {"table_and_text", no_image},
      {"bilinear", [](NetworkOptions& o) { o.upsample = Upsampling::bilinear; }},
      {"align_corners", [](NetworkOptions& o) { o.upsample = Upsampling::bilinear, o.align_corners = true; }},
      {"three_levels",
       [](NetworkOptions& o) {
         o.token_levels = {3, 4, 5};
         o.layers = 2;
       }},
      {"table_head", [](NetworkOptions& o) { o.branches.table = true; }},
      {"two_images", [](NetworkOptions& o) { o.other_images = true; }},
      {"text_mean", [](NetworkOptions& o) { o.text_tokens = TextForm::mean; }},
      {"selection", [&](NetworkOptions& o) { o.selection = fixture.get("input.selection"); }},
  };
}

void compare_variants(DType dtype, double tolerance) {
  const layers::Fixture fixture("medfusionnet_tiny");
  const auto changes = variants(fixture);
  int compared = 0;
  for (const auto& [key, expected] : fixture.tensors()) {
    if (!key.starts_with("variant.")) continue;
    const std::string name = key.substr(8, key.size() - 8 - std::string(".logits").size());
    ASSERT_TRUE(changes.contains(name)) << "no such variant here: " << name;
    NetworkOptions options = tiny(dtype);
    changes.at(name)(options);
    const auto network = make_network(options);
    fill_module(*network);
    layers::Context context;
    layers::expect_close(network->forward(inputs_of(fixture, dtype), context).value(), expected, tolerance,
                         name);
    ++compared;
  }
  EXPECT_EQ(compared, static_cast<int>(changes.size()));
}

TEST(MedFusionNet, EverySwitchMatchesPyTorchInDouble) { compare_variants(DType::f64, 1e-6); }
TEST(MedFusionNet, EverySwitchMatchesPyTorchInFloat) { compare_variants(DType::f32, 5e-6); }

void compare_steps(DType dtype, double tolerance, double gradient_tolerance) {
  const layers::Fixture fixture("medfusionnet_tiny");
  const auto network = make_network(tiny(dtype));
  fill_module(*network);
  optim::AdamW optimizer(network->parameters(),
                         {.eps = 1e-5, .weight_decay = 0.01, .decay_matrices_only = false});
  layers::LossOptions loss_options;
  loss_options.positive_weight = fixture.get("input.pos_weight").to(dtype);
  const core::Batch inputs = inputs_of(fixture, dtype);
  for (int step = 1; step <= 3; ++step) {
    layers::Context context{.training = true};
    optimizer.zero_grad();
    const Variable logits = network->forward(inputs, context);
    const Variable loss =
        layers::multilabel_loss(logits, fixture.get("input.target").to(dtype), loss_options);
    const std::string prefix = "step" + std::to_string(step);
    layers::expect_close(logits.value(), fixture.get(prefix + ".logits"), tolerance, prefix + ".logits");
    layers::expect_close(loss.value(), fixture.get(prefix + ".loss"), tolerance, prefix + ".loss");
    loss.backward();
    if (step == 1) {
      for (const auto& [name, parameter] : network->parameters()) {
        const Tensor& expected = fixture.get("grad1." + name);
        const Tensor actual = summary(name, parameter.gradient());
        // A gradient that is zero but for rounding (the bias of the keys) has no direction to compare.
        const double scale = std::max(expected.at(0), 1e-4);
        EXPECT_LE(std::abs(actual.at(0) - expected.at(0)) / scale, gradient_tolerance)
            << "norm of grad1." << name;
        EXPECT_LE(std::abs(actual.at(1) - expected.at(1)) / scale, gradient_tolerance)
            << "probe of grad1." << name;
      }
    }
    optimizer.step(1e-3, 1.0);
  }
  size_t compared = 0;
  const auto check = [&](const std::string& name, const Tensor& tensor) {
    layers::expect_close(tensor, fixture.get("final." + name), tolerance, "final." + name);
    ++compared;
  };
  for (const auto& [name, parameter] : network->parameters()) check(name, parameter.value());
  for (const auto& [name, buffer] : network->buffers()) check(name, buffer);
  const auto finals = std::count_if(fixture.tensors().begin(), fixture.tensors().end(),
                                    [](const auto& entry) { return entry.first.starts_with("final."); });
  EXPECT_EQ(compared, static_cast<size_t>(finals));
}

TEST(MedFusionNet, ThreeAdamWStepsMatchPyTorchInDouble) { compare_steps(DType::f64, 1e-6, 1e-6); }
TEST(MedFusionNet, ThreeAdamWStepsMatchPyTorchInFloat) { compare_steps(DType::f32, 5e-5, 1e-3); }

Tensor parameter_of(Network& network, const std::string& name) {
  for (const auto& [each, parameter] : network.parameters()) {
    if (each == name) return parameter.value();
  }
  throw core::Error("no parameter " + name);
}

// A bin adds its embedding to the token; a missing value has the bin of missing ones.
TEST(MedFusionNet, TokensCarryTheirBins) {
  const layers::Fixture fixture("medfusionnet_tiny");
  core::Batch inputs = inputs_of(fixture, DType::f64);
  const int64_t batch = inputs.table.values.size(0);
  const auto logits = [&](Network& network) {
    layers::Context context;
    return network.forward(inputs, context).value();
  };
  const auto plain = make_network(tiny(DType::f64));
  fill_module(*plain);
  NetworkOptions options = tiny(DType::f64);
  options.table_bins = {3, 1, 1, 1, 1, 2};
  const auto binned = make_network(options);
  fill_module(*binned);
  const Tensor embedding = parameter_of(*binned, "table_tokens.bin");
  ASSERT_EQ(embedding.shape(), (core::Shape{10, 32}));
  // With zero embeddings nothing changes.
  inputs.table.bins = Tensor::zeros({batch, 6}, DType::i64);
  embedding.fill(0.0);
  layers::expect_close(logits(*binned), logits(*plain), 1e-12, "zero bins");
  // Adding e to the rows of feature 0's last bin is adding e to its bias, where its value is known.
  for (int64_t b = 0; b < batch; ++b) inputs.table.bins.data<int64_t>()[b * 6] = 2;
  for (int64_t b = 0; b < batch; ++b) inputs.table.missing.data<bool>()[b * 6] = false;
  for (int64_t b = 0; b < batch; ++b) {
    if (std::isnan(inputs.table.values.at(b * 6))) inputs.table.values.data<double>()[b * 6] = 0.5;
  }
  const Tensor before = logits(*plain);
  const Tensor bias = parameter_of(*plain, "table_tokens.bias");
  for (int64_t i = 0; i < 32; ++i) {
    const double e = 0.1 * static_cast<double>(i - 10);
    embedding.data<double>()[3 * 32 + i] = e;
    bias.data<double>()[i] += e;
  }
  layers::expect_close(logits(*binned), logits(*plain), 1e-12, "the last bin of feature 0");
  double change = 0.0;
  for (int64_t i = 0; i < before.numel(); ++i) change += std::abs(before.at(i) - logits(*plain).at(i));
  EXPECT_GT(change, 1e-3);
  // Missing values take row 0 whatever their bin.
  for (int64_t b = 0; b < batch; ++b) inputs.table.missing.data<bool>()[b * 6] = true;
  const Tensor missing = logits(*binned);
  for (int64_t b = 0; b < batch; ++b) inputs.table.bins.data<int64_t>()[b * 6] = 0;
  layers::expect_close(logits(*binned), missing, 0.0, "missing");
  embedding.data<double>()[5] += 1.0;
  EXPECT_NE(logits(*binned).at(0), missing.at(0));
  inputs.table.bins.data<int64_t>()[5] = 2;
  inputs.table.missing.data<bool>()[5] = false;
  EXPECT_THROW(logits(*binned), core::Error);
}

// What the linear model adds: weight x [values | missing | cuts passed], of what a label may read; nothing
// for a sample without a table.
TEST(MedFusionNet, TheLinearModelReadsBinsAndKeepsToTheSelection) {
  const layers::Fixture fixture("medfusionnet_tiny");
  core::Batch inputs = inputs_of(fixture, DType::f64);
  const int64_t batch = inputs.table.values.size(0);
  inputs.table.bins = Tensor::zeros({batch, 6}, DType::i64);
  for (int64_t b = 0; b < batch; ++b) inputs.table.bins.data<int64_t>()[b * 6] = b % 3;
  NetworkOptions options = tiny(DType::f64);
  options.table_bins = {3, 1, 1, 1, 1, 2};
  options.selection = fixture.get("input.selection");
  const auto logits = [&](bool linear) {
    options.branches.table = linear;
    const auto network = make_network(options);
    fill_module(*network);
    layers::Context context;
    const Tensor result = network->forward(inputs, context).value();
    return std::pair{result, linear ? network->table_head()->weight.value() : Tensor()};
  };
  const auto [with, weight] = logits(true);
  const Tensor without = logits(false).first;
  ASSERT_EQ(weight.shape(), (core::Shape{5, 12 + 3}));
  const int64_t first_cut[] = {12, 14, 14, 14, 14, 14};
  Tensor expected = Tensor::zeros({batch, 5}, DType::f64);
  for (int64_t b = 0; b < batch; ++b) {
    for (int64_t l = 0; l < 5; ++l) {
      double sum = without.at(b * 5 + l);
      for (int64_t j = 0; j < 6; ++j) {
        if (!inputs.table_present.data<bool>()[b] || options.selection.at(l * 6 + j) == 0.0) continue;
        const double value = inputs.table.values.at(b * 6 + j);
        const auto w = [&](int64_t input) { return weight.at(l * 15 + input); };
        sum += std::isnan(value) ? w(6 + j) : value * w(j);
        for (int64_t cut = 0; !std::isnan(value) && cut < inputs.table.bins.data<int64_t>()[b * 6 + j]; ++cut)
          sum += w(first_cut[j] + cut);
      }
      expected.data<double>()[b * 5 + l] = sum;
    }
  }
  layers::expect_close(with, expected, 1e-12, "the linear model's part");
}

// A sample whose second image is absent is as one of a batch without second images.
TEST(MedFusionNet, AnAbsentSecondImageChangesNothing) {
  const layers::Fixture fixture("medfusionnet_tiny");
  core::Batch inputs = inputs_of(fixture, DType::f64);
  NetworkOptions options = tiny(DType::f64);
  options.other_images = true;
  const auto network = make_network(options);
  fill_module(*network);
  const auto logits = [&] {
    layers::Context context;
    return network->forward(inputs, context).value();
  };
  const Tensor two = logits();
  inputs.other_present = Tensor::zeros({4}, DType::boolean);
  const Tensor absent = logits();
  inputs.other_images = inputs.other_present = Tensor();
  layers::expect_close(absent, logits(), 1e-12, "absent second images");
  for (const int64_t sample : {0, 3}) EXPECT_GT(std::abs(two.at(sample * 5) - absent.at(sample * 5)), 1e-4);
  for (const int64_t sample : {1, 2})  // without a first image, and without a second one
    EXPECT_NEAR(two.at(sample * 5), absent.at(sample * 5), 1e-12);
}

TEST(MedFusionNet, OptionsThatDoNotFitAreRefused) {
  const auto refused = [](const Change& change) {
    NetworkOptions options = tiny(DType::f32);
    change(options);
    EXPECT_THROW(make_network(options), core::InputError);
  };
  refused([](NetworkOptions& o) { o.modalities.image = false; });
  refused([](NetworkOptions& o) { o.branches.dense = o.branches.pyramid = o.branches.attention = false; });
  refused([](NetworkOptions& o) { o.token_levels = {6}; });
  refused([](NetworkOptions& o) { o.branches.table = true, o.modalities.table = false; });
  refused([](NetworkOptions& o) { o.other_images = true, o.branches.attention = false; });
  refused([](NetworkOptions& o) { o.dim = 30; });
  refused([](NetworkOptions& o) { o.name = "resnet"; });
  refused([](NetworkOptions& o) { o.table_bins = {2, 2}; });
  refused([](NetworkOptions& o) { o.table_bins = {2, 2, 2, 0, 2, 2}; });
}

TEST(MedFusionNet, ModalityDropoutNeverHidesEverything) {
  NetworkOptions options = tiny(DType::f32);
  options.modality_dropout = 0.9;
  const auto network = make_network(options);
  network->initialize(1);
  const layers::Fixture fixture("medfusionnet_tiny");
  for (uint64_t stream = 0; stream < 20; ++stream) {
    layers::Context context{true, 7, stream << 20};
    const Tensor logits = network->forward(inputs_of(fixture, DType::f32), context).value();
    for (int64_t i = 0; i < logits.numel(); ++i) EXPECT_TRUE(std::isfinite(logits.at(i)));
  }
}

}  // namespace
}  // namespace medfusion::models
