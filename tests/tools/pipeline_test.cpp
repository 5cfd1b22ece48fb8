// Whole commands one after another: what one writes, the next one reads.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "core/safetensors.h"
#include "tests/tools/end_to_end.h"

namespace medfusion::tools {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

// The id and the probabilities of each row of a CSV file of predictions, as text.
std::map<std::string, std::string> probabilities_in(const std::string& csv) {
  const auto lines = lines_of(csv);
  size_t count = 0;
  for (size_t at = lines.at(0).find("probability_"); at != std::string::npos; ++count) {
    at = lines[0].find("probability_", at + 1);
  }
  const bool patients = lines[0].starts_with("id,patient,");
  std::map<std::string, std::string> result;
  for (size_t i = 1; i < lines.size(); ++i) {
    size_t end = lines[i].find(',');
    const std::string id = lines[i].substr(0, end);
    if (patients) end = lines[i].find(',', end + 1);
    const size_t start = end;
    for (size_t l = 0; l < count; ++l) end = lines[i].find(',', end + 1);
    result[id] = lines[i].substr(start, end - start);
  }
  return result;
}

TEST(Pipeline, PredictAgreesWithEval) {
  const TemporaryFolder folder;
  make_phantom(folder);
  const fs::path run = folder / "run";
  const fs::path data = folder / "phantom";
  succeed(train_command(folder / "tiny.toml", run));
  succeed({"eval", run.string(), "--quiet"});
  const auto evaluated = probabilities_in(contents(run / "predictions.csv"));
  EXPECT_EQ(evaluated.size(), lines_of(contents(data / "test_list.txt")).size());

  std::vector<std::string> arguments{
      "predict", run.string(), "--quiet", "--table", (data / "Data_Entry_2017.csv").string(), "--images"};
  for (const auto& [id, values] : evaluated) arguments.push_back((data / "images" / id).string());
  EXPECT_EQ(probabilities_in(succeed(arguments)), evaluated);
  // The table matters, so the agreement above is not one of the image alone.
  arguments.erase(arguments.begin() + 2, arguments.begin() + 5);
  const Outcome images_alone = run_medfusion(arguments);
  EXPECT_EQ(images_alone.code, 0);
  EXPECT_EQ(images_alone.err,
            "note: predicting without table and text, which the network was trained with\n");
  const auto without_table = probabilities_in(images_alone.out);
  EXPECT_EQ(without_table.size(), evaluated.size());
  EXPECT_NE(without_table, evaluated);

  // --out writes what standard output would show, --json the same numbers.
  const fs::path out = folder / "out.csv";
  arguments.insert(arguments.end(), {"--out", out.string(), "--quiet"});
  EXPECT_EQ(succeed(arguments), "");
  EXPECT_EQ(probabilities_in(contents(out)), without_table);

  // The table alone: a row each, without images.
  const Outcome outcome =
      run_medfusion({"predict", run.string(), "--table", (data / "Data_Entry_2017.csv").string()});
  EXPECT_EQ(outcome.code, 0);
  EXPECT_EQ(probabilities_in(outcome.out).size(), 48U);
  EXPECT_TRUE(outcome.err.ends_with("note: predicting without images, which the network was trained with\n"));
}

TEST(Pipeline, ARunCutOffAfterACheckpointIsEvaluated) {
  const TemporaryFolder folder;
  make_phantom(folder);
  const std::string run = (folder / "run").string();
  const std::string command = fmt::format(
      "{0}/bin/medfusion train {1} --out {2} --quiet --set train.epochs=10000 & "
      "for i in $(seq 600); do [ -e {2}/best.safetensors ] && [ -e {2}/last.safetensors ] && break; sleep "
      "0.1; done; "
      "kill -9 $!",
      MEDFUSION_BINARY_DIR, (folder / "tiny.toml").string(), run);
  ASSERT_EQ(std::system(command.c_str()), 0);
  succeed({"eval", run, "--quiet"});
  const auto metrics = nlohmann::json::parse(contents(folder / "run" / "metrics.json"));
  EXPECT_TRUE(metrics.at("macro").at("f1").is_null());  // for want of thresholds
  const auto kept = nlohmann::json::parse(contents(folder / "run" / "preprocessing.json"));
  EXPECT_EQ(kept.at("thresholds").at(0).at("undefined"), "training was interrupted");
  const std::string images = (folder / "phantom" / "images").string();
  EXPECT_THAT(run_medfusion({"predict", run, "--images", images}).err,
              testing::HasSubstr("note: " + run + ": training was interrupted"));
}

TEST(Pipeline, TrainingGoesOnFromTheBiasesOfInit) {
  const TemporaryFolder folder;
  make_phantom(folder);
  const fs::path first = folder / "first";
  const fs::path second = folder / "second";
  succeed(train_command(folder / "tiny.toml", first, {"--set", "train.epochs=3"}));
  const std::string weights = (first / "last.safetensors").string();
  // So small a learning rate changes nothing that shows; the bias of the prevalence would.
  succeed(train_command(folder / "tiny.toml", second,
                        {"--init", weights, "--set", "train.learning_rate=1e-12", "--set",
                         "train.min_learning_rate=0", "--set", "train.weight_decay=0"}));
  const core::Tensor before = core::load_safetensors(weights).at("dense_head.bias");
  const core::Tensor after =
      core::load_safetensors((second / "last.safetensors").string()).at("dense_head.bias");
  for (int64_t i = 0; i < before.numel(); ++i) EXPECT_NEAR(after.at(i), before.at(i), 1e-7);
}

TEST(Pipeline, TrainDoesNotOverwriteUnlessTold) {
  const TemporaryFolder folder;
  make_phantom(folder);
  const fs::path run = folder / "run";
  succeed(train_command(folder / "tiny.toml", run));
  const Files before = files_in(run);
  const Outcome outcome = run_medfusion(train_command(folder / "tiny.toml", run, {"--seed", "2"}));
  EXPECT_EQ(outcome.code, 2);
  EXPECT_THAT(outcome.err, HasSubstr(run.string() + ": holds a run already"));
  EXPECT_TRUE(files_in(run) == before);
  write(run / "notes.txt", "mine");
  succeed(train_command(folder / "tiny.toml", run, {"--seed", "2", "--force"}));
  Files after = files_in(run);
  EXPECT_EQ(after["notes.txt"], "mine");
  after.erase("notes.txt");
  EXPECT_EQ(after.size(), before.size());
  EXPECT_FALSE(after["best.safetensors"] == before.at("best.safetensors"));
}

TEST(Pipeline, ARunStartsAgainFromItsOwnWeights) {
  const TemporaryFolder folder;
  make_phantom(folder);
  const fs::path run = folder / "run";
  const fs::path copy = folder / "copy";
  succeed(train_command(folder / "tiny.toml", run, {"--set", "train.epochs=2"}));
  succeed(train_command(folder / "tiny.toml", copy,
                        {"--init", (run / "best.safetensors").string(), "--set", "train.epochs=0"}));
  for (const fs::path& each : {run, copy}) succeed({"eval", each.string(), "--quiet"});
  EXPECT_EQ(contents(copy / "predictions.csv"), contents(run / "predictions.csv"));
  EXPECT_EQ(contents(copy / "metrics.json"), contents(run / "metrics.json"));
}

TEST(Pipeline, CrossValidationReportsEachFold) {
  const TemporaryFolder folder;
  make_phantom(folder);
  const fs::path out = folder / "cv";
  const std::vector<std::string> arguments{
      "cv", (folder / "tiny.toml").string(), "--folds", "3", "--out", out.string(), "--quiet"};
  succeed(arguments);
  const auto json = nlohmann::json::parse(contents(out / "cv.json"));
  const auto& macro = json.at("macro_auroc");
  const auto values = macro.at("per_fold").get<std::vector<double>>();
  ASSERT_EQ(values.size(), 3U);
  const double mean = (values[0] + values[1] + values[2]) / 3;
  double squares = 0;
  for (const double value : values) squares += (value - mean) * (value - mean);
  EXPECT_NEAR(macro.at("mean").get<double>(), mean, 1e-12);
  EXPECT_NEAR(macro.at("std").get<double>(), std::sqrt(squares / 2), 1e-12);
  // Each image is in the test part of one fold.
  EXPECT_EQ(probabilities_in(contents(out / "predictions.csv")).size(), 48U);
  for (int fold = 0; fold < 3; ++fold) {
    const auto metrics =
        nlohmann::json::parse(contents(out / ("fold" + std::to_string(fold)) / "metrics.json"));
    EXPECT_DOUBLE_EQ(metrics.at("macro").at("auroc").get<double>(), values[static_cast<size_t>(fold)]);
  }
  const Files before = files_in(out);
  EXPECT_EQ(run_medfusion(arguments).code, 2);
  EXPECT_TRUE(files_in(out) == before);
}

// Label `sick` follows from the column `value`.
TEST(Pipeline, ATableWithoutImagesTrains) {
  const TemporaryFolder folder;
  std::string csv = "id,value,color,sick,part\n";
  for (int i = 0; i < 120; ++i) {
    const int value = i * 37 % 100;
    csv += "r" + std::to_string(i) + "," + std::to_string(value) + (i % 2 == 0 ? ",red," : ",blue,") +
           (value > 50 ? "1," : "0,") +
           (i % 4 == 0   ? "test"
            : i % 4 == 1 ? "val"
                         : "train") +
           "\n";
  }
  write(folder / "table.csv", csv);
  write(folder / "table.toml",
        "[data]\nformat = \"csv\"\nroot = \"" + folder.path().string() +
            "\"\nfile = \"table.csv\"\nid_column = \"id\"\npart_column = \"part\"\nsplit = \"own\"\n"
            "labels = [\"sick\"]\n"
            "[model]\nsize = \"tiny\"\nmodalities.image = false\nmodalities.text = false\n"
            "branches.dense = false\nbranches.pyramid = false\nmodality_dropout = 0.0\n"
            "[train]\nepochs = 12\nbatch_size = 10\nwarmup_epochs = 0\nlearning_rate = 5e-3\n");
  const fs::path run = folder / "run";
  succeed(train_command(folder / "table.toml", run));
  succeed({"eval", run.string(), "--quiet"});
  const auto metrics = nlohmann::json::parse(contents(run / "metrics.json"));
  EXPECT_GT(metrics.at("labels").at("sick").at("auroc").get<double>(), 0.9);
  // predict on the table alone gives the same for the rows of the test part.
  const auto evaluated = probabilities_in(contents(run / "predictions.csv"));
  const auto predicted = probabilities_in(
      succeed({"predict", run.string(), "--table", (folder / "table.csv").string(), "--quiet"}));
  EXPECT_EQ(evaluated.size(), 30U);
  EXPECT_EQ(predicted.size(), 120U);
  for (const auto& [id, values] : evaluated) EXPECT_EQ(predicted.at(id), values) << id;
  // So does a single row, whose columns hold one value each.
  const auto lines = lines_of(csv);
  write(folder / "one.csv", lines[0] + "\n" + lines[4] + "\n");
  const auto one = probabilities_in(
      succeed({"predict", run.string(), "--table", (folder / "one.csv").string(), "--quiet"}));
  EXPECT_EQ(one, (std::map<std::string, std::string>{{"r3", predicted.at("r3")}}));
  // A table that is read is no place to write to, and images are none of this run's.
  const std::string table = (folder / "one.csv").string();
  EXPECT_EQ(run_medfusion({"predict", run.string(), "--table", table, "--out", table}).code, 2);
  EXPECT_EQ(contents(table), lines[0] + "\n" + lines[4] + "\n");
  EXPECT_EQ(run_medfusion({"predict", run.string(), "--images", table}).code, 2);
}

TEST(Pipeline, TrainingThatDivergesIsAnError) {
  const TemporaryFolder folder;
  make_phantom(folder);
  const Outcome outcome =
      run_medfusion(train_command(folder / "tiny.toml", folder / "run",
                                  {"--set", "train.epochs=2", "--set", "train.learning_rate=1e30"}));
  EXPECT_EQ(outcome.code, 1);
  EXPECT_THAT(outcome.err,
              testing::StartsWith("medfusion: training diverged: loss nan, gradient norm nan in "));
}

TEST(Pipeline, ATraceSaysWhereTrainingDiverges) {
  const TemporaryFolder folder;
  make_phantom(folder);
  auto command =
      train_command(folder / "tiny.toml", folder / "run",
                    {"--set", "train.epochs=2", "--set", "train.learning_rate=1e30", "--set",
                     "train.nonfinite=skip", "--set", "train.nonfinite_limit=1", "--trace-nonfinite"});
  std::erase(command, "--quiet");
  const Outcome outcome = run_medfusion(command);
  EXPECT_EQ(outcome.code, 1);
  EXPECT_THAT(outcome.err, testing::HasSubstr("note: skipped a step: loss nan, gradient norm nan in epoch "));
  EXPECT_THAT(outcome.err,
              testing::ContainsRegex("note: trace of epoch [12], batch [0-9]+: [a-z_]+ forward "
                                     "\\(kernel .*, in or after .*; all its inputs were finite"));
  EXPECT_THAT(outcome.err,
              testing::HasSubstr(", after 1 skipped step in a row; this step was not kept. Try a "
                                 "lower learning rate\n"));
}

TEST(Pipeline, MedMnistTrains) {
  const TemporaryFolder folder;
  const fs::path file = fs::path(MEDFUSION_SOURCE_DIR) / "tests/fixtures/medmnist/chestmnist.npz";
  write(folder / "mnist.toml", "[data]\nformat = \"medmnist\"\nroot = \"" + file.parent_path().string() +
                                   "\"\nfile = \"" + file.filename().string() +
                                   "\"\nsplit = \"own\"\nimage_size = 32\n[model]\nsize = \"tiny\"\n"
                                   "[train]\nepochs = 1\nbatch_size = 2\nwarmup_epochs = 0\n");
  const fs::path run = folder / "run";
  succeed(train_command(folder / "mnist.toml", run));
  succeed({"eval", run.string(), "--quiet"});
  const auto predictions = probabilities_in(contents(run / "predictions.csv"));
  const auto data = nlohmann::json::parse(contents(run / "data.json"));
  EXPECT_EQ(predictions.size(), data.at("parts").at("test").at("rows").get<size_t>());
  EXPECT_TRUE(predictions.contains("test_0"));
}

}  // namespace
}  // namespace medfusion::tools
