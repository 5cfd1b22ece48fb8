#include "data/readers/nih.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "data/images/image.h"
#include "data/open.h"
#include "data/readers/file_images.h"
#include "data/splits.h"
#include "tests/data/temporary_folder.h"

namespace medfusion::data {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr const char* kHeader =
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]\n";

std::string row(const std::string& image, const std::string& findings,
                const std::string& rest = "0,1,57,M,PA") {
  return image + "," + findings + "," + rest + ",2682,2749,0.143,0.143\n";
}

// Writes a table with these rows and a 2x3 image for each name.
void write_data(const TemporaryFolder& folder, const std::string& rows,
                const std::vector<std::string>& images) {
  folder.write("Data_Entry_2017.csv", kHeader + rows);
  for (const std::string& image : images) {
    std::filesystem::create_directories(std::filesystem::path(folder.path(image)).parent_path());
    write_png(folder.path(image), core::Tensor::full({2, 3, 1}, 9, core::DType::u8));
  }
}

TEST(Nih, ReadsLabelsTableTextAndImages) {
  const TemporaryFolder folder;
  write_data(folder, row("a.png", "Edema|Mass", "0,1,058Y,M,PA") + row("b.png", "No Finding", "12,2,,F,AP"),
             {"images_001/images/a.png", "images_002/b.png"});
  const Dataset data = read_nih({folder.path(), {}, 0, true});
  ASSERT_EQ(data.size(), 2);
  EXPECT_THAT(data.ids, ElementsAre("a.png", "b.png"));
  EXPECT_THAT(data.patients, ElementsAre("1", "2"));
  ASSERT_EQ(data.targets.shape(), (core::Shape{2, 14}));
  for (int64_t i = 0; i < 28; ++i) EXPECT_EQ(data.targets.at(i), i == 4 || i == 9 ? 1.0 : 0.0) << i;
  ASSERT_EQ(data.columns.size(), 4U);
  EXPECT_EQ(data.columns[0].numbers[0], 58.0);
  EXPECT_TRUE(std::isnan(data.columns[0].numbers[1]));
  EXPECT_THAT(data.columns[1].categories, ElementsAre("M", "F"));
  EXPECT_THAT(data.columns[2].categories, ElementsAre("PA", "AP"));
  EXPECT_THAT(data.columns[3].numbers, ElementsAre(0.0, 12.0));
  EXPECT_EQ(data.texts[0], "first image of a male patient in the fifties, posteroanterior view");
  EXPECT_EQ(data.texts[1], "follow-up 10 or more of a female patient, anteroposterior view");
  EXPECT_EQ(data.images->read(1).shape(), (core::Shape{2, 3, 1}));
}

TEST(Nih, TellsOfTheOriginalImageWhereAsked) {
  const TemporaryFolder folder;
  const std::string other = "b.png,No Finding,0,2,60,F,AP,3000,2000,0.171,0.171\n";
  const std::string unknown = "c.png,No Finding,0,3,60,F,AP,3000,0,,\n";
  write_data(folder, row("a.png", "Mass") + other + unknown, {});
  const Dataset data = read_nih({folder.path(), {}, 0, false, {"aspect_ratio", "pixel_spacing"}});
  ASSERT_EQ(data.columns.size(), 2U);
  EXPECT_EQ(data.columns[0].name, "aspect_ratio");
  EXPECT_DOUBLE_EQ(data.columns[0].numbers[0], 2682.0 / 2749.0);
  EXPECT_DOUBLE_EQ(data.columns[0].numbers[1], 1.5);
  EXPECT_TRUE(std::isnan(data.columns[0].numbers[2]));
  EXPECT_EQ(data.columns[1].name, "pixel_spacing");
  EXPECT_EQ(data.columns[1].numbers[1], 0.171);
  EXPECT_TRUE(std::isnan(data.columns[1].numbers[2]));
  EXPECT_EQ(data.texts[0], "image of a patient, portrait format");
  EXPECT_EQ(data.texts[1], "image of a patient, landscape format");
  EXPECT_EQ(data.texts[2], "image of a patient");
}

