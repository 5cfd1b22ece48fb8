#include "tools/medfusion/run/run_directory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>

#include <csignal>

#include "core/file.h"
#include "tests/tools/program.h"
#include "tools/medfusion/config/text_file.h"

namespace medfusion::tools {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::UnorderedElementsAre;

template <class Exception, class Body>
std::string message_of(Body&& body) {
  try {
    body();
  } catch (const core::InputError& error) {
    if constexpr (std::is_same_v<Exception, core::InputError>) return error.what();
    return std::string("an InputError: ") + error.what();
  } catch (const core::Error& error) {
    if constexpr (std::is_same_v<Exception, core::Error>) return error.what();
    return std::string("an Error: ") + error.what();
  }
  return "no error";
}

std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) names.push_back(entry.path().filename().string());
  return names;
}

// While it lives, no file of this process may grow past `bytes`: writing more fails as on a full disk.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    ::getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limits{bytes, before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limits);
  }
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }

 private:
  rlimit before_{};
  void (*handler_)(int);
};

Config complete_config() {
  Config config;
  config.data.root = "somewhere";
  config.train.epochs = 3;
  return config;
}

// A run as train leaves it.
RunDirectory make_run(const fs::path& folder) {
  const RunDirectory run = RunDirectory::create(folder, false);
  run.write_config(complete_config());
  run.write_labels({"Mass", "Edema"});
  run.write_json("data.json", {{"hash", "0123"}});
  run.write_json("preprocessing.json", {{"table", nullptr}});
  write(run.checkpoint("best"), "weights");
  return run;
}

TEST(Files, AFullDiskLeavesTheOldFileAndNothingElse) {
  const TemporaryFolder folder;
  const fs::path path = folder / "metrics.json";
  core::write_file(path.string(), "old");
  {
    const FileSizeLimit limit(1000);
    EXPECT_EQ(message_of<core::Error>([&] { core::write_file(path.string(), std::string(5000, 'x'), true); }),
              path.string() + ": cannot write: File too large");
  }
  EXPECT_EQ(contents(path), "old");
  EXPECT_THAT(names_in(folder.path()), ElementsAre("metrics.json"));
  core::write_file(path.string(), std::string(5000, 'x'));
  EXPECT_EQ(contents(path).size(), 5000U);
}

TEST(Files, AnAppendThatFailsLeavesWholeLines) {
  const TemporaryFolder folder;
  const fs::path path = folder / "metrics.jsonl";
  core::append_file(path, std::string(900, 'a') + "\n");
  {
    const FileSizeLimit limit(1000);
    EXPECT_EQ(message_of<core::Error>([&] { core::append_file(path, std::string(900, 'b') + "\n"); }),
              path.string() + ": cannot write: File too large");
  }
  EXPECT_EQ(contents(path), std::string(900, 'a') + "\n");
  core::append_file(path, "c\n");
  EXPECT_EQ(contents(path), std::string(900, 'a') + "\nc\n");
}

TEST(Files, ARealFullDiskIsReported) {
  const TemporaryFolder folder;
  if (::mount("none", folder.path().c_str(), "tmpfs", 0, "size=64k") != 0) {
    GTEST_SKIP() << "mounting a small file system needs root";
  }
  const fs::path path = folder / "predictions.csv";
  core::write_file(path.string(), "old");
  const std::string message =
      message_of<core::Error>([&] { core::write_file(path.string(), std::string(200000, 'x'), true); });
  const std::string kept = contents(path);
  const auto names = names_in(folder.path());
  ::umount(folder.path().c_str());
  EXPECT_EQ(message, path.string() + ": cannot write: No space left on device");
  EXPECT_EQ(kept, "old");
  EXPECT_THAT(names, ElementsAre("predictions.csv"));
}

TEST(Files, AFolderThatIsMissingIsNamed) {
  const TemporaryFolder folder;
  const fs::path path = folder / "none" / "x";
  EXPECT_EQ(message_of<core::Error>([&] { core::write_file(path.string(), "x"); }),
            path.string() + ": cannot write: No such file or directory");
}

TEST(Files, CsvCellsAreQuotedWhereTheyMustBe) {
  EXPECT_EQ(csv_cell("plain text"), "plain text");
  EXPECT_EQ(csv_cell("a,b"), "\"a,b\"");
  EXPECT_EQ(csv_cell("say \"a\""), "\"say \"\"a\"\"\"");
  EXPECT_EQ(csv_cell("a\nb"), "\"a\nb\"");
}

TEST(RunDirectory, KeepsWhatIsWritten) {
  const TemporaryFolder folder;
  make_run(folder / "a" / "b");
  const RunDirectory run = RunDirectory::open(folder / "a" / "b");
  EXPECT_EQ(to_toml(run.read_config()), to_toml(complete_config()));
  EXPECT_THAT(run.read_labels(), ElementsAre("Mass", "Edema"));
  EXPECT_EQ(run.read_json("data.json").at("hash"), "0123");
  EXPECT_EQ(run.existing_checkpoint("best"), folder / "a" / "b" / "best.safetensors");
  run.append_metrics({{"epoch", 1}, {"loss", 0.5}});
  run.append_metrics({{"epoch", 2}, {"loss", 0.25}});
  EXPECT_EQ(contents(run.file("metrics.jsonl")), "{\"epoch\":1,\"loss\":0.5}\n{\"epoch\":2,\"loss\":0.25}\n");
  run.log("started");
  EXPECT_THAT(contents(run.file("train.log")), testing::MatchesRegex("....-..-.. ..:..:.. started\n"));
  EXPECT_THAT(names_in(run.folder()),
              UnorderedElementsAre("config.toml", "labels.txt", "data.json", "preprocessing.json",
                                   "best.safetensors", "metrics.jsonl", "train.log"));
}

