// The program as a user runs it: exit codes, messages, help.
#include "tests/tools/program.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "tools/medfusion/config/config.h"

namespace medfusion::tools {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

const std::vector<std::string> kCommands{"synth", "train", "eval", "predict", "cv", "info"};

// Bad input: one line on standard error, nothing on standard output, exit code 2.
void expect_bad_input(const Outcome& outcome, const std::string& message) {
  EXPECT_EQ(outcome.code, 2);
  EXPECT_EQ(outcome.out, "");
  EXPECT_THAT(outcome.err, StartsWith("medfusion: " + message));
  EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
  EXPECT_TRUE(outcome.err.ends_with("\n"));
}

std::vector<std::string> words_of(const std::string& line) {
  std::istringstream stream(line);
  std::vector<std::string> words;
  for (std::string word; stream >> word;) words.push_back(word);
  return words;
}

TEST(Program, HelpOfEachCommandShowsTheCommonOptionsAndAnExample) {
  for (const std::string& command : kCommands) {
    SCOPED_TRACE(command);
    const Outcome outcome = run_medfusion({command, "--help"});
    EXPECT_EQ(outcome.code, 0);
    EXPECT_EQ(outcome.err, "");
    for (const char* option : {"--threads", "--device", "--seed", "--quiet", "--json"}) {
      EXPECT_THAT(outcome.out, HasSubstr(option));
    }
    EXPECT_THAT(outcome.out, HasSubstr("\n  medfusion " + command + " "));
  }
}

TEST(Program, ExamplesInTheHelpAreCorrectCommandLines) {
  for (const std::string& command : kCommands) {
    const std::string help = run_medfusion({command, "--help"}).out;
    const size_t start = help.find("  medfusion " + command + " ", help.find("Example"));
    ASSERT_NE(start, std::string::npos) << command;
    std::vector<std::string> words = words_of(help.substr(start, help.find('\n', start) - start));
    words.erase(words.begin());  // "medfusion"
    SCOPED_TRACE(testing::PrintToString(words));
    // An unknown option of the example would be refused before a wrong value of the last one is.
    words.insert(words.end(), {"--threads", "none"});
    const Outcome outcome = run_medfusion(words);
    EXPECT_EQ(outcome.code, 2);
    EXPECT_THAT(outcome.err, HasSubstr("--threads"));
    for (const std::string& word : words) {
      if (!word.ends_with(".toml")) continue;
      EXPECT_TRUE(std::filesystem::exists(std::filesystem::path(MEDFUSION_SOURCE_DIR) / word)) << word;
    }
  }
}

TEST(Program, VersionIsPrinted) {
  const Outcome outcome = run_medfusion({"--version"});
  EXPECT_EQ(outcome.code, 0);
  EXPECT_THAT(outcome.out, StartsWith("medfusion "));
}

TEST(Program, RefusesCommandLinesThatAreWrong) {
  expect_bad_input(run_medfusion({"info", "--threads", "0"}), "--threads: ");
  expect_bad_input(run_medfusion({"info", "--threads", "two"}), "");
  expect_bad_input(run_medfusion({"info", "--device", "gpu"}),
                   "--device: expected cpu, cuda, sim or auto, got 'gpu'");
  expect_bad_input(run_medfusion({"info", "--device", "cpu:1"}),
                   "--device cpu:1: device cpu:1 does not exist, only cpu:0\n");
  expect_bad_input(run_medfusion({"info", "--seed", "-1"}), "--seed: ");
  expect_bad_input(run_medfusion({"train"}),
                   "expected CONFIG, or --resume RUN in its place (see medfusion train --help)");
  expect_bad_input(run_medfusion({"eval", "run", "--split", "tset"}), "--split: ");
  expect_bad_input(run_medfusion({"synth", "--out", "x", "--images", "0"}), "--images: ");
}

TEST(Program, InfoDescribesTheBuild) {
  const Outcome outcome = run_medfusion({"info", "--json", "--threads", "2"});
  EXPECT_EQ(outcome.code, 0);
  const auto info = nlohmann::json::parse(outcome.out);
  EXPECT_EQ(info.at("version"), MEDFUSION_VERSION);
  EXPECT_EQ(info.at("sanitizers"), MEDFUSION_SANITIZE);
  EXPECT_EQ(info.at("threads"), 2);
  EXPECT_EQ(info.at("devices").at(0).at("name"), "cpu");
  EXPECT_GE(info.at("simd").at("float_lanes"), 1);
  EXPECT_NE(info.at("simd").at("level"), "");
  for (const auto& [name, version] : info.at("libraries").items()) {
    EXPECT_THAT(version.get<std::string>(), testing::MatchesRegex("[0-9]+\\.[0-9.]+")) << name;
  }
  const std::string text = run_medfusion({"info"}).out;
  EXPECT_THAT(text, StartsWith(std::string("medfusion ") + MEDFUSION_VERSION + "\n"));
  EXPECT_THAT(text, HasSubstr(info.at("simd").at("level").get<std::string>()));
}

TEST(Program, InfoPrintsTheReferenceOfTheConfiguration) {
  Config defaults;
  EXPECT_EQ(run_medfusion({"info", "--config-keys"}).out, describe_fields(core::fields_of(defaults)));
}

TEST(Program, AFullDiskUnderStandardOutputIsAnError) {
  Surroundings surroundings;
  surroundings.out = "/dev/full";
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{"info"}, {"--help"}, {"train", "--help"}, {"--version"}}) {
    const Outcome outcome = run_medfusion(arguments, surroundings);
    EXPECT_EQ(outcome.code, 1) << arguments.front();
    EXPECT_EQ(outcome.err, "medfusion: standard output cannot be written: No space left on device\n");
  }
}

