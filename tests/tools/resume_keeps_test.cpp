// What --resume refuses, or leaves for another time, loses nothing.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/tools/end_to_end.h"
#include "tools/medfusion/config/text_file.h"

namespace medfusion::tools {
namespace {

using testing::HasSubstr;
namespace fs = std::filesystem;

class ResumeKeeps : public testing::Test {
 protected:
  void SetUp() override { make_phantom(folder_); }

  std::vector<std::string> train(const fs::path& run, const std::string& epochs) const {
    return train_command(folder_ / "tiny.toml", run, {"--set", "train.epochs=" + epochs});
  }
  static std::vector<std::string> extend(const fs::path& run, const std::string& epochs) {
    return {"train", "--resume", run.string(), "--quiet", "--set", "train.epochs=" + epochs};
  }
  static Files files_but_log(const fs::path& run) {
    Files files = files_in(run);
    files.erase("train.log");
    return files;
  }

  const TemporaryFolder folder_;
};

// A finished run stays finished, with its thresholds, its epochs and its weights.
TEST_F(ResumeKeeps, ARefusedExtensionChangesNothing) {
  const fs::path run = folder_ / "run", aside = folder_ / "aside";
  succeed(train(run, "2"));
  const auto refused = [&](const char* expected) {
    const Files before = files_but_log(run);
    const Outcome outcome = run_medfusion(extend(run, "3"));
    EXPECT_EQ(outcome.code, 2);
    EXPECT_THAT(outcome.err, HasSubstr(expected));
    EXPECT_TRUE(files_but_log(run) == before) << expected;
  };
  fs::rename(run / "best.safetensors", aside);
  refused("best.safetensors is missing");
  fs::rename(aside, run / "best.safetensors");
  fs::rename(run / "metrics.jsonl", aside);
  refused("expected a line for each of the 2 epochs that are done, got 0");
  fs::rename(aside, run / "metrics.jsonl");
  fs::rename(run / "checkpoints", aside);
  refused("its checkpoints are gone");
  fs::create_symlink("nowhere", run / "checkpoints");  // as where a disk is not mounted
  refused("its checkpoints are gone");
  fs::remove(run / "checkpoints");
  fs::rename(aside, run / "checkpoints");
  succeed(extend(run, "3"));
}

// Cut off between its first two files, a cross-validation has not begun.
TEST_F(ResumeKeeps, ACrossValidationThatHadNotBegunIsNoObstacle) {
  const fs::path out = folder_ / "cv";
  fs::create_directory(out);
  write(out / "cv_start.json", "{}");
  succeed({"cv", (folder_ / "tiny.toml").string(), "--folds", "2", "--out", out.string(), "--quiet", "--set",
           "data.labels=Effusion,Infiltration", "--set", "train.epochs=1"});
}

TEST_F(ResumeKeeps, TheRunThatForceSetAsideIsNamed) {
  const fs::path run = folder_ / "run";
  fs::create_directories(run / ".replaced");
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{"train", "--resume", run.string()}, {"eval", run.string()}}) {
    const Outcome outcome = run_medfusion(arguments);
    EXPECT_EQ(outcome.code, 2);
    EXPECT_THAT(outcome.err, HasSubstr("config.toml is missing"));
    EXPECT_THAT(outcome.err, HasSubstr("the run before it is in .replaced"));
  }
}

TEST(ShellWord, IsQuotedWhereAShellNeedsIt) {
  EXPECT_EQ(shell_word("runs/a-b_1.2"), "runs/a-b_1.2");
  EXPECT_EQ(shell_word("my run"), "'my run'");
  EXPECT_EQ(shell_word("a'b$c"), "'a'\\''b$c'");
  EXPECT_EQ(shell_word(""), "''");
}

// The damaged checkpoint does not count as one that is kept, or the only good one would go.
TEST_F(ResumeKeeps, ADamagedCheckpointIsNotTheOneThatIsKept) {
  const fs::path run = folder_ / "run";
  succeed(train(run, "2"));
  const fs::path good = run / "checkpoints/step000000003.safetensors",
                 damaged = run / "checkpoints/step000000006.safetensors";
  ASSERT_TRUE(fs::exists(good));
  fs::resize_file(damaged, fs::file_size(damaged) / 2);
  std::vector<std::string> arguments = extend(run, "3");
  arguments.insert(arguments.end(), {"--set", "train.keep_checkpoints=1"});
  Surroundings surroundings;
  surroundings.variables = {{"MEDFUSION_FILE_FAULT", "kill@12"}};  // after it was found, before the next one
  ASSERT_TRUE(run_medfusion(arguments, surroundings).signaled);
  EXPECT_TRUE(fs::exists(good));
  EXPECT_FALSE(fs::exists(damaged));
  succeed(arguments);
}

class CvKeeps : public ResumeKeeps {
 protected:
  std::vector<std::string> cv(const fs::path& out, const std::vector<std::string>& more = {}) const {
    std::vector<std::string> arguments{
        "cv",    (folder_ / "tiny.toml").string(),   "--folds", "2", "--out", out.string(), "--quiet",
        "--set", "data.labels=Effusion,Infiltration"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }
};

// Folds of the cross-validation that --force replaces are not taken for those of the new one.
TEST_F(CvKeeps, AForcedOneThatWasCutOffKeepsNoFoldOfTheOneBefore) {
  const fs::path cut = folder_ / "cut";
  const std::vector<std::string> other{"--set", "train.learning_rate=0.01"};
  succeed(cv(folder_ / "whole", other));
  succeed(cv(cut));
  std::vector<std::string> forced = cv(cut, other);
  forced.emplace_back("--force");
  Surroundings surroundings;
  surroundings.variables = {{"MEDFUSION_FILE_FAULT", "kill@50"}};
  ASSERT_TRUE(run_medfusion(forced, surroundings).signaled);
  succeed({"cv", "--resume", cut.string(), "--quiet"});
  for (const char* name : {"cv.json", "predictions.csv", "fold0/best.safetensors", "fold1/best.safetensors"})
    EXPECT_TRUE(contents(cut / name) == contents(folder_ / "whole" / name)) << name;
  EXPECT_FALSE(fs::exists(cut / "fold0/.replaced"));
  EXPECT_FALSE(fs::exists(cut / "fold1/.replaced"));
}

// A finished fold was trained on what the data were then; its test rows may be among them now.
TEST_F(CvKeeps, FinishedFoldsOfOtherDataAreRefused) {
  const fs::path out = folder_ / "out", table = folder_ / "phantom/Data_Entry_2017.csv";
  succeed(cv(out));
  fs::remove_all(out / "fold1");
  const std::string text = contents(table);
  write(table, text.substr(0, text.rfind('\n', text.size() - 2) + 1));
  const Outcome outcome = run_medfusion({"cv", "--resume", out.string(), "--quiet"});
  EXPECT_EQ(outcome.code, 2);
  EXPECT_THAT(outcome.err, HasSubstr("fold0: the data are not those that the run began with"));
  EXPECT_FALSE(fs::exists(out / "fold1"));
}

}  // namespace
}  // namespace medfusion::tools
