// A run that is cut off, at any moment and in any way, goes on to the bytes of one that was not.
// MEDFUSION_KILLS is the number of random kills (default 8), MEDFUSION_KILL_DEVICE the device (default cpu).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstring>
#include <random>
#include <thread>

#include "core/safetensors.h"
#include "tests/tools/end_to_end.h"

namespace medfusion::tools {
namespace {

using testing::HasSubstr;
using testing::MatchesRegex;
namespace fs = std::filesystem;

std::string from_environment(const char* name, const char* otherwise) {
  const char* const text = std::getenv(name);
  return text == nullptr ? otherwise : text;
}

const Surroundings& with_fault(Surroundings& surroundings, const std::string& fault) {
  surroundings.variables = {{"MEDFUSION_FILE_FAULT", fault}};
  return surroundings;
}

// A checkpoint without the seconds that training took, and so without its checksum.
std::string without_seconds(const std::string& bytes) {
  uint64_t length = 0;
  std::memcpy(&length, bytes.data(), sizeof(length));
  auto header = nlohmann::json::parse(bytes.substr(sizeof(length), length));
  auto& metadata = header.at("__metadata__");
  auto state = nlohmann::json::parse(metadata.at("state").get<std::string>());
  EXPECT_EQ(state.erase("seconds"), 1U);
  metadata["state"] = state.dump();
  EXPECT_EQ(metadata.erase(core::kChecksum), 1U);
  return header.dump() + bytes.substr(sizeof(length) + length);
}

// Everything in a folder, but for the times in checkpoints.
Files files_without_seconds(const fs::path& folder) {
  Files files = files_in(folder);
  std::erase_if(files, [](const auto& file) { return file.first.ends_with("cost.json"); });
  for (auto& [name, bytes] : files) {
    if (name.find("checkpoints/") != std::string::npos) bytes = without_seconds(bytes);
  }
  return files;
}

// Everything that a run is made of, but for times.
Files final_files(const fs::path& run) {
  Files files = files_without_seconds(run);
  files.erase("train.log");
  files["metrics.jsonl"] = metrics_without_times(run);
  return files;
}

void expect_same_files(const Files& expected, const fs::path& run) {
  const Files files = final_files(run);
  for (const auto& [name, bytes] : expected) {
    ASSERT_TRUE(files.contains(name)) << name << " is missing in " << run;
    EXPECT_TRUE(files.at(name) == bytes) << name << " differs in " << run;
  }
  for (const auto& [name, bytes] : files)
    EXPECT_TRUE(expected.contains(name)) << name << " is left in " << run;
}

class Resume : public testing::Test {
 protected:
  void SetUp() override { make_phantom(folder_); }