TEST(Program, BadConfigurationsNameThePlace) {
  const TemporaryFolder folder;
  write(folder / "a.toml", "[data]\nroot = \"x\"\n[model]\nsise = \"tiny\"\n");
  for (const char* command : {"train", "cv"}) {
    SCOPED_TRACE(command);
    Surroundings surroundings;
    surroundings.folder = folder.path();
    expect_bad_input(run_medfusion({command, "a.toml"}, surroundings),
                     "a.toml:4:1: unknown key model.sise; did you mean model.size?\n");
    expect_bad_input(run_medfusion({command, "none.toml"}, surroundings),
                     "none.toml: cannot be read: No such file or directory\n");
    write(folder / "b.toml", "[data]\nroot = \"x\"\n");
    expect_bad_input(run_medfusion({command, "b.toml", "--set", "train.epochs=many"}, surroundings),
                     "--set train.epochs=many: train.epochs: expected integer at least 0, got 'many'\n");
    expect_bad_input(run_medfusion({command, "b.toml", "--set", "data.table=[a]\n[[["}, surroundings), "");
    write(folder / "c.toml", "[[[");
    expect_bad_input(run_medfusion({command, "c.toml"}, surroundings), "c.toml");
    std::string deep = "a";
    for (int i = 0; i < 100000; ++i) deep += ".a";
    write(folder / "d.toml", deep + " = 1\n");
    expect_bad_input(run_medfusion({command, "d.toml"}, surroundings),
                     "d.toml:1: expected lines of at most 8192 characters\n");
  }
}

TEST(Program, SynthWritesTheSameDataForTheSameSeed) {
  const TemporaryFolder folder;
  const std::string a = (folder / "a").string();
  const Outcome outcome =
      run_medfusion({"synth", "--out", a, "--images", "8", "--size", "32", "--seed", "3", "--json"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(nlohmann::json::parse(outcome.out).at("images"), 8);
  const Outcome again = run_medfusion({"synth", "--out", (folder / "b").string(), "--images", "8", "--size",
                                       "32", "--seed", "3", "--quiet", "--threads", "1"});
  EXPECT_EQ(again.out + again.err, "");
  const std::string table = contents(folder / "a" / "Data_Entry_2017.csv");
  EXPECT_EQ(std::count(table.begin(), table.end(), '\n'), 9);
  EXPECT_EQ(contents(folder / "b" / "Data_Entry_2017.csv"), table);
  run_medfusion({"synth", "--out", (folder / "c").string(), "--images", "8", "--size", "32", "--seed", "4"});
  EXPECT_NE(contents(folder / "c" / "Data_Entry_2017.csv"), table);
}

TEST(Program, SynthReplacesPhantomDataAndNoOther) {
  const TemporaryFolder folder;
  const std::vector<std::string> command{"synth", "--out",  folder.path().string(), "--images", "8", "--size",
                                         "32",    "--quiet"};
  const auto table = write(folder / "Data_Entry_2017.csv", "mine");
  expect_bad_input(run_medfusion(command), table.string() + ": expected phantom data or none in this folder");
  EXPECT_EQ(contents(table), "mine");
  std::filesystem::remove(table);
  std::vector<std::string> larger = command;
  larger[4] = "12";
  EXPECT_EQ(run_medfusion(larger).code, 0);
  write(folder / "images" / "mine.png", "mine");
  EXPECT_EQ(run_medfusion(command).code, 0);
  // Its own images of before are gone, no others.
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder / "images"))
    names.push_back(entry.path().filename().string());
  EXPECT_EQ(names.size(), 9U);
  EXPECT_THAT(names, testing::Contains("mine.png"));
}

