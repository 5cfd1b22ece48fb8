// The search of a study: settings are chosen inside the training part of a fold, by the same draws for every
// model, and used for that fold alone.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include "tests/tools/study.h"
#include "tools/medfusion/config/settings_file.h"
#include "tools/medfusion/run/run_directory.h"

namespace medfusion::tools {
namespace {

namespace fs = std::filesystem;

constexpr int kRows = 48;

class StudySearch : public testing::Test {
 protected:
  void SetUp() override {
    std::string folds = "id,fold\n";
    for (int row = 0; row < kRows; ++row) folds += fmt::format("{},{}\n", row, fold_of(row));
    write(folder_ / "folds.csv", folds);
    write(folder_ / "table.toml",
          "threads = 1\n[data]\nformat = \"csv\"\nroot = \"" + folder_.path().string() +
              "\"\nfile = \"table.csv\"\nid_column = \"id\"\npatient_column = \"patient\"\n"
              "labels = [\"sick\"]\ntable = [\"a\", \"b\"]\nfolds = \"folds.csv\"\nval_fraction = 0.25\n"
              "[model]\nsize = \"tiny\"\nmodalities.image = false\nmodalities.text = false\n"
              "branches.dense = false\nbranches.pyramid = false\n"
              "[train]\nepochs = 2\nbatch_size = 8\nwarmup_epochs = 0\n");
    write(folder_ / "study.toml",
          "[study]\nreference = \"plain\"\nresamples = 50\ntrials = 3\ninner_fraction = 0.4\n"
          "[data.table]\nconfig = \"table.toml\"\n"
          "[models.plain]\n[models.other]\nset = { model.dropout = 0.3 }\n"
          "[search]\ntrain.learning_rate = { log = [1e-4, 3e-2] }\n");
    write_table(-1);
  }

  // Four rows of a patient in turn, whole patients in a fold.
  static int fold_of(int row) { return row / 4 % 2; }

  // A table whose labels are turned round in one fold; -1: in none.
  void write_table(int turned) const {
    std::string csv = "id,patient,a,b,sick\n";
    for (int row = 0; row < kRows; ++row) {
      const bool sick = (row * 7 + row / 5) % 3 == 0;
      csv += fmt::format("{},p{},{},{},{}\n", row, row / 4, row % 11 + (sick ? 4 : 0), row * 5 % 13,
                         static_cast<int>(sick != (fold_of(row) == turned)));
    }
    write(folder_ / "table.csv", csv);
  }

  std::vector<std::string> command(const std::string& out) const {
    return {"study",   (folder_ / "study.toml").string(),
            "--out",   (folder_ / out).string(),
            "--quiet", "--threads",
            "1",       "--jobs",
            "2"};
  }
  fs::path models(const std::string& out) const { return folder_ / out / "search" / "table" / "models"; }
  nlohmann::json choice(const std::string& out, const std::string& model) const {
    return nlohmann::json::parse(contents(models(out) / model / "choice.json"))["folds"];
  }

  const TemporaryFolder folder_;
};

TEST_F(StudySearch, TheBestOfTheSameDrawsTrainsTheFold) {
  succeed(command("out"));
  for (const char* model : {"plain", "other"}) {
    SCOPED_TRACE(model);
    const auto folds = choice("out", model);
    ASSERT_EQ(folds.size(), 2U);
    for (int fold = 0; fold < 2; ++fold) {
      const auto scores = folds[fold]["scores"].get<std::vector<double>>();
      const auto draw = folds[fold]["draw"].get<int64_t>();
      ASSERT_EQ(scores.size(), 3U);
      EXPECT_EQ(draw, std::max_element(scores.begin(), scores.end()) - scores.begin());
      // The fold's network has the learning rate of the draw, which is the same for both models.
      const auto rate_in = [&](const fs::path& config) {
        return load_config(config.string()).train.learning_rate;
      };
      const double used = rate_in(folder_ / "out" / "cells" / "table" / model / "seed1" /
                                  fmt::format("fold{}", fold) / "config.toml");
      EXPECT_EQ(used,
                rate_in(models("out") / "plain" / "fold0" / fmt::format("draw{}", draw) / "trial.toml"));
    }
    EXPECT_FALSE(fs::exists(models("out") / model / "fold0" / "draw0" / "run" / "best.safetensors"));
  }
}

TEST_F(StudySearch, LabelsOfTheTestFoldDoNotChangeTheChoice) {
  succeed(command("before"));
  write_table(0);
  succeed(command("after"));
  for (const char* model : {"plain", "other"}) {
    SCOPED_TRACE(model);
    const auto before = choice("before", model), after = choice("after", model);
    EXPECT_EQ(before[0], after[0]);                      // tested on the rows that changed
    EXPECT_NE(before[1]["scores"], after[1]["scores"]);  // trained on them
  }
}

TEST_F(StudySearch, KilledInTheSearchItGoesOnToTheSameChoice) {
  succeed(command("whole"));
  RunningProgram program(command("cut"), {});
  ASSERT_TRUE(wait_for(models("cut") / "plain" / "fold1" / "draw0" / "run" / "config.toml", program));
  program.signal(SIGKILL);
  program.wait();
  EXPECT_FALSE(fs::exists(models("cut") / "plain" / "choice.json"));
  succeed(command("cut"));
  EXPECT_EQ(contents(models("cut") / "plain" / "choice.json"),
            contents(models("whole") / "plain" / "choice.json"));
  EXPECT_EQ(contents(folder_ / "cut" / "results.csv"), contents(folder_ / "whole" / "results.csv"));
}

}  // namespace
}  // namespace medfusion::tools
