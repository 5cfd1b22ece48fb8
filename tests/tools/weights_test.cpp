// What a checkpoint says of itself, and starting from one.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "core/safetensors.h"
#include "tests/tools/end_to_end.h"

namespace medfusion::tools {
namespace {

namespace fs = std::filesystem;
using core::Tensor;
using testing::HasSubstr;
using testing::Not;

class Weights : public testing::Test {
 protected:
  Weights() { make_phantom(folder_); }

  // A run of the tiny network on phantom images.
  fs::path train(const std::string& name, const std::vector<std::string>& more = {}) const {
    succeed(train_command(folder_ / "tiny.toml", folder_ / name, more));
    return folder_ / name;
  }
  Outcome init(const std::string& name, const fs::path& file, std::vector<std::string> more = {}) const {
    std::vector<std::string> arguments{"train",  (folder_ / "tiny.toml").string(),
                                       "--out",  (folder_ / name).string(),
                                       "--init", file.string()};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_medfusion(arguments);
  }
  TemporaryFolder folder_;
};

std::map<std::string, Tensor> tensors_of(const fs::path& run) {
  return core::load_safetensors((run / "last.safetensors").string());
}

std::map<std::string, std::string> metadata_of(const fs::path& file) {
  std::map<std::string, std::string> metadata;
  core::load_safetensors(file.string(), &metadata);
  return metadata;
}

bool same(const Tensor& a, const Tensor& b) {
  if (!(a.shape() == b.shape())) return false;
  for (int64_t i = 0; i < a.numel(); ++i) {
    if (a.at(i) != b.at(i)) return false;
  }
  return true;
}

TEST_F(Weights, ACheckpointSaysWhatItsRowsAre) {
  const fs::path run = train("run", {"--set", "data.labels=Nodule,Mass"});
  const auto preprocessing = nlohmann::json::parse(contents(run / "preprocessing.json"));
  for (const char* file : {"best.safetensors", "last.safetensors"}) {
    const auto metadata = metadata_of(run / file);
    EXPECT_EQ(metadata.at("labels"), R"(["Nodule","Mass"])");
    EXPECT_EQ(metadata.at("model"), R"({"name":"medfusionnet","size":"tiny","token_levels":[4,5]})");
    EXPECT_EQ(metadata.at("input"),
              R"({"size":32,"channels":1,"normalize":"fixed","mean":[0.5],"std":[0.25]})");
    EXPECT_EQ(metadata.at("vocabulary"), preprocessing.at("text").at("words").dump());
    const auto table = nlohmann::json::parse(metadata.at("table"));
    EXPECT_EQ(static_cast<int64_t>(table.size()), tensors_of(run).at("table_tokens.weight").size(0));
    EXPECT_EQ(table[0].at("kind"), "number");
    EXPECT_EQ(metadata.at("epoch"), "1");
    EXPECT_FALSE(metadata.at("medfusion").empty());
  }
  EXPECT_EQ(contents(run / "last.safetensors"),
            contents(train("again", {"--set", "data.labels=Nodule,Mass"}) / "last.safetensors"));
}

TEST_F(Weights, LabelsInAnotherOrderKeepTheirWeights) {
  const fs::path first = train("first", {"--set", "data.labels=Nodule,Mass"});
  const fs::path second = train("second", {"--set", "data.labels=Mass,Nodule", "--set", "train.epochs=0",
                                           "--init", (first / "last.safetensors").string()});
  const auto before = tensors_of(first), after = tensors_of(second);
  for (const char* name :
       {"dense_head.weight", "attention_head.bias", "label_queries", "pyramid_head.bias"}) {
    EXPECT_TRUE(same(after.at(name).slice(0, 0, 1), before.at(name).slice(0, 1, 2))) << name;
    EXPECT_TRUE(same(after.at(name).slice(0, 1, 2), before.at(name).slice(0, 0, 1))) << name;
  }
  EXPECT_TRUE(same(after.at("gate.weight").slice(1, 0, 1), before.at("gate.weight").slice(1, 1, 2)));
  EXPECT_FALSE(
      same(after.at("dense_head.weight").slice(0, 0, 1), before.at("dense_head.weight").slice(0, 0, 1)));
}

TEST_F(Weights, WhatStartsAnewIsSaid) {
  const fs::path first = train("first", {"--set", "data.labels=Nodule,Mass"});
  const std::string file = (first / "last.safetensors").string();
  const Outcome outcome =
      init("second", file, {"--set", "data.labels=Mass,Effusion", "--set", "data.channels=3"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("init: " + file + ": loaded "));
  EXPECT_THAT(outcome.err, HasSubstr("init: 2 start anew: features.conv0.weight ([16, 3, 3, 3] here, "
                                     "[16, 1, 3, 3] in the file), label 'Effusion'\n"));
  EXPECT_THAT(outcome.err,
              HasSubstr("init: 2 of the file are not used: features.conv0.weight, label 'Nodule'\n"));
  EXPECT_THAT(outcome.err, HasSubstr("was trained on images as {\"size\":32,\"channels\":1"));
  EXPECT_THAT(contents(folder_ / "second" / "train.log"), HasSubstr("label 'Effusion'"));
}

TEST_F(Weights, TooLittleIsRefused) {
  const fs::path first = train("first");
  auto tensors = tensors_of(first);
  std::erase_if(tensors, [](const auto& tensor) { return tensor.first.starts_with("features.denseblock"); });
  const fs::path file = folder_ / "part.safetensors";
  core::save_safetensors(file.string(), tensors);
  const Outcome refused = init("second", file);
  EXPECT_EQ(refused.code, 2);
  EXPECT_THAT(refused.err, HasSubstr(file.string() + ": gives "));
  EXPECT_THAT(refused.err, HasSubstr("expected at least 50 %"));
  EXPECT_THAT(lines_of(refused.err).back(),
              testing::StartsWith("medfusion: "));  // behind the short form of data
  EXPECT_FALSE(fs::exists(folder_ / "second"));
  const Outcome taken = init("second", file, {"--init-partial"});
  EXPECT_EQ(taken.code, 0) << taken.err;
  EXPECT_THAT(taken.err, HasSubstr("names no labels: they were taken by their place"));
  EXPECT_THAT(run_medfusion({"train", "--help"}).out, HasSubstr("50 %"));
}

TEST_F(Weights, WithoutTrainingNothingMayStartAnew) {
  const fs::path first = train("first", {"--set", "data.labels=Nodule,Mass"});
  const std::vector<std::string> more{"--set", "data.labels=Mass,Effusion", "--set", "train.epochs=0"};
  const Outcome refused = init("second", first / "last.safetensors", more);
  EXPECT_EQ(refused.code, 2);
  EXPECT_THAT(refused.err,
              HasSubstr("train.epochs = 0 trains none; the first of 1 that start anew is label 'Effusion'"));
}

// Runs from before checkpoints had metadata.
TEST_F(Weights, ACheckpointWithoutMetadataIsEvaluated) {
  const fs::path run = train("run");
  succeed({"eval", run.string(), "--quiet"});
  const std::string before = contents(run / "predictions.csv");
  for (const char* name : {"best.safetensors", "last.safetensors"}) {
    const std::string file = (run / name).string();
    core::save_safetensors(file, core::load_safetensors(file), {{"medfusion", "0.1.0"}, {"epoch", "1"}});
  }
  succeed({"eval", run.string(), "--quiet"});
  EXPECT_EQ(contents(run / "predictions.csv"), before);
}

// MONAI's spelling, from a parallel training: the backbone is taken, the head has no place here.
TEST_F(Weights, ForeignNamesAreTaken) {
  std::map<std::string, Tensor> foreign;
  const auto own = tensors_of(train("first"));
  for (const auto& [name, tensor] : own) {
    if (!name.starts_with("features.")) continue;
    const size_t layer = name.find("denselayer");
    std::string spelled = "module." + name;
    if (layer != std::string::npos) spelled.insert(name.find('.', layer) + 8, "layers.");
    foreign[spelled] = tensor;
  }
  foreign["module.class_layers.out.weight"] = Tensor::zeros({3, 4});
  foreign["module.features.norm0.num_batches_tracked"] = Tensor::zeros({1}, core::DType::i64);
  const fs::path file = folder_ / "foreign.safetensors";
  core::save_safetensors(file.string(), foreign, {{"format", "pt"}, {"labels", "none of ours"}});
  const Outcome outcome = init("second", file, {"--set", "train.freeze=features"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("100.0 % of the backbone's"));
  EXPECT_THAT(outcome.err, HasSubstr("init: 1 of the file are not used: module.class_layers.out.weight\n"));
  const auto taken = tensors_of(folder_ / "second");
  EXPECT_TRUE(same(taken.at("features.denseblock1.denselayer1.norm1.weight"),
                   own.at("features.denseblock1.denselayer1.norm1.weight")));
}

TEST_F(Weights, DamagedMetadataIsRefused) {
  const fs::path run = train("run");
  const fs::path file = folder_ / "damaged.safetensors";
  core::save_safetensors(file.string(), tensors_of(run), {{"medfusion", "0.1.0"}, {"labels", "[1"}});
  const Outcome outcome = init("second", file);
  EXPECT_EQ(outcome.code, 2);
  EXPECT_THAT(outcome.err,
              HasSubstr(file.string() + ": metadata 'labels': expected JSON as train writes it"));
}

TEST_F(Weights, AFrozenBackboneStaysThatOfInit) {
  const fs::path first = train("first");
  const fs::path second = train("second", {"--init", (first / "last.safetensors").string(), "--set",
                                           "train.freeze=features", "--set", "train.ema_decay=0.9"});
  const auto before = tensors_of(first), after = tensors_of(second);
  for (const auto& [name, tensor] : before) {
    if (!name.starts_with("features.")) continue;
    EXPECT_TRUE(same(after.at(name), tensor)) << name;
  }
  EXPECT_FALSE(same(after.at("dense_head.weight"), before.at("dense_head.weight")));
  EXPECT_FALSE(after.contains("optimizer.features.conv0.weight.m"));
  const Outcome refused = run_medfusion(
      train_command(folder_ / "tiny.toml", folder_ / "third", {"--set", "train.freeze=feature"}));
  EXPECT_EQ(refused.code, 2);
  EXPECT_THAT(refused.err, HasSubstr("train.freeze: no parameter of the network is or lies in 'feature'; did "
                                     "you mean 'features'?"));
  EXPECT_FALSE(fs::exists(folder_ / "third"));
}

TEST(WeightsOfATable, ColumnsInAnotherOrderKeepTheirWeights) {
  const TemporaryFolder folder;
  std::string one = "id,value,height,color,sick,part\n", two = "id,color,height,value,sick,part\n";
  for (int i = 0; i < 60; ++i) {
    const int value = i * 37 % 100, height = i * 13 % 50;
    const std::string color = i % 5 == 0 ? "red" : i % 5 == 1 ? "blue" : "green";
    const std::string end = fmt::format("{},{}\n", value > 50 ? 1 : 0,
                                        i % 3 == 0   ? "test"
                                        : i % 3 == 1 ? "val"
                                                     : "train");
    one += fmt::format("r{},{},{},{},{}", i, value, height, color, end);
    two += fmt::format("r{},{},{},{},{}", i, color, height, value, end);
  }
  for (const auto& [name, csv] : {std::pair{"one", one}, std::pair{"two", two}}) {
    write(folder / (std::string(name) + ".csv"), csv);
    write(folder / (std::string(name) + ".toml"),
          fmt::format("[data]\nformat = \"csv\"\nroot = \"{}\"\nfile = \"{}.csv\"\nid_column = \"id\"\n"
                      "part_column = \"part\"\nsplit = \"own\"\nlabels = [\"sick\"]\n"
                      "[model]\nsize = \"tiny\"\nmodalities.image = false\nmodalities.text = false\n"
                      "branches.dense = false\nbranches.pyramid = false\nmodality_dropout = 0.0\n"
                      "[train]\nepochs = 2\nbatch_size = 10\nwarmup_epochs = 0\nselect = \"last\"\n",
                      folder.path().string(), name));
  }
  const fs::path first = folder / "first", second = folder / "second";
  succeed(train_command(folder / "one.toml", first));
  succeed(train_command(folder / "two.toml", second,
                        {"--init", (first / "last.safetensors").string(), "--set", "train.epochs=0"}));
  const auto names = [](const fs::path& run) {
    std::vector<std::string> result;
    for (const auto& feature : nlohmann::json::parse(metadata_of(run / "last.safetensors").at("table")))
      result.push_back(feature.at("name"));
    return result;
  };
  const auto before = names(first), after = names(second);
  EXPECT_NE(before, after);
  const Tensor from = tensors_of(first).at("table_tokens.weight"),
               to = tensors_of(second).at("table_tokens.weight");
  for (size_t i = 0; i < after.size(); ++i) {
    const auto row = static_cast<int64_t>(i);
    const auto source = std::find(before.begin(), before.end(), after[i]) - before.begin();
    EXPECT_TRUE(same(to.slice(0, row, row + 1), from.slice(0, source, source + 1))) << after[i];
  }
}

}  // namespace
}  // namespace medfusion::tools
