#include "data/readers/csv_folder.h"

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

std::vector<std::string> names_of(const std::vector<Column>& columns) {
  std::vector<std::string> names;
  for (const Column& column : columns) names.push_back(column.name);
  return names;
}

TEST(CsvFolder, EveryRole) {
  const TemporaryFolder folder;
  CsvOptions options;
  options.file = folder.write("t.csv",
                              "name,who,note,set,sick,weight,site,code\n"
                              "a.png,p1,Cough,train,1,70.5,north,3\n"
                              ",p1,,train,-1,?,NA,4\n"
                              "sub/b.png,p2,Fine,test,,80,south,3\n");
  for (const char* name : {"a.png", "sub/b.png"}) {
    std::filesystem::create_directories(std::filesystem::path(folder.path(name)).parent_path());
    write_png(folder.path(name), core::Tensor::full({2, 3, 1}, 9, core::DType::u8));
  }
  options.image_column = "name";
  options.patient_column = "who";
  options.text_column = "note";
  options.part_column = "set";
  options.labels = {"sick"};
  options.uncertain = Uncertain::unknown;
  options.categorical = {"code"};
  const Dataset data = read_csv_folder(options);
  EXPECT_THAT(data.ids, ElementsAre("a.png", "row-2", "sub/b.png"));
  EXPECT_THAT(data.patients, ElementsAre("p1", "p1", "p2"));
  EXPECT_THAT(data.texts, ElementsAre("Cough", "", "Fine"));
  EXPECT_THAT(data.parts, ElementsAre("train", "train", "test"));
  ASSERT_EQ(data.targets.shape(), (core::Shape{3, 1}));
  EXPECT_EQ(data.targets.at(0), 1.0);
  EXPECT_TRUE(std::isnan(data.targets.at(1)));
  EXPECT_TRUE(std::isnan(data.targets.at(2)));
  EXPECT_THAT(names_of(data.columns), ElementsAre("weight", "site", "code"));
  EXPECT_EQ(data.columns[0].numbers[0], 70.5);
  EXPECT_TRUE(std::isnan(data.columns[0].numbers[1]));
  EXPECT_THAT(data.columns[1].categories, ElementsAre("north", "", "south"));
  EXPECT_THAT(data.columns[2].categories, ElementsAre("3", "4", "3"));
  EXPECT_TRUE(data.images->present(0));
  EXPECT_FALSE(data.images->present(1));
  EXPECT_EQ(data.images->read(2).shape(), (core::Shape{2, 3, 1}));
  const uint64_t hash = data.hash;
  write_png(folder.path("a.png"), core::Tensor::full({20, 30, 1}, 9, core::DType::u8));
  EXPECT_NE(read_csv_folder(options).hash, hash);
}

TEST(CsvFolder, ErrorsNameThePlace) {
  const TemporaryFolder folder;
  CsvOptions options;
  const auto message = [&](const std::string& text) {
    options.file = folder.write("t.csv", text);
    const std::string whole = input_error([&] { read_csv_folder(options); });
    EXPECT_TRUE(whole.starts_with(options.file)) << whole;
    return whole.substr(std::min(options.file.size(), whole.size()));
  };
  options.labels = {"y"};
  EXPECT_EQ(
      message("y,w\n1,5\n0,6\n1,tall\n"),
      ":4:3: expected a number in column 'w', got 'tall'; data.missing or data.categorical_columns allow it");
  EXPECT_EQ(message("y,w\n1,5\nmaybe,6\n"),
            ":3:1: expected 0, 1, -1, true, false, yes, no or nothing in column 'y', got 'maybe'");
  EXPECT_EQ(message("y,w\n"), ":2: expected at least one row after the header");
  EXPECT_EQ(message("Y,w\n1,2\n"), ":1: no column 'y'; did you mean 'Y'?");
  options.table = {"w", "y"};
  EXPECT_EQ(message("y,w\n1,5\n"), ":1: column 'y' is both a label and an input");
  options.table = {"w"};
  options.categorical = {"v"};
  EXPECT_EQ(message("y,w,v\n1,5,6\n"), ":1: categorical column 'v' is not an input");
  options.categorical = {};
  options.id_column = "n";
  EXPECT_EQ(message("n,y,w\na,1,5\na,0,6\n"), ":3:1: expected each id once in column 'n', got 'a'");
  EXPECT_EQ(message("n,y,w\n,1,5\n"), ":2:1: expected an id in column 'n', got ''");
  options.patient_column = "n";
  options.image_column = "n";
  EXPECT_EQ(message("n,y,w\na.png,1,5\n"),
            ":2:1: expected the image as " + folder.path("a.png") + ", got no such file");
  options.image_column = "";
  options.part_column = "p";
  EXPECT_EQ(message("n,y,w,p\na,1,5,dev\n"), ":2:7: expected train, val or test in column 'p', got 'dev'");
}

