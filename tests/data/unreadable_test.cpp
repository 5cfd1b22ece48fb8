// Rows whose image cannot be read: left out, counted and listed, or refused.
#include "data/unreadable.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "data/open.h"
#include "data/prediction.h"
#include "tests/data/png_bytes.h"
#include "tests/data/temporary_folder.h"

namespace medfusion::data {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// Twenty rows with an image each, of which row 4 is damaged and row 7 is not there.
class Unreadable : public testing::Test {
 protected:
  Unreadable() {
    std::string table = "image,sick,age,note,set\n", split = "id,part\n";
    for (int i = 0; i < 20; ++i) {
      const std::string part = i < 14 ? "train" : i < 17 ? "val" : "test";
      table += fmt::format("{}.png,{},{},note {},{}\n", i, i % 2, 30 + i * i % 7, i, part);
      split += fmt::format("{}.png,{}\n", i, part);
      folder_.write(fmt::format("{}.png", i), black_png(5 + i, 4));
    }
    folder_.write("4.png", "<html>");
    std::filesystem::remove(folder_.path("7.png"));
    folder_.write("t.csv", table);
    folder_.write("split.csv", split);
    options_.format = DataFormat::csv;
    options_.root = folder_.path();
    options_.file = "t.csv";
    options_.image_column = "image";
    options_.text_column = "note";
    options_.part_column = "set";
    options_.labels = {"sick"};
    options_.on_error = OnError::skip;
  }

  TemporaryFolder folder_;
  DataOptions options_;
};

TEST_F(Unreadable, RowsAreLeftOutOfEverything) {
  const Dataset data = open_dataset(options_);
  ASSERT_EQ(data.size(), 18);
  ASSERT_EQ(data.columns.size(), 1U);
  for (int64_t row = 0; row < data.size(); ++row) {
    const int64_t number = row + (row >= 4 ? 1 : 0) + (row >= 6 ? 1 : 0);
    const auto at = static_cast<size_t>(row);
    EXPECT_EQ(data.ids[at], fmt::format("{}.png", number));
    EXPECT_EQ(data.patients[at], data.ids[at]);
    EXPECT_EQ(data.targets.at(row), static_cast<double>(number % 2));
    EXPECT_EQ(data.columns.front().numbers[at], static_cast<double>(30 + number * number % 7));
    EXPECT_EQ(data.texts[at], fmt::format("note {}", number));
    EXPECT_EQ(data.images->read(row).size(1), 5 + number);
    EXPECT_EQ(data.images->file(row), folder_.path(data.ids[at]));
    EXPECT_GT(data.images->encoded_size(row), 0);
  }
  const Splits splits = make_splits(options_, data);
  EXPECT_EQ(splits.train.size(), 12U);
  EXPECT_EQ(splits.test.size(), 3U);
}

TEST_F(Unreadable, RowsAreCountedAndListed) {
  const Dataset data = open_dataset(options_);
  ASSERT_EQ(data.skipped.size(), 2U);
  EXPECT_EQ(data.skipped[0].id, "4.png");
  EXPECT_EQ(data.skipped[0].file, folder_.path("4.png"));
  EXPECT_THAT(data.skipped[0].reason, testing::StartsWith("expected a PNG or JPEG image, got an HTML page"));
  EXPECT_EQ(data.skipped[1].reason, "cannot open the image: No such file or directory");
  EXPECT_THAT(data.notes,
              testing::Contains(HasSubstr("2 of 20 rows are skipped, for their images cannot be read "
                                          "(data.on_error), such as " +
                                          folder_.path("4.png") + ": expected a PNG")));
}

TEST_F(Unreadable, WhatIsReadIsPartOfTheHash) {
  const uint64_t before = open_dataset(options_).hash;
  EXPECT_EQ(open_dataset(options_).hash, before);
  folder_.write("5.png", std::string(black_png(10, 4).size(), 'x'));  // as large as before
  options_.max_skipped = 0.2;
  EXPECT_NE(open_dataset(options_).hash, before);
}

TEST_F(Unreadable, FailsByDefault) {
  options_.on_error = OnError::fail;
  EXPECT_THAT(input_error([&] { open_dataset(options_); }), HasSubstr("t.csv:9:1: expected the image as"));
}

TEST_F(Unreadable, TooManyAreRefused) {
  options_.max_skipped = 0.1;
  EXPECT_EQ(open_dataset(options_).size(), 18);
  options_.max_skipped = 0.09;
  EXPECT_EQ(
      input_error([&] { open_dataset(options_); }),
      folder_.path("4.png") +
          ": expected a PNG or JPEG image, got an HTML page, such as servers send in place of a file; 2 of "
          "20 images cannot be read, data.max_skipped allows 0.09 of them");
  options_.max_skipped = 1.0;
  for (int i = 0; i < 20; ++i) folder_.write(fmt::format("{}.png", i), "");
  EXPECT_THAT(input_error([&] { open_dataset(options_); }), HasSubstr("20 of 20 images cannot be read"));
}

TEST_F(Unreadable, FilesOfPartsMayNameThem) {
  options_.split.kind = SplitKind::file;
  options_.split.file = "split.csv";
  EXPECT_EQ(make_splits(options_, open_dataset(options_)).train.size(), 12U);
  for (int i = 17; i < 20; ++i) folder_.write(fmt::format("{}.png", i), "");
  options_.max_skipped = 0.5;
  EXPECT_EQ(input_error([&] { make_splits(options_, open_dataset(options_)); }),
            folder_.path("split.csv") +
                ": the test part of the split is empty; 5 rows are skipped, for their images cannot be read "
                "(data.on_error)");
}

TEST_F(Unreadable, ImagesToPredict) {
  const Dataset data =
      rows_to_predict(options_, {folder_.path("3.png"), folder_.path("4.png")}, "", nullptr, false);
  EXPECT_THAT(data.ids, ElementsAre("3.png"));
  EXPECT_EQ(data.skipped.size(), 1U);
  EXPECT_THAT(input_error([&] { rows_to_predict(options_, {folder_.path("4.png")}, "", nullptr, false); }),
              HasSubstr("1 of 1 images cannot be read"));
}

}  // namespace
}  // namespace medfusion::data
