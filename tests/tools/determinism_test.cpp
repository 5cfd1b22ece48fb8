// One seed gives the same bytes, on any number of threads and on a second run.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/tools/end_to_end.h"

namespace medfusion::tools {
namespace {

// Everything that draws random numbers or depends on the order of work is on.
std::vector<std::string> everything_on(const std::string& threads, const std::string& workers) {
  return {"--threads", threads,
          "--set",     "train.workers=" + workers,
          "--set",     "train.epochs=2",
          "--set",     "train.ema_decay=0.9",
          "--set",     "train.pos_weight=sqrt",
          "--set",     "model.dropout=0.2",
          "--set",     "model.modality_dropout=0.3",
          "--set",     "augment.horizontal_flip=0.5"};
}

void expect_same_run(const std::filesystem::path& a, const std::filesystem::path& b) {
  SCOPED_TRACE(a.filename().string() + " and " + b.filename().string());
  for (const char* name :
       {"best.safetensors", "last.safetensors", "data.json", "preprocessing.json", "labels.txt"}) {
    EXPECT_FALSE(contents(a / name).empty()) << name;
    EXPECT_TRUE(contents(a / name) == contents(b / name)) << name << " differs";
  }
  EXPECT_EQ(metrics_without_times(a), metrics_without_times(b));
}

TEST(Determinism, TrainingGivesTheSameBytesWhateverTheThreads) {
  const TemporaryFolder folder;
  make_phantom(folder);
  const auto train = [&](const char* name, const char* threads, const char* workers) {
    succeed(train_command(folder / "tiny.toml", folder / name, everything_on(threads, workers)));
    return folder / name;
  };
  const auto one = train("one", "1", "1");
  expect_same_run(one, train("two", "2", "2"));
  expect_same_run(one, train("three", "3", "0"));
  expect_same_run(one, train("again", "1", "1"));
  EXPECT_EQ(lines_of(metrics_without_times(one)).size(), 2U);

  auto other = everything_on("1", "1");
  other.insert(other.end(), {"--seed", "2"});
  succeed(train_command(folder / "tiny.toml", folder / "other", other));
  EXPECT_FALSE(contents(one / "last.safetensors") == contents(folder / "other" / "last.safetensors"));
}

// Images large enough that every operation is cut into several pieces of work.
TEST(Determinism, LargerImagesToo) {
  const TemporaryFolder folder;
  make_phantom(folder);
  for (const char* threads : {"1", "2"}) {
    auto options = everything_on(threads, threads);
    options.insert(options.end(), {"--set", "data.image_size=96", "--set", "train.epochs=1"});
    succeed(train_command(folder / "tiny.toml", folder / threads, options));
  }
  expect_same_run(folder / "1", folder / "2");
}

TEST(Determinism, PredictionsDoNotDependOnThreads) {
  const TemporaryFolder folder;
  make_phantom(folder);
  succeed(train_command(folder / "tiny.toml", folder / "run"));
  const std::string run = (folder / "run").string();
  succeed({"eval", run, "--out", (folder / "one").string(), "--threads", "1", "--quiet"});
  succeed({"eval", run, "--out", (folder / "two").string(), "--threads", "2", "--quiet"});
  EXPECT_EQ(files_in(folder / "one"), files_in(folder / "two"));
  EXPECT_EQ(files_in(folder / "one").size(), 3U);
}

TEST(Determinism, PhantomDataIsTheSameOnASecondRun) {
  const TemporaryFolder folder;
  for (const char* name : {"a", "b"}) {
    succeed({"synth", "--out", (folder / name).string(), "--images", "8", "--size", "32", "--quiet",
             "--threads", name == std::string("a") ? "1" : "2"});
  }
  EXPECT_TRUE(files_in(folder / "a") == files_in(folder / "b"));
  EXPECT_EQ(files_in(folder / "a").size(), 8U + 6U);
}

}  // namespace
}  // namespace medfusion::tools
