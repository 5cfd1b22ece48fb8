// The runs of a cross-validation are runs like any other: eval finds the parts they were made with.
#include <gtest/gtest.h>

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
