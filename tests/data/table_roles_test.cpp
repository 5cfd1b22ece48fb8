#include "data/table_roles.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/data/temporary_folder.h"

namespace medfusion::data {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// A table of `rows` rows; `cells` gives a row without its end.
template <class Cells>
CsvTable made_table(const std::string& header, int rows, const Cells& cells,
                    const std::vector<std::string>& missing = {}) {
  std::string text = header + "\n";
  for (int row = 0; row < rows; ++row) text += cells(row) + "\n";
  return CsvTable::parse(text, "t.csv", {Separator::automatic, missing});
}

char one(bool yes) { return yes ? '1' : '0'; }

std::string why_left_out(const TableRoles& roles, const std::string& name) {
  for (const LeftOutColumn& column : roles.left_out) {
    if (column.name == name) return column.why;
  }
  return "";
}

TEST(TableRoles, WithoutNamesTheLastColumnsOfTwoValuesAreLabels) {
  const CsvTable table = made_table("old,age,smoker,a,b,c", 60, [](int row) {
    return fmt::format("{},{}.5,{},{},{},{}", row % 2, 20 + row * 7 % 37, row % 3 == 0 ? "yes" : "no",
                       row % 2, one(row % 7 == 3),
                       row % 5 == 0   ? ""
                       : row % 4 == 0 ? "1.0"
                                      : "0.0");
  });
  const TableRoles roles = choose_roles(table, "", {});
  EXPECT_THAT(roles.label_columns, ElementsAre("a", "b", "c"));
  EXPECT_THAT(roles.more_labels, ElementsAre("old", "smoker"));
  // It stands apart but says the same as a label.
  EXPECT_THAT(why_left_out(roles, "old"), HasSubstr("as an outcome would"));
  EXPECT_THAT(roles.inputs, ElementsAre("age", "smoker"));
  EXPECT_EQ(roles.patient.column, "");
}

TEST(TableRoles, NamesOfFindingsGoFirstAndOthersBesideThemAreNoInputs) {
  const CsvTable table = made_table("Edema,other,age,exposed", 40, [](int row) {
    return fmt::format("{},{},{},{}", one(row % 3 == 0), one(row % 4 == 1), 20 + row * 7 % 37,
                       one(row % 5 == 2));
  });
  const TableRoles roles = choose_roles(table, "", {});
  EXPECT_THAT(roles.label_columns, ElementsAre("Edema"));
  EXPECT_EQ(why_left_out(roles, "other"), "it stands beside 'Edema' and is coded alike");
  EXPECT_THAT(roles.inputs, ElementsAre("age", "exposed"));
  EXPECT_THAT(roles.more_inputs, ElementsAre("exposed"));
}

TEST(TableRoles, ThePatientIsTheColumnThatJoinsAnother) {
  const CsvTable table = made_table("patient,group,arm,age,y", 40, [](int row) {
    return fmt::format("p{},g{},{},{},{}", row / 2, row / 4, row % 2 == 0 ? "drug" : "none",
                       20 + row * 7 % 37, one(row % 3 == 0));
  });
  const TableRoles roles = choose_roles(table, "", {});
  EXPECT_EQ(roles.patient.column, "group");
  EXPECT_EQ(why_left_out(roles, "patient"), "'group' is the patient");
  EXPECT_THAT(roles.inputs, ElementsAre("arm", "age"));
  // Two arms of a trial are no patients.
  const CsvTable arms = made_table("group,age,y", 60, [](int row) {
    return fmt::format("{},{},{}", row % 2 == 0 ? "drug" : "none", 20 + row * 7 % 37, one(row % 3 == 0));
  });
  EXPECT_EQ(choose_roles(arms, "", {}).patient.column, "");
  EXPECT_THAT(choose_roles(arms, "", {}).inputs, ElementsAre("group", "age"));
}

TEST(TableRoles, TextsIdentifiersAndPartsAreFound) {
  const CsvTable table = made_table("key_id,part,file,note,y", 40, [](int row) {
    return fmt::format("k-{},{},scan_{}_of_the_{}_day.png,seen on day {} with nothing new,{}",
                       row * 7919 % 1000, row % 4 == 0 ? "test" : "train", row % 30, row, row,
                       one(row % 3 == 0));
  });
  const TableRoles roles = choose_roles(table, "", {});
  EXPECT_EQ(roles.id.column, "key_id");
  EXPECT_EQ(roles.part.column, "part");
  EXPECT_EQ(roles.text.column, "note");
  EXPECT_THAT(roles.inputs, IsEmpty());
}

TEST(TableRoles, NearlyEmptyColumnsAndManyWordsAreLeftOut) {
  const CsvTable table = made_table("age,rare,town,fold,y", 80, [](int row) {
    return fmt::format("{},{},town{},{},{}", 20 + row * 7 % 37, row < 7 ? std::to_string(row) : "", row % 40,
                       row % 5, one(row % 3 == 0));
  });
  const TableRoles roles = choose_roles(table, "", {});
  EXPECT_THAT(roles.inputs, ElementsAre("age"));
  EXPECT_EQ(why_left_out(roles, "rare"), "fewer than a tenth of its cells are known");
  EXPECT_EQ(why_left_out(roles, "town"), "it holds 40 words, more than 30");
  EXPECT_EQ(why_left_out(roles, "fold"), "it is called like a part of a split");
}

TEST(TableRoles, WordsThatSayUnknownAreFound) {
  const CsvTable table = CsvTable::parse("a,b\nUNK,1\nUnknown,-\nunkempt,-1\n", "t.csv");
  EXPECT_THAT(words_for_missing(table), ElementsAre("-", "UNK", "Unknown"));
}

TEST(TableRoles, RefusesATableWithoutALabel) {
  const CsvTable table = CsvTable::parse("dx,age\nmel,3\nnev,4\n", "t.csv");
  EXPECT_THAT(input_error([&] { choose_roles(table, "", {}); }),
              HasSubstr("t.csv:1: no column can be a label; expected one that holds 0 and 1,"));
  EXPECT_THAT(
      input_error([&] { choose_roles(table, "", {"age"}); }),
      HasSubstr("t.csv:2:5: expected 0, 1, -1, true, false, yes, no or nothing in column 'age', got '3'"));
}

// The other findings of ../shared/cases: with one of them as the label, none is an input.
TEST(TableRoles, OtherFindingsAreNoInputs) {
  const std::string file = shared_case("other-findings.csv");
  if (file.empty()) GTEST_SKIP() << "other-findings.csv not found: set MEDFUSION_CASES";
  const CsvTable table = CsvTable::read(file);
  const TableRoles roles = choose_roles(table, "", {"Edema"});
  EXPECT_THAT(roles.inputs, ElementsAre("Sex", "Age"));
  EXPECT_THAT(choose_roles(table, "", {}).label_columns,
              ElementsAre("No Finding", "Edema", "Consolidation", "Pneumonia", "Fracture"));
}

}  // namespace
}  // namespace medfusion::data
