// A folder for one test, removed at its end, and the message of an input error.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <string>

#include "core/error.h"

namespace medfusion::data {

class TemporaryFolder {
 public:
  TemporaryFolder() {
    const auto* test = testing::UnitTest::GetInstance()->current_test_info();
    path_ = std::filesystem::path(testing::TempDir()) /
            (std::string("medfusion_") + test->test_suite_name() + "_" + test->name());
    std::filesystem::remove_all(path_);
    std::filesystem::create_directories(path_);
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  std::string path(const std::string& name = "") const {
    return name.empty() ? path_.string() : (path_ / name).string();
  }
  // Writes a file, and its folders where they are missing; returns its path.
  std::string write(const std::string& name, const std::string& content) const {
    std::filesystem::create_directories((path_ / name).parent_path());
    std::ofstream(path_ / name, std::ios::binary) << content;
    return path(name);
  }

 private:
  std::filesystem::path path_;
};

// The message of the InputError that `body` throws; a test failure where it throws none.
inline std::string input_error(const std::function<void()>& body) {
  try {
    body();
  } catch (const core::InputError& error) {
    return error.what();
  }
  ADD_FAILURE() << "expected an InputError";
  return "";
}

// ../shared/data beside the sources, or $MEDFUSION_DATA; empty where `needed` is not in it.
inline std::string shared_data(const std::string& needed) {
  const char* override_path = std::getenv("MEDFUSION_DATA");
  std::filesystem::path root =
      override_path != nullptr ? override_path : MEDFUSION_SOURCE_DIR "/../shared/data";
  return std::filesystem::exists(root / needed) ? (root / needed).string() : "";
}

// The same for ../shared/cases and $MEDFUSION_CASES.
inline std::string shared_case(const std::string& needed) {
  const char* override_path = std::getenv("MEDFUSION_CASES");
  std::filesystem::path root =
      override_path != nullptr ? override_path : MEDFUSION_SOURCE_DIR "/../shared/cases";
  return std::filesystem::exists(root / needed) ? (root / needed).string() : "";
}

}  // namespace medfusion::data
