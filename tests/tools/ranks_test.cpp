// Several ranks under mpirun: the files of one rank, one line where something is wrong, and no hang.
// MEDFUSION_KILLS is the number of random kills (default 2).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <fstream>
#include <random>
#include <thread>

#include "core/communicator.h"
#include "core/runtime.h"
#include "kernels/gpu/device_type.h"
#include "kernels/simulator/device_type.h"
#include "tests/tools/end_to_end.h"
#include "tools/medfusion/run/ranks.h"

namespace medfusion::tools {
namespace {

using testing::HasSubstr;
using testing::MatchesRegex;
namespace fs = std::filesystem;

Surroundings on_ranks(int ranks) {
  Surroundings surroundings;
  // More ranks than cores, and by whoever runs the tests.
  surroundings.variables = {{"OMPI_ALLOW_RUN_AS_ROOT", "1"}, {"OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1"}};
  if (ranks > 0) surroundings.launcher = {"mpirun", "-q", "--oversubscribe", "-n", std::to_string(ranks)};
  return surroundings;
}

class Ranks : public testing::Test {
 protected:
  void SetUp() override {
    if (!core::has_mpi() || std::system("command -v mpirun >/dev/null") != 0)
      GTEST_SKIP() << "NOT TESTED: this build has no MPI, or there is no mpirun";
    make_phantom(folder_);
  }

  std::vector<std::string> train(const fs::path& run, const std::vector<std::string>& more = {}) const {
    std::vector<std::string> arguments =
        train_command(folder_ / "tiny.toml", run,
                      {"--set", "train.shards=4", "--set", "train.epochs=3", "--set", "train.ema_decay=0.9",
                       "--set", "model.dropout=0.2", "--set", "train.checkpoint_every=1 steps"});
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }

  static void succeed_on(int ranks, const std::vector<std::string>& arguments) {
    const Outcome outcome = run_medfusion(arguments, on_ranks(ranks));
    EXPECT_EQ(outcome.code, 0) << ranks << " ranks";
    EXPECT_EQ(outcome.err, "") << ranks << " ranks";
  }

  // All that a run holds, without times.
  static Files result_of(const fs::path& run) {
    Files files = files_in(run);
    std::erase_if(files, [](const auto& file) {
      return file.first == "train.log" || file.first.starts_with("checkpoints/");
    });
    files["metrics.jsonl"] = metrics_without_times(run);
    return files;
  }

  static void expect_same(const Files& expected, const fs::path& run) {
    const Files files = result_of(run);
    EXPECT_EQ(expected.size(), files.size()) << run;
    for (const auto& [name, bytes] : expected) {
      ASSERT_TRUE(files.contains(name)) << name << " is missing in " << run;
      EXPECT_TRUE(files.at(name) == bytes) << name << " differs in " << run;
    }
  }

  // A job that must end by itself, with one line.
  static void expect_refused(const Outcome& outcome, const std::string& expected) {
    EXPECT_EQ(outcome.code, 2);
    EXPECT_EQ(lines_of(outcome.err).size(), 1U) << outcome.err;
    EXPECT_THAT(outcome.err, HasSubstr(expected));
  }