TEST(RunDirectory, AFullDiskLosesNothing) {
  const TemporaryFolder folder;
  const RunDirectory run = make_run(folder / "run");
  const std::string before = contents(run.file("labels.txt"));
  {
    const FileSizeLimit limit(100);
    EXPECT_THAT(message_of<core::Error>([&] { run.write_config(complete_config()); }),
                HasSubstr("config.toml: cannot write: File too large"));
    EXPECT_THAT(message_of<core::Error>([&] { run.write_labels({std::string(200, 'a')}); }),
                HasSubstr("labels.txt: cannot write: File too large"));
  }
  EXPECT_EQ(to_toml(run.read_config()), to_toml(complete_config()));
  EXPECT_EQ(contents(run.file("labels.txt")), before);
  EXPECT_EQ(names_in(run.folder()).size(), 5U);
}

TEST(RunDirectory, JsonHoldsBytesThatAreNotUtf8) {
  const TemporaryFolder folder;
  const RunDirectory run = make_run(folder / "run");
  run.write_json("data.json", {{"folder", "caf\xE9"}});
  EXPECT_EQ(run.read_json("data.json").at("folder"), "caf\xEF\xBF\xBD");
}

TEST(RunDirectory, IsNotOverwrittenUnlessTold) {
  const TemporaryFolder folder;
  make_run(folder / "run");
  write(folder / "run" / "notes.txt", "mine");
  EXPECT_EQ(message_of<core::InputError>([&] { RunDirectory::create(folder / "run", false); }),
            (folder / "run").string() +
                ": holds a run already (config.toml); choose another folder with --out, "
                "overwrite it with --force, or go on with it with --resume");
  EXPECT_EQ(contents(folder / "run" / "best.safetensors"), "weights");
  RunDirectory::create(folder / "run", true);
  EXPECT_THAT(names_in(folder / "run"), ElementsAre("notes.txt"));
}

TEST(RunDirectory, AFolderWithOtherFilesMayBecomeARun) {
  const TemporaryFolder folder;
  write(folder / "notes.txt", "mine");
  EXPECT_EQ(RunDirectory::create(folder.path(), false).folder(), folder.path());
}

TEST(RunDirectory, ThatCannotBeMadeIsNamed) {
  const TemporaryFolder folder;
  const fs::path file = write(folder / "file", "");
  EXPECT_EQ(message_of<core::InputError>([&] { RunDirectory::create(file, false); }),
            file.string() + ": expected a folder for the run, got a file");
  EXPECT_THAT(message_of<core::Error>([&] { RunDirectory::create(file / "run", false); }),
              HasSubstr("cannot be made: Not a directory"));
}

TEST(RunDirectory, OpeningNamesWhatIsMissing) {
  const TemporaryFolder folder;
  const fs::path path = folder / "run";
  const auto error = [&] { return message_of<core::InputError>([&] { RunDirectory::open(path); }); };
  EXPECT_EQ(error(), path.string() + ": expected the folder of a run, there is none");
  const RunDirectory run = make_run(path);
  EXPECT_EQ(error(), "no error");
  for (const char* name : {"config.toml", "labels.txt", "preprocessing.json", "data.json"}) {
    fs::rename(path / name, path / "away");
    EXPECT_EQ(error(), path.string() + ": not a complete run: " + name + " is missing");
    fs::rename(path / "away", path / name);
  }
  EXPECT_EQ(message_of<core::InputError>([&] { run.existing_checkpoint("last"); }),
            path.string() + ": not a complete run: last.safetensors is missing");
}

TEST(RunDirectory, DamagedFilesAreNamedWithTheirLine) {
  const TemporaryFolder folder;
  const RunDirectory run = make_run(folder / "run");
  write(run.file("data.json"), "{\n  \"hash\": \"01");
  EXPECT_EQ(message_of<core::InputError>([&] { run.read_json("data.json"); }),
            run.file("data.json").string() + ":2: expected JSON, the file is damaged");
  write(run.file("labels.txt"), "Mass\r\nEdema\r\n");
  EXPECT_THAT(run.read_labels(), ElementsAre("Mass", "Edema"));
  write(run.file("labels.txt"), "Mass\nMass\n");
  EXPECT_EQ(message_of<core::InputError>([&] { run.read_labels(); }),
            run.file("labels.txt").string() + ":2:1: label 'Mass' is there twice");
  write(run.file("labels.txt"), "");
  EXPECT_THAT(message_of<core::InputError>([&] { run.read_labels(); }), HasSubstr("got none"));
  EXPECT_THAT(message_of<core::Error>([&] { run.write_labels({"a\nb"}); }), HasSubstr("line end"));
}

}  // namespace
}  // namespace medfusion::tools
