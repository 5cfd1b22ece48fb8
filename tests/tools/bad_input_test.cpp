// Bad input and a full disk: one line that names the place, the right exit code, and nothing lost.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/tools/end_to_end.h"

namespace medfusion::tools {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

void expect_one_line(const Outcome& outcome, int code, const std::string& place, const std::string& what) {
  EXPECT_EQ(outcome.code, code);
  EXPECT_EQ(outcome.out, "");
  EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
  EXPECT_THAT(outcome.err, testing::StartsWith("medfusion: " + place));
  EXPECT_THAT(outcome.err, HasSubstr(what));
}

// Replaces the first `from` of a file.
void replace_in(const fs::path& path, const std::string& from, const std::string& to) {
  std::string text = contents(path);
  const size_t found = text.find(from);
  ASSERT_NE(found, std::string::npos) << path << ": " << from;
  write(path, text.replace(found, from.size(), to));
}

void cut_in_half(const fs::path& path) { fs::resize_file(path, fs::file_size(path) / 2); }

// A finished run with its evaluation, and data that a test then breaks.
class BadInput : public testing::Test {
 protected:
  void SetUp() override {
    make_phantom(folder_);
    succeed(train_command(config_, run_));
    succeed({"eval", run_.string(), "--quiet"});
    before_ = files_in(run_);
    ASSERT_TRUE(before_.contains("best.safetensors") && before_.contains("predictions.csv"));
  }

  // Training over the run, into a new folder, and by cross-validation: all refuse and change nothing.
  void expect_refused(const std::string& place, const std::string& what,
                      const std::vector<std::string>& more = {}) {
    auto over = more;
    over.push_back("--force");
    {
      SCOPED_TRACE("train --force over a run");
      expect_one_line(run_medfusion(train_command(config_, run_, over)), 2, place, what);
      EXPECT_TRUE(files_in(run_) == before_) << testing::PrintToString(names_of(files_in(run_)));
    }
    {
      SCOPED_TRACE("train into a new folder");
      expect_one_line(run_medfusion(train_command(config_, fresh_, more)), 2, place, what);
      EXPECT_FALSE(fs::exists(fresh_)) << testing::PrintToString(names_of(files_in(fresh_)));
    }
  }

