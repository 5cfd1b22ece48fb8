#include "data/readers/chexpert.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "data/images/image.h"
#include "data/open.h"
#include "data/prediction.h"
#include "tests/data/temporary_folder.h"

namespace medfusion::data {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

const std::string kHead = "Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,Edema,Support Devices\n";

std::string path_of(const std::string& part, const std::string& patient, const std::string& view) {
  return "CheXpert-v1.0-small/" + part + "/" + patient + "/study1/" + view + ".jpg";
}

// Five rows of four patients; the images are PNG files, whatever their names say.
void write_tree(const TemporaryFolder& folder) {
  folder.write("train.csv",
               kHead + path_of("train", "patient00001", "view1_frontal") +
                   ",Female,68,Frontal,AP,1.0,,1.0\n" + path_of("train", "patient00002", "view2_lateral") +
                   ",Male,57,Lateral,,,-1.0,\n" + path_of("train", "patient00002", "view1_frontal") +
                   ",Male,57,Frontal,PA,,0.0,1.0\n" + path_of("train", "patient00003", "view1_frontal") +
                   ",Unknown,0,Frontal,AP,,1.0,\n");
  folder.write("valid.csv", kHead + path_of("valid", "patient64541", "view1_frontal") +
                                ",Male,73,Frontal,AP,0.0,1.0,0.0\n");
  for (const char* name :
       {"train/patient00001/study1/view1_frontal.jpg", "train/patient00002/study1/view2_lateral.jpg",
        "train/patient00002/study1/view1_frontal.jpg", "train/patient00003/study1/view1_frontal.jpg",
        "valid/patient64541/study1/view1_frontal.jpg"}) {
    std::filesystem::create_directories(std::filesystem::path(folder.path(name)).parent_path());
    write_png(folder.path(name),
              core::Tensor::full({2, 3, 1}, static_cast<double>(name[17]), core::DType::u8));
  }
}

TEST(Chexpert, ReadsPathsPatientsTableAndParts) {
  const TemporaryFolder folder;
  write_tree(folder);
  const Dataset data = read_chexpert({folder.path()});
  ASSERT_EQ(data.size(), 5);
  EXPECT_EQ(data.ids[1], "CheXpert-v1.0-small/train/patient00002/study1/view2_lateral.jpg");
  EXPECT_THAT(data.patients,
              ElementsAre("patient00001", "patient00002", "patient00002", "patient00003", "patient64541"));
  EXPECT_THAT(data.parts, ElementsAre("train", "train", "train", "train", "test"));
  EXPECT_THAT(data.labels, ElementsAre("No Finding", "Edema", "Support Devices"));
  ASSERT_EQ(data.columns.size(), 4U);
  EXPECT_THAT(data.columns[0].numbers, ElementsAre(68, 57, 57, 0, 73));
  EXPECT_THAT(data.columns[1].categories, ElementsAre("Female", "Male", "Male", "", "Male"));
  EXPECT_THAT(data.columns[2].categories, ElementsAre("Frontal", "Lateral", "Frontal", "Frontal", "Frontal"));
  EXPECT_THAT(data.columns[3].categories, ElementsAre("AP", "", "PA", "AP", "AP"));
  EXPECT_EQ(data.images->read(4).shape(), (core::Shape{2, 3, 1}));
  EXPECT_THAT(
      data.notes,
      ElementsAre("labels: -1 in 1 cells is read as unknown (data.uncertain), nothing in 6 cells as negative "
                  "(data.blank)",
                  "valid.csv is the test part, for there is no test.csv"));
}

TEST(Chexpert, PoliciesForUncertainAndBlankLabels) {
  const TemporaryFolder folder;
  write_tree(folder);
  const auto edema = [&](Uncertain uncertain, BlankLabel blank) {
    const Dataset data = read_chexpert({folder.path(), false, uncertain, blank});
    std::string signs;
    for (int64_t row = 0; row < data.size(); ++row) {
      const double value = data.targets.at(row * 3 + 1);
      signs += std::isnan(value) ? '?' : value == 1.0 ? '1' : '0';
    }
    return signs;
  };
  EXPECT_EQ(edema(Uncertain::automatic, BlankLabel::automatic), "0?011");
  EXPECT_EQ(edema(Uncertain::unknown, BlankLabel::unknown), "??011");
  EXPECT_EQ(edema(Uncertain::negative, BlankLabel::negative), "00011");
  EXPECT_EQ(edema(Uncertain::positive, BlankLabel::unknown), "?1011");
  EXPECT_THAT(input_error([&] { edema(Uncertain::refuse, BlankLabel::automatic); }),
              HasSubstr("train.csv:3:83: label 'Edema' is -1; expected 0, 1 or nothing"));
}

TEST(Chexpert, ATestFileMakesValidTheValidationPart) {
  const TemporaryFolder folder;
  write_tree(folder);
  folder.write("test.csv", "Path,No Finding,Edema,Support Devices\n" +
                               path_of("test", "patient70000", "view1_frontal") + ",0.0,0.0,1.0\n");
  const Dataset data = read_chexpert({folder.path(), false});
  EXPECT_THAT(data.parts, ElementsAre("train", "train", "train", "train", "val", "test"));
  EXPECT_TRUE(std::isnan(data.columns[0].numbers[5]));
  EXPECT_EQ(data.columns[1].categories[5], "");
}

TEST(Chexpert, BadTablesAreNamed) {
  const TemporaryFolder folder;
  EXPECT_THAT(input_error([&] { read_chexpert({folder.path("none")}); }), HasSubstr("CheXpert's layout"));
  EXPECT_THAT(input_error([&] { read_chexpert({folder.path()}); }),
              HasSubstr("train.csv: expected this table"));
  write_tree(folder);
  std::filesystem::remove(folder.path("valid/patient64541/study1/view1_frontal.jpg"));
  EXPECT_EQ(input_error([&] { read_chexpert({folder.path()}); }),
            folder.path("valid.csv") + ":2:1: expected the image as " +
                folder.path("valid/patient64541/study1/view1_frontal.jpg") + ", got no such file");
  folder.write("valid.csv", kHead + "CheXpert-v1.0-small/valid/64541/view1.jpg,Male,73,Frontal,AP,0,1,0\n");
  EXPECT_THAT(input_error([&] {
                read_chexpert({folder.path(), false});
              }),
              HasSubstr("valid.csv:2:1: expected a path with a folder patient... in column 'Path'"));
  folder.write("valid.csv", "Path,Sex\nCheXpert-v1.0-small/valid/patient1/view1.jpg,Male\n");
  EXPECT_THAT(input_error([&] {
                read_chexpert({folder.path(), false});
              }),
              HasSubstr("valid.csv:1: no column 'No Finding'"));
}

TEST(OpenDataset, ReadsChexpertWithItsOwnSplitAndPredictsItsTable) {
  const TemporaryFolder folder;
  write_tree(folder);
  DataOptions options;
  options.format = DataFormat::chexpert;
  options.root = folder.path();
  options.labels = {"Edema"};
  options.table = {"Age", "AP/PA"};
  options.split.val_fraction = 0.25;
  const Dataset data = open_dataset(options);
  EXPECT_THAT(data.labels, ElementsAre("Edema"));
  const Splits splits = make_splits(options, data);
  EXPECT_THAT(splits.test, ElementsAre(4));
  EXPECT_EQ(splits.train.size() + splits.val.size(), 4U);
  const TableEncoder encoder = TableEncoder::fit(data.columns, splits.train);
  const Dataset rows =
      rows_to_predict(options, {folder.path("valid")}, folder.path("valid.csv"), &encoder, false);
  EXPECT_THAT(rows.ids, ElementsAre("patient64541/study1/view1_frontal.jpg"));
  EXPECT_THAT(rows.columns.at(0).numbers, ElementsAre(73));
}

TEST(OpenDataset, AnUnknownSexOfChexpertIsMissingInPredictionToo) {
  const TemporaryFolder folder;
  const std::string table = folder.write("new.csv", "Path,Sex\na.jpg,Unknown\nb.jpg,Female\n");
  DataOptions options;
  options.format = DataFormat::chexpert;
  const TableEncoder encoder = TableEncoder::fit({{"Sex", false, {}, {"Female", "Male"}}}, {0, 1});
  EXPECT_THAT(rows_to_predict(options, {}, table, &encoder, false).columns.at(0).categories,
              ElementsAre("", "Female"));
}

}  // namespace
}  // namespace medfusion::data
