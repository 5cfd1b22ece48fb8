// A study of tiny networks on a small phantom, for tests.
#pragma once

#include <chrono>
#include <thread>

#include "tests/tools/end_to_end.h"

namespace medfusion::tools {

// Waits for a file of a program under way; false where it ends before.
inline bool wait_for(const std::filesystem::path& file, const RunningProgram& program) {
  while (!std::filesystem::exists(file)) {
    if (!program.is_running()) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

class TinyStudy : public testing::Test {
 protected:
  void SetUp() override {
    make_phantom(folder_);
    write(folder_ / "study.toml", text());
  }

  // Two models, two folds, one seed; `epochs` of the second model, `more` at the end.
  static std::string text(const std::string& epochs = "1", const std::string& more = "") {
    return "[study]\nreference = \"full\"\nfolds = 2\nresamples = 100\n"
           "[data.phantom]\nconfig = \"tiny.toml\"\n"
           "set = { \"data.labels\" = [\"Effusion\", \"Infiltration\"] }\n"
           "[models.full]\n"
           "[models.image_only]\n"
           "set = { model.modalities.table = false, \"model.modalities.text\" = false, \"train.epochs\" = " +
           epochs + " }\n" + more;
  }

  std::vector<std::string> command(const std::string& out, const std::vector<std::string>& more = {}) const {
    std::vector<std::string> arguments{
        "study", (folder_ / "study.toml").string(), "--out", (folder_ / out).string(), "--quiet", "--threads",
        "1"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }
  std::filesystem::path cell(const std::string& out, const std::string& model) const {
    return folder_ / out / "cells" / "phantom" / model / "seed1";
  }
  nlohmann::json study_json(const std::string& out) const {
    return nlohmann::json::parse(contents(folder_ / out / "study.json"));
  }
  const TemporaryFolder folder_;
};

}  // namespace medfusion::tools
