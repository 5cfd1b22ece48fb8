// What --resume refuses, or leaves for another time, loses nothing.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/tools/end_to_end.h"

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

}  // namespace
}  // namespace medfusion::tools
