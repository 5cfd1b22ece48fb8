// What the program does where its standard streams are not there: a reader that has gone, a full disk, a
// closed stream. A hang ends the test program by SIGALRM.
#include <gmock/gmock.h>

#include "tests/tools/end_to_end.h"

namespace medfusion::tools {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

constexpr const char* kBrokenPipe = "medfusion: standard output cannot be written: Broken pipe\n";

class Streams : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = new TemporaryFolder;
    make_phantom(*folder_);
    succeed(train_command(*folder_ / "tiny.toml", *folder_ / "run"));
  }
  static void TearDownTestSuite() {
    delete folder_;
    folder_ = nullptr;
  }
  void SetUp() override { ::alarm(300); }
  void TearDown() override { ::alarm(0); }

  static std::string in(const std::string& name) { return (*folder_ / name).string(); }

  // Each way in which a command prints.
  static std::vector<std::vector<std::string>> printing() {
    const std::string run = in("run"), config = in("tiny.toml"), images = in("phantom/images");
    std::vector<std::vector<std::string>> commands = {
        {"--help"},
        {"--version"},
        {"kernels", "check", "--help"},
        {"info"},
        {"info", "--config-keys"},
        {"kernels", "list"},
        {"kernels", "check", "softmax", "--device", "cpu"},
        {"completions", "bash"},
        {"man"},
        {"data", config},
        {"eval", run},
        {"explain", run, "--out", in("explained"), "--split", "test", "--limit", "1"},
        {"report", run, "--out", in("report.html")},
        {"train", config, "--set", "train.epochs=0", "--force", "--out", in("untrained")},
        {"synth", "--out", in("more"), "--images", "8", "--size", "32"},
        {"predict", run, "--images", images, "--out", in("predictions.csv")},
        {"features", config, "--set", "data.extra_table=clinical.csv", "--set", "features.mode=top_n",
         "--out", in("features")}};
    return commands;
  }

  static TemporaryFolder* folder_;
};
TemporaryFolder* Streams::folder_ = nullptr;

TEST_F(Streams, AReaderThatHasGoneEndsEveryCommandLikeAnyUnixTool) {
  Surroundings gone;
  gone.out_stream = Stream::broken_pipe;
  Surroundings ignored = gone;
  ignored.ignores_sigpipe = true;  // as where a service manager starts the program
  for (std::vector<std::string> command : printing()) {
    for (const bool json : {false, true}) {
      if (json) command.emplace_back("--json");
      const std::string words = testing::PrintToString(command);
      if (run_medfusion(command).code != 0) {
        EXPECT_TRUE(json) << words;  // not every command has --json
        continue;
      }
      EXPECT_EQ(run_medfusion(command, gone).code, 128 + SIGPIPE) << words;
      const Outcome outcome = run_medfusion(command, ignored);
      EXPECT_EQ(outcome.code, 1) << words;
      EXPECT_THAT(outcome.err, HasSubstr(kBrokenPipe)) << words;
    }
  }
}

TEST_F(Streams, AnErrorThatCannotBeSaidKeepsItsExitCode) {
  Surroundings surroundings;
  for (const Stream stream : {Stream::full_disk, Stream::closed}) {
    surroundings.err_stream = stream;
    EXPECT_EQ(run_medfusion({"train", "none.toml"}, surroundings).code, 2);
    EXPECT_EQ(run_medfusion({"shout"}, surroundings).code, 2);
  }
  surroundings.err_stream = Stream::broken_pipe;
  surroundings.ignores_sigpipe = true;
  EXPECT_EQ(run_medfusion({"train", "none.toml"}, surroundings).code, 2);
}

TEST_F(Streams, TrainingGoesOnWhereItsProgressCannotBeShown) {
  const std::vector<std::string> command = {"train", in("tiny.toml"), "--out", in("unwatched"), "--force"};
  for (const Stream stream : {Stream::full_disk, Stream::closed, Stream::broken_pipe}) {
    Surroundings surroundings;
    surroundings.err_stream = stream;
    surroundings.ignores_sigpipe = true;
    EXPECT_EQ(run_medfusion(command, surroundings).code, 0) << static_cast<int>(stream);
  }
}

// The first file that a program opens gets the number of a closed stream: without care its output goes there.
TEST_F(Streams, WhereAStreamIsClosedNothingIsWrittenIntoAFile) {
  succeed(train_command(in("tiny.toml"), in("run-a")));
  Surroundings surroundings;
  surroundings.out_stream = surroundings.err_stream = Stream::closed;
  const Outcome outcome = run_medfusion({"train", in("tiny.toml"), "--out", in("run-b")}, surroundings);
  EXPECT_EQ(outcome.code, 1);  // the summary cannot be written
  Files a = files_in(in("run-a")), b = files_in(in("run-b"));
  ASSERT_EQ(a.size(), b.size());
  for (const auto& [name, bytes] : a) {
    if (name.ends_with(".safetensors")) {
      EXPECT_EQ(bytes, b.at(name)) << name;
    }
    EXPECT_EQ(lines_of(bytes).size(), lines_of(b.at(name)).size()) << name;
  }
}

}  // namespace
}  // namespace medfusion::tools