TEST(Nih, AnotherTableJoinsByImage) {
  const TemporaryFolder folder;
  write_data(folder, row("a.png", "Mass", "0,1,58,M,PA") + row("b.png", "No Finding", "0,2,60,F,AP"), {});
  const auto read = [&](const std::string& extra, const std::vector<std::string>& columns = {}) {
    NihOptions options{folder.path(), {}, 0, false, columns};
    options.extra_table = folder.write("extra.csv", extra);
    options.categorical = {"stage"};
    return read_nih(options);
  };
  const Dataset data = read("crp,Image Index,smoker,stage\n1.5,b.png,yes,2\n9,other.png,no,3\n?,a.png,,1\n");
  ASSERT_EQ(data.columns.size(), 7U);
  EXPECT_EQ(data.columns[4].name, "crp");
  EXPECT_TRUE(std::isnan(data.columns[4].numbers[0]));
  EXPECT_EQ(data.columns[4].numbers[1], 1.5);
  EXPECT_THAT(data.columns[5].categories, ElementsAre("", "yes"));
  EXPECT_FALSE(data.columns[6].numeric);
  EXPECT_THAT(data.columns[6].categories, ElementsAre("1", "2"));
  EXPECT_EQ(data.texts[0], "first image of a male patient in the fifties, posteroanterior view");
  const Dataset chosen = read("Image Index,crp\na.png,1\nb.png,2\n", {"crp", "sex"});
  ASSERT_EQ(chosen.columns.size(), 2U);
  EXPECT_EQ(chosen.columns[0].name, "crp");
  EXPECT_NE(chosen.hash, read("Image Index,crp\na.png,1\nb.png,3\n", {"crp", "sex"}).hash);
  const auto error = [&](const std::string& extra) { return input_error([&] { read(extra); }); };
  EXPECT_THAT(error("Image Index,crp\na.png,1\n"), HasSubstr("extra.csv: expected a row for image b.png"));
  EXPECT_THAT(error("Image Index,crp\na.png,1\nb.png,1\na.png,2\n"),
              HasSubstr("extra.csv:4:1: expected each image once"));
  EXPECT_THAT(error("Image Index,age\na.png,1\nb.png,1\n"),
              HasSubstr("extra.csv:1:13: the table has this column already"));
  EXPECT_THAT(error("image,age\na.png,1\nb.png,1\n"), HasSubstr("Image Index"));
}

TEST(Nih, TableAndTextHoldTheColumnsAskedFor) {
  const TemporaryFolder folder;
  write_data(folder, row("a.png", "Edema|Mass", "0,1,058Y,M,PA"), {});
  NihOptions options{folder.path(), {}, 0, false, {"view", "follow_up"}};
  const Dataset data = read_nih(options);
  ASSERT_EQ(data.columns.size(), 2U);
  EXPECT_EQ(data.columns[0].name, "view");
  EXPECT_EQ(data.texts[0], "first image of a patient, posteroanterior view");
  options.columns = {"height"};
  EXPECT_THAT(input_error([&] { read_nih(options); }), HasSubstr("'height'"));
}

TEST(Nih, AgesInOldUnitsAndImpossibleOnes) {
  const TemporaryFolder folder;
  write_data(folder,
             row("a.png", "Mass", "0,1,018M,M,PA") + row("b.png", "Mass", "0,1,411,M,PA") +
                 row("c.png", "Mass", "0,1,110,M,PA") + row("d.png", "Mass", "0,1,003D,M,PA"),
             {});
  const Dataset data = read_nih({folder.path(), {}, 0, false});
  EXPECT_EQ(data.columns[0].numbers[0], 1.0);
  EXPECT_TRUE(std::isnan(data.columns[0].numbers[1]));
  EXPECT_EQ(data.columns[0].numbers[2], 110.0);
  EXPECT_EQ(data.columns[0].numbers[3], 0.0);
  EXPECT_EQ(data.images, nullptr);
}

