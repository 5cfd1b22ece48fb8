// The whole program can learn: 32 real chest X-rays, by heart, and from phantom data what helps on other
// rows.
#include <gtest/gtest.h>

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "tests/tools/end_to_end.h"

namespace medfusion::tools {
namespace {

namespace fs = std::filesystem;

fs::path real_data() {
  const char* given = std::getenv("MEDFUSION_DATA");
  return (given != nullptr ? fs::path(given) : fs::path(MEDFUSION_SOURCE_DIR) / "../shared/data") / "nih1000";
}

// A split whose training part is the images of whole patients, one patient in eight until there are 32; the
// rest is the test part. A patient whose images would be too many is passed over.
std::string split_of(const std::vector<std::string>& table) {
  std::map<std::string, std::vector<std::string>> images;  // of each patient
  for (size_t i = 1; i < table.size(); ++i) {
    const std::string name = table[i].substr(0, table[i].find(','));
    images[name.substr(0, name.find('_'))].push_back(name);
  }
  std::string split = "id,part\n";
  size_t chosen = 0, number = 0;
  for (const auto& [patient, names] : images) {
    const bool train = number++ % 8 == 0 && chosen + names.size() <= 32;
    if (train) chosen += names.size();
    for (const std::string& name : names) split += name + (train ? ",train\n" : ",test\n");
  }
  EXPECT_EQ(chosen, 32U);
  return split;
}

TEST(Overfit, ThirtyTwoRealImagesToALossBelowOneHundredth) {
  const fs::path data = real_data();
  if (!fs::exists(data / "Data_Entry_2017.csv")) {
    GTEST_SKIP() << data << " is absent; set MEDFUSION_DATA to the folder that holds nih1000";
  }
  const TemporaryFolder folder;
  write(folder / "split.csv", split_of(lines_of(contents(data / "Data_Entry_2017.csv"))));
  write(folder / "overfit.toml",
        "[data]\nroot = \"" + data.string() + "\"\nsplit = \"file\"\nsplit_file = \"" +
            (folder / "split.csv").string() +
            "\"\nval_fraction = 0.0\nimage_size = 64\n"
            "[augment]\nshift = 0.0\nscale = 0.0\nrotation = 0.0\nbrightness = 0.0\ncontrast = 0.0\n"
            "gamma = 0.0\n"
            "[model]\nsize = \"tiny\"\nmodalities.table = false\nmodalities.text = false\ndropout = 0.0\n"
            "modality_dropout = 0.0\n"
            "[train]\nepochs = 40\nbatch_size = 16\nlearning_rate = 5e-3\nwarmup_epochs = 1\n"
            "weight_decay = 0.0\nselect = \"last\"\n");
  succeed(train_command(folder / "overfit.toml", folder / "run"));
  const auto seen = nlohmann::json::parse(contents(folder / "run" / "data.json"));
  EXPECT_EQ(seen.at("parts").at("train").at("rows"), 32);
  const auto lines = lines_of(contents(folder / "run" / "metrics.jsonl"));
  ASSERT_EQ(lines.size(), 40U);
  const double first = nlohmann::json::parse(lines.front()).at("train_loss").get<double>();
  const double last = nlohmann::json::parse(lines.back()).at("train_loss").get<double>();
  EXPECT_GT(first, 0.1);
  EXPECT_LT(last, 0.01);
}

// The first look that docs/configuration.md promises, cut short.
TEST(FirstLook, TheSmallestConfigurationLearns) {
  const TemporaryFolder folder;
  const std::string data = (folder / "phantom").string();
  ASSERT_EQ(run_medfusion({"synth", "--out", data, "--size", "32", "--quiet"}).code, 0);
  succeed({"train", MEDFUSION_SOURCE_DIR "/tools/configs/tiny.toml", "--out", (folder / "run").string(),
           "--set", "data.root=" + data, "--set", "train.epochs=3", "--quiet"});
  const auto lines = lines_of(contents(folder / "run" / "metrics.jsonl"));
  ASSERT_EQ(lines.size(), 3U);
  EXPECT_GT(nlohmann::json::parse(lines.back()).at("val").at("macro").at("auroc").get<double>(), 0.65);
}

}  // namespace
}  // namespace medfusion::tools
