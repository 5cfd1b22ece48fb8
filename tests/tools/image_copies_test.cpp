// augment.test_copies: the mean over changed copies of an image; and whom train.mixup refuses.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/tools/end_to_end.h"
#include "tools/medfusion/run/training_rows.h"

namespace medfusion::tools {
namespace {

using core::Tensor;

const std::vector<std::string> kMirrorAlone{
    "--set", "augment.shift=0",          "--set", "augment.scale=0",    "--set", "augment.rotation=0",
    "--set", "augment.brightness=0",     "--set", "augment.contrast=0", "--set", "augment.gamma=0",
    "--set", "augment.horizontal_flip=1"};

TEST(ImageCopies, LogitsAreTheMeanOverTheImageAndItsCopies) {
  const TemporaryFolder folder;
  make_phantom(folder);
  std::vector<std::string> settings = kMirrorAlone;
  settings.insert(settings.end(), {"--set", "augment.test_copies=1", "--set", "calibration.method=none"});
  succeed(train_command(folder / "tiny.toml", folder / "run", settings));
  TrainedRun run = TrainedRun::open(RunDirectory::open((folder / "run").string()), {});
  const data::Dataset dataset = open_data(run.config, to_data_options(run.config));
  const core::Batch encoded = run.preprocessing.encode(dataset);
  const std::vector<int64_t> rows{3, 1, 4};
  const auto plain = make_loader(run.config, dataset, encoded, rows, false);
  const auto copies = make_loader(run.config, dataset, encoded, rows, false, nullptr, 1);

  // Here a copy is the mirror image.
  core::Batch first, second;
  plain->begin_epoch(0), copies->begin_epoch(0);
  ASSERT_TRUE(plain->next(first) && copies->next(second));
  const int64_t side = first.images.size(1);
  for (int64_t x = 0; x < side; ++x)
    EXPECT_NEAR(second.images.at(5 * side + x), first.images.at(5 * side + side - 1 - x), 1e-5);
  ASSERT_FALSE(plain->next(first) || copies->next(second));

  const Tensor of_image = optim::predict(*run.network, *plain, optim::Output::sigmoid).logits;
  const Tensor of_copy = optim::predict(*run.network, *copies, optim::Output::sigmoid).logits;
  const Tensor together = predict_run(run, dataset, *plain).logits;
  double difference = 0.0;
  for (int64_t i = 0; i < together.numel(); ++i) {
    EXPECT_NEAR(together.at(i), 0.5 * (of_image.at(i) + of_copy.at(i)), 1e-6);
    difference += std::abs(of_image.at(i) - of_copy.at(i));
  }
  EXPECT_GT(difference, 1e-4);
  // The validation part's thresholds are those of the means: eval finds them again.
  EXPECT_EQ(run_medfusion({"eval", (folder / "run").string(), "--quiet"}).code, 0);
}

TEST(MixUpSetting, ANetworkThatReadsATableIsRefused) {
  const TemporaryFolder folder;
  make_phantom(folder);
  const auto with = [&](const std::vector<std::string>& more) {
    std::vector<std::string> settings{"--set", "train.mixup=0.2"};
    settings.insert(settings.end(), more.begin(), more.end());
    return run_medfusion(train_command(folder / "tiny.toml", folder / "run", settings));
  };
  Outcome outcome = with({});
  EXPECT_EQ(outcome.code, 2);
  EXPECT_EQ(outcome.err, "medfusion: train.mixup: expected 0 for a network that reads a table, got 0.2\n");
  outcome = with({"--set", "model.modalities.table=false"});
  EXPECT_EQ(outcome.code, 2);
  EXPECT_EQ(outcome.err, "medfusion: train.mixup: expected 0 for a network that reads text, got 0.2\n");
  outcome = with({"--set", "model.modalities.table=false", "--set", "model.modalities.text=false"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  outcome = with({"--set", "model.name=densenet", "--set", "model.size=tiny"});  // reads no table
  EXPECT_NE(outcome.err, "medfusion: train.mixup: expected 0 for a network that reads a table, got 0.2\n");
}

}  // namespace
}  // namespace medfusion::tools