TEST(Nih, SelectsLabelsByNameAndByCount) {
  const TemporaryFolder folder;
  write_data(folder, row("a.png", "Edema|Mass") + row("b.png", "Mass") + row("c.png", "Hernia"), {});
  const auto labels = [&](std::vector<std::string> names, int64_t least) {
    return read_nih({folder.path(), std::move(names), least, false});
  };
  const std::string file = folder.path("Data_Entry_2017.csv");
  const Dataset two = labels({"Mass", "Edema"}, 0);
  EXPECT_THAT(two.labels, ElementsAre("Mass", "Edema"));
  EXPECT_EQ(two.targets.at(0), 1.0);
  EXPECT_EQ(two.targets.at(1), 1.0);
  EXPECT_EQ(two.targets.at(2), 1.0);
  EXPECT_EQ(two.targets.at(3), 0.0);
  EXPECT_THAT(labels({}, 1).labels, ElementsAre("Mass", "Edema", "Hernia"));
  EXPECT_THAT(labels({}, 2).labels, ElementsAre("Mass"));
  EXPECT_EQ(input_error([&] { labels({}, 3); }), file + ": data.min_positives: no label has 3 positives");
  EXPECT_EQ(input_error([&] { labels({"Edma"}, 0); }),
            file + ": data.labels: the data has no 'Edma'; did you mean 'Edema'?");
  EXPECT_EQ(input_error([&] {
              labels({"Mass", "Mass"}, 0);
            }),
            "data.labels: expected each name once, got 'Mass' again");
}

TEST(Nih, BadCellsAreNamed) {
  const TemporaryFolder folder;
  const std::string file = folder.path("Data_Entry_2017.csv");
  const auto message = [&](const std::string& rows) {
    write_data(folder, rows, {});
    const std::string text = input_error([&] { read_nih({folder.path(), {}, 0, false}); });
    EXPECT_TRUE(text.starts_with(file)) << text;
    return text.substr(std::min(file.size(), text.size()));
  };
  EXPECT_EQ(message(row("a.png", "Mass") + row("b.png", "Mass|Edma")),
            ":3:7: expected a known finding instead of 'Edma' in column 'Finding Labels', got 'Mass|Edma'");
  EXPECT_EQ(message(row("a.png", "")),
            ":2:7: expected a known finding instead of '' in column 'Finding Labels', got ''");
  EXPECT_EQ(message(row("a.png", "No Finding|Mass")),
            ":2:7: expected No Finding alone in column 'Finding Labels', got 'No Finding|Mass'");
  EXPECT_EQ(message(row("a.png", "Mass", "0,1,old,M,PA")),
            ":2:16: expected an age such as 58 or 058Y in column 'Patient Age', got 'old'");
  EXPECT_EQ(message(row("a.png", "Mass", "0,1,57,X,PA")),
            ":2:19: expected M, F or nothing in column 'Patient Gender', got 'X'");
  EXPECT_EQ(message(row("a.png", "Mass", "0,1,57,M,LL")),
            ":2:21: expected PA, AP or nothing in column 'View Position', got 'LL'");
  EXPECT_EQ(message(row("a.png", "Mass", "-1,1,57,M,PA")),
            ":2:12: expected a whole number of at least 0 in column 'Follow-up #', got '-1'");
  EXPECT_EQ(message(row("a.png", "Mass", "0,,57,M,PA")),
            ":2:14: expected a value in column 'Patient ID', got ''");
  EXPECT_EQ(message(row("a.png", "Mass") + row("a.png", "Mass")),
            ":3:1: expected each image once in column 'Image Index', got 'a.png'");
  EXPECT_EQ(message(""), ":2: expected one line per image, got none");
}

TEST(Nih, WrongHeadersAreNamed) {
  const TemporaryFolder folder;
  const std::string file = folder.path("Data_Entry_2017.csv");
  const auto message = [&](const std::string& header) {
    folder.write("Data_Entry_2017.csv", header + "\n");
    return input_error([&] { read_nih({folder.path(), {}, 0, false}); });
  };
  EXPECT_EQ(message("Image Index,Findings"),
            file + ":1:13: expected column 2 of the header to be 'Finding Labels', got 'Findings'");
  EXPECT_EQ(message("Image Index,Finding Labels"),
            file + ":1: expected column 3 of the header to be 'Follow-up #', got 2 columns");
  const std::string header(kHeader, std::string_view(kHeader).size() - 1);
  EXPECT_THAT(message(header + ",Weight"), HasSubstr("expected 11 columns, got 'Weight' after them"));
}

