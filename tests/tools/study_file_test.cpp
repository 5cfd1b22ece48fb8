// STUDY.toml: one clear line for what is wrong in it.
#include "tools/medfusion/config/study_file.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/tools/program.h"

namespace medfusion::tools {
namespace {

std::string complaint_of(const std::filesystem::path& file, const std::string& text) {
  write(file, text);
  try {
    read_study(file.string());
  } catch (const core::InputError& error) {
    const std::string message = error.what(), name = file.string();
    return message.starts_with(name) ? message.substr(name.size()) : message;
  }
  return "";
}

const std::string kData = "[data.d]\nconfig = \"tiny\"\n";
const std::string kModels = "[models.a]\n[models.b]\n";
const std::string kReference = "[study]\nreference = \"a\"\n";

TEST(StudyFile, ReadsWhatItSays) {
  const TemporaryFolder folder;
  const auto file = folder / "study.toml";
  EXPECT_EQ(
      complaint_of(file, kReference + "seeds = [3, 4]\ntrials = 5\nmeasure = \"brier\"\n" + kData + kModels +
                             "set = { model.dropout = 0.5, \"train.epochs\" = 3 }\n"
                             "[search]\n\"train.learning_rate\" = { log = [1e-4, 1e-2] }\n"
                             "model.dropout = { choices = [0.0, 0.25] }\n"
                             "train.epochs = { uniform = [2, 4] }\n"),
      "");
  const Study study = read_study(file.string());
  EXPECT_EQ(study.options.seeds, (std::vector<int64_t>{3, 4}));
  EXPECT_EQ(study.reference(), 0U);
  ASSERT_EQ(study.search.size(), 3U);
  const Config config = study_config(study, study.data[0], study.models[1]);
  EXPECT_EQ(config.model.dropout, 0.5);
  EXPECT_EQ(config.train.epochs, 3);
  EXPECT_NE(study_config(study, study.data[0], study.models[0]).train.epochs, 3);
}

TEST(StudyFile, DrawsLieInTheirRange) {
  const SearchRange log{"k", "", {}, 1e-4, 1e-2, true, false};
  EXPECT_EQ(std::stod(log.draw(0.0)), 1e-4);
  EXPECT_NEAR(std::stod(log.draw(0.5)), 1e-3, 1e-8);
  const SearchRange whole{"k", "", {}, 2.0, 4.0, false, true};
  EXPECT_EQ(whole.draw(0.0), "2");
  EXPECT_EQ(whole.draw(0.34), "3");
  EXPECT_EQ(whole.draw(std::nextafter(1.0, 0.0)), "4");
  const SearchRange choices{"k", "", {"\"x\"", "\"y\""}};
  EXPECT_EQ(choices.draw(0.49), "\"x\"");
  EXPECT_EQ(choices.draw(0.51), "\"y\"");
  // A number stays a number of TOML where it is whole.
  EXPECT_EQ(SearchRange({"k", "", {}, 1.0, 3.0, false, false}).draw(0.5), "2.00000");
}

TEST(StudyFile, EachMistakeGivesOneLine) {
  const TemporaryFolder folder;
  const auto file = folder / "study.toml";
  const auto expect = [&](const std::string& text, const std::string& message) {
    EXPECT_EQ(complaint_of(file, text), message) << text;
  };
  expect("", ": expected a section [data], there is none");
  expect(kData, ": expected a section [models], there is none");
  expect("[study]\nreferenc = \"a\"\n" + kData + kModels,
         ":2:12: unknown key study.referenc; did you mean study.reference?");
  expect("[stdy]\n" + kData + kModels, ":1:2: unknown key stdy; did you mean 'study'?");
  expect("[study]\nreference = \"c\"\n" + kData + kModels,
         ":1:1: study.reference: expected the name of a model, got 'c'");
  expect("[study]\nreference = \"a\"\nseeds = [1, 1]\n" + kData + kModels,
         ":1:1: study.seeds: expected seeds, each once");
  expect("[study]\nreference = \"a\"\nfolds = 1\n" + kData + kModels,
         ":1:1: study.folds: expected 0 or at least 2, got 1");
  expect("[study]\nreference = \"a\"\nseeds = \"x\"\n" + kData + kModels,
         ":3:9: study.seeds: expected list of integers at least 0, got text 'x'");
  expect(kReference + "measure = \"auc\"\n" + kData + kModels,
         ":3:11: study.measure: expected text one of auroc, auprc, f1, gmean, sensitivity, specificity, ppv, "
         "npv, accuracy, balanced_accuracy, brier, brier_scaled, log_loss, ece, got text 'auc'; did you mean "
         "'auroc'?");
  expect(kReference + "trials = 3\n" + kData + kModels,
         ":1:1: study.trials: expected a section [search] that says what is drawn");
  expect(kReference + kData + "[models.a]\n", ":5:1: expected at least two models, got 1");
  expect(kReference + "[data.d]\n" + kModels, ":3:1: data.d: expected config, it is missing");
  expect(kReference + "[data.d]\nconfig = 3\n" + kModels,
         ":4:10: data.d.config: expected text, got integer 3");
  expect(kReference + "[data.d]\nconfig = \"none.toml\"\n" + kModels,
         ":4:10: expected a configuration, there is no file 'none.toml'");
  expect(kReference + "[data.\"a/b\"]\nconfig = \"tiny\"\n" + kModels,
         ":3:7: data: expected a name of letters, digits, '_' and '-', got 'a/b'");
  expect(kReference + kData + kModels + "sett = {}\n",
         ":7:1: unknown key models.b.sett; did you mean 'set'?");
  expect(kReference + kData + kModels + "set = { \"model.dropot\" = 0.1 }\n",
         ":7:26: unknown key model.dropot; did you mean model.dropout?");
  expect(kReference + kData + kModels + "set = { model.dropout = 2.0 }\n",
         ":7:25: model.dropout: expected number in [0, 1), got number 2.0");
  expect(
      kReference + kData + kModels + "set = { \"data.folds\" = \"3\" }\n",
      ":7:24: data.folds: all models of a study share it; expected it in the configuration, in [data.NAME] "
      "or in [study]");
  expect(kReference + kData + kModels + "init = \"none.safetensors\"\n",
         ":7:8: expected a file of weights, there is no file 'none.safetensors'");
  expect(kReference + kData + kModels + "[search]\n\"model.dropout\" = 0.5\n",
         ":8:19: search: model.dropout: expected a table, got number 0.5");
  expect(kReference + kData + kModels + "[search]\n\"model.dropout\" = { log = [0.0, 0.5] }\n",
         ":8:27: search: model.dropout: log: expected [low, high], low below high and above 0");
  expect(kReference + kData + kModels + "[search]\n\"model.dropout\" = { uniform = [0.5, 2.0] }\n",
         ":8:31: model.dropout: expected number in [0, 1), got number 2.0");
  expect(kReference + kData + kModels + "[search]\n\"model.dropout\" = { choices = [] }\n",
         ":8:31: search: model.dropout: choices: expected a list of values, got none");
  expect(kReference + kData + kModels + "[search]\n\"model.dropot\" = { choices = [0.1] }\n",
         ":8:30: unknown key model.dropot; did you mean model.dropout?");
  expect("[study\n", ":1:7: Error while parsing table header: expected ']', saw '\\n'");
}

// With a file for the weights that they name.
TEST(StudyFile, TheShippedStudiesAreValid) {
  const TemporaryFolder folder;
  const std::string named = "\"efficientnet_lite0.safetensors\"";
  const auto weights = folder / "weights.safetensors";
  write(weights, "");
  int count = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator(MEDFUSION_SOURCE_DIR "/tools/configs/studies")) {
    SCOPED_TRACE(entry.path().string());
    std::string text = contents(entry.path());
    for (size_t at = 0; (at = text.find(named)) != std::string::npos;)
      text.replace(at, named.size(), "\"" + weights.string() + "\"");
    const auto study = folder / "study.toml";
    write(study, text);
    EXPECT_NO_THROW(read_study(study.string()));
    const Outcome outcome = run_medfusion({"study", study.string(), "--dry-run"});
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    ++count;
  }
  EXPECT_GT(count, 0);
}

TEST(StudyFile, TheProgramEndsWithCodeTwo) {
  const TemporaryFolder folder;
  const auto file = write(folder / "study.toml", "[study]\nreference = \"c\"\n" + kData + kModels);
  const Outcome outcome = run_medfusion({"study", file.string(), "--dry-run"});
  EXPECT_EQ(outcome.code, 2);
  EXPECT_EQ(outcome.err,
            "medfusion: " + file.string() + ":1:1: study.reference: expected the name of a model, got 'c'\n");
}

}  // namespace
}  // namespace medfusion::tools
