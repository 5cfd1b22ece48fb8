// The rules of docs/data.md for tables. Each holds for a few lines that the test writes, and for the files of
// ../shared/cases (or $MEDFUSION_CASES) that went wrong, where they are.
#include <fmt/ranges.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "data/number_writing.h"
#include "data/open.h"
#include "data/prediction.h"
#include "data/readers/csv_folder.h"
#include "tests/data/temporary_folder.h"

namespace medfusion::data {
namespace {

using testing::Contains;
using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::UnorderedElementsAre;

class CsvRules : public testing::Test {
 protected:
  // The lines of the test, and the case where it is there.
  std::vector<std::string> files(const std::string& name, const std::string& text) const {
    std::vector<std::string> result{folder_.write(name, text)};
    const std::string found = shared_case(name);
    if (found.empty()) {
      std::cerr << "not found, and not tested: ../shared/cases/" << name << " (set MEDFUSION_CASES)\n";
    } else {
      result.push_back(found);
    }
    return result;
  }
  CsvOptions options(const std::string& file) const {
    CsvOptions result;
    result.file = file;
    result.id_column = "id";
    result.patient_column = "patient";
    result.labels = {"A"};
    return result;
  }
  TemporaryFolder folder_;
};

std::string input_notes(const Dataset& data) { return fmt::format("{}", fmt::join(data.notes, "\n")); }

// 24 rows of "id,patient,COLUMN,A" with the cells of `cells` over and over.
std::string table_of(const std::string& column, const std::vector<std::string>& cells,
                     const std::string& separator = ",") {
  std::string text = fmt::format("id{0}patient{0}{1}{0}A\n", separator, column);
  for (size_t i = 0; i < 24; ++i)
    text += fmt::format("r{1}{0}p{1}{0}{2}{0}{3}\n", separator, i, cells[i % cells.size()], i % 2);
  return text;
}

TEST_F(CsvRules, TheMissingSpellingsOfPandasAreNoCategory) {
  for (const char* spelling :
       {"",     "#N/A", "#N/A N/A", "#NA",  "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN",
        "<NA>", "N/A",  "NA",       "NULL", "NaN",     "None",     "n/a",  "nan",  "null",   "?"}) {
    const Dataset words =
        read_csv_folder(options(folder_.write("t.csv", table_of("sex", {"M", spelling, "F"}))));
    EXPECT_THAT(words.columns.at(0).categories, Contains("").Times(8)) << spelling;
    const Dataset numbers =
        read_csv_folder(options(folder_.write("t.csv", table_of("lab", {"3.1", spelling, "2"}))));
    ASSERT_TRUE(numbers.columns.at(0).numeric) << spelling;
    EXPECT_TRUE(std::isnan(numbers.columns[0].numbers[1])) << spelling;
  }
  for (const char* name : {"missing-NULL-sex.csv", "missing-hash-NA-sex.csv", "missing-n-a-sex.csv"}) {
    for (const std::string& file : files(name, table_of("sex", {"M", "NULL", "F"}))) {
      const Dataset data = read_csv_folder(options(file));
      EXPECT_THAT(data.columns.at(0).categories, Contains(""));
      EXPECT_THAT(data.columns.at(0).categories, Each(testing::AnyOf("", "F", "M"))) << file;
    }
  }
  for (const std::string& file : files("missing-NULL-lab.csv", table_of("lab", {"3.1", "2", "NULL"}))) {
    EXPECT_TRUE(std::isnan(read_csv_folder(options(file)).columns.at(0).numbers.at(2))) << file;
  }
}

TEST_F(CsvRules, OtherMissingSpellingsAreNamed) {
  CsvOptions given = options(folder_.write("t.csv", table_of("sex", {"M", "unknown", "F", "-9"})));
  given.dialect.missing = {"unknown", "-9"};
  EXPECT_THAT(read_csv_folder(given).columns.at(0).categories, Contains("").Times(12));
}

// A run that was trained on `train`, as far as its table goes.
struct Trained {
  DataOptions options;
  TableEncoder encoder;