  // The same for eval, which must not touch the earlier evaluation.
  void expect_eval_refused(const std::string& place, const std::string& what,
                           const std::vector<std::string>& more = {}) {
    SCOPED_TRACE("eval");
    std::vector<std::string> arguments{"eval", run_.string(), "--quiet"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Files files = files_in(run_);
    expect_one_line(run_medfusion(arguments), 2, place, what);
    EXPECT_TRUE(files_in(run_) == files);
  }

  static std::vector<std::string> names_of(const Files& files) {
    std::vector<std::string> names;
    for (const auto& [name, bytes] : files) names.push_back(name);
    return names;
  }

  // The first image of a list of the split.
  fs::path first_image(const char* list) const {
    return data_ / "images" / lines_of(contents(data_ / list)).front();
  }

  const TemporaryFolder folder_;
  const fs::path data_ = folder_ / "phantom";
  const fs::path table_ = data_ / "Data_Entry_2017.csv";
  const fs::path config_ = folder_ / "tiny.toml";
  const fs::path run_ = folder_ / "run";
  const fs::path fresh_ = folder_ / "fresh";
  Files before_;
};

TEST_F(BadInput, WhatANetworkDoesNotHaveIsNamed) {
  const auto refused = [&](std::vector<std::string> more, const std::string& message) {
    std::vector<std::string> arguments{"train", config_.string(), "--out", (folder_ / "new").string(),
                                       "--quiet"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Outcome outcome = run_medfusion(arguments);
    EXPECT_EQ(outcome.code, 2) << outcome.err;
    EXPECT_NE(outcome.err.find(message), std::string::npos) << outcome.err;
  };
  refused({"--set", "model.backbone=vit_small", "--set", "data.image_size=48"},
          "data.image_size: expected a multiple of 32 for vit_small, got 48");
  refused({"--set", "model.name=vit_small", "--set", "data.image_size=40"},
          "data.image_size: expected a multiple of 16 for vit_small, got 40");
  refused({"--device", "sim", "--set", "model.name=resnet18", "--set", "train.precision=bf16"},
          "train.precision: expected f32 or tf32 for resnet18, which has no bf16, got bf16");
}

TEST_F(BadInput, ATruncatedImage) {
  const fs::path image = first_image("test_list.txt");
  cut_in_half(image);
  expect_eval_refused(image.string() + ": ", "");
  const fs::path out = folder_ / "predictions.csv";
  expect_one_line(
      run_medfusion({"predict", run_.string(), "--images", image.string(), "--out", out.string()}), 2,
      image.string() + ": ", "");
  EXPECT_FALSE(fs::exists(out));
  // Every image of the training list is truncated, so that the one that is named does not depend on the
  // order.
  for (const std::string& name : lines_of(contents(data_ / "train_val_list.txt"))) {
    cut_in_half(data_ / "images" / name);
  }
  expect_refused((data_ / "images").string() + "/", ".png: ");
}

TEST_F(BadInput, ATruncatedImageLeavesTheOldCrossValidation) {
  const fs::path out = folder_ / "cv";
  const std::vector<std::string> arguments{"cv",    config_.string(), "--folds", "2",
                                           "--out", out.string(),     "--quiet", "--force"};
  succeed(arguments);
  Files before = files_in(out);
  ASSERT_TRUE(before.contains("cv.json") && before.contains("fold0/best.safetensors"));
  for (const auto& entry : fs::directory_iterator(data_ / "images")) cut_in_half(entry.path());
  expect_one_line(run_medfusion(arguments), 2, (data_ / "images").string() + "/", ".png: ");
  EXPECT_TRUE(files_in(out) == before) << testing::PrintToString(names_of(files_in(out)));
}

TEST_F(BadInput, AFoldWithoutAnAuroc) {
  const fs::path out = folder_ / "cv";
  expect_one_line(run_medfusion({"cv", config_.string(), "--folds", "12", "--out", out.string(), "--quiet",
                                 "--set", "data.labels=Mass"}),
                  2, "cv: fold ", "has no AUROC");
  EXPECT_FALSE(fs::exists(out));
}

// One value has no variance; more pixels are enough for batches of one row.
TEST_F(BadInput, BatchesOfOneRow) {
  const fs::path out = folder_ / "one";
  const std::vector<std::string> command =
      train_command(config_, out, {"--set", "train.batch_size=1", "--set", "data.image_size=16"});
  expect_one_line(run_medfusion(command), 2, "train.batch_size: expected batches of at least 2 rows",
                  "got 1");
  EXPECT_FALSE(fs::exists(out));
  succeed(train_command(config_, out, {"--set", "train.batch_size=1"}));
  EXPECT_TRUE(fs::exists(out / "best.safetensors"));
}

TEST_F(BadInput, AMissingImage) {
  const fs::path image = first_image("test_list.txt");
  fs::remove(image);
  const std::string place = table_.string() + ":";
  expect_refused(place, image.string());
  expect_eval_refused(place, image.string());
  expect_one_line(run_medfusion({"predict", run_.string(), "--images", image.string()}), 2,
                  image.string() + ": ", "no such file");
}

TEST_F(BadInput, ABadCell) {
  const std::string row = lines_of(contents(table_)).at(3);
  replace_in(table_, row, row.substr(0, row.find(',')) + ",No Finding,0,9,old,F,PA,32,32,1,1");
  expect_refused(table_.string() + ":4:", "'old'");
  expect_eval_refused(table_.string() + ":4:", "'old'");
}

TEST_F(BadInput, AWrongHeader) {
  replace_in(table_, "Patient Age", "Age");
  expect_refused(table_.string() + ":1:", "'Patient Age', got 'Age'");
  expect_eval_refused(table_.string() + ":1:", "'Patient Age', got 'Age'");
  const std::string images = (data_ / "images").string();
  expect_one_line(run_medfusion({"predict", run_.string(), "--images", images, "--table", table_.string()}),
                  2, table_.string() + ":1:", "'Patient Age', got 'Age'");
}

TEST_F(BadInput, AnEmptySplit) {
  write(data_ / "train_val_list.txt",
        contents(data_ / "train_val_list.txt") + contents(data_ / "test_list.txt"));
  write(data_ / "test_list.txt", "");
  const std::string list = (data_ / "test_list.txt").string();
  expect_refused(list + ": ", "expected the name of an image per line, got none");
  expect_eval_refused(list + ": ", "expected the name of an image per line, got none");
}

TEST_F(BadInput, AnUnknownLabel) {
  expect_refused(table_.string() + ": data.labels: ", "'Cardiomegally'; did you mean 'Cardiomegaly'?",
                 {"--set", "data.labels=Mass,Cardiomegally"});
  const std::string row = lines_of(contents(table_)).at(1);
  const size_t first = row.find(',') + 1;
  replace_in(table_, row, row.substr(0, first) + "Bunion" + row.substr(row.find(',', first)));
  expect_refused(table_.string() + ":2:", "'Bunion'");
  expect_eval_refused(table_.string() + ":2:", "'Bunion'");
}

TEST_F(BadInput, NoKnownLabel) {
  const fs::path table = write(folder_ / "unknown.csv", "image,y,x\na,,1\nb,,2\nc,,3\nd,,4\n");
  expect_refused(folder_.path().string(), "no row of the training part has a known label",
                 {"--set", "data.format=csv", "--set", "data.root=" + folder_.path().string(), "--set",
                  "data.file=unknown.csv", "--set", "data.labels=y", "--set", "data.split=random", "--set",
                  "model.modalities.image=false", "--set", "model.branches.dense=false", "--set",
                  "model.branches.pyramid=false"});
}

TEST_F(BadInput, ANetworkForImagesAndATableAlone) {
  write(folder_ / "rows.csv", "name,y,x\na,0,1\nb,1,2\nc,0,3\nd,1,4\ne,0,5\nf,1,6\n");
  const std::vector<std::string> settings{
      "--set", "data.format=csv",    "--set", "data.root=" + folder_.path().string(),
      "--set", "data.file=rows.csv", "--set", "data.labels=y",
      "--set", "data.split=random"};
  const std::string place = "model.modalities.image: ",
                    what = "expected false, for the data has no images (data.image_column)";
  expect_refused(place, what, settings);
  std::vector<std::string> cv{"cv", config_.string(), "--folds", "2", "--out", fresh_.string(), "--quiet"};
  cv.insert(cv.end(), settings.begin(), settings.end());
  expect_one_line(run_medfusion(cv), 2, place, what);
  EXPECT_FALSE(fs::exists(fresh_));
}

TEST_F(BadInput, ADamagedRunIsNotReported) {
  write(run_ / "config.toml", "[[[");
  expect_one_line(run_medfusion({"report", run_.string()}), 2, (run_ / "config.toml").string() + ":", "");
}

// Folds that are new and a summary that is old would not belong together.
TEST_F(BadInput, ACrossValidationCutOffHasNoSummary) {
  const fs::path out = folder_ / "cv";
  const std::vector<std::string> arguments{"cv",    config_.string(), "--folds", "2",
                                           "--out", out.string(),     "--quiet", "--force"};
  succeed(arguments);
  fs::remove_all(out / "fold1");
  write(out / "fold1", "in the way");
  EXPECT_NE(run_medfusion(arguments).code, 0);
  EXPECT_FALSE(fs::exists(out / "cv.json") || fs::exists(out / "predictions.csv"));
}

TEST_F(BadInput, ATypoInTheConfiguration) {
  replace_in(config_, "val_fraction", "val_fractoin");
  expect_refused(config_.string() + ":5:1: ", "did you mean data.val_fraction?");
  replace_in(run_ / "config.toml", "val_fraction", "val_fractoin");
  expect_eval_refused((run_ / "config.toml").string() + ":", "did you mean data.val_fraction?");
}

TEST_F(BadInput, ACheckpointCutShort) {
  const fs::path weights = folder_ / "weights.safetensors";
  fs::copy(run_ / "best.safetensors", weights);
  cut_in_half(weights);
  expect_refused(weights.string() + ": ", "cut short", {"--init", weights.string()});
  expect_refused(weights.string() + ": ", "cut short",
                 {"--init", weights.string(), "--set", "train.epochs=0"});
  const fs::path missing = folder_ / "none.safetensors";
  expect_refused(missing.string() + ": ", "", {"--init", missing.string()});
  cut_in_half(run_ / "best.safetensors");
  expect_eval_refused((run_ / "best.safetensors").string() + ": ", "cut short");
  expect_one_line(run_medfusion({"predict", run_.string(), "--images", (data_ / "images").string()}), 2,
                  (run_ / "best.safetensors").string() + ": ", "cut short");
}

TEST_F(BadInput, AFullDiskLeavesTheOldRun) {
  Surroundings full;
  // Room for every file but the weights.
  full.file_size = static_cast<int64_t>(fs::file_size(run_ / "best.safetensors")) - 1;
  const Outcome outcome = run_medfusion(train_command(config_, run_, {"--force"}), full);
  expect_one_line(outcome, 1, (run_ / "best.safetensors").string() + ": cannot write", "");
  EXPECT_TRUE(files_in(run_) == before_) << testing::PrintToString(names_of(files_in(run_)));
  EXPECT_EQ(run_medfusion(train_command(config_, fresh_), full).code, 1);
  EXPECT_FALSE(fs::exists(fresh_)) << testing::PrintToString(names_of(files_in(fresh_)));
}

TEST_F(BadInput, AFullDiskLeavesTheOldEvaluation) {
  Surroundings full;
  full.file_size = 100;
  const Outcome outcome = run_medfusion({"eval", run_.string(), "--split", "val", "--quiet"}, full);
  expect_one_line(outcome, 1, (run_ / "predictions.csv").string() + ": cannot ", "");
  EXPECT_TRUE(files_in(run_) == before_);
  const fs::path out = write(folder_ / "mine.csv", "old");
  const Outcome predicted = run_medfusion(
      {"predict", run_.string(), "--images", (data_ / "images").string(), "--out", out.string()}, full);
  expect_one_line(predicted, 1, out.string() + ": cannot ", "");
  EXPECT_EQ(contents(out), "old");
  EXPECT_FALSE(fs::exists(out.string() + ".partial") || fs::exists(out.string() + ".tmp"));
}

TEST(Program, RefusesAPathThatIsTooLong) {
  const std::string name(300, 'x');
  for (const std::vector<std::string>& command :
       {std::vector<std::string>{"train", name + ".toml"}, {"eval", name}, {"report", name}}) {
    const Outcome outcome = run_medfusion(command);
    expect_one_line(outcome, 2, name, "");
  }
}

}  // namespace
}  // namespace medfusion::tools
