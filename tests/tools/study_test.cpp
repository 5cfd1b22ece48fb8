// medfusion study: the grid is trained once, however often it is cut off, and compared in pairs.
#include "tests/tools/study.h"

#include <gmock/gmock.h>

namespace medfusion::tools {
namespace {

using testing::HasSubstr;
namespace fs = std::filesystem;

using StudyCommand = TinyStudy;

TEST_F(StudyCommand, ComparesTwoModelsOnTheSameFolds) {
  succeed(command("out"));
  const auto json = study_json("out")["data"]["phantom"];
  EXPECT_EQ(json["folds"], 2);
  // The folds are the same, and so is what `medfusion cv` says of each cell.
  EXPECT_EQ(contents(cell("out", "full") / "folds.csv"), contents(cell("out", "image_only") / "folds.csv"));
  double mean[2];
  for (const auto& [name, i] : {std::pair{"full", 0}, std::pair{"image_only", 1}}) {
    const auto cv = nlohmann::json::parse(contents(cell("out", name) / "cv.json"));
    mean[i] = cv["macro_auroc"]["mean"].get<double>();
    const auto& model = json["models"][name];
    EXPECT_NEAR(model["measures"]["auroc"]["value"].get<double>(), mean[i], 1e-6);
    EXPECT_GT(model["costs"]["parameters"].get<int64_t>(), 1000);
    EXPECT_GT(model["costs"]["peak_resident_bytes"].get<int64_t>(), 1 << 20);
    EXPECT_EQ(model["history"].size(), 1U);
  }
  EXPECT_FALSE(json["models"]["full"].contains("difference"));
  const auto& other = json["models"]["image_only"];
  EXPECT_NEAR(other["difference"]["value"].get<double>(), mean[1] - mean[0], 1e-6);
  EXPECT_EQ(other["wins"].get<int>() + other["ties"].get<int>() + other["losses"].get<int>(), 2);
  // 2 models x 2 folds x 14 measures
  EXPECT_EQ(lines_of(contents(folder_ / "out" / "results.csv")).size(), 1U + 56U);
  // Two cross-validations that `compare` accepts, and the same difference by it.
  const auto compared = nlohmann::json::parse(
      succeed({"compare", cell("out", "image_only").string(), cell("out", "full").string(), "--bootstrap",
               "100", "--json"}))["cross_validation"]["macro_auroc"]["difference"];
  for (const char* key : {"value", "low", "high", "p_value"})
    EXPECT_EQ(compared[key], other["difference"][key]) << key;
}

TEST_F(StudyCommand, WhatIsFinishedIsNotTrainedAgain) {
  succeed(command("out"));
  const std::string before = contents(folder_ / "out" / "results.csv");
  const auto written = fs::last_write_time(cell("out", "full") / "cv.json");
  fs::remove_all(cell("out", "image_only"));
  succeed(command("out", {"--jobs", "2"}));
  EXPECT_EQ(contents(folder_ / "out" / "results.csv"), before);
  EXPECT_EQ(fs::last_write_time(cell("out", "full") / "cv.json"), written);
}

TEST_F(StudyCommand, KilledInTheMiddleItGoesOnToTheSameResults) {
  succeed(command("whole"));
  const std::string expected = contents(folder_ / "whole" / "results.csv");
  ASSERT_NE(expected, "");
  const char* const moments[] = {"full/seed1/fold0/config.toml", "full/seed1/fold1/config.toml",
                                 "image_only/seed1/cv.toml"};
  for (const char* moment : moments) {
    SCOPED_TRACE(moment);
    fs::remove_all(folder_ / "cut");
    {
      RunningProgram program(command("cut"), {});
      ASSERT_TRUE(wait_for(folder_ / "cut" / "cells" / "phantom" / moment, program));
      program.signal(SIGKILL);
      program.wait();
    }
    EXPECT_FALSE(fs::exists(folder_ / "cut" / "results.csv"));
    succeed(command("cut"));
    EXPECT_EQ(contents(folder_ / "cut" / "results.csv"), expected);
  }
}

TEST_F(StudyCommand, ASignalSavesAndSaysHowToGoOn) {
  write(folder_ / "study.toml", text("100000"));
  RunningProgram program(command("out"), {});
  ASSERT_TRUE(wait_for(cell("out", "image_only") / "fold0" / "last.safetensors", program));
  program.signal(SIGTERM);
  const Outcome outcome = program.wait();
  EXPECT_EQ(outcome.code, 128 + SIGTERM);
  EXPECT_EQ(outcome.err,
            "medfusion: stopped by SIGTERM; what is done is saved; go on with: medfusion study " +
                (folder_ / "study.toml").string() + " --out " + (folder_ / "out").string() + "\n");
}

TEST_F(StudyCommand, AModelThatFailsIsNamedAndTheOthersGoOn) {
  write(folder_ / "study.toml", text("1", "[models.half]\nset = { \"train.precision\" = \"bf16\" }\n"));
  const Outcome outcome = run_medfusion(command("out", {"--device", "cpu"}));
  EXPECT_EQ(outcome.code, 1);
  const std::string what = "phantom/half seed 1: train.precision: expected f32 on the cpu";
  EXPECT_THAT(outcome.err, HasSubstr("failed: " + what));
  EXPECT_THAT(outcome.err, HasSubstr("medfusion: 1 of the study failed, the first: " + what));
  const auto json = study_json("out");
  EXPECT_EQ(json["unfinished"], nlohmann::json({"phantom/half seed 1"}));
  EXPECT_EQ(json["data"]["phantom"]["left_out"], nlohmann::json({"half"}));
  EXPECT_TRUE(json["data"]["phantom"]["models"].contains("image_only"));
  EXPECT_TRUE(json["ranking"].contains("undefined"));
}

TEST_F(StudyCommand, ACellOfAnotherConfigurationIsRefused) {
  succeed(command("out"));
  const Files before = files_in(folder_ / "out" / "cells");
  write(folder_ / "study.toml", text("2"));
  const Outcome outcome = run_medfusion(command("out"));
  EXPECT_EQ(outcome.code, 2);
  EXPECT_THAT(outcome.err, HasSubstr("image_only/seed1: holds what another study has trained: train.epochs "
                                     "was 1, is 2; remove it"));
  EXPECT_TRUE(files_in(folder_ / "out" / "cells") == before);
}

TEST_F(StudyCommand, ADryRunListsTheGridAndWritesNothing) {
  const std::string out = succeed(command("out", {"--dry-run"}));
  EXPECT_THAT(out, HasSubstr("phantom/full seed 1\nphantom/image_only seed 1\n"));
  EXPECT_THAT(out, HasSubstr("1 data x 2 models x 1 seeds = 2 cross-validations, 0 finished"));
  EXPECT_FALSE(fs::exists(folder_ / "out"));
}

TEST_F(StudyCommand, AnotherProcessMayNotRunIt) {
  write(folder_ / "study.toml", text("100000"));
  RunningProgram program(command("out"), {});
  ASSERT_TRUE(wait_for(cell("out", "image_only") / "cv.toml", program));
  const Outcome second = run_medfusion(command("out"));
  EXPECT_EQ(second.code, 2);
  EXPECT_THAT(second.err, HasSubstr("another medfusion is writing here"));
}

}  // namespace
}  // namespace medfusion::tools
