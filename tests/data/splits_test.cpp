#include "data/splits.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "data/leakage.h"
#include "tests/data/temporary_folder.h"

namespace medfusion::data {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// One row per entry: the row's patient. Ids are r0, r1, ...
Dataset dataset_of(const std::vector<std::string>& patients) {
  Dataset data;
  data.name = "test";
  data.patients = patients;
  for (size_t i = 0; i < patients.size(); ++i) data.ids.push_back(fmt::format("r{}", i));
  return data;
}

// 60 patients with 1 to 5 images each, those of one patient apart from each other.
Dataset many_patients() {
  std::vector<std::string> patients;
  for (int visit = 0; visit < 5; ++visit) {
    for (int p = 0; p < 60; ++p) {
      if (p % 5 >= visit) patients.push_back(fmt::format("p{}", p));
    }
  }
  return dataset_of(patients);
}

// Checks that the parts are ascending, disjoint, complete, and share no patient.
void check_partition(const Dataset& data, const Splits& splits) {
  std::set<int64_t> rows;
  std::vector<std::set<std::string>> patients;
  for (const auto* part : {&splits.train, &splits.val, &splits.test}) {
    EXPECT_TRUE(std::is_sorted(part->begin(), part->end()));
    rows.insert(part->begin(), part->end());
    patients.emplace_back();
    for (const int64_t row : *part) patients.back().insert(data.patients[static_cast<size_t>(row)]);
  }
  EXPECT_EQ(rows.size(), data.ids.size());
  EXPECT_EQ(splits.train.size() + splits.val.size() + splits.test.size(), data.ids.size());
  const std::set<std::string> all(data.patients.begin(), data.patients.end());
  EXPECT_EQ(patients[0].size() + patients[1].size() + patients[2].size(), all.size());
}

TEST(Splits, RandomKeepsPatientsTogetherAndMeetsTheFractions) {
  const Dataset data = many_patients();
  ASSERT_EQ(data.size(), 180);
  const Splits splits = random_splits(data, 0.1, 0.2, 7);
  check_partition(data, splits);
  EXPECT_NEAR(static_cast<double>(splits.val.size()), 18, 2);
  EXPECT_NEAR(static_cast<double>(splits.test.size()), 36, 2);
  EXPECT_EQ(random_splits(data, 0.1, 0.2, 7).test, splits.test);
  EXPECT_NE(random_splits(data, 0.1, 0.2, 8).test, splits.test);
  EXPECT_EQ(random_splits(data, 0.3, 0.2, 7).test,
            splits.test);  // the test part does not depend on val_fraction
  EXPECT_THAT(random_splits(data, 0.0, 0.2, 7).val, IsEmpty());
}

TEST(Splits, RandomDoesNotDependOnTheOrderOfTheRows) {
  const Dataset data = many_patients();
  Dataset reversed = data;
  std::reverse(reversed.patients.begin(), reversed.patients.end());
  const auto patients_of = [](const Dataset& from, const std::vector<int64_t>& rows) {
    std::set<std::string> names;
    for (const int64_t row : rows) names.insert(from.patients[static_cast<size_t>(row)]);
    return names;
  };
  EXPECT_EQ(patients_of(data, random_splits(data, 0.1, 0.2, 3).test),
            patients_of(reversed, random_splits(reversed, 0.1, 0.2, 3).test));
}

TEST(Splits, RandomReportsFractionsAndEmptyParts) {
  const Dataset data = many_patients();
  EXPECT_EQ(input_error([&] { random_splits(data, 0.5, 0.5, 1); }),
            "val_fraction + test_fraction: expected less than 1, got 1");
  EXPECT_EQ(input_error([&] { random_splits(data, -0.1, 0.5, 1); }),
            "val_fraction: expected a fraction of at least 0 and below 1, got -0.1");
  const Dataset one = dataset_of({"a", "a", "a", "a"});
  const std::string why =
      ": of 4 rows those of one patient and equal ones stay together, which leaves 1 to draw";
  EXPECT_EQ(input_error([&] { random_splits(one, 0.0, 0.2, 1); }),
            "the test part of the split is empty" + why);
  EXPECT_EQ(input_error([&] { random_splits(one, 0.2, 0.0, 1); }),
            "the val part of the split is empty" + why);
  EXPECT_EQ(input_error([&] { random_splits(one, 0.0, 0.9, 1); }),
            "the train part of the split is empty" + why);
}

TEST(Splits, OfficialListsWithAValPartByPatient) {
  const TemporaryFolder folder;
  const Dataset data = many_patients();
  std::string train, test;
  for (size_t i = 0; i < data.ids.size(); ++i) {
    (data.patients[i] < "p3" ? train : test) += data.ids[i] + "\r\n";
  }
  folder.write("train_val_list.txt", train);
  folder.write("test_list.txt", test);
  const Splits splits = official_splits(data, folder.path(), 0.2, 1);
  check_partition(data, splits);
  for (const int64_t row : splits.test) EXPECT_GE(data.patients[static_cast<size_t>(row)], "p3");
  EXPECT_NEAR(static_cast<double>(splits.val.size()),
              0.2 * static_cast<double>(splits.train.size() + splits.val.size()), 2);
  EXPECT_THAT(official_splits(data, folder.path(), 0.0, 1).val, IsEmpty());
}

// Whoever has a part of the data has the whole lists, and a table may hold rows that no list names.
TEST(Splits, OfficialListsOfMoreOrLessThanTheData) {
  const TemporaryFolder folder;
  const Dataset data = dataset_of({"a", "b", "c", "d"});
  folder.write("train_val_list.txt", "r0\nabsent1\nr1\n");
  folder.write("test_list.txt", "absent2\nr3\nabsent3\n");
  const Splits splits = official_splits(data, folder.path(), 0.0, 1);
  EXPECT_THAT(splits.train, ElementsAre(0, 1));
  EXPECT_THAT(splits.val, IsEmpty());
  EXPECT_THAT(splits.test, ElementsAre(3));
  EXPECT_EQ(
      departures_from_lists(data, folder.path()),
      "official lists: 3 of their images are not in the data; 1 of 4 rows are in no list and in no part");
  folder.write("test_list.txt", "absent2\n");
  EXPECT_EQ(input_error([&] { official_splits(data, folder.path(), 0.0, 1); }),
            folder.path() + ": the test part of the split is empty");
  folder.write("train_val_list.txt", "r0\nr1\nr2\n");
  folder.write("test_list.txt", "r3\n");
  EXPECT_EQ(departures_from_lists(data, folder.path()), "");
  std::filesystem::remove(folder.path("test_list.txt"));
  EXPECT_EQ(departures_from_lists(data, folder.path()), "");
}

TEST(Splits, BadListsAreNamed) {
  const TemporaryFolder folder;
  const Dataset data = dataset_of({"a", "a", "b", "c"});
  const auto message = [&](const std::string& train, const std::string& test) {
    folder.write("train_val_list.txt", train);
    folder.write("test_list.txt", test);
    return input_error([&] { official_splits(data, folder.path(), 0.0, 1); });
  };
  const std::string train_file = folder.path("train_val_list.txt");
  const std::string test_file = folder.path("test_list.txt");
  EXPECT_EQ(message("r0\nr2\nr3\n", "r1\n"),
            test_file +
                ":1: patient 'a' lies in two parts, train and test; guard.allow = [\"patient\"] accepts it");
  EXPECT_EQ(message("r0\nr1\nr2\n", "r2\nr3\n"),
            test_file + ":1: expected each id once, got 'r2' again; first in " + train_file + ":3");
  const std::string empty = ": expected the name of an image per line, got none";
  EXPECT_EQ(message("r0\nr1\nr2\nr3\n", ""), test_file + empty);
  EXPECT_EQ(message("", "r0\nr1\nr2\nr3\n"), train_file + empty);
  folder.write("train_val_list.txt", "r0\n");
  std::filesystem::remove(test_file);
  EXPECT_EQ(input_error([&] { official_splits(data, folder.path(), 0.0, 1); }),
            test_file + ": the official split needs this list, got no such file");
}

TEST(Splits, AFileMayLeaveRowsOut) {
  const TemporaryFolder folder;
  const Dataset data = dataset_of({"a", "a", "b", "c"});
  const std::string file = folder.write("split.csv", "id,split\nr3,test\nr0,none\nr1,none\nr2,train\n");
  const Splits splits = file_splits(data, file, 0.0, 1);
  EXPECT_THAT(splits.train, ElementsAre(2));
  EXPECT_THAT(splits.val, ElementsAre());
  EXPECT_THAT(splits.test, ElementsAre(3));
}

TEST(Splits, InnerPartsLieInTheTrainingPartOfTheFold) {
  std::vector<std::string> patients;
  std::vector<int64_t> folds;
  for (int64_t row = 0; row < 40; ++row) {
    patients.push_back(fmt::format("p{}", row / 2));
    folds.push_back(row / 2 % 4);
  }
  const Dataset data = dataset_of(patients);
  const Splits splits = inner_splits(data, folds, 1, 0.2, 1);
  EXPECT_EQ(splits.test.size(), 6U);  // a fifth of 30, whole patients
  EXPECT_EQ(splits.train.size(), 24U);
  std::set<std::string> test;
  for (const int64_t row : splits.test) test.insert(patients[static_cast<size_t>(row)]);
  EXPECT_EQ(test.size(), 3U);
  for (const int64_t row : splits.train) {
    EXPECT_FALSE(test.contains(patients[static_cast<size_t>(row)]));
    EXPECT_NE(folds[static_cast<size_t>(row)], 1);
  }
  for (const int64_t row : splits.test) EXPECT_NE(folds[static_cast<size_t>(row)], 1);
  EXPECT_NE(inner_splits(data, folds, 1, 0.2, 2).test, splits.test);
}

TEST(Splits, FileNamesThePartOfEachRow) {
  const TemporaryFolder folder;
  const Dataset data = dataset_of({"a", "a", "b", "c"});
  const std::string file = folder.write("split.csv", "id,split\nr3,test\nr0,train\nr1,train\nr2,val\n");
  const Splits splits = file_splits(data, file, 0.5, 1);
  EXPECT_THAT(splits.train, ElementsAre(0, 1));
  EXPECT_THAT(splits.val, ElementsAre(2));
  EXPECT_THAT(splits.test, ElementsAre(3));
  folder.write("split.csv", "id,split\nr3,test\nr0,training\n");
  EXPECT_EQ(input_error([&] { file_splits(data, file, 0.5, 1); }),
            file + ":3:4: expected train, val, test or none in column 'split', got 'training'");
  folder.write("split.csv", "id,split\nr3,test\nr0,train\nr1,val\nr2,val\n");
  EXPECT_EQ(
      input_error([&] { file_splits(data, file, 0.5, 1); }),
      file + ":4:1: patient 'a' lies in two parts, train and val; guard.allow = [\"patient\"] accepts it");
  EXPECT_THAT(file_splits(data, file, 0.5, 1, true).val, ElementsAre(1, 2));  // where that is allowed
  folder.write("split.csv", "id\nr3\n");
  EXPECT_EQ(input_error([&] { file_splits(data, file, 0.5, 1); }),
            file + ":1: expected two columns, the id and the part, got 1");
}

// In a part, in a list of parts and in folds.
TEST(Splits, TwoSpellingsOfAPatientInTwoPartsAreNamed) {
  const TemporaryFolder folder;
  Dataset data = dataset_of({"7", "007", "b", "c"});
  join_patients(data);
  const std::string file = folder.write("split.csv", "id,split\nr0,train\nr1,test\nr2,val\nr3,val\n");
  EXPECT_EQ(input_error([&] { file_splits(data, file, 0.5, 1); }),
            file +
                ":3:1: '7' and '007' are one patient, who lies in two parts, train and test; guard.allow = "
                "[\"patient\"] accepts it");
  EXPECT_THAT(file_splits(data, file, 0.5, 1, true).test, ElementsAre(1));
  folder.write("split.csv", "id,fold\nr0,0\nr1,1\nr2,0\nr3,1\n");
  EXPECT_THAT(input_error([&] { read_folds(data, file); }),
              HasSubstr("one patient, who lies in two parts, fold 0"));
  data.parts = {"train", "test", "test", "val"};
  EXPECT_THAT(input_error([&] { own_splits(data, 0.5, 1); }),
              testing::ContainsRegex("^test, row '.+': '7' and '007' are one patient"));
  for (uint64_t seed = 1; seed < 20; ++seed) {
    const auto folds = make_folds(data, 3, seed);
    EXPECT_EQ(folds[0], folds[1]);
  }
}

TEST(Splits, OwnPartsOfTheData) {
  Dataset data = dataset_of({"a", "b", "c", "d", "e"});
  EXPECT_EQ(input_error([&] { own_splits(data, 0.5, 1); }),
            "split: the test data does not say which rows train and test");
  data.parts = {"train", "test", "train", "train", "train"};
  const Splits splits = own_splits(data, 0.5, 1);
  check_partition(data, splits);
  EXPECT_EQ(splits.val.size(), 2U);
  EXPECT_THAT(splits.test, ElementsAre(1));
}

TEST(Splits, FoldsMayCountFromOne) {
  const TemporaryFolder folder;
  const Dataset data = dataset_of({"a", "b", "c", "d"});
  const std::string file = folder.write("folds.csv", "id,fold\nr0,1\nr1,2\nr2,3\nr3,1\n");
  const std::vector<int64_t> folds = read_folds(data, file);
  EXPECT_THAT(folds, ElementsAre(0, 1, 2, 0));
  EXPECT_THAT(fold_splits(data, folds, 0, 0.0, 1).test, ElementsAre(0, 3));
  folder.write("folds.csv", "id,fold\nr0,1\nr1,3\nr2,3\nr3,1\n");  // without a fold 2: nothing to go by
  const std::vector<int64_t> gap = read_folds(data, file);
  EXPECT_THAT(gap, ElementsAre(1, 3, 3, 1));
  EXPECT_EQ(input_error([&] { fold_splits(data, gap, 0, 0.0, 1); }),
            "the test part of the split is empty: fold 0 of 0..3 has no rows; folds count from 0, or from 1 "
            "where each of 1..3 is there");
}

TEST(Splits, FoldsFromAFile) {
  const TemporaryFolder folder;
  const Dataset data = dataset_of({"a", "a", "b", "c"});
  const std::string file = folder.write("folds.csv", "Image Index,fold\nr0,0\nr1,0\nr2,1\nr3,2\n");
  const std::vector<int64_t> folds = read_folds(data, file);
  EXPECT_THAT(folds, ElementsAre(0, 0, 1, 2));
  const Splits splits = fold_splits(data, folds, 0, 0.0, 1);
  EXPECT_THAT(splits.test, ElementsAre(0, 1));
  EXPECT_THAT(splits.train, ElementsAre(2, 3));
  check_partition(data, fold_splits(data, folds, 0, 0.5, 1));
  EXPECT_EQ(input_error([&] { fold_splits(data, folds, 3, 0.0, 1); }),
            "the test part of the split is empty: fold 3 of 0..2 has no rows");
  folder.write("folds.csv", "Image Index,fold\nr0,0\nr1,1\nr2,1\nr3,2\n");
  EXPECT_EQ(
      input_error([&] { read_folds(data, file); }),
      file +
          ":3:1: patient 'a' lies in two parts, fold 0 and fold 1; guard.allow = [\"patient\"] accepts it");
  EXPECT_THAT(read_folds(data, file, true), ElementsAre(0, 1, 1, 2));
  folder.write("folds.csv", "Image Index,fold\nr0,0\nr1,0\nr2,1\n");
  EXPECT_EQ(input_error([&] { read_folds(data, file); }),
            file + ": expected every id of the data, 'r3' is missing");
  folder.write("folds.csv", "Image Index,fold\nr0,zero\n");
  EXPECT_THAT(input_error([&] { read_folds(data, file); }),
              HasSubstr(":2:4: expected a whole number of at least 0"));
  folder.write("folds.csv", "Image Index,fold\nr7,0\n");
  EXPECT_EQ(input_error([&] { read_folds(data, file); }),
            file + ":2:1: expected an id of the data, got 'r7'");
}

TEST(Splits, MadeFoldsAreBalancedAndKeepPatientsTogether) {
  const Dataset data = many_patients();
  const std::vector<int64_t> folds = make_folds(data, 5, 11);
  for (int64_t fold = 0; fold < 5; ++fold) {
    const Splits splits = fold_splits(data, folds, fold, 0.1, 11);
    check_partition(data, splits);
    EXPECT_EQ(splits.test.size(), 36U);  // one-image patients fill the gaps, so the balance is exact here
  }
  EXPECT_EQ(make_folds(data, 5, 11), folds);
  EXPECT_NE(make_folds(data, 5, 12), folds);
  EXPECT_EQ(input_error([&] { make_folds(data, 1, 1); }), "folds: expected at least 2, got 1");
  EXPECT_EQ(input_error([&] { make_folds(data, 61, 1); }),
            "folds: expected at most one per patient (60), got 61");
}

}  // namespace
}  // namespace medfusion::data