  explicit Trained(const std::string& train, DataOptions given = {}) : options(std::move(given)) {
    options.format = DataFormat::csv;
    options.root = std::filesystem::path(train).parent_path().string();
    options.file = std::filesystem::path(train).filename().string();
    options.patient_column = "patient";
    options.id_column = "image";
    options.labels = {"A", "B"};
    const Dataset data = open_dataset(options);
    std::vector<int64_t> rows;
    for (int64_t row = 0; row < data.size(); ++row) rows.push_back(row);
    encoder = TableEncoder::fit(data.columns, rows);
  }
  Dataset read(const std::string& file) const { return rows_to_predict(options, {}, file, &encoder, false); }
};

TEST_F(CsvRules, PredictionMatchesWordsByTheNumberAndCountsUnknownOnes) {
  const auto training = files("spelling-train.csv",
                              "image,patient,age,sex,stage,A,B\nr0,p0,44,M,2,1,1\nr1,p1,64,M,1,0,1\n"
                              "r2,p2,28,F,3x,0,1\nr3,p3,88,F,3,1,0\nr4,p4,28,F,4x,0,1\nr5,p5,28,F,5x,0,1\n"
                              "r6,p6,28,F,6x,0,1\n");
  const auto words = files("spelling-words.csv",
                           "image,patient,age,sex,stage\nq0,q0,50,Male,1\nq1,q1,50,Female,1\n"
                           "q2,q2,50,Male,3\nq3,q3,50,Female,3\n");
  const auto floats = files("spelling-floats.csv",
                            "image,patient,age,sex,stage\nq0,q0,50,M,1.0\nq1,q1,50,F,1.0\n"
                            "q2,q2,50,M,3.0\nq3,q3,50,F,3.0\n");
  const auto absent = files("spelling-absent.csv",
                            "image,patient,age,sex,stage\nq0,q0,50,,\nq1,q1,50,,\n"
                            "q2,q2,50,,\nq3,q3,50,,\n");
  for (size_t i = 0; i < training.size(); ++i) {
    const Trained trained(training[i]);
    const Dataset unknown = trained.read(words.at(i)), same = trained.read(floats.at(i)),
                  missing = trained.read(absent.at(i));
    EXPECT_THAT(unknown.columns.at(1).categories, ElementsAre("Male", "Female", "Male", "Female"));
    for (const int64_t row : {0, 1, 2, 3})
      EXPECT_EQ(trained.encoder.encode(unknown.columns).missing.at(row * trained.encoder.features() + 1),
                1.0);
    EXPECT_THAT(same.columns.at(1).categories, ElementsAre("M", "F", "M", "F"));
    if (!same.columns.at(2).numeric) {
      EXPECT_THAT(same.columns.at(2).categories, ElementsAre("1", "1", "3", "3"));
    } else {
      EXPECT_THAT(same.columns.at(2).numbers, ElementsAre(1, 1, 3, 3));
    }
    EXPECT_THAT(same.notes, IsEmpty());
    EXPECT_THAT(missing.notes, IsEmpty());
    const core::Table read = trained.encoder.encode(missing.columns);
    EXPECT_EQ(read.missing.at(1), 1.0);
    EXPECT_EQ(read.missing.at(0), 0.0);
  }
}

TEST_F(CsvRules, OneRowIsReadByTheTypesOfTraining) {
  const auto training = files("one-patient-train.csv",
                              "image,patient,age,sex,grade,A,B\nr0,p0,86,M,3b,0,0\nr1,p1,78,F,2,1,0\n"
                              "r2,p2,83,M,1,0,0\nr3,p3,28,F,3a,1,1\nr4,p4,30,F,3a,0,0\n");
  const auto no_sex = files("one-patient-no-sex.csv", "image,patient,age,sex,grade\nq1,q1,50,,3a\n");
  const auto grade2 = files("one-patient-grade2.csv", "image,patient,age,sex,grade\nq1,q1,50,M,2\n");
  for (size_t i = 0; i < training.size(); ++i) {
    const Trained trained(training[i]);
    const Dataset a = trained.read(no_sex.at(i)), b = trained.read(grade2.at(i));
    EXPECT_THAT(a.columns.at(1).categories, ElementsAre(""));
    EXPECT_THAT(a.columns.at(2).categories, ElementsAre("3a"));
    EXPECT_THAT(b.columns.at(2).categories, ElementsAre("2"));
    EXPECT_THAT(b.columns.at(0).numbers, ElementsAre(50));
    EXPECT_THAT(a.notes, IsEmpty());
    EXPECT_THAT(b.notes, IsEmpty());
  }
}

// Ids, patients and columns without a role need not exist, columns that the run does not read need not parse.
TEST_F(CsvRules, PredictionNeedsOnlyWhatTheRunReads) {
  const Trained trained(
      folder_.write("train.csv", "image,patient,age,sex,A,B\nr0,p0,86,M,0,0\nr1,p1,78,F,1,0\n"));
  const Dataset data = trained.read(folder_.write("new.csv", "other,sex,age\n1,M,old\n2,,71\nx,F,\"1,5\"\n"));
  EXPECT_EQ(data.size(), 3);
  ASSERT_EQ(data.columns.size(), 2U);
  EXPECT_TRUE(std::isnan(data.columns[0].numbers[0]));
  EXPECT_EQ(data.columns[0].numbers[1], 71);
  EXPECT_EQ(data.columns[0].numbers[2], 1.5);
  EXPECT_THAT(data.notes,
              ElementsAre("column 'age': 1 of 3 cells hold no number, read as missing, such as 'old'"));
  EXPECT_THAT(input_error([&] { trained.read(folder_.write("new.csv", "sexx,age\nM,1\n")); }),
              HasSubstr("new.csv:1: no column 'sex'; did you mean 'sexx'?"));
  EXPECT_EQ(rows_to_predict(trained.options, {}, folder_.write("new.csv", "x\n1\n"), nullptr, false).size(),
            1);
}

TEST(CsvNumbers, AreReadByTheirDecimalMark) {
  const auto point = [](const char* text) { return parse_written(text, DecimalMark::point); };
  const auto comma = [](const char* text) { return parse_written(text, DecimalMark::comma); };
  EXPECT_EQ(point("1.52"), 1.52);
  EXPECT_EQ(point("-1,234,567.5"), -1234567.5);
  EXPECT_EQ(point("1 520"), 1520);
  EXPECT_EQ(point("1'520.25"), 1520.25);
  EXPECT_EQ(point("1\xC2\xA0"
                  "520"),
            1520);
  EXPECT_EQ(point("12.5 %"), 0.125);
  EXPECT_EQ(point("+3"), 3);
  EXPECT_EQ(point("1e3"), 1000);
  EXPECT_EQ(comma("1,52"), 1.52);
  EXPECT_EQ(comma("1.234,5"), 1234.5);
  EXPECT_EQ(comma("1.520"), 1520);
  EXPECT_EQ(comma("7"), 7);
  EXPECT_EQ(comma("0,370"), 0.37);
  for (const char* wrong :
       {"1,52", "0,370", "1,2345", "1,234 567", "12,34,567", "", "-", ".", "%", "x", "1.2.3"})
    EXPECT_FALSE(point(wrong)) << wrong;
  for (const char* wrong : {"1.52", "1,5,2", "1.2345", ","}) EXPECT_FALSE(comma(wrong)) << wrong;
}

TEST(CsvNumbers, DatesAndUnitsAreKnown) {
  for (const char* date :
       {"2001-01-31", "31.01.2001", "1/31/2001", "20010131", "2001-01-31 10:20:00", "2001-01-31T10:20"})
    EXPECT_TRUE(is_date(date)) << date;
  for (const char* other :
       {"2001", "1.5", "1.2.840.5", "20019931", "2001-13-31", "12-05", "1/2", "", "north-west-2"})
    EXPECT_FALSE(is_date(other)) << other;
  for (const char* number : {"58Y", "<0.5", "5 mg", "1,52", ">= 3", "12%"})
    EXPECT_TRUE(looks_like_number(number)) << number;
  for (const char* other : {"", "north", "p12", "1.2.840.5", "12 Main Street"})
    EXPECT_FALSE(looks_like_number(other)) << other;
}

TEST_F(CsvRules, NumbersAreTheSameHoweverTheyAreWritten) {
  const auto point = files("decimal-point.csv", table_of("lab", {"1.52", "2.28", "0.37"}));
  const auto comma = files("decimal-comma.csv", table_of("lab", {"\"1,52\"", "\"2,28\"", "\"0,37\""}));
  const auto semicolon = files("semicolon-decimal-comma.csv", table_of("lab", {"1,52", "2,28", "0,37"}, ";"));
  const auto thousands = files("thousands.csv", table_of("lab", {"\"1,520\"", "\"2,280\"", "370"}));
  for (size_t i = 0; i < point.size(); ++i) {
    const Dataset plain = read_csv_folder(options(point[i]));
    const std::vector<double>& numbers = plain.columns.at(0).numbers;
    EXPECT_THAT(plain.notes, ElementsAre("inputs of the table: numbers lab"));
    const Dataset a = read_csv_folder(options(comma.at(i)));
    EXPECT_EQ(a.columns.at(0).numbers, numbers);
    EXPECT_THAT(a.notes, Contains(HasSubstr("numbers are read like '1,52' as 1.52 (data.decimal)")));
    const Dataset b = read_csv_folder(options(semicolon.at(i)));
    EXPECT_EQ(b.columns.at(0).numbers, numbers);
    EXPECT_THAT(b.notes, Contains("columns are separated by semicolons (data.separator)"));
    const Dataset c = read_csv_folder(options(thousands.at(i)));
    EXPECT_THAT(c.notes, Contains(HasSubstr("numbers are read like '1,520' as 1520 (data.decimal)")));
    for (size_t row = 0; row < numbers.size(); ++row)
      EXPECT_NEAR(c.columns.at(0).numbers.at(row), numbers[row] * 1000, 1e-6);
    CsvOptions fixed = options(thousands.at(i));
    fixed.decimal = DecimalMark::comma;
    EXPECT_EQ(read_csv_folder(fixed).columns.at(0).numbers.at(0), 1.52);
    CsvOptions separated = options(point[i]);
    separated.dialect.separator = Separator::semicolon;
    EXPECT_THAT(input_error([&] { read_csv_folder(separated); }), HasSubstr(":1: no column"));
  }
}

// A single number with a comma is read as training's table writes them.
TEST_F(CsvRules, OneNumberFollowsTheWritingOfTraining) {
  const Trained comma(folder_.write("a.csv", "image;patient;lab;A;B\nr0;p0;1,52;0;0\nr1;p1;2,2;1;0\n"));
  const Trained thousands(
      folder_.write("b.csv", "image;patient;lab;A;B\nr0;p0;1,520;0;0\nr1;p1;2,200;1;0\n"));
  const std::string one = folder_.write("one.csv", "lab;x\n1,520;0\n");
  EXPECT_EQ(comma.read(one).columns.at(0).numbers.at(0), 1.52);
  EXPECT_EQ(thousands.read(one).columns.at(0).numbers.at(0), 1520);
  EXPECT_THAT(comma.read(one).notes, Contains("column 'lab': '1,520' is read as 1.52"));
}

TEST_F(CsvRules, NumbersThatNoRuleReadsAreRefused) {
  CsvOptions given = options(folder_.write("t.csv", table_of("lab", {"\"1,52\"", "2.28"})));
  EXPECT_EQ(input_error([&] { read_csv_folder(given); }),
            given.file +
                ":2:7: column 'lab' holds numbers of two writings, '1,52' and '2.28'; expected one, or "
                "data.decimal = \".\" or \",\"");
  std::vector<std::string> cells;
  for (int i = 0; i < 24; ++i) cells.push_back(fmt::format("<{}", i));
  given.file = folder_.write("t.csv", table_of("lab", cells));
  EXPECT_THAT(
      input_error([&] { read_csv_folder(given); }),
      HasSubstr("t.csv:2:7: column 'lab': 24 of 24 cells look like numbers, such as '<0'; expected plain "
                "numbers, data.decimal"));
  given.categorical = {"lab"};
  EXPECT_EQ(read_csv_folder(given).columns.at(0).categories.at(1), "<1");
}

TEST_F(CsvRules, LabelsAreNumbersOrWords) {
  const auto plain = files("labels-zero-one.csv", "id,patient,x,A\na,p,1.5,0\nb,q,2.5,0\nc,r,3,1\n");
  const auto words =
      files("labels-true-false.csv", "id,patient,x,A\na,p,1.5,No\nb,q,2.5,FALSE\nc,r,3,true\n");
  const auto minus = files("labels-minus-one.csv", "id,patient,x,A\na,p,1.5,-1\nb,q,2.5,-1\nc,r,3,1\n");
  for (size_t i = 0; i < plain.size(); ++i) {
    const Dataset expected = read_csv_folder(options(plain[i])), read = read_csv_folder(options(words.at(i)));
    for (int64_t row = 0; row < expected.size(); ++row)
      EXPECT_EQ(read.targets.at(row), expected.targets.at(row)) << row;
    CsvOptions given = options(minus.at(i));
    EXPECT_THAT(input_error([&] { read_csv_folder(given); }), HasSubstr(".csv:2:"));
    EXPECT_THAT(input_error([&] { read_csv_folder(given); }), HasSubstr("label 'A' is -1 in "));
    given.uncertain = Uncertain::negative;
    const Dataset negative = read_csv_folder(given);
    for (int64_t row = 0; row < expected.size(); ++row)
      EXPECT_EQ(negative.targets.at(row), expected.targets.at(row)) << row;
    EXPECT_THAT(negative.notes, Contains(HasSubstr("is read as negative (data.uncertain)")));
    given.uncertain = Uncertain::positive;
    EXPECT_EQ(read_csv_folder(given).targets.at(0), 1.0);
    given.uncertain = Uncertain::unknown;
    const Dataset unknown = read_csv_folder(given);
    EXPECT_TRUE(std::isnan(unknown.targets.at(0)));
    EXPECT_THAT(unknown.notes, Contains(HasSubstr("label 'A' is 1 wherever it is known")));
  }
}

TEST_F(CsvRules, BlankLabelsAreUnknownOrNegative) {
  CsvOptions given = options(folder_.write("t.csv", "id,patient,x,A\na,p,1.5,\nb,q,2.5,0\nc,r,3,1\n"));
  EXPECT_TRUE(std::isnan(read_csv_folder(given).targets.at(0)));
  given.blank = BlankLabel::negative;
  const Dataset data = read_csv_folder(given);
  EXPECT_EQ(data.targets.at(0), 0.0);
  EXPECT_THAT(data.notes, Contains("label 'A': nothing in 1 of 3 rows is read as negative (data.blank)"));
}

TEST_F(CsvRules, BlankRowsAreSkippedAndCounted) {
  for (const std::string& file :
       files("blank-rows.csv", "image,patient,age,sex,A,B\na,p0,72,M,0,1\n,,,,,\nb,p1,86,F,1,0\n , ,,,,\n")) {
    CsvOptions given = options(file);
    given.id_column = "image";
    given.labels = {"A", "B"};
    const Dataset data = read_csv_folder(given);
    EXPECT_THAT(data.patients, Each(Not("")));
    EXPECT_THAT(data.notes,
                Contains(data.size() == 2 ? "2 blank rows are skipped" : "20 blank rows are skipped"));
    EXPECT_TRUE(data.size() == 2 || data.size() == 80) << data.size();
  }
}

TEST_F(CsvRules, IdentifiersAndDatesAreLeftOut) {
  std::string text = "id,patient,x,StudyInstanceUID,study_date,A\n", plain = "id,patient,x,A\n";
  for (int i = 0; i < 30; ++i) {
    text += fmt::format("r{0},p{0},{1},1.2.840.{2},2001-01-{3:02},{4}\n", i, 0.5 * i * i, 7919 * i,
                        1 + i % 28, i % 2);
    plain += fmt::format("r{0},p{0},{1},{2}\n", i, 0.5 * i * i, i % 2);
  }
  const auto with = files("identifier-columns.csv", text);
  const auto without = files("identifier-columns-plain.csv", plain);
  for (size_t i = 0; i < with.size(); ++i) {
    const Dataset data = read_csv_folder(options(with[i])),
                  expected = read_csv_folder(options(without.at(i)));
    ASSERT_EQ(data.columns.size(), 1U) << input_notes(data);
    EXPECT_EQ(data.columns[0].numbers, expected.columns.at(0).numbers);
    EXPECT_THAT(data.notes,
                ElementsAre(HasSubstr("column 'StudyInstanceUID' is left out, it is called an identifier"),
                            HasSubstr("column 'study_date' is left out, it holds dates"),
                            "inputs of the table: numbers x"));
    CsvOptions named = options(with[i]);
    named.table = {"x", "study_date"};
    EXPECT_EQ(read_csv_folder(named).columns.size(), 2U);
  }
}

TEST_F(CsvRules, RowCountsAreLeftOutAndMeasurementsAreNot) {
  std::string text = "id,patient,number,cells,word,A\n";
  for (int i = 0; i < 30; ++i)
    text += fmt::format("r{0},p{0},{1},{2},w{3}x,{4}\n", i, 100 + i, 4000 + 7919 * i % 9973, i * 31 % 1000,
                        i % 2);
  const Dataset data = read_csv_folder(options(folder_.write("t.csv", text)));
  EXPECT_THAT(data.notes, ElementsAre(HasSubstr("column 'number' is left out, it counts the rows"),
                                      HasSubstr("column 'word' is left out, its words nearly never repeat"),
                                      "inputs of the table: numbers cells"));
}

TEST_F(CsvRules, TheInputsAreListed) {
  for (const std::string& file :
       files("other-findings.csv", "id,patient,Sex,Age,No Finding,Edema\na,p,M,57,1,0\nb,q,F,61,0,1\n")) {
    CsvOptions given = options(file);
    given.labels = {"Edema"};
    const std::string notes = input_notes(read_csv_folder(given));
    EXPECT_THAT(notes, HasSubstr("inputs of the table: numbers Age, No Finding"));
    EXPECT_THAT(notes, HasSubstr("; categories Sex (2)"));
  }
}

// The labels are written 0 and 1; a history of 0.0 and 1.0 and a count are written otherwise.
TEST_F(CsvRules, InputsWrittenAsTheLabelsAreMayBeOutcomes) {
  for (const std::string& file :
       files("other-findings.csv",
             "id,patient,Sex,Age,smokes,No Finding,Fracture,Edema,Pneumonia,Consolidation\n"
             "a,p,M,57,1.0,1,,0,0,0\nb,q,F,61,0.0,0,1,1,0,1\nc,r,F,62,?,0,0,0,1,0\n")) {
    CsvOptions given = options(file);
    given.labels = {"Edema"};
    EXPECT_THAT(read_csv_folder(given).outcome_like,
                UnorderedElementsAre("No Finding", "Consolidation", "Pneumonia", "Fracture"));
    given.exclude = {"No Finding", "*on*"};
    EXPECT_THAT(read_csv_folder(given).outcome_like, ElementsAre("Fracture"));
    given.categorical = {"Fracture"};  // named
    EXPECT_THAT(read_csv_folder(given).outcome_like, IsEmpty());
    given.categorical = {};
    given.table = {"Fracture"};
    EXPECT_THAT(read_csv_folder(given).outcome_like, IsEmpty());
  }
}

// Identifiers and dates need their whole names all the same.
TEST_F(CsvRules, AnAsteriskStandsForColumns) {
  std::string text = "id,patient,study_date,lab_a,lab_b,,A,B\n";
  for (int i = 0; i < 30; ++i)
    text += fmt::format("r{0},p{0},2001-01-{1:02},{2},{3},{0},{4},{5}\n", i, 1 + i % 28, i % 7, i % 5, i % 2,
                        i % 3 == 0 ? 1 : 0);
  CsvOptions given = options(folder_.write("t.csv", text));
  const auto inputs = [&](std::vector<std::string> table, std::vector<std::string> exclude) {
    given.table = std::move(table);
    given.exclude = std::move(exclude);
    std::vector<std::string> names;
    for (const Column& column : read_csv_folder(given).columns) names.push_back(column.name);
    return names;
  };
  EXPECT_THAT(inputs({"*"}, {}), ElementsAre("lab_a", "lab_b", "B"));
  EXPECT_THAT(inputs({"*"}, {"lab*"}), ElementsAre("B"));
  EXPECT_THAT(inputs({"lab_b", "l*b*"}, {}), ElementsAre("lab_b", "lab_a"));
  EXPECT_THAT(inputs({"study_date", "*"}, {"*_a"}), ElementsAre("study_date", "lab_b", "B"));
  EXPECT_EQ(input_error([&] { inputs({"x*"}, {}); }), given.file + ":1: no column like 'x*'");
  EXPECT_EQ(input_error([&] { inputs({}, {"*x"}); }), given.file + ":1: no column like '*x'");
  EXPECT_EQ(input_error([&] { inputs({"lab_a"}, {"lab*"}); }),
            given.file + ":1: excluded column 'lab_a' is an input");
}

// Trying every place for every asterisk would never end here.
TEST_F(CsvRules, ManyAsterisksOnALongName) {
  const std::string name(5000, 'a');
  std::string stars, pieces;
  for (int i = 0; i < 1000; ++i) stars += "a*", pieces += "*aa";
  CsvOptions given = options(folder_.write("t.csv", "id,patient," + name + "b,A,B\nr,p,1,0,1\ns,q,2,1,0\n"));
  given.table = {stars + "b"};
  EXPECT_EQ(read_csv_folder(given).columns.at(0).name, name + "b");
  given.table = {pieces + "b"};
  EXPECT_EQ(read_csv_folder(given).columns.size(), 1U);
  given.table = {stars + "c"};
  EXPECT_THAT(input_error([&] { read_csv_folder(given); }), HasSubstr("t.csv:1: no column like 'a*a*"));
}

// A spelling of missing that training was told holds for new tables.
TEST_F(CsvRules, PredictionKeepsTheMissingSpellingsOfTraining) {
  DataOptions given;
  given.dialect.missing = {"unknown", "-9"};
  const Trained trained(
      folder_.write("train.csv",
                    "image,patient,age,sex,A,B\nr0,p0,86,M,0,0\nr1,p1,-9,F,1,0\nr2,p1,3,unknown,1,0\n"),
      given);
  const Dataset data = trained.read(folder_.write("new.csv", "age,sex\n-9,unknown\n3,M\n"));
  EXPECT_TRUE(std::isnan(data.columns.at(0).numbers[0]));
  EXPECT_THAT(data.columns.at(1).categories, ElementsAre("", "M"));
  EXPECT_THAT(data.notes, IsEmpty());
}

// The same reports in two languages: Chinese characters are words.
TEST_F(CsvRules, TextsHaveAVocabularyInEveryScript) {
  for (const char* name : {"text-chinese.csv", "text-english.csv"}) {
    for (const std::string& file : files(name, std::string(name) == "text-chinese.csv"
                                                   ? "id,report,A\na,心影增大，右侧。,0\nb,右侧，心影。,1\n"
                                                   : "id,report,A\na,\"enlarged heart, right.\",0\nb,\"right "
                                                     "heart, enlarged\",1\n")) {
      CsvOptions given = options(file);
      given.patient_column = "";
      given.text_column = "report";
      const std::vector<std::string> texts = read_csv_folder(given).texts;
      const auto tokenizer = Tokenizer::fit(texts, {0, 1}, 2, 32);
      EXPECT_GE(tokenizer.words().size(), 3U) << file;
    }
  }
  CsvOptions broken = options(folder_.write("t.csv", "id,report,A\na,ab\xE5\xBF,0\n"));
  EXPECT_EQ(input_error([&] { read_csv_folder(broken); }),
            broken.file + ":2:5: expected UTF-8 text, got the byte 0xe5");
}

TEST_F(CsvRules, FoldsCountFromOne) {
  const auto tables = files("folds-table.csv", "image,patient,age,sex,A,B\na,p,1,M,0,1\nb,q,2,F,1,0\n");
  const auto folds = files("folds-from-one.csv", "id,fold\na,2\nb,1\n");
  for (size_t i = 0; i < tables.size(); ++i) {
    CsvOptions given = options(tables[i]);
    given.id_column = "image";
    const Dataset data = read_csv_folder(given);
    const std::vector<int64_t> read = read_folds(data, folds.at(i));
    EXPECT_THAT(read, Contains(0));
    EXPECT_THAT(read, Not(Contains(5)));
    EXPECT_EQ(fold_numbering(data, folds.at(i)),
              "the folds of " + folds.at(i) + " count from 1: here they count from 0");
  }
}

}  // namespace
}  // namespace medfusion::data
