// AUROC, DeLong and decision curves of public data whose answers are stated where it is published.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <vector>

#include "data/readers/csv.h"
#include "data/statistics/curves.h"
#include "data/statistics/delong.h"
#include "data/statistics/ranking.h"
#include "tests/data/temporary_folder.h"

namespace medfusion::data {
namespace {

std::vector<double> numbers_in(const CsvTable& table, const std::string& name) {
  std::vector<double> values;
  for (int64_t row = 0; row < table.rows(); ++row) values.push_back(table.number(row, table.column(name)));
  return values;
}

std::vector<double> whether(const CsvTable& table, const std::string& name, const std::string& positive) {
  std::vector<double> values;
  for (int64_t row = 0; row < table.rows(); ++row)
    values.push_back(table.category(row, table.column(name)) == positive ? 1.0 : 0.0);
  return values;
}

// What R's pROC says of its data aSAH, to all digits that it prints.
TEST(KnownAnswers, DelongOfSubarachnoidHaemorrhage) {
  const std::string path = shared_data("stats/aSAH.csv");
  if (path.empty()) GTEST_SKIP() << "stats/aSAH.csv not found: set MEDFUSION_DATA";
  const CsvTable table = CsvTable::read(path);
  ASSERT_EQ(table.rows(), 113);
  const auto poor = whether(table, "outcome", "Poor");
  const auto wfns = numbers_in(table, "wfns"), s100b = numbers_in(table, "s100b"),
             ndka = numbers_in(table, "ndka");
  EXPECT_EQ(fmt::format("{:.4f}", auroc(wfns, poor)), "0.8237");
  EXPECT_EQ(fmt::format("{:.4f}", auroc(s100b, poor)), "0.7314");
  EXPECT_EQ(fmt::format("{:.4f}", auroc(ndka, poor)), "0.6120");
  const DelongAuroc alone = delong(ndka, poor);
  EXPECT_EQ(fmt::format("{:.4f} to {:.4f}", alone.low, alone.high), "0.5012 to 0.7227");
  const auto z_and_p = [&](const std::vector<double>& first, const std::vector<double>& second) {
    const DelongComparison pair = delong_paired(first, second, poor);
    return fmt::format("{:.15g} {:.15g}", pair.z, pair.p_value);
  };
  EXPECT_EQ(z_and_p(wfns, s100b), "2.20898359144091 0.0271757822291882");
  EXPECT_EQ(z_and_p(wfns, ndka), "2.79777591868904 0.00514557970691098");
  EXPECT_EQ(z_and_p(ndka, s100b), "-1.39077002573558 0.164295175223054");
}

// Net benefit as the mean over the persons of what acting on each is worth: 1 of a positive, -t / (1 - t) of
// a negative, 0 where nothing is done.
double mean_worth(const std::vector<double>& scores, const std::vector<double>& targets, double threshold) {
  double sum = 0.0;
  for (size_t i = 0; i < scores.size(); ++i) {
    if (scores[i] < threshold) continue;
    sum += targets[i] == 1.0 ? 1.0 : 1.0 - 1.0 / (1.0 - threshold);
  }
  return sum / static_cast<double>(scores.size());
}

TEST(KnownAnswers, DecisionCurvesOfCancerPredictions) {
  const std::string path = shared_data("stats/df_binary.csv");
  if (path.empty()) GTEST_SKIP() << "stats/df_binary.csv not found: set MEDFUSION_DATA";
  const CsvTable table = CsvTable::read(path);
  ASSERT_EQ(table.rows(), 750);
  const auto cancer = whether(table, "cancer", "TRUE");
  std::vector<double> thresholds;
  for (int i = 1; i < 100; ++i) thresholds.push_back(i / 100.0);
  for (const char* model : {"cancerpredmarker", "famhistory"}) {
    SCOPED_TRACE(model);
    const auto scores = numbers_in(table, model);
    const auto curve = decision_curve(scores, cancer, thresholds);
    ASSERT_EQ(curve.size(), thresholds.size());
    const std::vector<double> everyone(scores.size(), 1.0);
    bool useful = false;
    for (const DecisionPoint& point : curve) {
      EXPECT_NEAR(point.model, mean_worth(scores, cancer, point.threshold), 1e-12) << point.threshold;
      EXPECT_NEAR(point.all, mean_worth(everyone, cancer, point.threshold), 1e-12) << point.threshold;
      useful |= point.model > point.all && point.model > 0.0;
    }
    EXPECT_TRUE(useful);
  }
}

}  // namespace
}  // namespace medfusion::data