TEST(Program, SynthIntoAFileFails) {
  const TemporaryFolder folder;
  const Outcome outcome =
      run_medfusion({"synth", "--out", write(folder / "file", "").string(), "--images", "8"});
  EXPECT_EQ(outcome.code, 2);
  EXPECT_THAT(outcome.err, StartsWith("medfusion: --out " + (folder / "file").string() + ": "));
}

TEST(Program, TrainAndCvDoNotOverwriteARun) {
  const TemporaryFolder folder;
  write(folder / "a.toml", "[data]\nroot = \"x\"\n");
  Surroundings surroundings;
  surroundings.folder = folder.path();
  std::filesystem::create_directories(folder / "runs/a");
  std::filesystem::create_directories(folder / "runs/a-cv");
  write(folder / "runs/a/config.toml", "mine");
  write(folder / "runs/a-cv/cv.json", "mine");
  expect_bad_input(run_medfusion({"train", "a.toml"}, surroundings),
                   "runs/a: holds a run already (config.toml);");
  expect_bad_input(run_medfusion({"cv", "a.toml"}, surroundings),
                   "runs/a-cv: holds a run already (cv.json);");
  EXPECT_EQ(contents(folder / "runs/a/config.toml"), "mine");
}

TEST(Program, ReadyConfigurationsGoByName) {
  const auto ready =
      nlohmann::json::parse(run_medfusion({"info", "--json"}).out).at("configurations").at("names");
  std::vector<std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(MEDFUSION_SOURCE_DIR "/tools/configs"))
    if (entry.is_regular_file()) files.push_back(entry.path().stem().string());
  EXPECT_THAT(ready.get<std::vector<std::string>>(), testing::UnorderedElementsAreArray(files));

  const TemporaryFolder folder;
  Surroundings surroundings;
  surroundings.folder = folder.path();
  const std::string no_data = "phantom: expected a folder in the NIH layout, got none\n";
  const std::string unknown = "phantm: expected a configuration file or one of cervical, ";
  for (const char* command : {"train", "cv", "features"}) {
    expect_bad_input(run_medfusion({command, "phantm"}, surroundings), unknown);
    expect_bad_input(run_medfusion({command, "phantom"}, surroundings), no_data);
  }
  EXPECT_THAT(run_medfusion({"train", "phantm"}, surroundings).err,
              testing::EndsWith(", tiny; did you mean 'phantom'?\n"));
  std::filesystem::create_directory(folder / "phantom");  // the data: no configuration
  expect_bad_input(run_medfusion({"train", "phantom"}, surroundings), "phantom/Data_Entry_2017.csv: ");
  write(folder / "tiny", "[[[");
  expect_bad_input(run_medfusion({"train", "tiny"}, surroundings), "tiny:");
}

TEST(Program, PrintsWhatShellsCompleteAndTheManPage) {
  for (const char* shell : {"bash", "zsh", "fish"}) {
    EXPECT_THAT(run_medfusion({"completions", shell}).out,
                testing::AllOf(HasSubstr("densenet121"), HasSubstr("kernels")))
        << shell;
  }
  EXPECT_THAT(run_medfusion({"man"}).out, StartsWith(".TH MEDFUSION 1"));
  expect_bad_input(run_medfusion({"completions", "csh"}),
                   "shell: expected one of bash, zsh, fish, got 'csh'");
}

TEST(Program, CvTakesANumberOfFolds) {
  const TemporaryFolder folder;
  const std::string file = write(folder / "a.toml", "[data]\nroot = \"x\"\n").string();
  expect_bad_input(run_medfusion({"cv", file, "--folds", "1"}),
                   "--folds 1: data.folds: expected a file name or at least 2 folds, got 1\n");
}

TEST(Program, PredictNeedsSomethingToRead) {
  expect_bad_input(run_medfusion({"predict", "run"}), "predict: expected --images, --table or both");
}

TEST(Program, CommandsThatNeedARunNameWhatIsMissing) {
  const TemporaryFolder folder;
  const std::string missing = (folder / "run").string();
  expect_bad_input(run_medfusion({"eval", missing}),
                   missing + ": expected the folder of a run, there is none\n");
  expect_bad_input(run_medfusion({"predict", missing, "--images", "x.png"}),
                   missing + ": expected the folder of a run, there is none\n");
  expect_bad_input(run_medfusion({"eval", folder.path().string()}),
                   folder.path().string() + ": not a complete run: config.toml is missing\n");
}

}  // namespace
}  // namespace medfusion::tools
