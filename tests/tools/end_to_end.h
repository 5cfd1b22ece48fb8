// Small data and configurations for tests that run whole commands.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "tests/tools/program.h"

namespace medfusion::tools {

// Everything below a folder: the path of each file, relative to it, and its bytes.
using Files = std::map<std::string, std::string>;
inline Files files_in(const std::filesystem::path& folder) {
  Files files;
  if (!std::filesystem::exists(folder)) return files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file()) {
      files[std::filesystem::relative(entry.path(), folder).string()] = contents(entry.path());
    }
  }
  return files;
}

inline std::vector<std::string> lines_of(const std::string& text) {
  std::istringstream stream(text);
  std::vector<std::string> lines;
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

// metrics.jsonl without the times.
inline std::string metrics_without_times(const std::filesystem::path& run) {
  std::string result;
  for (const std::string& line : lines_of(contents(run / "metrics.jsonl"))) {
    auto json = nlohmann::ordered_json::parse(line);
    json.erase("seconds");
    json.erase("images_per_second");
    result += json.dump() + "\n";
  }
  return result;
}

// Runs a command that must succeed without a word on standard error.
inline std::string succeed(const std::vector<std::string>& arguments) {
  const Outcome outcome = run_medfusion(arguments);
  EXPECT_EQ(outcome.code, 0) << testing::PrintToString(arguments);
  EXPECT_EQ(outcome.err, "") << testing::PrintToString(arguments);
  return outcome.out;
}

// Of the tiny network on images of 32x32, from the end of section [data] on.
inline constexpr const char* kTinySettings =
    "image_size = 32\n"
    "[model]\n"
    "size = \"tiny\"\n"
    "[train]\n"
    "epochs = 1\n"
    "batch_size = 8\n"
    "warmup_epochs = 0\n";

// 48 phantom images of 32x32 in `folder`/phantom, and a configuration of the tiny network on them in
// `folder`/tiny.toml.
inline void make_phantom(const TemporaryFolder& folder) {
  succeed({"synth", "--out", (folder / "phantom").string(), "--images", "48", "--size", "32", "--quiet"});
  write(folder / "tiny.toml",
        "threads = 1\n"
        "[data]\n"
        "format = \"phantom\"\n"
        "root = \"" +
            (folder / "phantom").string() + "\"\nval_fraction = 0.25\n" + kTinySettings);
}

// train `config` --out `run`, quietly, with what follows.
inline std::vector<std::string> train_command(const std::filesystem::path& config,
                                              const std::filesystem::path& run,
                                              const std::vector<std::string>& more = {}) {
  std::vector<std::string> arguments{"train", config.string(), "--out", run.string(), "--quiet"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

}  // namespace medfusion::tools