  const TemporaryFolder folder_;
};

TEST_F(Ranks, WriteTheFilesOfOneRank) {
  succeed(train(folder_ / "run1"));
  const Files expected = result_of(folder_ / "run1");
  ASSERT_TRUE(expected.contains("best.safetensors") && expected.contains("schema.json"));
  for (const int ranks : {1, 2, 4}) {
    const fs::path run = folder_ / fmt::format("ranks{}", ranks);
    succeed_on(ranks, train(run));
    expect_same(expected, run);
  }
}

TEST_F(Ranks, WriteTheFilesOfOneRankOnTheSimulatedDevice) {
  const std::vector<std::string> on_sim{"--device", "sim", "--set", "train.epochs=1"};
  succeed(train(folder_ / "run1", on_sim));
  succeed_on(2, train(folder_ / "run2", on_sim));
  expect_same(result_of(folder_ / "run1"), folder_ / "run2");
}

TEST_F(Ranks, EvaluateAndPredictAsOne) {
  const fs::path run = folder_ / "run", images = folder_ / "phantom/images";
  succeed(train(run));
  std::map<int, Files> files;
  for (const int ranks : {0, 2, 4}) {
    const std::string out = (folder_ / fmt::format("eval{}", ranks)).string();
    succeed_on(ranks, {"eval", run.string(), "--quiet", "--out", out, "--split", "train"});
    succeed_on(ranks, {"predict", run.string(), "--quiet", "--images", images.string(), "--table",
                       (folder_ / "phantom/Data_Entry_2017.csv").string(), "--out", out + "/predicted.csv"});
    files[ranks] = files_in(out);
  }
  EXPECT_EQ(files[0].size(), 4U);
  EXPECT_TRUE(files[0] == files[2]);
  EXPECT_TRUE(files[0] == files[4]);
}

TEST_F(Ranks, PackAsOne) {
  const fs::path damaged = *fs::directory_iterator(folder_ / "phantom/images");
  fs::resize_file(damaged, fs::file_size(damaged) / 2);
  std::map<int, std::string> files;
  for (const int ranks : {0, 4}) {
    const fs::path out = folder_ / fmt::format("pack{}.safetensors", ranks);
    const std::vector<std::string> command{"pack",  (folder_ / "tiny.toml").string(),
                                           "--set", "data.round_pixels=true",
                                           "--set", "data.on_error=skip",
                                           "--out", out.string()};
    const Outcome outcome = run_medfusion(command, on_ranks(ranks));
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    EXPECT_THAT(outcome.out, HasSubstr("wrote 47 images of 32x32x1"));
    EXPECT_THAT(outcome.err, HasSubstr("skipped: " + damaged.string()));
    files[ranks] = contents(out);
  }
  EXPECT_TRUE(files[0] == files[4]);
}

TEST_F(Ranks, CrossValidateAsOne) {
  std::map<int, Files> files;
  for (const int ranks : {0, 4}) {
    const fs::path out = folder_ / "cv";  // the same folder: configurations name it
    std::vector<std::string> arguments = train(out);
    arguments.front() = "cv";
    arguments.insert(arguments.end(), {"--folds", "3", "--seeds", "2"});
    succeed_on(ranks, arguments);
    files[ranks] = files_in(out);
    std::erase_if(files[ranks], [](const auto& file) {
      return file.first.ends_with("train.log") || file.first.find("checkpoints/") != std::string::npos ||
             file.first.ends_with("metrics.jsonl") || file.first.ends_with("cost.json");
    });
    fs::remove_all(out);
  }
  EXPECT_GT(files[0].size(), 6 * 9U);
  for (const auto& [name, bytes] : files[0]) {
    ASSERT_TRUE(files[4].contains(name)) << name;
    EXPECT_TRUE(files[4].at(name) == bytes) << name;
  }
  EXPECT_EQ(files[0].size(), files[4].size());
}

// Ends `job` by a signal to one of its ranks. Returns how many seconds it took to end.
double kill_one(RunningProgram& job, size_t which, Outcome& outcome) {
  std::ifstream list(fmt::format("/proc/{0}/task/{0}/children", job.pid()));
  std::vector<pid_t> ranks;
  for (pid_t pid = 0; list >> pid;) ranks.push_back(pid);
  if (!ranks.empty()) ::kill(ranks[which % ranks.size()], SIGKILL);
  const auto start = std::chrono::steady_clock::now();
  outcome = job.wait();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// However often one of four is killed, the job ends, and goes on with another number of ranks.
TEST_F(Ranks, AKilledRankEndsTheJobWhichGoesOnToTheSameBytes) {
  const char* const asked = std::getenv("MEDFUSION_KILLS");
  const int64_t kills = asked == nullptr ? 2 : std::stoll(asked);
  succeed(train(folder_ / "whole"));
  const Files expected = result_of(folder_ / "whole");
  std::mt19937 random(7);
  double longest = 0.0;
  int64_t done = 0, runs = 0;
  for (int64_t round = 0; done < kills && round < 20 * kills; ++round) {
    const fs::path run = folder_ / fmt::format("killed{}", round);
    RunningProgram job(train(run), on_ranks(4));
    std::this_thread::sleep_for(std::chrono::milliseconds(300 + random() % 900));
    Outcome outcome;
    const double seconds = kill_one(job, random(), outcome);
    if (outcome.code != 0) {
      ++done;
      longest = std::max(longest, seconds);
    }
    if (!fs::exists(run / "config.toml")) continue;
    ++runs;
    const int ranks = 1 << random() % 3;
    succeed_on(ranks, {"train", "--resume", run.string(), "--quiet", "--set",
                       fmt::format("train.shard_optimizer={}", random() % 2 == 0)});
    fs::copy_file(folder_ / "whole/config.toml", run / "config.toml", fs::copy_options::overwrite_existing);
    expect_same(expected, run);
  }
  EXPECT_EQ(done, kills);
  std::cout << fmt::format("{} kills; {} runs went on to identical files; the longest took {:.1f} s to end\n",
                           done, runs, longest);
}

TEST_F(Ranks, ADeadRankZeroLeavesARunThatGoesOn) {
  succeed(train(folder_ / "whole"));
  const fs::path run = folder_ / "run";
  Surroundings surroundings = on_ranks(2);
  surroundings.variables.emplace_back("MEDFUSION_FILE_FAULT", "kill@70");  // rank 0 alone writes
  EXPECT_NE(run_medfusion(train(run), surroundings).code, 0);
  ASSERT_TRUE(fs::exists(run / "config.toml"));
  succeed_on(4, {"train", "--resume", run.string(), "--quiet"});
  expect_same(result_of(folder_ / "whole"), run);
}

TEST_F(Ranks, WhatCannotBeDividedIsRefused) {
  const fs::path run = folder_ / "run";
  expect_refused(run_medfusion(train(run, {"--set", "train.shards=2"}), on_ranks(4)),
                 "train.shards: 4 ranks divide them, so expected a power of two of at most 2 ranks, or --set "
                 "train.shards=4");
  expect_refused(run_medfusion(train(run), on_ranks(3)), "expected a power of two");
  expect_refused(run_medfusion({"data", (folder_ / "tiny.toml").string()}, on_ranks(2)),
                 "medfusion data: expected one rank, got 2");
  EXPECT_FALSE(fs::exists(run));
}

TEST_F(Ranks, TheWayOfTheExchangeIsOneThatTheDeviceHas) {
  const fs::path run = folder_ / "run";
  Surroundings surroundings = on_ranks(2);
  surroundings.variables.emplace_back("MEDFUSION_EXCHANGE", "nccl");
  expect_refused(run_medfusion(train(run, {"--device", "sim"}), surroundings),
                 "MEDFUSION_EXCHANGE=nccl: expected --device cuda, got sim");
  surroundings.variables.back().second = "fast";
  expect_refused(run_medfusion(train(run), surroundings),
                 "MEDFUSION_EXCHANGE: expected nccl or host, got 'fast'");
  if (!core::is_present({kernels::cuda::kDeviceType, 0})) {
    expect_refused(run_medfusion(train(run, {"--device", "cuda"}), on_ranks(2)),
                   "--device cuda: device cuda:0 is not available");
  }
  EXPECT_FALSE(fs::exists(run));
}

// On the simulator, which has 16 devices.
TEST(LocalRank, HasADeviceOfItsOwn) {
  const auto number_of = [](int local) { return device_of_local_rank(simulator::kDeviceType, local).index; };
  EXPECT_EQ(number_of(0), 0);
  EXPECT_EQ(number_of(3), 3);
  EXPECT_THAT([&] { number_of(16); }, testing::ThrowsMessage<core::InputError>(HasSubstr(
                                          "--device sim: expected a device for each rank of a host, got no "
                                          "sim:16 for rank 0")));
  if (!core::is_present({kernels::cuda::kDeviceType, 1})) {  // one is what a launcher shows a rank
    EXPECT_EQ(device_of_local_rank(kernels::cuda::kDeviceType, 3).index, 0);
  }
}

TEST_F(Ranks, ThoseThatDifferAreNamed) {
  const fs::path run = folder_ / "run";
  Surroundings surroundings = on_ranks(1);  // and one more with another configuration
  std::vector<std::string> arguments = train(run);
  arguments.insert(arguments.end(), {":", "-n", "1", MEDFUSION_BINARY_DIR "/bin/medfusion"});
  const std::vector<std::string> other = train(run, {"--set", "train.learning_rate=0.5"});
  arguments.insert(arguments.end(), other.begin(), other.end());
  const Outcome outcome = run_medfusion(arguments, surroundings);
  expect_refused(outcome, "the configuration (its hash) of rank 1 on ");
  EXPECT_FALSE(fs::exists(run));
}

TEST_F(Ranks, OneThatCannotReadItsImageEndsTheJob) {
  for (const auto& entry : fs::directory_iterator(folder_ / "phantom/images"))
    fs::resize_file(entry.path(), fs::file_size(entry.path()) / 2);
  const Outcome outcome =
      run_medfusion(train(folder_ / "run", {"--set", "guard.duplicates=never"}), on_ranks(2));
  expect_refused(outcome, "truncated PNG");
  EXPECT_THAT(outcome.err, MatchesRegex("medfusion: rank [01] of 2 on .*\n"));
}

TEST_F(Ranks, EachWritesALogWhereOneIsAskedFor) {
  Surroundings surroundings = on_ranks(2);
  surroundings.variables.emplace_back("MEDFUSION_RANK_LOGS", folder_.path().string());
  std::vector<std::string> arguments = train(folder_ / "run");
  std::erase(arguments, "--quiet");
  EXPECT_EQ(run_medfusion(arguments, surroundings).code, 0);
  EXPECT_TRUE(fs::exists(folder_ / "rank1.log"));
  EXPECT_FALSE(fs::exists(folder_ / "rank0.log"));
}

}  // namespace
}  // namespace medfusion::tools