  // Training with everything on that has a state: an average, dropout, augmentation, early stopping.
  std::vector<std::string> train(const fs::path& run, const std::string& epochs,
                                 const std::vector<std::string>& more = {}) const {
    std::vector<std::string> arguments = train_command(
        folder_ / "tiny.toml", run,
        {"--set", "train.epochs=" + epochs, "--set", "train.ema_decay=0.9", "--set", "model.dropout=0.2",
         "--set", "model.modality_dropout=0.3", "--set", "augment.horizontal_flip=0.5", "--set",
         "train.early_stopping=9", "--set", "train.checkpoint_every=2 steps"});
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }
  // So many epochs that a test always finds it running.
  std::vector<std::string> endless(const fs::path& run, std::vector<std::string> more = {}) const {
    more.insert(more.end(), {"--set", "train.early_stopping=0"});
    return train(run, "100000", more);
  }
  static std::vector<std::string> resume(const fs::path& run, const std::vector<std::string>& more = {}) {
    std::vector<std::string> arguments{"train", "--resume", run.string(), "--quiet"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }
  // What an uninterrupted run leaves.
  Files reference(const std::string& epochs, const std::vector<std::string>& more = {}) const {
    succeed(train(folder_ / "reference", epochs, more));
    return final_files(folder_ / "reference");
  }
  // Goes on with a run that was cut off, or trains anew where it had not begun.
  void finish(const fs::path& run, const std::vector<std::string>& anew) const {
    const Outcome outcome = run_medfusion(fs::exists(run / "config.toml") ? resume(run) : anew);
    ASSERT_EQ(outcome.code, 0) << outcome.err;
  }
  // Waits until the run has a checkpoint.
  static bool wait_for_checkpoint(const fs::path& run, const RunningProgram& program) {
    while (program.is_running()) {
      std::error_code none;
      for (const auto& entry : fs::directory_iterator(run / "checkpoints", none)) {
        if (entry.path().extension() == ".safetensors") return true;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return false;
  }

  const TemporaryFolder folder_;
};

TEST_F(Resume, ASignalFinishesTheStepAndSaysHowToGoOn) {
  const std::vector<std::string> patient{"--set", "train.early_stopping=0"};
  const Files expected = reference("60", patient);
  const std::pair<int, const char*> signals[] = {
      {SIGINT, "SIGINT"}, {SIGTERM, "SIGTERM"}, {SIGHUP, "SIGHUP"}};
  for (const auto& [signal, name] : signals) {
    SCOPED_TRACE(name);
    const fs::path run = folder_ / name;
    Outcome outcome;
    for (int i = 0; i < 9 && outcome.code <= 0; ++i) {  // on a busy machine the signal may come too late
      fs::remove_all(run);
      RunningProgram program(train(run, "60", patient), {});
      ASSERT_TRUE(wait_for_checkpoint(run, program));
      program.signal(signal);
      outcome = program.wait();
    }
    EXPECT_EQ(outcome.code, 128 + signal);
    EXPECT_FALSE(outcome.signaled);
    EXPECT_THAT(outcome.err, MatchesRegex("medfusion: stopped by " + std::string(name) +
                                          " after epoch [0-9]+; go on with: medfusion train --resume " +
                                          run.string() + "\n"));
    const Outcome rest = run_medfusion(resume(run));
    EXPECT_EQ(rest.code, 0) << rest.err;
    expect_same_files(expected, run);
  }
}

// A step of the simulator takes long enough for a second signal to arrive in it.
TEST_F(Resume, ASecondSignalEndsItAtOnce) {
  const fs::path run = folder_ / "run";
  std::vector<std::string> arguments = endless(run, {"--device", "sim"});
  std::erase(arguments, "--quiet");
  Outcome outcome;
  for (int i = 0; i < 9 && !outcome.signaled; ++i) {  // on a busy machine the second may come too late
    fs::remove_all(run);
    RunningProgram program(arguments, {});
    ASSERT_TRUE(wait_for_checkpoint(run, program));
    program.signal(SIGTERM);
    while (program.is_running() && program.err().find("stops after this step") == std::string::npos)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    program.signal(SIGTERM);
    outcome = program.wait();
    EXPECT_EQ(outcome.code, 128 + SIGTERM);
  }
  EXPECT_TRUE(outcome.signaled) << outcome.err;
}

// Nobody reads the progress after the first epoch.
TEST_F(Resume, AReaderThatHasGoneEndsItAsASignalDoes) {
  const std::vector<std::string> patient{"--set", "train.early_stopping=0"};
  const Files expected = reference("60", patient);
  const fs::path run = folder_ / "run", codes = folder_ / "codes";
  std::vector<std::string> arguments = train(run, "60", patient);
  std::erase(arguments, "--quiet");
  std::string command = MEDFUSION_BINARY_DIR "/bin/medfusion";
  for (const std::string& word : arguments) command += " '" + word + "'";
  const fs::path script =
      write(folder_ / "script",
            command + " 2>&1 | grep -q -m 1 'epoch 1 '\necho ${PIPESTATUS[0]} > " + codes.string() + "\n");
  for (int i = 0; i < 9 && contents(codes) != "141\n"; ++i) {  // on a busy machine it may go too late
    fs::remove_all(run);
    ASSERT_EQ(std::system(("bash " + script.string()).c_str()), 0);
  }
  EXPECT_EQ(contents(codes), "141\n");
  EXPECT_FALSE(contents(run / "preprocessing.json").find("training was interrupted") == std::string::npos);
  finish(run, arguments);
  expect_same_files(expected, run);
}

TEST_F(Resume, KillsAtRandomMomentsLoseNothing) {
  const std::string device = from_environment("MEDFUSION_KILL_DEVICE", "cpu");
  const std::string epochs = device == "cpu" ? "12" : "3";
  const std::vector<std::string> on_device{"--device", device};
  const auto start = std::chrono::steady_clock::now();
  const Files expected = reference(epochs, on_device);
  const std::chrono::duration<double> whole = std::chrono::steady_clock::now() - start;
  std::mt19937_64 random(20260101);
  std::uniform_real_distribution<double> moment(0.0, whole.count());
  const int kills = std::stoi(from_environment("MEDFUSION_KILLS", "8"));
  int killed = 0, same = 0, runs = 0;
  for (; killed < kills; ++runs) {
    const fs::path run = folder_ / fmt::format("run{}", runs);
    const std::vector<std::string> anew = train(run, epochs, on_device);
    for (bool ended = false; !ended && killed < kills;) {  // killed again and again until it is through
      const bool begun = fs::exists(run / "config.toml");
      RunningProgram program(begun ? resume(run) : anew, {});
      std::this_thread::sleep_for(std::chrono::duration<double>(moment(random)));
      program.signal(SIGKILL);
      const Outcome outcome = program.wait();
      ended = !outcome.signaled;
      ASSERT_TRUE(outcome.signaled || outcome.code == 0) << outcome.err;
      killed += outcome.signaled ? 1 : 0;
    }
    finish(run, anew);
    expect_same_files(expected, run);
    same += testing::Test::HasFailure() ? 0 : 1;
    if (testing::Test::HasFatalFailure()) return;
    fs::remove_all(run);
  }
  std::cout << killed << " kills on " << device << "; " << same << " of " << runs
            << " runs have identical files\n";
}

// The process dies before each of the system calls that write, and what was not flushed is lost by half. What
// goes on from there dies at one of its own.
TEST_F(Resume, EveryPrefixOfTheSystemCallsLeavesARunThatGoesOn) {
  const std::string device = from_environment("MEDFUSION_KILL_DEVICE", "cpu");
  const std::vector<std::string> on_device{"--device", device};
  const std::string epochs = "2";
  const Files expected = reference(epochs, on_device);
  const fs::path run = folder_ / "run";
  Surroundings surroundings;
  int64_t call = 1;
  for (;; ++call) {
    SCOPED_TRACE(fmt::format("killed before call {}", call));
    const auto anew = train(run, epochs, on_device);
    const Outcome outcome = run_medfusion(anew, with_fault(surroundings, fmt::format("kill@{}", call)));
    if (!outcome.signaled) {
      EXPECT_EQ(outcome.code, 0) << outcome.err;
      break;
    }
    if (fs::exists(run / "config.toml")) {  // and once more on the way
      const std::string again = fmt::format("kill@{}", 1 + (7 * call) % 41);
      run_medfusion(resume(run), with_fault(surroundings, again));
    }
    finish(run, anew);
    expect_same_files(expected, run);
    if (testing::Test::HasFailure()) return;
    fs::remove_all(run);
  }
  EXPECT_GT(call, 90);
  std::cout << call - 1 << " prefixes on " << device << "\n";
}

// The disk is full, or a quota used up, from every third of these calls on; with room again, the run goes on.
TEST_F(Resume, AFullDiskAtAnyMomentLosesNothing) {
  const Files expected = reference("2");
  const fs::path run = folder_ / "run";
  Surroundings surroundings;
  for (int64_t call = 1;; call += 3) {
    const bool quota = call % 2 == 0;
    const std::string fault = fmt::format("{}@{}", quota ? "quota" : "full", call);
    SCOPED_TRACE(fault);
    const auto anew = train(run, "2");
    const Outcome outcome = run_medfusion(anew, with_fault(surroundings, fault));
    if (outcome.code == 0) {
      EXPECT_GT(call, 60);
      return;
    }
    EXPECT_EQ(outcome.code, 1);
    EXPECT_THAT(outcome.err, HasSubstr(quota ? "cannot write: Disk quota exceeded"
                                             : "cannot write: No space left on device"));
    EXPECT_EQ(lines_of(outcome.err).size(), 1U) << outcome.err;
    finish(run, anew);
    expect_same_files(expected, run);
    if (testing::Test::HasFailure()) return;
    fs::remove_all(run);
  }
}

// Runs a shell script in which a small file system is mounted at `folder`; false where that is not allowed.
bool on_small_file_system(const fs::path& folder, const std::string& script) {
  fs::create_directory(folder);
  const fs::path file = write(folder.string() + ".sh", "set -e\nmount -t tmpfs -o size=6m none " +
                                                           folder.string() + " || exit 77\n" + script);
  for (const char* unshare : {"unshare -m", "unshare -rm"}) {
    const int status = std::system(fmt::format("{} bash {} 2>/dev/null", unshare, file.string()).c_str());
    if (status == 0) return true;
    if (WEXITSTATUS(status) < 77) {
      ADD_FAILURE() << "the script ended with " << WEXITSTATUS(status);
      return true;
    }
  }
  return false;
}

// With room for less than what a run keeps, then with more; and when it may only be read.
TEST_F(Resume, ASmallFileSystemAndOneThatMayOnlyBeRead) {
  const Files expected = reference("12");
  const fs::path disk = folder_ / "disk", out = folder_ / "out";
  fs::create_directory(out);
  const std::string program = MEDFUSION_BINARY_DIR "/bin/medfusion";
  std::string anew = program;
  for (const std::string& word : train(disk / "run", "12")) anew += " '" + word + "'";
  const std::string script = fmt::format(
      "head -c 4600000 /dev/zero > {0}/ballast\n"
      "set +e\n{2} 2> {1}/full\necho $? > {1}/codes\n"
      "rm {0}/ballast\n"
      "mount -o remount,ro {0}\n{3} --resume {0}/run --quiet 2> {1}/read-only\necho $? >> {1}/codes\n"
      "mount -o remount,rw {0}\n{3} --resume {0}/run --quiet 2> {1}/rest\necho $? >> {1}/codes\n"
      "cp -r {0}/run {1}/run\n",
      disk.string(), out.string(), anew, program + " train");
  if (!on_small_file_system(disk, script)) GTEST_SKIP() << "needs the right to mount a file system";
  EXPECT_EQ(contents(out / "codes"), "1\n1\n0\n") << contents(out / "full") << contents(out / "read-only");
  EXPECT_THAT(contents(out / "full"), HasSubstr("cannot write: No space left on device; when this is mended, "
                                                "go on with: medfusion train --resume"));
  EXPECT_THAT(contents(out / "read-only"), HasSubstr("Read-only file system"));
  EXPECT_EQ(lines_of(contents(out / "full")).size(), 1U);
  EXPECT_EQ(lines_of(contents(out / "read-only")).size(), 1U);
  EXPECT_EQ(contents(out / "rest"), "");
  expect_same_files(expected, out / "run");
}

TEST_F(Resume, AFinishedRunIsExtended) {
  const std::vector<std::string> constant{"--set", "train.schedule=constant"};
  const fs::path run = folder_ / "run";
  const Files expected = reference("5", constant);
  succeed(train(run, "2", constant));
  const std::string before = contents(run / "last.safetensors");
  const Outcome nothing = run_medfusion({"train", "--resume", run.string()});
  EXPECT_EQ(nothing.code, 0);
  EXPECT_THAT(nothing.out, HasSubstr("is finished; --set train.epochs=N with more than 2 extends it"));
  EXPECT_EQ(contents(run / "last.safetensors"), before);
  const Outcome extended = run_medfusion({"train", "--resume", run.string(), "--set", "train.epochs=5"});
  EXPECT_EQ(extended.code, 0) << extended.err;
  EXPECT_THAT(extended.err,
              HasSubstr("the run is to have 5 epochs instead of 2, and its learning rate follows"));
  expect_same_files(expected, run);
}

// A step that is not finite ends training after the last checkpoint, and a run that goes on comes to it
// again.
TEST_F(Resume, ADivergenceIsReachedAgainAndTraced) {
  const fs::path run = folder_ / "run";
  const std::vector<std::string> wild{
      "--set", "train.learning_rate=1e30",       "--set", "train.warmup_epochs=1",
      "--set", "train.checkpoint_every=1 steps", "--set", "train.clip_norm=0"};
  const Outcome stopped = run_medfusion(train(run, "3", wild));
  EXPECT_EQ(stopped.code, 1);
  EXPECT_THAT(stopped.err, HasSubstr("training diverged: "));
  EXPECT_THAT(stopped.err,
              HasSubstr("; medfusion train --resume " + run.string() + " --trace-nonfinite comes to"));
  const Outcome traced = run_medfusion({"train", "--resume", run.string(), "--trace-nonfinite"});
  EXPECT_EQ(traced.code, 1);
  EXPECT_THAT(traced.err, HasSubstr("note: trace of epoch 1, batch "));
  EXPECT_THAT(traced.err, HasSubstr("resumed from step"));
}

TEST_F(Resume, ADamagedCheckpointIsPassedOver) {
  const fs::path run = folder_ / "run";
  Surroundings surroundings;
  const Files expected = reference("3");
  std::vector<fs::path> files;
  for (int64_t call = 80; files.size() != 2 && call < 100;
       ++call) {  // not between a save and what it removes
    fs::remove_all(run);
    const Outcome killed =
        run_medfusion(train(run, "3"), with_fault(surroundings, fmt::format("kill@{}", call)));
    ASSERT_TRUE(killed.signaled);
    files.clear();
    for (const auto& entry : fs::directory_iterator(run / "checkpoints")) files.push_back(entry.path());
    std::erase_if(files, [](const fs::path& file) { return file.extension() != ".safetensors"; });
  }
  std::sort(files.begin(), files.end());
  ASSERT_EQ(files.size(), 2U);
  std::string bytes = contents(files[1]);
  bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] + 1);
  write(files[1], bytes);
  const Outcome outcome = run_medfusion({"train", "--resume", run.string()});
  EXPECT_EQ(outcome.code, 0);
  EXPECT_THAT(outcome.err, HasSubstr("note: " + files[1].string() + ": damaged"));
  EXPECT_THAT(outcome.err, HasSubstr("; it is passed over"));
  EXPECT_THAT(outcome.err, HasSubstr("resumed from " + files[0].filename().string() + ", in epoch "));
  expect_same_files(expected, run);
}

TEST_F(Resume, OneProcessAtATime) {
  const fs::path run = folder_ / "run";
  {
    RunningProgram first(endless(run), {});
    ASSERT_TRUE(wait_for_checkpoint(run, first));
    const Outcome second = run_medfusion(resume(run));
    EXPECT_EQ(second.code, 2);
    EXPECT_EQ(second.err, "medfusion: " + run.string() + ": another medfusion is writing here\n");
  }  // it is killed
  RunningProgram third(resume(run), {});
  while (third.is_running() && contents(run / "train.log").find("resumed from") == std::string::npos)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  EXPECT_TRUE(third.is_running()) << "the lock of a killed process holds: " << third.err();
}

TEST_F(Resume, AFolderThatIsRemovedEndsTraining) {
  const fs::path run = folder_ / "run";
  RunningProgram program(endless(run), {});
  ASSERT_TRUE(wait_for_checkpoint(run, program));
  std::error_code none;
  while (fs::exists(run)) fs::remove_all(run, none);
  const Outcome outcome = program.wait();
  EXPECT_EQ(outcome.code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("cannot write: No such file or directory"));
  EXPECT_EQ(lines_of(outcome.err).size(), 1U) << outcome.err;
}

TEST_F(Resume, WhatCannotGoOnIsRefused) {
  const fs::path run = folder_ / "run";
  const auto refusal = [](const std::vector<std::string>& arguments) {
    const Outcome outcome = run_medfusion(arguments);
    EXPECT_EQ(outcome.code, 2) << testing::PrintToString(arguments);
    EXPECT_EQ(lines_of(outcome.err).size(), 1U) << outcome.err;
    return outcome.err;
  };
  EXPECT_THAT(refusal({"train", "--quiet"}), HasSubstr("expected CONFIG, or --resume RUN in its place (see"));
  EXPECT_THAT(refusal(resume(run)), HasSubstr("expected the folder of a run, there is none"));
  fs::create_directory(run);
  EXPECT_THAT(refusal(resume(run)), HasSubstr("config.toml is missing"));
  succeed(train(run, "1"));
  const Files before = files_in(run);
  EXPECT_THAT(refusal(resume(run, {"--set", "train.learning_rate=1"})),
              HasSubstr("--set train.learning_rate=1: --resume goes on with the run as it is; only "
                        "train.epochs, train.workers"));
  EXPECT_THAT(refusal(resume(run, {"--seed", "2"})), HasSubstr("--seed"));
  EXPECT_THAT(refusal(resume(run, {"--out", "x"})),
              HasSubstr("--out excludes --resume (see medfusion train --help)"));
  EXPECT_THAT(refusal(train(run, "2")), HasSubstr("or go on with it with --resume"));
  EXPECT_EQ(files_in(run), before);

  std::string data = contents(run / "data.json");
  const size_t hash = data.find("\"data_hash\": \"") + 14;
  data[hash] = data[hash] == '0' ? '1' : '0';
  write(run / "data.json", data);
  EXPECT_THAT(refusal(resume(run, {"--set", "train.epochs=2"})),
              HasSubstr("the data are not those that the run began with: data_hash of data.json was"));
  write(run / "data.json", data.replace(data.find("\"start\""), 7, "\"begin\""));
  EXPECT_THAT(refusal(resume(run, {"--set", "train.epochs=2"})), HasSubstr("kept no checkpoints"));
}

TEST_F(Resume, ACrossValidationGoesOnInTheMiddleOfAFold) {
  const auto cv = [&](const fs::path& out) {
    return std::vector<std::string>{"cv",      (folder_ / "tiny.toml").string(),
                                    "--folds", "2",
                                    "--out",   out.string(),
                                    "--set",   "data.labels=Effusion,Infiltration",
                                    "--set",   "train.epochs=2",
                                    "--set",   "train.checkpoint_every=1 steps",
                                    "--quiet"};
  };
  const auto files = [&](const fs::path& out) {
    Files result = files_without_seconds(out);
    for (const char* fold : {"fold0", "fold1"}) {
      const std::string name = fold;
      result.erase(name + "/train.log");
      result[name + "/metrics.jsonl"] = metrics_without_times(out / fold);
      result.erase(name + "/config.toml");  // names folds.csv
      result.erase(name + "/schema.json");
    }
    return result;
  };
  const fs::path whole = folder_ / "whole", cut = folder_ / "cut";
  succeed(cv(whole));
  Surroundings surroundings;
  for (const char* fault : {"kill@30", "kill@90", "kill@150", "kill@210"}) {
    SCOPED_TRACE(fault);
    fs::remove_all(cut);
    ASSERT_TRUE(run_medfusion(cv(cut), with_fault(surroundings, fault)).signaled);
    const Outcome again = run_medfusion(cv(cut));
    EXPECT_EQ(again.code, 2);
    EXPECT_THAT(again.err, HasSubstr("go on with it with --resume"));
    const Outcome outcome = run_medfusion({"cv", "--resume", cut.string(), "--quiet"});
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    const Files expected = files(whole), got = files(cut);
    for (const auto& [name, bytes] : expected) {
      ASSERT_TRUE(got.contains(name)) << name;
      EXPECT_TRUE(got.at(name) == bytes) << name;
    }
  }
  EXPECT_EQ(run_medfusion({"cv", "--resume", whole.string(), "--folds", "3"}).code, 2);
  const Outcome seeds = run_medfusion({"cv", "--resume", whole.string(), "--seeds", "3"});
  EXPECT_EQ(seeds.code, 2);
  EXPECT_EQ(seeds.err, "medfusion: --seeds excludes --resume (see medfusion cv --help)\n");
  write(whole / "cv_start.json", "[[[");
  EXPECT_THAT(run_medfusion({"cv", "--resume", whole.string()}).err,
              HasSubstr("cv_start.json:1: expected JSON"));
  EXPECT_EQ(run_medfusion({"cv", "--resume", (folder_ / "none").string()}).code, 2);
}

}  // namespace
}  // namespace medfusion::tools
