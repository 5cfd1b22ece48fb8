#include "tools/medfusion/config/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/tools/program.h"

namespace medfusion::tools {
namespace {

using testing::ElementsAre;

TEST(Options, DataIsReadAsTheRunSays) {
  Config config;
  config.data.labels_file = "labels.txt";
  config.data.min_positives = 3;
  config.model.modalities.image = false;
  config.seed = 9;
  const data::DataOptions options = to_data_options(config);
  EXPECT_FALSE(options.read_images);
  EXPECT_EQ(options.seed, 9U);
  EXPECT_EQ(options.min_positives, 3);
  const data::DataOptions again = to_data_options(config, {"Mass"});
  EXPECT_THAT(again.label_names(), ElementsAre("Mass"));
  EXPECT_EQ(again.min_positives, 0);
  EXPECT_TRUE(again.keep_constant);
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

}  // namespace
}  // namespace medfusion::tools
