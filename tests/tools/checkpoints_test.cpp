// No damaged checkpoint is taken for a whole one.
#include "tools/medfusion/run/checkpoints.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "core/safetensors.h"
#include "tests/tools/end_to_end.h"

namespace medfusion::tools {
namespace {

using core::Tensor;
using testing::HasSubstr;
namespace fs = std::filesystem;

optim::TrainState state_after(int64_t steps) {
  optim::TrainState state;
  state.epochs = 9;
  state.steps = steps;
  state.last_train_loss = 0.1 * static_cast<double>(steps);
  state.best_auroc = optim::MetricValue::of(2.0 / 3.0);
  state.tensors["features.weight"] = Tensor::full({40}, static_cast<double>(steps));
  state.tensors["optimizer.step"] = Tensor::from<int64_t>({1}, {steps});
  return state;
}

class CheckpointsTest : public testing::Test {
 protected:
  Checkpoints of_run(const std::string& name, const std::string& identity, int64_t keep = 2) {
    return {RunDirectory::create(folder_ / name, true),
            {{"medfusion", "1"}, {"labels", "[\"Mass\"]"}},
            identity,
            keep};
  }
  fs::path file(const std::string& run, int64_t step) const {
    return folder_ / run / "checkpoints" / fmt::format("step{:09}.safetensors", step);
  }

  const TemporaryFolder folder_;
};

TEST_F(CheckpointsTest, EverythingComesBackExactly) {
  const Checkpoints checkpoints = of_run("run", "0123456789abcdef");
  EXPECT_FALSE(checkpoints.newest());
  optim::TrainState state = state_after(7);
  state.batches = 3;
  state.loss_sum = 1.0 / 3.0;
  checkpoints.save(state);
  const auto back = checkpoints.newest();
  ASSERT_TRUE(back);
  EXPECT_EQ(to_json(*back), to_json(state));
  EXPECT_EQ(back->loss_sum, 1.0 / 3.0);
  EXPECT_EQ(back->tensors.at("features.weight").at(39), 7.0);
  EXPECT_EQ(back->tensors.at("optimizer.step").data<int64_t>()[0], 7);
}

TEST_F(CheckpointsTest, TheLastOnesStay) {
  const Checkpoints checkpoints = of_run("run", "0123456789abcdef", 3);
  for (const int64_t step : {1, 20, 300, 4000, 50000}) checkpoints.save(state_after(step));
  EXPECT_EQ(files_in(folder_ / "run").size(), 3U);
  EXPECT_TRUE(fs::exists(file("run", 300)));
  EXPECT_EQ(checkpoints.newest()->steps, 50000);
}

TEST_F(CheckpointsTest, AValueThatIsNotFiniteIsNotSaved) {
  const Checkpoints checkpoints = of_run("run", "0123456789abcdef");
  checkpoints.save(state_after(1));
  optim::TrainState state = state_after(2);
  state.tensors.at("features.weight").slice(0, 3, 4).fill(std::numeric_limits<double>::infinity());
  EXPECT_THAT(
      [&] { checkpoints.save(state); },
      testing::ThrowsMessage<core::Error>(HasSubstr("features.weight holds inf, so it is not written")));
  EXPECT_EQ(checkpoints.newest()->steps, 1);
}

// One random byte is changed, or the file is cut, or two files are swapped: with another of the run, or with
// that of another run.
TEST_F(CheckpointsTest, NoneOfAThousandDamagedOnesIsAccepted) {
  const Checkpoints checkpoints = of_run("run", "0123456789abcdef"),
                    other = of_run("other", "fedcba9876543210");
  for (const int64_t step : {1, 2}) {
    checkpoints.save(state_after(step));
    other.save(state_after(step));
  }
  const fs::path newest = file("run", 2);
  const std::string good = contents(newest), before = contents(file("run", 1)),
                    foreign = contents(file("other", 2));
  std::mt19937_64 random(7);
  const auto below = [&](size_t end) { return static_cast<size_t>(random() % end); };
  int accepted = 0, kept = 0;
  for (int i = 0; i < 1000; ++i) {
    std::string damaged = good;
    if (i % 10 < 6) {
      damaged[below(good.size())] ^= static_cast<char>(1 + below(255));
    } else if (i % 10 < 8) {
      damaged.resize(below(good.size()));
    } else {
      damaged = i % 10 == 8 ? before : foreign;
    }
    write(newest, damaged);
    std::vector<std::string> lines;
    const auto state = checkpoints.newest([&](const std::string& line) { lines.push_back(line); });
    ASSERT_TRUE(state);
    accepted += state->steps == 2 ? 1 : 0;
    kept +=
        state->steps == 1 && lines.size() == 1 && lines.front().starts_with(newest.string() + ": ") ? 1 : 0;
  }
  EXPECT_EQ(accepted, 0);
  EXPECT_EQ(kept, 1000);
  std::cout << accepted << " of 1000 damaged checkpoints accepted\n";
}

TEST_F(CheckpointsTest, WhereNoneCanBeUsedNothingBeginsAgain) {
  const Checkpoints checkpoints = of_run("run", "0123456789abcdef");
  checkpoints.save(state_after(1));
  write(file("run", 1), "damaged");
  EXPECT_THAT([&] { checkpoints.newest(); }, testing::ThrowsMessage<core::InputError>(HasSubstr(
                                                 "expected a checkpoint that can be used, found none")));
  write(file("run", 1).string() + ".partial", "cut off");
  fs::remove(file("run", 1));
  EXPECT_FALSE(checkpoints.newest());
}

TEST(RunIdentity, ChangesWithWhatChangesTheBytes) {
  data::Dataset dataset;
  Config config;
  const std::string one = identity_of(config, dataset);
  config.threads = 3;
  config.train.epochs = 99;
  config.train.workers = 0;
  config.train.keep_checkpoints = 9;
  config.data.root = "elsewhere";
  EXPECT_EQ(identity_of(config, dataset), one);
  dataset.hash = 1;
  EXPECT_NE(identity_of(config, dataset), one);
  dataset.hash = 0;
  config.train.learning_rate *= 2.0;
  EXPECT_NE(identity_of(config, dataset), one);
}

// The same of best.safetensors and last.safetensors.
TEST_F(CheckpointsTest, DamagedWeightsAreRefused) {
  fs::create_directory(folder_ / "run");
  const std::string path = folder_ / "run" / "best.safetensors";
  const Metadata metadata = metadata_of_weights({{"medfusion", "1"}}, 3, "best");
  core::save_safetensors(path, {{"w", Tensor::full({9}, 0.5)}}, metadata);
  const std::string good = contents(path);
  const auto is_refused = [&](const std::string& which) {
    Metadata found;
    try {
      load_own_weights(path, found, which);
      return false;
    } catch (const core::InputError&) {
      return true;
    }
  };
  EXPECT_FALSE(is_refused("best"));
  EXPECT_TRUE(is_refused("last"));
  for (size_t i = 0; i < good.size(); ++i) {
    std::string damaged = good;
    damaged[i] = static_cast<char>(damaged[i] ^ (1 << (i % 7)));
    write(path, damaged);
    EXPECT_TRUE(is_refused("best")) << "byte " << i;
  }
}

}  // namespace
}  // namespace medfusion::tools
