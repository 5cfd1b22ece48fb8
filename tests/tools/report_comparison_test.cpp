// The report on several runs.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>

#include "core/error.h"
#include "tests/tools/report_record.h"
#include "tools/evaluation/report/report_text.h"

namespace medfusion::tools {
namespace {

TEST(Comparison, ShowsDifferencesAndWarnsOfDifferentRows) {
  RunRecord a = record("a"), b = record("b");
  b.settings["train.loss"] = "focal";
  std::string html = comparison_report({a, b}).html();
  EXPECT_NE(html.find("train.loss"), std::string::npos);
  EXPECT_EQ(html.find("train.epochs"), std::string::npos);
  EXPECT_EQ(html.find("not comparable"), std::string::npos);
  b.data["parts"]["test"]["ids_hash"] = "c";
  EXPECT_NE(comparison_report({a, b}).html().find("not comparable"), std::string::npos);
  b.evaluation = nullptr;
  EXPECT_THROW(comparison_report({a, b}).html(), core::InputError);
}

PredictionsFile predictions(double step) {
  std::string csv = "id,patient,probability_Mass,target_Mass\n";
  for (int i = 0; i < 40; ++i)
    csv += fmt::format("r{0},p{0},{1:.4f},{2}\n", i, std::fmod(i * step, 1.0), i % 3 == 0 ? 1 : 0);
  return parse_predictions(csv, "predictions.csv");
}

TEST(Comparison, PairsRunsOnTheSameRows) {
  RunRecord a = record("x/fold0"), b = record("y/fold0");
  EXPECT_TRUE(has(comparison_report({a, b}).html(), "predictions.csv is needed"));
  a.predictions = predictions(0.37);
  b.predictions = predictions(0.73);
  std::string html = comparison_report({a, b}).html();
  EXPECT_TRUE(has(html, "x/fold0 minus y/fold0"));
  EXPECT_TRUE(has(html, "DeLong"));
  EXPECT_FALSE(has(html, "not comparable"));
  b.predictions->ids[0] = "another";
  html = comparison_report({a, b}).html();
  EXPECT_TRUE(has(html, "Not a pair"));
  EXPECT_TRUE(has(html, "not comparable"));
}

// One chart for each label that two runs have, one line for each run.
TEST(Comparison, LaysTheRocCurvesOverEachOther) {
  const RunRecord a = record("x/a"), b = record("y/b"), other = record("z/c", "Nodule");
  const std::string html = comparison_report({a, b, other}).html();
  const std::string section = html.substr(html.find("<section id=\"roc\""));
  EXPECT_EQ(count_of(section, "<svg"), 2U);
  EXPECT_TRUE(has(section, "x/a, AUROC 0."));
  EXPECT_TRUE(has(section, "y/b, AUROC 0."));
}

// The hash of the part that was evaluated counts, and that of other data.
TEST(Comparison, LooksAtTheEvaluatedPart) {
  RunRecord a = record("a"), b = record("b");
  for (RunRecord* run : {&a, &b}) run->evaluation["split"] = "val";
  b.data["parts"]["test"]["ids_hash"] = "c";
  EXPECT_FALSE(has(comparison_report({a, b}).html(), "not comparable"));
  b.data["parts"]["val"]["ids_hash"] = "c";
  EXPECT_TRUE(has(comparison_report({a, b}).html(), "not comparable"));
  for (RunRecord* run : {&a, &b}) run->evaluation["data_hash"] = "other";
  EXPECT_FALSE(has(comparison_report({a, b}).html(), "not comparable"));
}

// The unadjusted p belongs to the interval; both are at most what more resamples could give.
TEST(Comparison, ShowsBothPValuesAndMarksTheirFloors) {
  RunRecord a = record("a"), b = record("b");
  std::string good = "id,patient,probability_Mass,target_Mass,probability_Nodule,target_Nodule\n", bad = good;
  for (int i = 0; i < 60; ++i) {
    const int target = i % 2;
    good += fmt::format("r{0},p{0},{1},{2},{1},{2}\n", i, target == 1 ? 0.9 : 0.1, target);
    bad += fmt::format("r{0},p{0},{1},{2},{1},{2}\n", i, i * 37 % 60 / 60.0, target);
  }
  a.predictions = parse_predictions(good, "a.csv");
  b.predictions = parse_predictions(bad, "b.csv");
  const Page page = comparison_report({a, b});
  for (const PageFile& file : page.files()) {
    if (file.name != "pairs-a-and-b-auroc") continue;
    ASSERT_EQ(file.cells.size(), 4U);  // head, two labels, macro
    EXPECT_EQ(file.cells[0][4], "p");
    EXPECT_EQ(file.cells[0][5], "p, Holm");
    EXPECT_EQ(file.cells[1][4], "\u2264 0.002");
    EXPECT_EQ(file.cells[1][5], "\u2264 0.004");
    EXPECT_EQ(file.cells[3][4], "\u2264 0.002");
    EXPECT_EQ(file.cells[3][5], "-");  // one macro average is no family
    return;
  }
  FAIL() << "no such table";
}

}  // namespace
}  // namespace medfusion::tools
