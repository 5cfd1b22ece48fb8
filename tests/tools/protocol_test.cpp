// Resampling before the split makes noise look learned; the guard refuses it, and cv shows it beside the
// honest protocol only when asked to.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "core/random.h"
#include "tests/tools/end_to_end.h"

namespace medfusion::tools {
namespace {

// A table of pure noise: 120 rows, of which every sixth is positive. Nothing can be learned from it.
std::filesystem::path noise_config(const TemporaryFolder& folder) {
  std::string csv = "a,b,c,d,e,y\n";
  core::Generator generator(5);
  for (int row = 0; row < 120; ++row) {
    for (int column = 0; column < 5; ++column) csv += fmt::format("{:.4f},", generator.normal());
    csv += row % 6 == 0 ? "1\n" : "0\n";
  }
  write(folder / "noise.csv", csv);
  return write(folder / "noise.toml",
               "threads = 1\n[data]\nformat = \"csv\"\nroot = \"" + folder.path().string() +
                   "\"\nfile = \"noise.csv\"\nlabels = [\"y\"]\nfolds = \"2\"\nsplit = "
                   "\"random\"\nval_fraction = 0.2\n"
                   "[published]\nmethod = \"random\"\n"
                   "[model]\nsize = \"tiny\"\ndim = 16\nheads = 2\nlayers = 1\n"
                   "dropout = 0.0\nbranches.dense = false\nbranches.pyramid = false\n"
                   "modalities.image = false\nmodalities.text = false\n"
                   "[train]\nepochs = 25\nlearning_rate = 0.01\nselect = \"last\"\n");
}

TEST(Protocol, ResamplingBeforeTheSplitInflatesNoise) {
  const TemporaryFolder folder;
  const auto config = noise_config(folder);
  const std::string text = succeed(
      {"cv", config.string(), "--protocol", "as-published", "--out", (folder / "cv").string(), "--json"});
  const auto json = nlohmann::json::parse(text);
  EXPECT_EQ(nlohmann::json::parse(contents(folder / "cv" / "protocols.json")), json);
  EXPECT_NE(json["warning"].get<std::string>().find("wrong on purpose"), std::string::npos);
  const auto auroc = [&](const char* protocol) { return json[protocol]["macro"]["auroc"].get<double>(); };
  EXPECT_GT(auroc("as_published"), 0.70);  // of what cannot be told better than by chance
  EXPECT_LT(auroc("same_network"), 0.60);
  EXPECT_LT(auroc("honest"), 0.60);
  for (const char* measure : {"accuracy", "f1", "f1_weighted", "gmean"}) {
    EXPECT_TRUE(json["as_published"]["labels"]["y"][measure].is_number()) << measure;
  }
  // The honest runs know nothing of the override.
  EXPECT_EQ(contents(folder / "cv" / "fold0" / "config.toml").find("\"resampling\""), std::string::npos);
}

TEST(Protocol, WrongSettingsAreRefusedBeforeAnythingRuns) {
  const TemporaryFolder folder;
  const Outcome outcome =
      run_medfusion({"cv", noise_config(folder).string(), "--protocol", "as-published", "--out",
                     (folder / "cv").string(), "--set", "published.settings=model.dimm=16"});
  EXPECT_EQ(outcome.code, 2);
  EXPECT_NE(outcome.err.find("unknown key model.dimm; did you mean model.dim?"), std::string::npos)
      << outcome.err;
  EXPECT_FALSE(std::filesystem::exists(folder / "cv"));
}

TEST(Protocol, DataThatCannotBeResampledAreRefusedBeforeAnythingRuns) {
  const TemporaryFolder folder;
  make_phantom(folder);
  const Outcome outcome = run_medfusion({"cv", (folder / "tiny.toml").string(), "--folds", "2", "--protocol",
                                         "as-published", "--out", (folder / "cv").string()});
  EXPECT_EQ(outcome.code, 2);
  EXPECT_NE(outcome.err.find("resample"), std::string::npos) << outcome.err;
  EXPECT_FALSE(std::filesystem::exists(folder / "cv"));
}

TEST(Control, ShuffledLabelsCannotBeLearned) {
  const TemporaryFolder folder;
  const auto config = noise_config(folder).string();
  std::string csv = "a,y\n";
  for (int row = 0; row < 120; ++row) csv += fmt::format("{},{}\n", row % 7 + row % 3, row % 3 == 0 ? 0 : 1);
  write(folder / "noise.csv", csv);
  const auto auroc = [&](const std::string& shuffle) {
    const auto json =
        nlohmann::json::parse(succeed({"cv", config, "--folds", "3", "--out", (folder / shuffle).string(),
                                       "--json", "--set", "data.shuffle_labels=" + shuffle}));
    return json["macro_auroc"]["mean"].get<double>();
  };
  EXPECT_GT(auroc("false"), 0.60);
  EXPECT_NEAR(auroc("true"), 0.5, 0.08);
}

TEST(Protocol, TheTableSaysWhichFiguresAreWrong) {
  const TemporaryFolder folder;
  const auto config = noise_config(folder);
  const auto outcome = run_medfusion({"cv", config.string(), "--protocol", "as-published", "--out",
                                      (folder / "cv").string(), "--set", "train.epochs=1"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_NE(outcome.out.find("THE FIGURES UNDER \"AS PUBLISHED\" ARE WRONG"), std::string::npos)
      << outcome.out;
}

TEST(Guard, RefusesResamplingBeforeTheSplit) {
  const TemporaryFolder folder;
  const auto config = noise_config(folder).string();
  const std::vector<std::string> mistake{"train",
                                         config,
                                         "--out",
                                         (folder / "run").string(),
                                         "--quiet",
                                         "--set",
                                         "train.epochs=1",
                                         "--set",
                                         "resample.before_split=true",
                                         "--set",
                                         "resample.method=smote"};
  const Outcome refused = run_medfusion(mistake);
  EXPECT_EQ(refused.code, 2);
  EXPECT_NE(refused.err.find("guard.allow = [\"resampling\"] accepts it"), std::string::npos) << refused.err;
  EXPECT_FALSE(std::filesystem::exists(folder / "run"));
  // Accepted, it still puts a patient's rows into two parts.
  auto accepted = mistake;
  accepted.insert(accepted.end(), {"--set", "guard.allow=resampling"});
  EXPECT_NE(run_medfusion(accepted).err.find("lies in two parts"), std::string::npos);
  accepted.back() = "guard.allow=resampling,patient";
  succeed(accepted);
}

TEST(Guard, RefusesLeaksOfTheCommandLine) {
  const TemporaryFolder folder;
  const auto config = noise_config(folder).string();
  const auto refused = [&](const std::string& setting) {
    const Outcome outcome =
        run_medfusion({"cv", config, "--out", (folder / "cv").string(), "--quiet", "--set", setting});
    EXPECT_EQ(outcome.code, 2);
    EXPECT_FALSE(std::filesystem::exists(folder / "cv"));
    return outcome.err;
  };
  const std::string place = "medfusion: " + (folder / "noise.csv").string() + ": guard: column ";
  EXPECT_EQ(refused("guard.targets=b").rfind(place + "'b' is a target", 0), 0U);
  EXPECT_THAT(refused("guard.targets=absent"),
              testing::HasSubstr("guard.targets: the data has no column 'absent'"));
  EXPECT_THAT(refused("evaluation.subgroups=absent"),
              testing::HasSubstr("evaluation.subgroups: expected columns"));
  EXPECT_EQ(refused("guard.leaking=c").rfind(place + "'c' is listed in guard.leaking", 0), 0U);
}

TEST(Guard, WarnsOfAColumnThatTellsTheLabelAlone) {
  const TemporaryFolder folder;
  const auto config = noise_config(folder);
  std::string csv = contents(folder / "noise.csv");
  std::string wider;
  int row = -1;
  for (const std::string& line : lines_of(csv)) {
    wider += (row < 0 ? "hint" : row % 6 == 0 || row % 11 == 0 ? "1" : "0") + ("," + line) + "\n";
    ++row;
  }
  write(folder / "noise.csv", wider);
  const std::vector<std::string> arguments{"train", config.string(), "--out", (folder / "run").string(),
                                           "--set", "train.epochs=1"};
  // It is written as the label is, so it must be named.
  const Outcome refused = run_medfusion(arguments);
  EXPECT_EQ(refused.code, 2);
  EXPECT_EQ(refused.err, "medfusion: " + (folder / "noise.csv").string() +
                             ": guard: inputs that are written as the labels are may be outcomes; "
                             "data.exclude = [\"hint\"] leaves them out, data.table = [\"*\"] uses all that "
                             "data.exclude does not name\n");
  auto named = arguments;
  named.insert(named.end(), {"--set", "data.table=*"});
  const Outcome outcome = run_medfusion(named);
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_NE(outcome.err.find("warning: column 'hint' alone (its value) tells 'y' at an AUROC of 0.9"),
            std::string::npos)
      << outcome.err;
  const auto data = nlohmann::json::parse(contents(folder / "run" / "data.json"));
  EXPECT_EQ(data["guard"]["warnings"].size(), 1U);
}

// Two columns are there for the positives, a third for the negatives.
TEST(Guard, ColumnsThatAreMissingTogetherAreOneWarning) {
  const TemporaryFolder folder;
  std::string csv = "y,asked,answered,other,age\n";
  for (int row = 0; row < 80; ++row) {
    const std::string value = std::to_string(row * 37 % 11);
    csv += (row % 2 == 0 ? "1," + value + "," + value + ",," : "0,,," + value + ",") + value + "\n";
  }
  write(folder / "table.csv", csv);
  const Outcome outcome =
      run_medfusion({"data", noise_config(folder).string(), "--set", "data.file=table.csv"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(
      outcome.err,
      testing::HasSubstr("warning: each of the columns 'asked', 'answered', 'other' alone (whether it is "
                         "missing) tells 'y' at an AUROC of 1.00 on training rows: do they leak?\n"));
}

TEST(Resample, TheTrainingPartAloneGrows) {
  const TemporaryFolder folder;
  const auto config = noise_config(folder);
  for (const char* method : {"random", "smote", "adasyn"}) {
    const auto run = folder / method;
    succeed(train_command(config, run,
                          {"--set", "train.epochs=1", "--set", std::string("resample.method=") + method}));
    const auto data = nlohmann::json::parse(contents(run / "data.json"));
    const auto train = data["parts"]["train"]["rows"].get<int64_t>();
    const auto positives = data["train_positives"]["y"].get<int64_t>();
    EXPECT_EQ(data["resampled"]["rows"].get<int64_t>(), 2 * (train - positives)) << method;
    EXPECT_EQ(data["resampled"]["positives"]["y"].get<int64_t>(), train - positives) << method;
    EXPECT_EQ(
        train + data["parts"]["val"]["rows"].get<int64_t>() + data["parts"]["test"]["rows"].get<int64_t>(),
        120);
  }
}

TEST(Resample, NewRowsCannotBeMadeOfImages) {
  const TemporaryFolder folder;
  make_phantom(folder);
  const Outcome outcome =
      run_medfusion(train_command(folder / "tiny.toml", folder / "run", {"--set", "resample.method=smote"}));
  EXPECT_EQ(outcome.code, 2);
  EXPECT_NE(outcome.err.find("expected \"random\" for data with images"), std::string::npos) << outcome.err;
  succeed(train_command(folder / "tiny.toml", folder / "run", {"--set", "resample.method=random"}));
}

TEST(Cervical, CrossValidatesTheTable) {
  const char* root = std::getenv("MEDFUSION_DATA");
  const std::filesystem::path data = root != nullptr ? root : MEDFUSION_SOURCE_DIR "/../shared/data";
  if (!std::filesystem::exists(data / "cervical")) GTEST_SKIP() << "cervical not found: set MEDFUSION_DATA";
  const TemporaryFolder folder;
  const auto out = folder / "cv";
  succeed({"cv", "tools/configs/cervical.toml", "--seeds", "2", "--redraw", "--set", "train.epochs=1",
           "--set", "train.warmup_epochs=0", "--set", "data.folds=2", "--out", out.string(), "--quiet"});
  // Each seed has folds of its own, which its runs name: eval tests on the same rows.
  EXPECT_NE(contents(out / "seed1" / "folds.csv"), contents(out / "seed2" / "folds.csv"));
  EXPECT_EQ(lines_of(contents(out / "seed2" / "predictions.csv")).size(), 859U);
  const std::string before = contents(out / "seed2" / "fold1" / "metrics.json");
  succeed({"eval", (out / "seed2" / "fold1").string(), "--bootstrap", "0", "--quiet"});
  EXPECT_EQ(contents(out / "seed2" / "fold1" / "metrics.json"), before);
}

TEST(Cervical, AFileOfFoldsIsNotRedrawn) {
  const TemporaryFolder folder;
  const auto config = noise_config(folder);
  write(folder / "folds.csv", "id,fold\n");
  const Outcome outcome =
      run_medfusion({"cv", config.string(), "--redraw", "--folds", (folder / "folds.csv").string()});
  EXPECT_EQ(outcome.code, 2);
  EXPECT_EQ(outcome.err.rfind("medfusion: --redraw: expected a number of folds to draw", 0), 0U)
      << outcome.err;
}

}  // namespace
}  // namespace medfusion::tools
