// The runs of a cross-validation are runs like any other: eval finds the parts they were made with.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/tools/end_to_end.h"

namespace medfusion::tools {
namespace {

// With folds drawn at random, each run must remember its own: a draw of its seed would test on images that it
// was trained on.
TEST(CrossValidation, EvalOfAFoldTestsOnTheSameRows) {
  const TemporaryFolder folder;
  make_phantom(folder);
  const auto out = folder / "cv";
  succeed({"cv", (folder / "tiny.toml").string(), "--folds", "2", "--seeds", "2", "--out", out.string(),
           "--set", "data.labels=Effusion,Infiltration", "--set", "train.epochs=1", "--quiet"});
  for (const char* run : {"seed1/fold1", "seed2/fold0"}) {
    SCOPED_TRACE(run);
    const std::string before = contents(out / run / "metrics.json");
    ASSERT_NE(before, "");
    succeed({"eval", (out / run).string(), "--quiet"});
    EXPECT_EQ(contents(out / run / "metrics.json"), before);
  }
  EXPECT_EQ(lines_of(contents(out / "folds.csv")).size(), 49U);
}

// What compare says of two cross-validations is what their cv.json say.
TEST(CrossValidation, TwoAreComparedInTheMeanOverFoldsAndSeeds) {
  const TemporaryFolder folder;
  make_phantom(folder);
  const auto cv = [&](const std::string& name, const std::string& seeds, const std::string& epochs) {
    succeed({"cv", (folder / "tiny.toml").string(), "--folds", "2", "--seeds", seeds, "--out",
             (folder / name).string(), "--quiet", "--set", "train.epochs=" + epochs});
    return nlohmann::json::parse(contents(folder / name / "cv.json"))["macro_auroc"]["mean"].get<double>();
  };
  const double a = cv("a", "2", "1"), b = cv("b", "2", "2");
  const auto compare = [&](const std::string& second) {
    return nlohmann::json::parse(succeed({"compare", (folder / "a").string(), (folder / second).string(),
                                          "--bootstrap", "200", "--json"}))["cross_validation"];
  };
  const auto json = compare("b");
  EXPECT_EQ(json["folds"], 2);
  EXPECT_EQ(json["seeds"].size(), 2U);
  EXPECT_NEAR(json["macro_auroc"]["first"]["value"].get<double>(), a, 1e-6);
  EXPECT_NEAR(json["macro_auroc"]["second"]["value"].get<double>(), b, 1e-6);
  const auto& difference = json["macro_auroc"]["difference"];
  EXPECT_NEAR(difference["value"].get<double>(), a - b, 1e-6);
  EXPECT_LT(difference["low"].get<double>(), difference["value"].get<double>());
  EXPECT_GT(difference["high"].get<double>(), difference["value"].get<double>());
  EXPECT_EQ(compare("a")["macro_auroc"]["difference"]["high"], 0.0);
  cv("c", "1", "1");
  EXPECT_EQ(compare("c")["undefined"], "the seeds differ");
}

// One fold may have settings of its own, and all may begin with given weights; --resume keeps both.
TEST(CrossValidation, SettingsOfOneFoldAndInitialWeights) {
  const TemporaryFolder folder;
  make_phantom(folder);
  succeed(train_command(folder / "tiny.toml", folder / "run", {"--set", "train.epochs=0"}));
  const std::string weights = (folder / "run" / "last.safetensors").string();
  const auto cv = [&](const std::string& set) {
    return run_medfusion({"cv", (folder / "tiny.toml").string(), "--folds", "2", "--out",
                          (folder / "cv").string(), "--init", weights, "--fold-set", set, "--quiet"});
  };
  EXPECT_EQ(cv("2:train.epochs=2").err, "medfusion: --fold-set: expected a fold of 0..1, got 2\n");
  EXPECT_EQ(cv("train.epochs=2").code, 2);
  EXPECT_EQ(cv("1:train.epoch=2").code, 2);
  EXPECT_FALSE(std::filesystem::exists(folder / "cv"));
  ASSERT_EQ(cv("1:train.epochs=2").code, 0);
  std::filesystem::remove(folder / "cv" / "cv.json");
  std::filesystem::remove_all(folder / "cv" / "fold1");
  succeed({"cv", "--resume", (folder / "cv").string(), "--quiet"});
  EXPECT_EQ(lines_of(contents(folder / "cv" / "fold0" / "metrics.jsonl")).size(), 1U);
  EXPECT_EQ(lines_of(contents(folder / "cv" / "fold1" / "metrics.jsonl")).size(), 2U);
  for (const char* fold : {"fold0", "fold1"})
    EXPECT_NE(contents(folder / "cv" / fold / "train.log").find("init: " + weights), std::string::npos);
}

TEST(CrossValidation, AFoldFileIsTakenFromTheWorkingDirectory) {
  const TemporaryFolder folder;
  make_phantom(folder);
  Surroundings surroundings;
  surroundings.folder = folder.path();
  const Outcome missing = run_medfusion({"cv", "tiny.toml", "--folds", "none.csv", "--quiet"}, surroundings);
  EXPECT_EQ(missing.code, 2);
  EXPECT_EQ(missing.err.rfind("medfusion: " + (folder / "none.csv").string() + ": ", 0), 0U) << missing.err;
  EXPECT_FALSE(std::filesystem::exists(folder / "runs"));
}

// A run is repeated from the configuration that it keeps.
TEST(ResolvedConfiguration, TrainingFromItRepeatsTheRun) {
  const TemporaryFolder folder;
  make_phantom(folder);
  succeed(train_command(folder / "tiny.toml", folder / "run", {"--seed", "5", "--set", "model.dropout=0.3"}));
  succeed(train_command(folder / "run" / "config.toml", folder / "again"));
  EXPECT_TRUE(contents(folder / "again" / "last.safetensors") ==
              contents(folder / "run" / "last.safetensors"));
  EXPECT_EQ(contents(folder / "again" / "config.toml"), contents(folder / "run" / "config.toml"));
}

}  // namespace
}  // namespace medfusion::tools
