// Weights as a start: rows by name, and the names of other programs.
#include "optim/transfer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <regex>

namespace medfusion::optim {
namespace {

using core::Tensor;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using Networks = std::unique_ptr<models::Network>;

RowNames names(const std::vector<std::string>& labels, const std::vector<std::string>& features,
               const std::vector<std::string>& words) {
  return {.labels = labels, .features = features, .bins = {}, .words = words, .levels = {{"4", "5"}}};
}

// A tiny network of these names, every tensor filled from the seed.
Networks network_of(const RowNames& rows, uint64_t seed, models::ModelOptions::Branches branches = {}) {
  models::NetworkOptions options;
  options.size = "tiny";
  options.branches = branches;
  options.labels = static_cast<int64_t>(rows.labels->size());
  options.table_features = static_cast<int64_t>(rows.features->size());
  options.table_bins = rows.bins;
  options.vocabulary = static_cast<int64_t>(rows.words->size()) + 2;
  options.text_length = 4;
  auto network = models::make_network(options);
  network->initialize(seed);
  uint64_t number = seed;
  for (const auto& [name, tensor] : weights_of(*network)) {
    if (tensor.at(0) == tensor.at(tensor.numel() - 1))  // biases, gate: rows that can be told apart
      for (int64_t i = 0; i < tensor.numel(); ++i) tensor.data<float>()[i] = static_cast<float>(++number);
  }
  return network;
}

NamedTensors copies(const models::Network& network) {
  NamedTensors result;
  for (const auto& [name, tensor] : weights_of(network)) result[name] = tensor.clone();
  return result;
}

std::vector<double> row(const Tensor& tensor, int dimension, int64_t index) {
  const Tensor slice = tensor.slice(dimension, index, index + 1).clone();
  std::vector<double> result;
  for (int64_t i = 0; i < slice.numel(); ++i) result.push_back(slice.at(i));
  return result;
}

TEST(Transfer, LabelsGoToTheirNames) {
  const RowNames own = names({"A", "B", "C"}, {"age"}, {}), given = names({"B", "A", "D"}, {"age"}, {});
  const Networks network = network_of(own, 1), other = network_of(given, 2);
  const NamedTensors before = copies(*network), file = copies(*other);
  const TransferReport report = transfer_weights(*network, own, file, given, "file");
  const NamedTensors after = copies(*network);
  for (const char* name :
       {"label_queries", "attention_head.weight", "attention_head.bias", "dense_head.weight",
        "dense_head.bias", "pyramid_head.weight", "gate.weight", "gate.bias"}) {
    const int dimension = std::string(name).starts_with("gate") ? 1 : 0;
    EXPECT_EQ(row(after.at(name), dimension, 0), row(file.at(name), dimension, 1)) << name;
    EXPECT_EQ(row(after.at(name), dimension, 1), row(file.at(name), dimension, 0)) << name;
    EXPECT_EQ(row(after.at(name), dimension, 2), row(before.at(name), dimension, 2)) << name;
    EXPECT_NE(row(before.at(name), dimension, 2), row(file.at(name), dimension, 2)) << name;
  }
  EXPECT_THAT(report.anew, ElementsAre("label 'C'"));
  EXPECT_THAT(report.unused, ElementsAre("label 'D'"));
  EXPECT_THAT(report.notes, IsEmpty());
  EXPECT_EQ(report.tensors.loaded, report.tensors.all);
  EXPECT_EQ(report.backbone.loaded, report.backbone.all);
  EXPECT_LT(report.parameters.loaded, report.parameters.all);
}

TEST(Transfer, FeaturesBinsAndWordsGoToTheirNames) {
  RowNames own = names({"A"}, {"age", "sex", "view"}, {"mass", "clear"});
  own.bins = {2, 3, 2};
  RowNames given = names({"A"}, {"view", "age", "sex"}, {"clear", "old", "mass"});
  given.bins = {2, 2, 4};
  const Networks network = network_of(own, 1), other = network_of(given, 2);
  const NamedTensors before = copies(*network), file = copies(*other);
  const TransferReport report = transfer_weights(*network, own, file, given, "file");
  const NamedTensors after = copies(*network);
  for (const char* name : {"table_tokens.weight", "table_tokens.bias", "table_tokens.missing"}) {
    for (const auto& [to, from] : std::map<int64_t, int64_t>{{0, 1}, {1, 2}, {2, 0}})
      EXPECT_EQ(row(after.at(name), 0, to), row(file.at(name), 0, from)) << name;
  }
  // Rows of the file: missing, view 1 2, age 3 4, sex 5 to 8. sex has three bins here.
  const std::map<int64_t, int64_t> bins{{0, 0}, {1, 3}, {2, 4}, {6, 1}, {7, 2}};
  for (const auto& [to, from] : bins)
    EXPECT_EQ(row(after.at("table_tokens.bin"), 0, to), row(file.at("table_tokens.bin"), 0, from));
  EXPECT_EQ(row(after.at("table_tokens.bin"), 0, 3), row(before.at("table_tokens.bin"), 0, 3));
  const std::map<int64_t, int64_t> words{{0, 0}, {1, 1}, {2, 4}, {3, 2}};
  const char* const embedding = "text_tokens.embedding.weight";
  for (const auto& [to, from] : words)
    EXPECT_EQ(row(after.at(embedding), 0, to), row(file.at(embedding), 0, from));
  EXPECT_THAT(report.anew, ElementsAre("feature with its bins 'sex'"));
  EXPECT_THAT(report.unused, ElementsAre("word 'old'"));
}

TEST(Transfer, WithoutNamesThePlaceCountsAndIsToldAbout) {
  const RowNames own = names({"A", "B"}, {"age"}, {"mass"});
  const Networks network = network_of(own, 1), other = network_of(own, 2);
  const NamedTensors file = copies(*other);
  const TransferReport report = transfer_weights(*network, own, file, {}, "file");
  EXPECT_EQ(row(copies(*network).at("dense_head.weight"), 0, 1), row(file.at("dense_head.weight"), 0, 1));
  EXPECT_THAT(report.anew, IsEmpty());
  EXPECT_THAT(report.notes, Contains("file: names no labels: they were taken by their place"));
  EXPECT_THAT(report.notes, Contains("file: names no words: they were taken by their place"));
}

TEST(Transfer, AHeadThatDoesNotFitStartsAnewAndIsNamed) {
  const RowNames own = names({"A", "B"}, {"age"}, {"mass"});
  const Networks network = network_of(own, 1);
  const Networks other = network_of(names({"A", "B", "C"}, {"age"}, {"mass"}), 2);
  const NamedTensors before = copies(*network), file = copies(*other);
  const TransferReport report = transfer_weights(*network, own, file, {}, "file");
  EXPECT_EQ(row(copies(*network).at("dense_head.bias"), 0, 1), row(before.at("dense_head.bias"), 0, 1));
  EXPECT_THAT(report.anew, Contains("dense_head.bias ([2] here, [3] in the file)"));
  EXPECT_THAT(report.unused, Contains("dense_head.bias"));
  EXPECT_EQ(report.backbone.loaded, report.backbone.all);
}

TEST(Transfer, AGateKnowsItsBranches) {
  const RowNames own = names({"A"}, {"age"}, {});
  const Networks network = network_of(own, 1, {.dense = false});
  const Networks other = network_of(own, 2, {.pyramid = false});
  const NamedTensors before = copies(*network), file = copies(*other);
  const TransferReport report = transfer_weights(*network, own, file, own, "file");
  const Tensor gate = copies(*network).at("gate.bias");
  EXPECT_EQ(row(gate, 0, 0), row(file.at("gate.bias"), 0, 0));
  EXPECT_EQ(row(gate, 0, 1), row(before.at("gate.bias"), 0, 1));
  EXPECT_THAT(report.anew, Contains("branch 'pyramid'"));
  EXPECT_THAT(report.unused, Contains("branch 'dense'"));
}

TEST(OwnName, KnowsForeignSpellings) {
  const std::string own = "features.denseblock1.denselayer12.norm1.weight";
  for (const char* foreign : {"features.denseblock1.denselayer12.norm1.weight",
                              "module.features.denseblock1.denselayer12.norm1.weight",
                              "features.denseblock1.denselayer12.norm.1.weight",
                              "module.densenet121.features.denseblock1.denselayer12.norm.1.weight",
                              "features.denseblock1.denselayer12.layers.norm1.weight"})
    EXPECT_EQ(own_name(foreign), own);
  EXPECT_EQ(own_name("features.denseblock4.denselayer2.conv.2.weight"),
            "features.denseblock4.denselayer2.conv2.weight");
  EXPECT_EQ(own_name("class_layers.out.bias"), "classifier.bias");
  EXPECT_EQ(own_name("module.densenet121.classifier.0.weight"), "classifier.weight");
  for (const char* kept : {"features.transition1.norm.weight", "encoder.layers.0.norm1.weight",
                           "my_class_layers.out.bias", "classifier.weight"})
    EXPECT_EQ(own_name(kept), kept);
}

class ForeignDenseNet : public testing::Test {
 protected:
  ForeignDenseNet() {
    models::NetworkOptions options;
    options.name = "densenet";
    options.size = "tiny";
    options.labels = 2;
    for (Networks* each : {&network_, &other_}) *each = models::make_network(options);
    network_->initialize(1);
    other_->initialize(2);
  }
  // The other network's weights under names that `rename` makes, and what comes with them elsewhere.
  NamedTensors file(const std::function<std::string(const std::string&)>& rename) const {
    NamedTensors result;
    for (const auto& [name, tensor] : weights_of(*other_)) result[rename(name)] = tensor.clone();
    result[rename("features.norm0.num_batches_tracked")] = Tensor::zeros({1}, core::DType::i64);
    return result;
  }
  void expect_all_taken(const NamedTensors& tensors) {
    RowNames rows;
    rows.labels = {"A", "B"};
    const TransferReport report = transfer_weights(*network_, rows, tensors, {}, "file");
    EXPECT_EQ(report.parameters.loaded, network_->parameter_count());
    EXPECT_EQ(report.tensors.loaded, report.tensors.all);
    EXPECT_THAT(report.anew, IsEmpty());
    EXPECT_THAT(report.unused, IsEmpty());
    const NamedTensors own = weights_of(*network_);
    for (const auto& [name, tensor] : weights_of(*other_)) {
      for (int64_t i = 0; i < tensor.numel(); ++i) ASSERT_EQ(own.at(name).at(i), tensor.at(i)) << name;
    }
  }
  Networks network_, other_;
};

// A published ResNet, which has no prefix, and MedFusionNet over it, which has.
TEST(Transfer, ABackboneIsTakenWithAPrefixOrWithoutIt) {
  const auto make = [](const char* name, int64_t labels) {
    models::NetworkOptions options;
    options.name = name;
    options.backbone = "resnet18";
    options.image_channels = 3;
    options.size = "tiny";
    options.labels = labels;
    auto network = models::make_network(options);
    network->initialize(static_cast<uint64_t>(labels));
    return network;
  };
  const auto published = make("resnet18", 1000), plain = make("resnet18", 2), fused = make("medfusionnet", 3);
  const auto expect_backbone = [](layers::Module& to, layers::Module& from, const std::string& own,
                                  const std::string& other) {
    const TransferReport report = transfer_weights(to, {}, weights_of(from), {}, "file");
    EXPECT_EQ(report.backbone.loaded, 11176512);
    EXPECT_EQ(report.backbone.all, 11176512);
    const NamedTensors mine = weights_of(to), theirs = weights_of(from);
    const std::string name = "layer4.1.bn2.running_var", weight = "layer3.0.downsample.0.weight";
    EXPECT_EQ(mine.at(own + name).at(5), theirs.at(other + name).at(5));
    EXPECT_EQ(mine.at(own + weight).at(77), theirs.at(other + weight).at(77));
  };
  expect_backbone(*plain, *published, "", "");
  expect_backbone(*fused, *published, "features.", "");
  fused->initialize(9);
  expect_backbone(*plain, *fused, "", "features.");
}

TEST_F(ForeignDenseNet, TheSpellingOf2017IsTaken) {
  expect_all_taken(file([](const std::string& name) {
    return "module." + std::regex_replace(name, std::regex("(denselayer\\d+\\.\\D+)(\\d)"), "$1.$2");
  }));
}

TEST_F(ForeignDenseNet, TheSpellingOfMonaiIsTaken) {
  expect_all_taken(file([](const std::string& name) {
    const std::string inner = std::regex_replace(name, std::regex("(denselayer\\d+\\.)"), "$1layers.");
    return std::regex_replace(inner, std::regex("^classifier"), "class_layers.out");
  }));
}

TEST_F(ForeignDenseNet, ANameTwiceIsRefusedBeforeAnythingChanges) {
  NamedTensors tensors = file([](const std::string& name) { return name; });
  tensors["module.classifier.bias"] = Tensor::zeros({2});
  const NamedTensors before = copies(*network_);
  try {
    transfer_weights(*network_, {}, tensors, {}, "file");
    FAIL();
  } catch (const core::InputError& error) {
    EXPECT_THAT(error.what(), HasSubstr("file: tensors 'classifier.bias' and 'module.classifier.bias' are"));
  }
  EXPECT_EQ(row(copies(*network_).at("classifier.weight"), 0, 0), row(before.at("classifier.weight"), 0, 0));
}

TEST_F(ForeignDenseNet, AFileOfAnotherNetworkIsRefused) {
  EXPECT_THROW(transfer_weights(*network_, {}, {{"stem.weight", Tensor::zeros({3})}}, {}, "file"),
               core::InputError);
}

}  // namespace
}  // namespace medfusion::optim
