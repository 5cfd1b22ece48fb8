#include "tools/medfusion/run/run_replacement.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/tools/end_to_end.h"

namespace medfusion::tools {
namespace {

namespace fs = std::filesystem;

// A folder with an old run and a file that is none of a run's.
class RunReplacementTest : public testing::Test {
 protected:
  void SetUp() override {
    fs::create_directory(run_);
    for (const char* name : {"config.toml", "best.safetensors", "predictions.csv"}) write(run_ / name, "old");
    write(run_ / "notes.txt", "mine");
    before_ = files_in(run_);
  }

  const TemporaryFolder folder_;
  const fs::path run_ = folder_ / "run";
  Files before_;
};

TEST_F(RunReplacementTest, PutsTheOldRunBack) {
  {
    const RunReplacement replacement(run_, true);
    EXPECT_FALSE(fs::exists(run_ / "config.toml"));
    replacement.run().write_labels({"Mass"});
    replacement.run().log("started");
  }
  EXPECT_EQ(files_in(run_), before_);
}

TEST_F(RunReplacementTest, DropsTheOldRunWhenTheNewOneIsKept) {
  {
    RunReplacement replacement(run_, true);
    replacement.run().write_labels({"Mass"});
    replacement.keep();
    replacement.keep();
  }
  EXPECT_EQ(files_in(run_), (Files{{"labels.txt", "Mass\n"}, {"notes.txt", "mine"}}));
  EXPECT_FALSE(fs::exists(run_ / ".replaced"));
}

TEST_F(RunReplacementTest, OneAtATime) {
  const RunReplacement replacement(run_, true);
  EXPECT_THROW(RunReplacement(run_, true), core::InputError);
  EXPECT_TRUE(fs::exists(run_ / ".replaced" / "config.toml"));
}

TEST_F(RunReplacementTest, TouchesNothingWhereItRefuses) {
  EXPECT_THROW(RunReplacement(run_, false), core::InputError);
  EXPECT_EQ(files_in(run_), before_);
}

// As a process that was killed before its first checkpoint leaves it.
TEST_F(RunReplacementTest, ARunThatWasCutOffDoesNotReplaceTheOldOne) {
  fs::create_directory(run_ / ".replaced");
  for (const char* name : {"config.toml", "best.safetensors", "predictions.csv"}) {
    fs::rename(run_ / name, run_ / ".replaced" / name);
  }
  write(run_ / "config.toml", "cut off");
  write(run_ / "labels.txt", "cut off");
  { const RunReplacement replacement(run_, true); }
  EXPECT_EQ(files_in(run_), before_);
}

// As a process leaves it that was killed while it set the old run aside.
TEST_F(RunReplacementTest, ARunThatWasMovedInPartIsPutBackFirst) {
  fs::create_directory(run_ / ".replacing");
  fs::rename(run_ / "config.toml", run_ / ".replacing/config.toml");
  EXPECT_THROW(RunReplacement(run_, false), core::InputError);
  EXPECT_EQ(files_in(run_), before_);
  fs::create_directory(run_ / ".replacing");
  fs::rename(run_ / "config.toml", run_ / ".replacing/config.toml");
  try {
    RunDirectory::reopen(run_);
    ADD_FAILURE() << "a run that is moved in part is reopened";
  } catch (const core::InputError& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("set the run aside in .replacing"));
  }
  {
    const RunReplacement replacement(run_, true);
    EXPECT_TRUE(fs::exists(run_ / ".replaced/config.toml"));
    EXPECT_FALSE(fs::exists(run_ / ".replacing"));
  }
  EXPECT_EQ(files_in(run_), before_);
}

TEST_F(RunReplacementTest, ANewFolderThatIsNotKeptIsRemoved) {
  { const RunReplacement replacement(folder_ / "new", false); }
  EXPECT_FALSE(fs::exists(folder_ / "new"));
  {
    RunReplacement replacement(folder_ / "new", true);
    replacement.keep();
  }
  EXPECT_TRUE(fs::is_directory(folder_ / "new"));
}

}  // namespace
}  // namespace medfusion::tools
