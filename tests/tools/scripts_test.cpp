// The scripts for machines with a GPU: what they refuse, and that they say what is missing.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>

namespace medfusion::tools {
namespace {

using testing::AllOf;
using testing::HasSubstr;

struct Ended {
  int code = -1;
  std::string text;  // of both streams
};
Ended run_script(const std::string& command) {
  const std::string line = "cd '" MEDFUSION_SOURCE_DIR "' && bash " + command + " 2>&1";
  Ended ended;
  FILE* const pipe = ::popen(line.c_str(), "r");
  if (pipe == nullptr) return ended;
  for (int c = std::fgetc(pipe); c != EOF; c = std::fgetc(pipe)) ended.text += static_cast<char>(c);
  const int status = ::pclose(pipe);
  ended.code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return ended;
}

TEST(GpuScripts, RefuseWhatTheyDoNotKnow) {
  for (const char* command : {"tools/test_gpu.sh --stage lint",
                              "tools/test_gpu.sh --stage",
                              "tools/test_gpu.sh --prebuilt tests",
                              "tools/test_gpu.sh fast",
                              "tools/test.sh --gpu --stage lint",
                              "tools/gpu_bundle.sh --all",
                              "tools/gpu_bundle.sh --build",
                              "tools/gpu_build.sh fast",
                              "tools/gpu_build.sh --build",
                              "tools/gpu_build.sh -D",
                              "tools/gpu_build.sh --dependencies",
                              "tools/gpu_build.sh --dependencies tests",
                              "tools/test_gpu.sh --first-pass --device tpu",
                              "tools/test_gpu.sh --device sim",
                              "tools/test_gpu.sh --stage check --build tests/none",
                              "tools/test_gpu.sh --out tests",
                              "bench/gpu.sh --part all",
                              "bench/gpu.sh --part",
                              "bench/gpu.sh --out",
                              "bench/gpu.sh --fast",
                              "bench/gpu.sh --out /tmp --prebuilt tests",
                              "bench/gpu.sh --out /tmp --build tests/none"}) {
    const Ended ended = run_script(command);
    EXPECT_EQ(ended.code, 2) << command << ": " << ended.text;
    EXPECT_THAT(ended.text, HasSubstr("--help")) << command;
  }
  EXPECT_THAT(run_script("tools/test_gpu.sh --stage lint").text,
              AllOf(HasSubstr("lint"), HasSubstr("racecheck"), HasSubstr("test_gpu.sh: argument --stage")));
}

TEST(GpuScripts, ExplainThemselves) {
  for (const char* script :
       {"tools/test_gpu.sh", "tools/gpu_build.sh", "tools/gpu_bundle.sh", "bench/gpu.sh"}) {
    const Ended ended = run_script(std::string(script) + " --help");
    EXPECT_EQ(ended.code, 0) << script;
    EXPECT_THAT(ended.text, AllOf(HasSubstr(script), HasSubstr("GPU"))) << script;
  }
}

TEST(FuzzScript, RefusesWhatItDoesNotKnowAndExplainsItself) {
  for (const char* arguments : {"--fast", "csv --seconds", "--seconds soon", "--jobs 0", "pdf", "3m"}) {
    const Ended ended = run_script(std::string("tools/fuzz.sh ") + arguments);
    EXPECT_EQ(ended.code, 2) << arguments << ": " << ended.text;
    EXPECT_THAT(ended.text, AllOf(HasSubstr("fuzz.sh: "), HasSubstr("--help"))) << arguments;
  }
  EXPECT_THAT(run_script("tools/fuzz.sh pdf").text, AllOf(HasSubstr("pdf"), HasSubstr("safetensors")));
  const Ended help = run_script("tools/fuzz.sh --help");
  EXPECT_EQ(help.code, 0);
  EXPECT_THAT(help.text, AllOf(HasSubstr("--corpus DIR"), HasSubstr("CLANG")));
}

}  // namespace
}  // namespace medfusion::tools
