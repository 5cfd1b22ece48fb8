// The time of day, which can jump, decides nothing: only the stamps of train.log read it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <regex>
#include <string>
#include <vector>

#include "tests/core/sources.h"

namespace {

// The files of the program that read the time of day.
std::vector<std::string> files_that_read_it(const std::map<std::string, std::string>& files) {
  static const std::regex clocks(
      R"(system_clock|std::time\(|[^a-z_]time\((NULL|nullptr|0)\)|gettimeofday|CLOCK_REALTIME|localtime|last_write_time)");
  std::vector<std::string> found;
  for (const auto& [name, text] : files) {
    if (!name.starts_with("tests/") && !name.starts_with("bench/") && std::regex_search(text, clocks))
      found.push_back(name);
  }
  return found;
}

TEST(WallClock, OnlyTheLogReadsIt) {
  EXPECT_THAT(files_that_read_it(medfusion::sources()),
              testing::ElementsAre("tools/medfusion/run/run_directory.cpp"));
}

TEST(WallClock, AReaderIsFound) {
  EXPECT_EQ(files_that_read_it({{"optim/a.cpp", "auto t = std::chrono::system_clock::now();"},
                                {"optim/b.cpp", "std::chrono::steady_clock::now()"},
                                {"data/c.cpp", "x = time(nullptr);"}})
                .size(),
            2U);
}

}  // namespace
