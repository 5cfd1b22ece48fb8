#include "tools/medfusion/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/tools/program.h"

namespace medfusion::tools {
namespace {

using testing::ElementsAre;

TEST(Options, DataPathsStartFromTheRoot) {
  Config config;
  config.data.root = "root";
  config.data.file = "table.csv";
  config.data.images = "/images";
  config.data.folds = "folds.csv";
  config.data.split_file = "split.csv";
  config.data.labels = {"Mass"};
  config.model.modalities.image = false;
  config.seed = 9;
  const data::DataOptions options = to_data_options(config);
  EXPECT_EQ(options.root, "root");
  EXPECT_EQ(options.file, "root/table.csv");
  EXPECT_EQ(options.images, "/images");
  EXPECT_EQ(options.fold_file, "root/folds.csv");
  EXPECT_EQ(options.split_file, "root/split.csv");
  EXPECT_THAT(options.labels, ElementsAre("Mass"));
  EXPECT_FALSE(options.read_images);
  EXPECT_EQ(options.seed, 9U);
}

TEST(Options, LabelsComeFromAFileToo) {
  const TemporaryFolder folder;
  write(folder / "labels.txt", "Edema\nMass\n");
  Config config;
  config.data.root = folder.path().string();
  config.data.labels_file = "labels.txt";
  EXPECT_THAT(to_data_options(config).labels, ElementsAre("Edema", "Mass"));
}

TEST(Options, FoldsAreAFileOrANumber) {
  Config config;
  config.data.folds = "7";
  EXPECT_EQ(to_data_options(config).folds, 7);
  EXPECT_EQ(to_data_options(config).fold_file, "");
  config.data.folds = "7.csv";
  EXPECT_EQ(to_data_options(config).fold_file, "7.csv");
}

TEST(Options, OneMeanStandsForAllChannels) {
  Config config;
  config.data.channels = 3;
  config.data.mean = {0.25};
  config.data.std = {0.5, 0.25, 0.125};
  const data::ImageFormat format = to_image_format(config);
  EXPECT_THAT(format.mean, ElementsAre(0.25F, 0.25F, 0.25F));
  EXPECT_THAT(format.std, ElementsAre(0.5F, 0.25F, 0.125F));
  EXPECT_NO_THROW(data::check(format));
  EXPECT_FALSE(format.per_image);
  config.data.normalize = "image";
  EXPECT_TRUE(to_image_format(config).per_image);
  config.data.mean.clear();
  EXPECT_NO_THROW(data::check(to_image_format(config)));
}

TEST(Options, OnlyTrainingShufflesAndAugments) {
  Config config;
  config.augment.rotation = 2.0;
  config.data.cache_megabytes = 3;
  const data::LoaderOptions training = to_loader_options(config, true);
  EXPECT_TRUE(training.shuffle);
  ASSERT_TRUE(training.augment.has_value());
  EXPECT_EQ(training.augment->rotation, 2.0);
  EXPECT_EQ(training.cache_bytes, 3 * 1024 * 1024);
  const data::LoaderOptions evaluation = to_loader_options(config, false);
  EXPECT_FALSE(evaluation.shuffle);
  EXPECT_FALSE(evaluation.augment.has_value());
}

TEST(Options, DefaultsAreThoseOfThePartsTheyConfigure) {
  const data::AugmentOptions augment = to_augment_options(Config{});
  const data::AugmentOptions defaults;
  EXPECT_NO_THROW(data::check(augment));
  EXPECT_EQ(augment.shift, defaults.shift);
  EXPECT_EQ(augment.scale, defaults.scale);
  EXPECT_EQ(augment.rotation, defaults.rotation);
  EXPECT_EQ(augment.brightness, defaults.brightness);
  EXPECT_EQ(augment.contrast, defaults.contrast);
  EXPECT_EQ(augment.gamma, defaults.gamma);
  EXPECT_EQ(augment.horizontal_flip, defaults.horizontal_flip);
}

}  // namespace
}  // namespace medfusion::tools
