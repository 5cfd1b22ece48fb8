// Training a part of a network: what is frozen keeps its bits, with and without a graph.
#include "optim/freeze.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <numeric>
#include <set>

#include "core/random.h"
#include "core/runtime.h"
#include "kernels/simulator/device_type.h"
#include "optim/checkpoint.h"
#include "optim/loop.h"
#include "optim/step.h"
#include "tests/optim/noise.h"

namespace medfusion::optim {
namespace {

using core::Tensor;
using testing::HasSubstr;
using Names = std::vector<std::string>;

Tensor noise(const core::Shape& shape, uint64_t stream) {
  const Tensor result = Tensor::empty(shape);
  const core::Philox philox(7, stream);
  for (int64_t i = 0; i < result.numel(); ++i)
    result.data<float>()[i] = static_cast<float>(philox.normal(static_cast<uint64_t>(i)));
  return result;
}

core::Batch some_batch(uint64_t number) {
  core::Batch batch;
  batch.images = noise({3, 16, 16, 1}, 2 * number);
  batch.table.values = noise({3, 3}, 2 * number + 1);
  batch.table.missing = Tensor::zeros({3, 3}, core::DType::boolean);
  batch.text = Tensor::full({3, 4}, 2.0, core::DType::i64);
  batch.targets = Tensor::from<float>({3, 2}, {1, 0, 0, 1, 1, 1});
  for (int64_t i = 0; i < 3; ++i) batch.rows.push_back(i);
  return batch;
}

std::unique_ptr<models::Network> some_network(core::Device device = {},
                                              const std::string& name = "medfusionnet") {
  models::NetworkOptions options;
  options.name = name;
  options.size = "tiny";
  options.labels = 2;
  if (name == "medfusionnet") {
    options.table_features = 3;
    options.vocabulary = 7;
    options.text_length = 4;
  }
  options.device = device;
  auto network = models::make_network(options);
  network->initialize(11);
  return network;
}

using OnHost = std::map<std::string, Tensor>;
OnHost on_host(const std::map<std::string, Tensor>& tensors) {
  OnHost result;
  for (const auto& [name, tensor] : tensors) result[name] = tensor.to(core::Device{}).clone();
  return result;
}

bool same_bits(const Tensor& a, const Tensor& b) {
  return a.bytes() == b.bytes() &&
         std::memcmp(a.view().data, b.view().data, static_cast<size_t>(a.bytes())) == 0;
}

struct Trained {
  OnHost before, after, average;
  std::set<std::string> frozen;  // parameters
  int64_t replays = 0;
};

Trained train_frozen(core::Device device, bool graph, const Names& names) {
  const auto network = some_network(device);
  freeze(*network, names, "train.freeze");
  Trained result;
  for (const auto& [name, parameter] : network->parameters()) {
    if (!parameter.requires_grad()) result.frozen.insert(name);
  }
  AdamW optimizer(trained_parameters(*network), {.weight_decay = 0.1});
  WeightAverage average(*network, 0.9);
  TrainingStep step(*network, optimizer, &average, {.loss = {}, .seed = 5, .graph = graph});
  result.before = on_host(weights_of(*network));
  for (int64_t s = 0; s < 3; ++s) {
    step.stage(some_batch(static_cast<uint64_t>(s)), s);
    step.start(1e-2);
    EXPECT_TRUE(std::isfinite(step.finish().loss));
  }
  result.after = on_host(weights_of(*network));
  result.average = on_host(average.tensors());
  result.replays = step.replays();
  return result;
}

// Whether a running statistic stays: where weight and bias of its batch norm are frozen.
bool stays(const std::string& buffer, const std::set<std::string>& frozen) {
  const std::string norm = buffer.substr(0, buffer.rfind('.') + 1);
  return frozen.contains(norm + "weight") && frozen.contains(norm + "bias");
}

class Frozen : public testing::TestWithParam<Names> {};
INSTANTIATE_TEST_SUITE_P(Parts, Frozen,
                         testing::Values(Names{"features"},
                                         Names{"encoder", "table_tokens", "text_tokens.embedding"},
                                         Names{"features.denseblock2", "features.denseblock3.denselayer1",
                                               "features.denseblock4.denselayer2.norm1", "label_queries"},
                                         Names{"features.conv0", "features.norm0.weight", "pyramid", "gate",
                                               "image_tokens", "attention_head"}));

TEST_P(Frozen, KeepsItsBitsAndTheRestTrains) {
  for (const bool graph : {false, true}) {
    for (const core::Device device : {core::Device{}, core::Device{simulator::kDeviceType, 0}}) {
      const Trained run = train_frozen(device, graph, GetParam());
      EXPECT_EQ(run.replays > 0, graph && device.type != core::DeviceType::cpu);
      EXPECT_FALSE(run.frozen.empty());
      for (const auto& [name, tensor] : run.after) {
        const bool statistic = name.find(".running_") != std::string::npos;
        const bool kept = statistic ? stays(name, run.frozen) : run.frozen.contains(name);
        const bool same = same_bits(tensor, run.before.at(name));
        if (kept) {
          EXPECT_TRUE(same) << name;
          EXPECT_TRUE(same_bits(run.average.at(name), tensor)) << "average of " << name;
        } else if (statistic || tensor.rank() > 1) {  // weight decay moves whatever has no gradient
          EXPECT_FALSE(same) << name;
        }
      }
    }
  }
}

TEST_P(Frozen, ACapturedStepGivesTheBitsOfTheOthers) {
  const core::Device device{simulator::kDeviceType, 0};
  const Trained plain = train_frozen(device, false, GetParam()),
                captured = train_frozen(device, true, GetParam());
  for (const auto& [name, tensor] : plain.after)
    EXPECT_TRUE(same_bits(tensor, captured.after.at(name))) << name;
}

TEST(Freeze, AFrozenBackboneComputesInTrainingWhatItPredicts) {
  const auto network = some_network({}, "densenet");
  for (const auto& [name, buffer] : network->buffers())
    buffer.fill(name.ends_with("running_var") ? 1.5 : 0.25);
  layers::Context training{.training = true}, evaluation;
  const Tensor before = network->forward(some_batch(1), evaluation).value().clone();
  freeze(*network, {"features"}, "train.freeze");
  EXPECT_TRUE(same_bits(network->forward(some_batch(1), training).value(), before));
  EXPECT_TRUE(same_bits(network->forward(some_batch(1), evaluation).value(), before));
}

TEST(Freeze, AHalfFrozenDenseLayerPredictsTheSame) {
  const auto network = some_network({}, "densenet");
  layers::Context evaluation;
  const Tensor before = network->forward(some_batch(1), evaluation).value().clone();
  freeze(*network, {"features.denseblock2.denselayer1.norm1"}, "train.freeze");
  const Tensor after = network->forward(some_batch(1), evaluation).value();
  for (int64_t i = 0; i < before.numel(); ++i) EXPECT_NEAR(after.at(i), before.at(i), 1e-5);
}

TEST(Freeze, FreezesWholeNamesOnly) {
  const auto network = some_network();
  const size_t all = network->parameters().size();
  EXPECT_EQ(trained_parameters(*network).size(), all);
  freeze(*network, {"gate.bias", "features.norm5"}, "train.freeze");
  EXPECT_EQ(trained_parameters(*network).size(), all - 3);
  freeze(*network, {"gate"}, "train.freeze");  // again, and more
  EXPECT_EQ(trained_parameters(*network).size(), all - 4);
}

TEST(Freeze, RefusesWhatIsNotThere) {
  const auto network = some_network();
  const auto error = [&](const Names& names) -> std::string {
    try {
      freeze(*network, names, "train.freeze");
    } catch (const core::InputError& e) {
      return e.what();
    }
    return "";
  };
  EXPECT_THAT(error({"gate", "feature"}), HasSubstr("train.freeze: no parameter of the network is or lies in "
                                                    "'feature'; did you mean 'features'?"));
  EXPECT_THAT(error({"features.denseblock1.denselayer"}), HasSubstr("did you mean"));
  EXPECT_THAT(error({""}), HasSubstr("lies in ''"));
  Names everything;
  for (const auto& [name, parameter] : network->parameters()) everything.push_back(name);
  EXPECT_THAT(error(everything), HasSubstr("nothing is left to train"));
  EXPECT_EQ(trained_parameters(*network).size(), everything.size()) << "nothing changed";
}

// What training makes of a tiny network: the weights before, and after.
std::pair<NamedTensors, NamedTensors> trained(const TrainOptions& options, int64_t batch_size) {
  const data::Dataset dataset = noise_with_unknown_targets(12, 32);
  data::LoaderOptions loading;
  loading.format = {32, 1, data::Normalization::fixed, {0.5F}, {0.25F}};
  loading.batch_size = batch_size;
  std::vector<int64_t> rows(12);
  std::iota(rows.begin(), rows.end(), 0);
  data::Loader training(dataset, rows, noise_table(12), loading);
  models::NetworkOptions network_options;
  network_options.size = "tiny";
  network_options.labels = 2;
  network_options.table_features = 3;
  const auto network = models::make_network(network_options);
  network->initialize(11);
  std::pair<NamedTensors, NamedTensors> result;
  for (const auto& [name, parameter] : network->parameters()) result.first[name] = parameter.value().clone();
  train(*network, training, dataset.targets, nullptr, dataset.labels, options, {});
  for (const auto& [name, parameter] : network->parameters()) result.second[name] = parameter.value();
  return result;
}

// The weights that differ from those of the beginning after `epochs` of training, one of which leaves the
// backbone as it is.
std::set<std::string> changed_after(int64_t epochs) {
  TrainOptions options;
  options.epochs = epochs;
  options.freeze_epochs = 1;
  options.backbone_rate = 0.5;
  const auto [before, after] = trained(options, 4);
  std::set<std::string> changed;
  for (const auto& [name, tensor] : after) {
    if (!same_bits(before.at(name), tensor)) changed.insert(name);
  }
  return changed;
}

TEST(FreezeEpochs, TheBackboneIsWhatPublishedWeightsHave) {
  const std::set<std::string> plain{"conv1.weight", "fc.weight", "fc.bias", "table_fusion.scale.weight"};
  EXPECT_EQ(backbone_names(plain), (std::set<std::string>{"conv1.weight"}));
  const std::set<std::string> fused{"features.cls_token", "features.simple_pyramid.up3.weight",
                                    "gate.weight"};
  EXPECT_EQ(backbone_names(fused), (std::set<std::string>{"features.cls_token"}));
  EXPECT_TRUE(backbone_names({"encoder.norm.weight", "gate.weight"}).empty());
}

TEST(FreezeEpochs, TheBackboneWaitsForTheRest) {
  const std::set<std::string> first = changed_after(1), second = changed_after(2);
  const auto of_backbone = [](const std::string& name) { return name.starts_with("features."); };
  EXPECT_EQ(std::ranges::count_if(first, of_backbone), 0);
  EXPECT_TRUE(first.contains("dense_head.weight"));
  EXPECT_TRUE(second.contains("features.conv0.weight"));
}

TEST(LayerDecay, BlocksAreInTheOrderOfTheNetwork) {
  models::NetworkOptions options;
  options.size = "tiny";
  for (const auto& [name, blocks] : std::map<std::string, size_t>{{"densenet", 5},
                                                                  {"resnet18", 5},
                                                                  {"efficientnet_lite0", 8},
                                                                  {"convnext_tiny", 5},
                                                                  {"vit_small", 13}}) {
    options.name = name;
    const auto network = models::make_network(options);
    const auto sets = backbone_blocks(network->parameters());
    EXPECT_EQ(sets.size(), blocks) << name;
    size_t all = 0;
    for (const auto& set : sets) all += set.size();
    EXPECT_EQ(all + 2, network->parameters().size()) << name << ": all but the last layer";
  }
  options.name = "densenet";
  const auto blocks = backbone_blocks(models::make_network(options)->parameters());
  EXPECT_TRUE(blocks[0].contains("features.conv0.weight"));
  EXPECT_TRUE(blocks[1].contains("features.transition1.conv.weight"));
  EXPECT_TRUE(blocks[4].contains("features.norm5.weight"));
}

// The first step of plain descent moves each block by its rate times the gradient.
TEST(LayerDecay, EachBlockHasItsRate) {
  TrainOptions options;
  options.epochs = 1;
  options.optimizer = OptimizerKind::sgd;
  options.sgd.momentum = 0.0;
  options.weight_decay = options.warmup_epochs = 0.0;
  options.learning_rate = 1.0;  // so that no step is lost in rounding
  options.schedule = ScheduleKind::constant;
  const auto [before, full] = trained(options, 12);
  options.backbone_rate = 0.5;
  options.layer_decay = 0.25;
  const NamedTensors decayed = trained(options, 12).second;
  const std::map<std::string, double> rates{{"features.norm5.weight", 0.5},
                                            {"features.denseblock4.denselayer1.conv1.weight", 0.5},
                                            {"features.transition3.conv.weight", 0.5 / 4},
                                            {"features.conv0.weight", 0.5 / 256},
                                            {"dense_head.weight", 1.0}};
  const auto distance = [&start = before](const NamedTensors& to, const std::string& name) {
    double sum = 0.0;
    for (int64_t i = 0; i < start.at(name).numel(); ++i)
      sum += std::abs(to.at(name).at(i) - start.at(name).at(i));
    return sum;
  };
  for (const auto& [name, rate] : rates) {
    EXPECT_GT(distance(full, name), 0.0) << name;
    EXPECT_NEAR(distance(decayed, name) / distance(full, name), rate, 0.02 * rate) << name;
  }
}

}  // namespace
}  // namespace medfusion::optim