TEST(Nih, TheFirstReleaseEndsItsLinesWithAComma) {
  const TemporaryFolder folder;
  const std::string header(kHeader, std::string_view(kHeader).size() - 1);
  folder.write("Data_Entry_2017.csv", header + ",\na.png,Mass,0,1,057Y,M,PA,2682,2749,0.143,0.143,\n");
  EXPECT_EQ(read_nih({folder.path(), {}, 0, false}).columns[0].numbers[0], 57.0);
}

TEST(Nih, ReadsTheSampleOfKaggle) {
  const TemporaryFolder folder;
  folder.write(
      "sample_labels.csv",
      "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
      "OriginalImageWidth,OriginalImageHeight,OriginalImagePixelSpacing_x,OriginalImagePixelSpacing_y\n"
      "a.png,Mass,0,1,060Y,F,PA,2992,2991,0.143,0.143\n");
  const Dataset data = read_nih({folder.path(), {}, 0, false, {"age", "pixel_spacing"}});
  EXPECT_EQ(data.columns[0].numbers[0], 60.0);
  EXPECT_EQ(data.columns[1].numbers[0], 0.143);
}

TEST(Nih, RowsWithoutAnImageAreLeftOutAndCounted) {
  const TemporaryFolder folder;
  write_data(folder,
             row("a.png", "Mass", "0,1,58,M,PA") + row("b.png", "Edema", "0,2,60,F,AP") +
                 row("c.png", "Edema|Mass", "3,3,61,F,AP"),
             {"images_002/images/c.png", "images_001/a.png"});
  NihOptions options{folder.path(), {"Edema"}, 0, true};
  const Dataset data = read_nih(options);
  EXPECT_THAT(data.ids, ElementsAre("a.png", "c.png"));
  EXPECT_THAT(data.patients, ElementsAre("1", "3"));
  EXPECT_THAT(data.columns[0].numbers, ElementsAre(58, 61));
  EXPECT_THAT(data.columns[1].categories, ElementsAre("M", "F"));
  EXPECT_THAT(data.texts[1], HasSubstr("follow-up 1 to 3 of a female"));
  ASSERT_EQ(data.targets.shape(), (core::Shape{2, 1}));
  EXPECT_EQ(data.targets.at(0), 0.0);
  EXPECT_EQ(data.targets.at(1), 1.0);
  EXPECT_EQ(data.images->read(1).shape(), (core::Shape{2, 3, 1}));
  EXPECT_THAT(data.notes, ElementsAre("1 of 3 rows are left out, for their images are not in " +
                                      folder.path("images*") + ", such as 'b.png'"));
  EXPECT_EQ(read_nih({folder.path(), {}, 0, false}).size(), 3);
  options.partial = false;  // of phantom data, which are made whole
  EXPECT_EQ(input_error([&] { read_nih(options); }),
            folder.path("Data_Entry_2017.csv") + ":3:1: expected the image as " +
                folder.path("images/b.png") + " or in another images*/ folder, got no such file");
}

TEST(OpenDataset, CountsWhatOfficialListsAndDataDoNotShare) {
  const TemporaryFolder folder;
  write_data(folder, row("a.png", "Mass", "0,1,58,M,PA") + row("b.png", "Edema", "0,2,60,F,AP"), {});
  folder.write("train_val_list.txt", "a.png\nz.png\n");
  folder.write("test_list.txt", "b.png\n");
  DataOptions options;
  options.root = folder.path();
  options.read_images = false;
  EXPECT_THAT(open_dataset(options).notes,
              ElementsAre(HasSubstr("official lists: 1 of their images are not in the data; 0 of 2 rows")));
  options.split.kind = SplitKind::random;
  EXPECT_THAT(open_dataset(options).notes, testing::IsEmpty());
}