TEST(DataOptions, TheDataFolderOfTheEnvironmentReplacesTheDefault) {
  const char* const given = std::getenv("MEDFUSION_DATA");
  const std::string before = given == nullptr ? "" : given;
  DataOptions options;
  options.root = "../shared/data/nih1000";
  ::unsetenv("MEDFUSION_DATA");
  EXPECT_EQ(options.folder(), "../shared/data/nih1000");
  ::setenv("MEDFUSION_DATA", "/elsewhere", 1);
  EXPECT_EQ(options.folder(), "/elsewhere/nih1000");
  EXPECT_EQ(options.path("folds.csv"), "/elsewhere/nih1000/folds.csv");
  EXPECT_EQ(options.path("/x/folds.csv"), "/x/folds.csv");
  options.root = "../shared/database";
  EXPECT_EQ(options.folder(), "../shared/database");
  options.root = "../shared/data";
  EXPECT_EQ(options.folder(), "/elsewhere");
  if (given == nullptr) {
    ::unsetenv("MEDFUSION_DATA");
  } else {
    ::setenv("MEDFUSION_DATA", before.c_str(), 1);
  }
}

TEST(DataOptions, LabelsCanBeNamedWithoutData) {
  const TemporaryFolder folder;
  DataOptions options;
  options.root = folder.path();
  options.label_count = 3;
  EXPECT_THAT(options.label_names(), ElementsAre("class_0", "class_1", "class_2"));
  options.label_count = 0;
  options.labels_file = "labels.txt";
  folder.write("labels.txt", "\xEF\xBB\xBFMass\r\nEdema \n\n");
  EXPECT_THAT(options.label_names(), ElementsAre("Mass", "Edema"));
  folder.write("labels.txt", "Mass\nMass\n");
  EXPECT_EQ(input_error([&] { options.label_names(); }),
            folder.path("labels.txt") + ":2:1: label 'Mass' is there twice");
}

TEST(OpenDataset, PhantomDataHasTheLabelsThatWerePlanted) {
  const TemporaryFolder folder;
  folder.write("Data_Entry_2017.csv",
               "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
               "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]\n"
               "a.png,Mass|Edema,0,1,50,M,PA,64,64,1,1\n");
  DataOptions options;
  options.root = folder.path();
  options.read_images = false;
  EXPECT_EQ(open_dataset(options).labels.size(), 14U);
  options.format = DataFormat::phantom;
  EXPECT_THAT(open_dataset(options).labels, ElementsAre("Mass", "Edema"));
}

TEST(OpenDataset, ReadsMedMnist) {
  DataOptions options;
  options.format = DataFormat::medmnist;
  options.file = MEDFUSION_SOURCE_DIR "/tests/fixtures/medmnist/classes.npz";
  options.labels = {"class_2", "class_0"};
  const Dataset data = open_dataset(options);
  EXPECT_THAT(data.labels, ElementsAre("class_2", "class_0"));
  EXPECT_EQ(data.targets.at(1), 1.0);
  EXPECT_EQ(make_splits(options, data).test.size(), 3U);
  options.min_positives = 3;
  EXPECT_THAT(open_dataset(options).labels, ElementsAre("class_0"));
}

// Where no column says the part, whole patients are drawn; where one does, it counts.
TEST(OpenDataset, ATableWithoutPartsIsSplitAtRandom) {
  const TemporaryFolder folder;
  std::string csv = "id,who,x,part,y\n";
  for (int i = 0; i < 40; ++i)
    csv += fmt::format("r{},{}{},{},{},{}\n", i, i / 2, i % 2 == 0 ? "" : ".0", 0.5 * i * i,
                       i < 30 ? "train" : "test", i % 2);
  DataOptions options;
  options.format = DataFormat::csv;
  options.file = folder.write("t.csv", csv);
  options.labels = {"y"};
  options.exclude = {"part"};
  options.id_column = "id";
  options.patient_column = "who";
  const Dataset data = open_dataset(options);
  EXPECT_THAT(data.notes, testing::IsSupersetOf(
                              {std::string("whole patients are drawn into parts at random (data.split)"),
                               std::string("20 patients are written in several ways, such as '0' and "
                                           "'0.0'; each is one patient")}));
  const Splits drawn = make_splits(options, data);
  EXPECT_EQ(drawn.test.size(), 8U);
  check_parts(data, drawn, {});
  options.patient_column = "";
  EXPECT_THAT(open_dataset(options).notes,
              testing::Contains(
                  "rows, each a patient (data.patient_column), are drawn into parts at random (data.split)"));
  options.exclude = {};
  options.part_column = "part";
  EXPECT_THAT(make_splits(options, open_dataset(options)).test, testing::SizeIs(10));
}

