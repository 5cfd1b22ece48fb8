#include "data/leakage.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "data/duplicates.h"
#include "data/images/image.h"
#include "data/labels.h"
#include "data/readers/file_images.h"
#include "data/splits.h"
#include "tests/data/temporary_folder.h"

namespace medfusion::data {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// `count` rows of a patient each, with one column that tells them apart.
Dataset rows_of(int count) {
  Dataset data;
  data.labels = {"Biopsy"};
  data.targets = core::Tensor::zeros({count, 1});
  data.columns = {{"Age", true, {}, {}}};
  for (int row = 0; row < count; ++row) {
    data.ids.push_back(fmt::format("r{}", row));
    data.columns[0].numbers.push_back(row);
    data.targets.data<float>()[row] = row % 3 == 0 ? 1.0F : 0.0F;
  }
  data.patients = data.ids;
  return data;
}

LeakRules rules_of(std::vector<std::string> allow = {}) {
  return {{"Schiller"}, {"Dx"}, DuplicateRule::automatic, std::move(allow), "table.csv"};
}

TEST(ShuffleLabels, PatientsTradeTheirs) {
  Dataset data = rows_of(40);
  for (size_t row = 0; row < 40; ++row) {
    data.patients[row] = fmt::format("p{}", row / 2);
    data.targets.data<float>()[row] = row / 2 % 3 == 0 ? 1.0F : 0.0F;
  }
  const core::Tensor before = data.targets;
  Dataset again = data;
  shuffle_labels(data);
  int64_t positives = 0, changed = 0;
  for (int64_t row = 0; row < 40; ++row) {
    EXPECT_EQ(data.targets.at(row), data.targets.at(row / 2 * 2));  // a patient's rows stay alike
    positives += data.targets.at(row) == 1.0 ? 1 : 0;
    changed += data.targets.at(row) != before.at(row) ? 1 : 0;
  }
  EXPECT_EQ(positives, 14);
  EXPECT_GT(changed, 4);
  shuffle_labels(again);
  for (int64_t row = 0; row < 40; ++row) EXPECT_EQ(again.targets.at(row), data.targets.at(row));
}

// The first patient has three rows, the other one: it has to give its label three times.
TEST(ShuffleLabels, FewerRowsGiveTheirsOverAgain) {
  Dataset data = rows_of(4);
  data.patients = {"a", "a", "a", "b"};
  data.targets.copy_from(core::Tensor::zeros({4, 1}));
  data.targets.data<float>()[3] = 1.0F;
  std::vector<double> seen;
  shuffle_labels(data);
  for (int64_t row = 0; row < 4; ++row) seen.push_back(data.targets.at(row));
  EXPECT_THAT(seen, testing::AnyOf(ElementsAre(1, 1, 1, 0), ElementsAre(0, 0, 0, 1)));
}

TEST(Guard, RefusesATargetAsAnInput) {
  Dataset data = rows_of(30);
  data.name = "csv";
  check_inputs(data, rules_of());
  data.columns.push_back({"Schiller", true, std::vector<double>(30, 1.0), {}});
  EXPECT_EQ(input_error([&] { check_inputs(data, rules_of()); }),
            "table.csv: guard: column 'Schiller' is a target and must not be an input; leave it out with "
            "data.exclude; guard.allow = [\"target\"] accepts it");
  check_inputs(data, rules_of({"target"}));
}

TEST(Guard, RefusesInputsWrittenAsTheLabelsAre) {
  Dataset data = rows_of(30);
  data.outcome_like = {"No Finding", "Edema"};
  EXPECT_EQ(
      input_error([&] { check_inputs(data, rules_of()); }),
      "table.csv: guard: inputs that are written as the labels are may be outcomes; data.exclude = "
      "[\"No Finding\",\"Edema\"] leaves them out, data.table = [\"*\"] uses all that data.exclude does "
      "not name");
  check_inputs(data, rules_of({"target"}));
}

TEST(Guard, RefusesNamesThatNoColumnHas) {
  Dataset data = rows_of(30);
  data.known_columns = {"Age", "Schiller", "Biopsy", "Dx"};
  check_inputs(data, rules_of());
  data.known_columns.pop_back();
  EXPECT_EQ(input_error([&] { check_inputs(data, rules_of()); }),
            "table.csv: guard.leaking: the data has no column 'Dx'");
  data.known_columns[1] = "Schiler";
  EXPECT_EQ(input_error([&] { check_inputs(data, rules_of()); }),
            "table.csv: guard.targets: the data has no column 'Schiller'; did you mean 'Schiler'?");
}

TEST(Guard, RefusesACopyOfALabelUnderAnotherName) {
  Dataset data = rows_of(30);
  Column copy{"result", false, {}, {}};
  for (int row = 0; row < 30; ++row) copy.categories.emplace_back(row % 3 == 0 ? "no" : "yes");
  data.columns.push_back(copy);
  EXPECT_THAT(input_error([&] { check_inputs(data, rules_of()); }),
              HasSubstr("column 'result' says the same as the label 'Biopsy' in every row"));
  check_inputs(data, rules_of({"target"}));
  data.columns.back().categories[4] = "no";  // one row differs: a strong feature, not the label
  check_inputs(data, rules_of());
}

TEST(Guard, RefusesAColumnListedAsLeaking) {
  Dataset data = rows_of(30);
  data.name = "csv";
  data.columns.push_back({"Dx", true, std::vector<double>(30, 1.0), {}});
  EXPECT_EQ(
      input_error([&] { check_inputs(data, rules_of({"target"})); }),
      "table.csv: guard: column 'Dx' is listed in guard.leaking and must not be an input; leave it out with "
      "data.exclude; guard.allow = [\"leaking\"] accepts it");
  check_inputs(data, rules_of({"leaking"}));
}

TEST(Patients, AreOneHoweverTheyAreWritten) {
  Dataset data = rows_of(13);
  data.patients = {"12",
                   "P12",
                   "12.0",
                   "00012",
                   "p12",
                   "\xC2\xA0"
                   "12 ",
                   "0",
                   "000",
                   "12.5",
                   "12.50",
                   "1e3",
                   "1000",
                   "P012"};
  join_patients(data);
  EXPECT_THAT(data.patients, ElementsAre("12", "P12", "12", "12", "P12", "12", "0", "0", "12.5", "12.50",
                                         "1e3", "1000", "P012"));
  EXPECT_EQ(data.patient_spellings[3], "00012");
  EXPECT_THAT(data.notes,
              ElementsAre("3 patients are written in several ways, such as '12' and '12.0'; each is "
                          "one patient"));
  const Splits apart{{0, 1}, {6}, {3}};
  EXPECT_EQ(
      input_error([&] { check_parts(data, apart, rules_of()); }),
      "table.csv: guard: '12' and '00012' are one patient, who lies in two parts, train ('r0') and test "
      "('r3'); guard.allow = [\"patient\"] accepts it");
  Dataset same = rows_of(3);
  join_patients(same);
  EXPECT_TRUE(same.patient_spellings.empty() && same.notes.empty());
}

TEST(Guard, RefusesAPatientInTwoParts) {
  Dataset data = rows_of(30);
  data.patients[7] = data.patients[2];
  const Splits together{{2, 7}, {3}, {4}};
  check_parts(data, together, rules_of());
  const Splits apart{{2, 1}, {3}, {7}};
  EXPECT_EQ(input_error([&] { check_parts(data, apart, rules_of()); }),
            "table.csv: guard: patient 'r2' lies in two parts, train ('r2') and test ('r7'); guard.allow = "
            "[\"patient\"] accepts it");
  check_parts(data, apart, rules_of({"patient"}));
}

TEST(Guard, RefusesDuplicatedRowsInTwoParts) {
  Dataset data = rows_of(30);
  data.columns[0].numbers[7] = data.columns[0].numbers[2];
  group_duplicates(data, DuplicateRule::automatic);
  EXPECT_THAT(data.notes, ElementsAre(HasSubstr("1 row repeats earlier ones")));
  const Splits apart{{2, 1}, {7}, {4}};
  EXPECT_EQ(
      input_error([&] { check_parts(data, apart, rules_of()); }),
      "table.csv: guard: rows 'r2' and 'r7' are equal and lie in two parts, train and val; guard.allow = "
      "[\"duplicate\"] accepts it");
  check_parts(data, apart, rules_of({"duplicate"}));
  check_parts(data, {{2, 7}, {3}, {4}}, rules_of());
}

TEST(Duplicates, EqualRowsOfACoarseTableAreACoincidence) {
  Dataset data = rows_of(30);
  for (double& age : data.columns[0].numbers) age = std::floor(age / 2.0);
  const auto repeats = [&](DuplicateRule rule) {
    const auto first = first_equal_rows(data, rule, data.notes);
    int64_t count = 0;
    for (int64_t row = 0; row < data.size(); ++row) count += first[static_cast<size_t>(row)] != row;
    return count;
  };
  EXPECT_EQ(repeats(DuplicateRule::automatic), 0);
  EXPECT_EQ(repeats(DuplicateRule::always), 15);
  EXPECT_EQ(repeats(DuplicateRule::never), 0);
  data.columns[0].numbers = rows_of(30).columns[0].numbers;
  data.columns[0].numbers[9] = data.columns[0].numbers[8] = std::nan("");  // missing in both
  EXPECT_EQ(repeats(DuplicateRule::automatic), 1);
}

Dataset rows_with_images(const std::vector<std::string>& paths) {
  Dataset data = rows_of(static_cast<int>(paths.size()));
  data.images = std::make_shared<FileImages>(paths);
  return data;
}

// Files that cannot be decoded are compared as they are.
TEST(Duplicates, BrokenImagesAreEqualByTheirBytes) {
  const TemporaryFolder folder;
  const std::string a = folder.write("a.png", "one"), b = folder.write("b.png", "two");
  const std::string c = folder.write("c.png", "one"), d = folder.write("d.png", "three");
  Dataset data = rows_with_images({a, b, c, d, ""});
  EXPECT_THAT(first_equal_rows(data, DuplicateRule::automatic, data.notes), ElementsAre(0, 1, 0, 3, 4));
  EXPECT_THAT(first_equal_rows(data, DuplicateRule::never, data.notes), ElementsAre(0, 1, 2, 3, 4));
}

// palette.png and rgb.png show the same in two ways of writing. gray_alpha.png is transparent, gray16.png has
// more bits than gray.png, turned.png is its pixels turned.
TEST(Duplicates, ImagesAreEqualByTheirPixels) {
  const TemporaryFolder folder;
  const std::string fixtures = MEDFUSION_SOURCE_DIR "/tests/fixtures/images/";
  const core::Tensor gray = decode_image(fixtures + "gray.png");
  const core::Tensor color = core::Tensor::empty({2, 3, 4}, core::DType::u8);
  for (int64_t i = 0; i < 24; ++i)
    color.data<uint8_t>()[i] = i % 4 == 3 ? uint8_t{255} : gray.data<uint8_t>()[i / 4];
  write_png(folder.path("color.png"), color);
  color.data<uint8_t>()[5] ^= 1;
  write_png(folder.path("other.png"), color);
  std::vector<std::string> paths = {folder.path("other.png"), folder.path("color.png")};
  for (const char* name : {"gray", "gray16", "gray_alpha", "turned", "palette", "rgb"})
    paths.push_back(fixtures + name + ".png");
  Dataset data = rows_with_images(paths);
  EXPECT_THAT(first_equal_rows(data, DuplicateRule::automatic, data.notes),
              ElementsAre(0, 1, 1, 3, 4, 5, 6, 6));
  EXPECT_THAT(data.notes, testing::IsEmpty());
}

TEST(Duplicates, HalfOfTheImagesTheSameIsSaid) {
  const std::string fixtures = MEDFUSION_SOURCE_DIR "/tests/fixtures/images/";
  const std::string a = fixtures + "gray.png", b = fixtures + "rgb.png", c = fixtures + "rgba.png";
  Dataset half = rows_with_images({a, b, a, c});
  first_equal_rows(half, DuplicateRule::automatic, half.notes);
  EXPECT_THAT(half.notes, testing::IsEmpty());
  Dataset most = rows_with_images({b, a, c, a, a, "", a, "", b});
  group_duplicates(most, DuplicateRule::automatic);
  EXPECT_THAT(most.notes, ElementsAre("4 of 7 images are the same picture, such as 'r1' and 'r3'",
                                      HasSubstr("4 rows repeat earlier ones")));
}

// Rows 0 and 10 are one patient, 10 and 20 are equal: all three are drawn together, by every kind of draw.
TEST(Duplicates, AreDrawnIntoOnePartWithTheirPatients) {
  Dataset data = rows_of(40);
  data.patients[10] = data.patients[0];
  data.columns[0].numbers[20] = data.columns[0].numbers[10];
  group_duplicates(data, DuplicateRule::automatic);
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    const auto folds = make_folds(data, 4, seed);
    EXPECT_EQ(folds[0], folds[10]);
    EXPECT_EQ(folds[10], folds[20]);
    check_parts(data, fold_splits(data, folds, 1, 0.3, seed), rules_of());
    check_parts(data, random_splits(data, 0.3, 0.3, seed), rules_of());
  }
}

}  // namespace
}  // namespace medfusion::data