TEST(Nih, MissingAndRepeatedImagesAreNamed) {
  const TemporaryFolder folder;
  write_data(folder, row("a.png", "Mass") + row("b.png", "Mass"), {"images/c.png"});
  EXPECT_EQ(input_error([&] {
              read_nih({folder.path(), {}, 0, true});
            }),
            folder.path("Data_Entry_2017.csv") + ":2:1: expected the image as " +
                folder.path("images/a.png") +
                " or in another images*/ folder, got no such file, nor that of another row");
  write_data(folder, row("a.png", "Mass"), {"images_2/c.png"});
  EXPECT_EQ(input_error([&] {
              read_nih({folder.path(), {}, 0, true});
            }),
            folder.path("images_2/c.png") + ": expected each name once, got it also as " +
                folder.path("images/c.png"));
}

TEST(Nih, AMissingFolderOrTableIsNamed) {
  const TemporaryFolder folder;
  EXPECT_THAT(input_error([&] {
                read_nih({folder.path("none"), {}, 0, true});
              }),
              HasSubstr("expected a folder in the NIH layout"));
  EXPECT_THAT(input_error([&] {
                read_nih({folder.path(), {}, 0, true});
              }),
              HasSubstr("Data_Entry_2017.csv: expected this table"));
}

TEST(Nih, TheHashDependsOnTableListsAndImages) {
  const TemporaryFolder folder;
  write_data(folder, row("a.png", "Mass"), {"images/a.png"});
  const auto hash = [&] { return read_nih({folder.path(), {}, 0, true}).hash; };
  const uint64_t first = hash();
  EXPECT_EQ(hash(), first);
  folder.write("test_list.txt", "a.png\n");
  const uint64_t with_list = hash();
  EXPECT_NE(with_list, first);
  write_png(folder.path("images/a.png"), core::Tensor::full({20, 30, 1}, 9, core::DType::u8));
  const uint64_t with_other_image = hash();
  EXPECT_NE(with_other_image, with_list);
  folder.write("Data_Entry_2017.csv", kHeader + row("a.png", "Edema"));
  EXPECT_NE(hash(), with_other_image);
}

TEST(Nih, ReadsTheThousandRealImages) {
  const std::string root = shared_data("nih1000");
  if (root.empty()) GTEST_SKIP() << "nih1000 not found: set MEDFUSION_DATA";
  const Dataset data = read_nih({root, {}, 29, true});
  EXPECT_EQ(data.size(), 1000);
  EXPECT_EQ(data.labels.size(), 12U);  // all but Pneumonia (11) and Hernia (9)
  int64_t effusions = 0;
  for (int64_t i = 0; i < 1000; ++i) effusions += data.targets.at(i * 12 + 2) == 1.0 ? 1 : 0;
  EXPECT_EQ(data.labels[2], "Effusion");
  EXPECT_EQ(effusions, 170);
  EXPECT_EQ(data.images->read(0).size(0), 64);
  const Splits official = official_splits(data, root, 0.1, 1);
  EXPECT_EQ(official.test.size(), 310U);
  EXPECT_EQ(official.train.size() + official.val.size(), 690U);
  EXPECT_NEAR(static_cast<double>(official.val.size()), 69.0, 2.0);
  const std::vector<int64_t> folds = read_folds(data, root + "/folds.csv");
  size_t total = 0;
  for (int64_t fold = 0; fold < 5; ++fold) {
    const Splits splits = fold_splits(data, folds, fold, 0.0, 1);
    EXPECT_EQ(splits.train.size() + splits.test.size(), 1000U);
    EXPECT_TRUE(splits.val.empty());
    total += splits.test.size();
  }
  EXPECT_EQ(total, 1000U);
}

TEST(Nih, ReadsTheFullTable) {
  const std::string root = shared_data("nih_full");
  if (root.empty()) GTEST_SKIP() << "nih_full not found: set MEDFUSION_DATA";
  const Dataset data = read_nih({root, {}, 0, false});
  EXPECT_EQ(data.size(), 112120);
  const float* targets = data.targets.data<float>();
  EXPECT_EQ(std::accumulate(targets, targets + data.targets.numel(), 0.0),
            81176);  // findings in the whole table
  const Splits splits = official_splits(data, root, 0.125, 1);
  EXPECT_EQ(splits.test.size(), 25596U);
  EXPECT_EQ(splits.train.size() + splits.val.size(), 86524U);
}

}  // namespace
}  // namespace medfusion::data
