// Words of a command line that the program does not know: one line that names the nearest, and exit code 2.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/tools/program.h"

namespace medfusion::tools {
namespace {

// The whole of standard error, which must be all that the program says.
std::string complaint(const std::vector<std::string>& arguments) {
  const Outcome outcome = run_medfusion(arguments);
  EXPECT_EQ(outcome.code, 2) << outcome.err;
  EXPECT_EQ(outcome.out, "");
  return outcome.err;
}

TEST(CommandLine, ACommandThatIsNotThereNamesTheNearest) {
  EXPECT_EQ(complaint({}), "medfusion: expected a command (see medfusion --help)\n");
  EXPECT_EQ(complaint({"trian"}),
            "medfusion: expected a command, got 'trian'; did you mean 'train'? (see medfusion --help)\n");
  EXPECT_EQ(complaint({"kernels"}), "medfusion: expected a command (see medfusion kernels --help)\n");
  EXPECT_EQ(
      complaint({"kernels", "chek", "softmax"}),
      "medfusion: expected a command, got 'chek'; did you mean 'check'? (see medfusion kernels --help)\n");
  EXPECT_EQ(complaint({"zzzzzzzzz"}),
            "medfusion: expected a command, got 'zzzzzzzzz' (see medfusion --help)\n");
}

TEST(CommandLine, AnOptionThatIsNotThereNamesTheNearest) {
  EXPECT_EQ(complaint({"--hlp"}),
            "medfusion: unknown option '--hlp'; did you mean '--help'? (see medfusion --help)\n");
  EXPECT_EQ(complaint({"kernels", "--hlp"}),
            "medfusion: unknown option '--hlp'; did you mean '--help'? (see medfusion kernels --help)\n");
  EXPECT_EQ(complaint({"kernels", "bench", "softmax", "--directoin=both"}),
            "medfusion: unknown option '--directoin'; did you mean '--direction'? (see medfusion kernels "
            "bench --help)\n");
  EXPECT_EQ(complaint({"info", "-x"}), "medfusion: unknown option '-x' (see medfusion info --help)\n");
  // Also where something that is required is missing, and where the option's value would be an argument.
  EXPECT_EQ(complaint({"train", "--quite"}),
            "medfusion: unknown option '--quite'; did you mean '--quiet'? (see medfusion train --help)\n");
  EXPECT_EQ(complaint({"info", "--thread", "2"}),
            "medfusion: unknown option '--thread'; did you mean '--threads'? (see medfusion info --help)\n");
  for (const char* command : {"synth", "data", "pack", "train", "eval", "compare", "predict", "explain", "cv",
                              "study", "report", "features", "info"}) {
    EXPECT_EQ(complaint({command, "--quite"}),
              fmt::format("medfusion: unknown option '--quite'; did you mean '--quiet'? (see medfusion {} "
                          "--help)\n",
                          command));
  }
  EXPECT_EQ(complaint({"train", "tiny", "tiny"}),
            "medfusion: unexpected argument 'tiny' (see medfusion train --help)\n");
}

TEST(CommandLine, AWordOfAFewNamesTheNearest) {
  EXPECT_EQ(
      complaint({"kernels", "bench", "softmax", "--direction", "foward"}),
      "medfusion: --direction: expected one of forward, backward, both, each, got 'foward'; did you mean "
      "'forward'? (see medfusion kernels bench --help)\n");
  EXPECT_EQ(complaint({"eval", "run", "--split", "tset"}),
            "medfusion: --split: expected one of train, val, test, got 'tset'; did you mean 'test'? (see "
            "medfusion eval --help)\n");
  EXPECT_EQ(complaint({"explain", "run", "--split", "tset"}),
            "medfusion: --split: expected one of train, val, test, got 'tset'; did you mean 'test'? (see "
            "medfusion explain --help)\n");
  EXPECT_EQ(complaint({"kernels", "inspect", "--card", "h1000"}),
            "medfusion: --card: expected one of a100, h100, h200, got 'h1000'; did you mean 'h100'? (see "
            "medfusion kernels inspect --help)\n");
  EXPECT_EQ(
      complaint({"completions", "zhs"}),
      "medfusion: shell: expected one of bash, zsh, fish, got 'zhs'; did you mean 'zsh'? (see medfusion "
      "completions --help)\n");
  EXPECT_EQ(complaint({"info", "--device", "cdua"}),
            "medfusion: --device: expected cpu, cuda, sim or auto, got 'cdua'; did you mean 'cuda'?\n");
  EXPECT_EQ(
      complaint({"train", "tiny", "--set", "data.split=randm"}),
      "medfusion: --set data.split=randm: data.split: expected text one of auto, official, own, random, "
      "folds, file, got text 'randm'; did you mean 'random'?\n");
  EXPECT_THAT(complaint({"kernels", "check", "softmx"}),
              testing::EndsWith(", got 'softmx'; did you mean 'softmax'?\n"));
  EXPECT_THAT(complaint({"kernels", "inspect", "softmx"}),
              testing::EndsWith(", got 'softmx'; did you mean 'softmax'?\n"));
  EXPECT_EQ(complaint({"kernels", "check", "softmax/cup"}),
            "medfusion: kernels: softmax has no variant 'cup'; did you mean 'cpu'? (see medfusion kernels "
            "list softmax)\n");
}

TEST(CommandLine, AKeyThatIsNotThereNamesTheNearest) {
  EXPECT_EQ(complaint({"train", "tiny", "--set", "train.epoch=3"}),
            "medfusion: --set train.epoch=3: unknown key train.epoch; did you mean train.epochs?\n");
  EXPECT_EQ(complaint({"train", "tiny", "--set", "trian.epochs=3"}),
            "medfusion: --set trian.epochs=3: unknown key trian.epochs; did you mean train.epochs?\n");
}

}  // namespace
}  // namespace medfusion::tools
