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
  std::filesystem::remove_all(folder / "run");
  outcome = with({"--set", "model.name=densenet", "--set", "model.size=tiny"});  // reads no table
  EXPECT_EQ(outcome.code, 0) << outcome.err;
}

// All images of a patient are a case. Every command reads the second image, or says that it does not.
TEST(GroupImages, AreReadByEveryCommand) {
  const TemporaryFolder folder;
  make_phantom(folder);
  const auto root = folder / "phantom";
  write(folder / "cases.toml",
        "threads = 1\n[data]\nformat = \"csv\"\nroot = \"" + root.string() +
            "\"\nfile = \"Data_Entry_2017.csv\"\nimages = \"images\"\nimage_column = \"Image Index\"\n"
            "patient_column = \"Patient ID\"\nclass_column = \"Patient Gender\"\ntable = [\"Patient Age\"]\n"
            "val_fraction = 0.25\n" +
            kTinySettings);
  const std::vector<std::string> grouped{"--set", "data.group_images=Patient ID"};
  const std::string two = (folder / "two").string();
  const Outcome trained = run_medfusion(train_command(folder / "cases.toml", two, grouped));
  ASSERT_EQ(trained.code, 0) << trained.err;
  EXPECT_EQ(run_medfusion({"eval", two, "--split", "val", "--quiet"}).code, 0);
  for (const char* method : {"gradcam", "attention", "integrated", "occlusion"}) {
    const Outcome explained = run_medfusion({"explain", two, "--split", "val", "--limit", "3", "--quiet",
                                             "--method", method, "--out", (folder / method).string()});
    EXPECT_EQ(explained.code, 0) << method << ": " << explained.err;
  }
  const std::vector<std::string> predict{"predict", two, "--images", (root / "images").string()};
  std::vector<std::string> with_table = predict;
  with_table.insert(with_table.end(), {"--table", (root / "Data_Entry_2017.csv").string()});
  const Outcome alone = run_medfusion(predict), together = run_medfusion(with_table);
  EXPECT_EQ(together.code, 0) << together.err;
  EXPECT_NE(alone.out, together.out);
  EXPECT_THAT(alone.err, testing::HasSubstr(
                             "without the column Patient ID (data.group_images) each image is read alone"));
  EXPECT_THAT(together.err, testing::Not(testing::HasSubstr("read alone")));
  std::vector<std::string> refused{"--set", "model.branches.attention=false"};
  refused.insert(refused.end(), grouped.begin(), grouped.end());
  const Outcome outcome = run_medfusion(train_command(folder / "cases.toml", folder / "none", refused));
  EXPECT_EQ(outcome.code, 2);
  EXPECT_EQ(outcome.err, "medfusion: data.group_images: expected medfusionnet with its attention branch\n");
}

}  // namespace
}  // namespace medfusion::tools