TEST(OpenDataset, ReadsTheCervicalCancerTable) {
  DataOptions options;
  options.format = DataFormat::csv;
  options.file = shared_data("cervical/risk_factors_cervical_cancer.csv");
  if (options.file.empty()) GTEST_SKIP() << "cervical not found: set MEDFUSION_DATA";
  options.labels = {"Biopsy"};
  options.split.kind = SplitKind::random;
  const Dataset all = open_dataset(options);
  EXPECT_EQ(all.size(), 858);
  // 32 features without two constant ones, and the three other targets, which leak.
  EXPECT_EQ(all.columns.size(), 33U);
  EXPECT_THAT(all.notes, ElementsAre(HasSubstr("'STDs:cervical condylomatosis' is left out"),
                                     HasSubstr("'STDs:AIDS' is left out"),
                                     HasSubstr("inputs of the table: numbers Age, "),
                                     HasSubstr("rows repeat earlier ones")));
  EXPECT_EQ(all.images, nullptr);
  for (const Column& column : all.columns) EXPECT_TRUE(column.numeric) << column.name;
  options.table = {"Age", "Smokes", "STDs: Time since last diagnosis"};
  const Dataset data = open_dataset(options);
  double positives = 0;
  for (int64_t i = 0; i < data.size(); ++i) positives += data.targets.at(i);
  EXPECT_EQ(positives, 55);
  int64_t missing = 0;
  for (const double value : data.columns[2].numbers) missing += std::isnan(value) ? 1 : 0;
  EXPECT_EQ(missing, 787);
  EXPECT_NEAR(static_cast<double>(make_splits(options, data).test.size()), 171.6, 1.0);
}

TEST(OpenDataset, ReadsTheThousandRealImagesByFolds) {
  DataOptions options;
  options.root = shared_data("nih1000");
  if (options.root.empty()) GTEST_SKIP() << "nih1000 not found: set MEDFUSION_DATA";
  options.min_positives = 29;
  options.table = {"sex", "age"};
  options.split.kind = SplitKind::folds;
  options.split.folds = std::filesystem::absolute(options.root + "/folds.csv").string();
  options.split.fold = 4;
  const Dataset data = open_dataset(options);
  EXPECT_THAT(names_of(data.columns), ElementsAre("sex", "age"));
  const Splits splits = make_splits(options, data);
  EXPECT_EQ(splits.train.size() + splits.val.size() + splits.test.size(), 1000U);
  options.table = {"sexx"};
  EXPECT_EQ(input_error([&] { open_dataset(options); }),
            options.folder().string() +
                "/Data_Entry_2017.csv: data.table: the data has no 'sexx'; did you mean 'sex'?");
}

// Rows that have ids of their own are found by the names of their images.
TEST(RowsToPredict, JoinsTheTableByTheImage) {
  const TemporaryFolder folder;
  folder.write("t.csv", "case,picture,age\nc1,p/a.png,40\nc2,p/b.png,50\n");
  folder.write("a.png", "");
  folder.write("b.png", "");
  DataOptions options;
  options.format = DataFormat::csv;
  options.id_column = "case";
  options.image_column = "picture";
  const TableEncoder encoder = TableEncoder::fit({{"age", true, {40, 60}, {}}}, {0, 1});
  const Dataset rows = rows_to_predict(options, {folder.path("b.png"), folder.path("a.png")},
                                       folder.path("t.csv"), &encoder, false);
  EXPECT_THAT(rows.ids, ElementsAre("b.png", "a.png"));
  EXPECT_THAT(rows.columns.at(0).numbers, ElementsAre(50, 40));
  EXPECT_THAT(rows_to_predict(options, {}, folder.path("t.csv"), &encoder, false).ids,
              ElementsAre("c1", "c2"));
}

}  // namespace
}  // namespace medfusion::data
