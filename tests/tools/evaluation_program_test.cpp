// eval, predict and compare from end to end: what they write fits together.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "data/readers/csv.h"
#include "data/statistics/logistic.h"
#include "tests/tools/end_to_end.h"
#include "tools/evaluation/measures/predictions_file.h"
#include "tools/evaluation/report/html.h"

namespace medfusion::tools {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;
using testing::HasSubstr;

Json json_in(const fs::path& path) { return Json::parse(contents(path)); }

void expect_refused(const std::vector<std::string>& arguments, const std::string& what) {
  const Outcome outcome = run_medfusion(arguments);
  EXPECT_EQ(outcome.code, 2);
  EXPECT_EQ(outcome.out, "");
  EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr(what));
}

// A run on 240 phantom images, evaluated.
class Evaluation : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = std::make_unique<TemporaryFolder>();
    succeed(
        {"synth", "--out", (*folder_ / "phantom").string(), "--images", "240", "--size", "32", "--quiet"});
    write(*folder_ / "tiny.toml", "[data]\nformat = \"phantom\"\nroot = \"" +
                                      (*folder_ / "phantom").string() +
                                      "\"\nval_fraction = 0.3\nimage_size = 32\n[model]\nsize = \"tiny\"\n"
                                      "[train]\nepochs = 2\nbatch_size = 16\nwarmup_epochs = 0\n");
    succeed(train_command(*folder_ / "tiny.toml", run()));
    succeed({"eval", run().string(), "--quiet", "--bootstrap", "200"});
  }
  static void TearDownTestSuite() { folder_.reset(); }
  static fs::path run() { return *folder_ / "run"; }

  static std::unique_ptr<TemporaryFolder> folder_;
};
std::unique_ptr<TemporaryFolder> Evaluation::folder_;

TEST_F(Evaluation, JsonAgreesWithMetricsAndHoldsItsParts) {
  const Json evaluation = json_in(run() / "evaluation.json");
  const Json metrics = json_in(run() / "metrics.json");
  const Json fitted = json_in(run() / "preprocessing.json");
  EXPECT_EQ(evaluation.at("split"), "test");
  EXPECT_EQ(evaluation.at("resamples"), 200);
  ASSERT_EQ(evaluation.at("labels").size(), metrics.at("labels").size());
  size_t at = 0;
  for (const auto& [name, label] : metrics.at("labels").items()) {
    SCOPED_TRACE(name);
    const Json& mine = evaluation.at("labels").at(name);
    for (const char* key : {"auroc", "auprc", "f1", "gmean", "sensitivity", "specificity", "accuracy"}) {
      const Json& measure = mine.at("measures").at(key);
      EXPECT_NEAR(measure.at("value").get<double>(), label.at(key).get<double>(), 1e-12) << key;
      if (measure.at("low").is_null()) {  // no resample differs
        EXPECT_TRUE(measure.at("value") == 0.0 || measure.at("value") == 1.0) << key;
        continue;
      }
      EXPECT_LE(measure.at("low").get<double>(), measure.at("value").get<double>()) << key;
      EXPECT_GE(measure.at("high").get<double>(), measure.at("value").get<double>()) << key;
    }
    EXPECT_EQ(mine.at("threshold"), label.at("threshold"));
    EXPECT_NEAR(mine.at("delong").at("auroc").get<double>(), label.at("auroc").get<double>(), 1e-12);
    EXPECT_EQ(mine.at("roc").front()[2], nullptr);
    EXPECT_EQ(mine.at("roc").back()[1], 1.0);
    EXPECT_EQ(mine.at("decision").size(), 99U);
    EXPECT_EQ(Json(mine.at("calibrator")), fitted.at("calibration")[at]);
    int64_t binned = 0, levelled = 0;
    for (const Json& bin : mine.at("calibration").at("equal_width")) binned += bin.at("count").get<int64_t>();
    for (const Json& level : mine.at("risk").at("levels")) levelled += level.at("count").get<int64_t>();
    EXPECT_EQ(binned, evaluation.at("samples").get<int64_t>());
    EXPECT_EQ(levelled, evaluation.at("samples").get<int64_t>());
    EXPECT_NEAR(mine.at("calibration").at("ece").get<double>(),
                mine.at("measures").at("ece").at("value").get<double>(), 1e-12);
    ++at;
  }
  ASSERT_EQ(evaluation.at("subgroups").size(), 3U);
  for (const Json& grouping : evaluation.at("subgroups")) {
    int64_t samples = 0;
    for (const Json& group : grouping.at("groups")) samples += group.at("samples").get<int64_t>();
    EXPECT_EQ(samples, evaluation.at("samples").get<int64_t>()) << grouping.at("column");
  }
  ASSERT_EQ(evaluation.at("controls").size(), kControlNames.size());
  EXPECT_NEAR(evaluation.at("controls")[0].at("macro").at("auroc").at("value").get<double>(), 0.5, 0.05);
  EXPECT_EQ(evaluation.at("controls")[1].at("name"), "table_only");
  EXPECT_GT(evaluation.at("controls")[1].at("macro").at("auroc").at("value").get<double>(), 0.5);
}

// The cells of a label follow from its logit (raw), the calibrator, the threshold and the cut-offs.
TEST_F(Evaluation, PredictionsFollowFromWhatTheRunKeeps) {
  const PredictionsFile file = read_predictions((run() / "predictions.csv").string());
  const auto fitted = nlohmann::ordered_json::parse(contents(run() / "preprocessing.json"));
  bool calibrated = false;
  for (size_t l = 0; l < file.input.labels.size(); ++l) {
    const LabelPredictions& label = file.input.labels[l];
    SCOPED_TRACE(label.name);
    const Calibrator calibrator = Calibrator::from_json(fitted.at("calibration")[l]);
    const RiskCutoffs cutoffs = RiskCutoffs::from_json(fitted.at("risk")[l]);
    const double threshold = fitted.at("thresholds")[l].at("value").get<double>();
    calibrated |= calibrator.method == CalibrationMethod::platt;
    ASSERT_EQ(label.raw.size(), file.ids.size());
    ASSERT_EQ(label.logits.size(), file.ids.size());
    for (size_t i = 0; i < file.ids.size(); ++i) {
      EXPECT_NEAR(label.probabilities[i], calibrator.apply(data::logit(label.raw[i])), 1e-5);
      EXPECT_EQ(label.probabilities[i], static_cast<float>(data::sigmoid(label.logits[i])));
      EXPECT_EQ(label.predicted[i], label.probabilities[i] >= threshold ? 1 : 0);
      EXPECT_EQ(label.levels[i], cutoffs.level(label.probabilities[i]));
    }
  }
  EXPECT_TRUE(calibrated);
}

TEST_F(Evaluation, PredictWritesTheSameDecisionsAndLevels) {
  const auto evaluated = data::CsvTable::read((run() / "predictions.csv").string());
  const auto predicted =
      data::CsvTable::parse(succeed({"predict", run().string(), "--quiet", "--table",
                                     (*folder_ / "phantom" / "Data_Entry_2017.csv").string(), "--images",
                                     (*folder_ / "phantom" / "images").string()}),
                            "stdout");
  EXPECT_EQ(predicted.rows(), 240);
  std::map<std::string, int64_t> row_of;
  for (int64_t row = 0; row < predicted.rows(); ++row) row_of[predicted.cell(row, 0)] = row;
  int compared = 0;
  for (const std::string& name : predicted.header()) {
    if (name == "id") continue;
    ++compared;
    for (int64_t row = 0; row < evaluated.rows(); ++row) {
      EXPECT_EQ(predicted.cell(row_of.at(evaluated.cell(row, 0)), predicted.column(name)),
                evaluated.cell(row, evaluated.column(name)))
          << name;
    }
  }
  EXPECT_EQ(compared, 8 * 5);  // probability, logit, raw, predicted, risk
}

TEST_F(Evaluation, SubgroupsAndTheirAbsenceAreRefusedOrConfigured) {
  const fs::path out = *folder_ / "other";
  fs::copy(run(), out);
  const std::string text = contents(out / "config.toml");
  const std::string key = "subgroups = []";
  ASSERT_NE(text.find(key), std::string::npos);
  write(out / "config.toml", std::string(text).replace(text.find(key), key.size(), "subgroups = [\"View\"]"));
  succeed({"eval", out.string(), "--quiet", "--bootstrap", "0"});
  const Json evaluation = json_in(out / "evaluation.json");
  ASSERT_EQ(evaluation.at("subgroups").size(), 1U);
  EXPECT_EQ(evaluation.at("macro").at("auroc").at("low"), nullptr);
  write(out / "config.toml",
        std::string(text).replace(text.find(key), key.size(), "subgroups = [\"vieuw\"]"));
  expect_refused({"eval", out.string(), "--quiet"},
                 "evaluation.subgroups: expected columns of the data, got 'vieuw'");
  fs::remove_all(out);
}

TEST_F(Evaluation, ARunComparedWithItselfDiffersByNothing) {
  const Json same = Json::parse(succeed(
      {"compare", run().string(), (run() / "predictions.csv").string(), "--bootstrap", "100", "--json"}));
  EXPECT_EQ(same.at("macro").at("auroc").at("difference").at("value"), 0.0);
  EXPECT_EQ(same.at("macro").at("auroc").at("difference").at("p_value"), 1.0);
  for (const auto& [name, label] : same.at("labels").items()) {
    EXPECT_EQ(label.at("delong").at("p_value"), 1.0) << name;
    EXPECT_EQ(label.at("measures").at("brier").at("difference").at("high"), 0.0) << name;
  }
  EXPECT_THAT(succeed({"compare", run().string(), run().string(), "--bootstrap", "100"}), HasSubstr("macro"));
}

TEST_F(Evaluation, ComparisonFindsTheBetterRun) {
  const fs::path other = *folder_ / "worse.csv";
  const PredictionsFile file = read_predictions((run() / "predictions.csv").string());
  std::string csv = "id,patient,probability_B,probability_A,target_A,target_B\n";
  std::string better = csv;
  for (size_t row = file.ids.size(); row-- > 0;) {
    const auto& a = file.input.labels[0].targets;
    const auto& b = file.input.labels[1].targets;
    const std::string ends = "," + std::to_string(static_cast<int>(a[row])) + "," +
                             std::to_string(static_cast<int>(b[row])) + "\n";
    const std::string start = file.ids[row] + "," + file.input.patients[row];
    csv += start + "," + (row % 2 == 0 ? "0.3,0.4" : "0.2,0.1") + ends;
    better +=
        start + "," + std::to_string(0.2 + 0.5 * b[row]) + "," + std::to_string(0.3 + 0.5 * a[row]) + ends;
  }
  write(other, csv);
  write(*folder_ / "better.csv", better);
  const Json found = Json::parse(succeed(
      {"compare", (*folder_ / "better.csv").string(), other.string(), "--bootstrap", "200", "--json"}));
  const Json& auroc = found.at("macro").at("auroc");
  EXPECT_EQ(auroc.at("first").at("value"), 1.0);
  EXPECT_GT(auroc.at("difference").at("low").get<double>(), 0.2);
  EXPECT_LT(auroc.at("difference").at("p_value").get<double>(), 0.02);
  EXPECT_LT(found.at("macro").at("brier").at("difference").at("high").get<double>(), 0.0);
  EXPECT_EQ(found.at("macro").at("f1").at("difference").at("value"), nullptr);  // nothing was decided
  EXPECT_LT(found.at("labels").at("A").at("delong").at("p_value").get<double>(), 0.001);
}

TEST_F(Evaluation, WhatDoesNotMatchIsRefused) {
  const fs::path a = *folder_ / "a.csv", b = *folder_ / "b.csv";
  const std::string head = "id,patient,probability_A,target_A\n";
  write(a, head + "x,p,0.5,1\ny,q,0.25,0\n");
  const auto compare = [&](const std::string& text, const std::string& what) {
    write(b, text);
    expect_refused({"compare", a.string(), b.string()}, b.string() + what);
  };
  compare(head + "x,p,0.5,1\n", ": expected a row for 'y', which " + a.string() + " has");
  compare(head + "x,p,0.5,1\ny,q,0.2,0\nz,r,0.1,0\n", ": expected the 2 rows of " + a.string() + ", got 3");
  compare(head + "x,p,0.5,1\ny,r,0.2,0\n", ": expected patient 'q' for 'y'");
  compare(head + "x,p,0.5,1\ny,q,0.2,1\n",
          ": expected the target of 'A' for 'y' that " + a.string() + " has");
  compare("id,patient,probability_B,target_B\nx,p,0.5,1\ny,q,0.2,0\n", ": expected label 'A', which");
  compare(head + "x,p,0.5,1\nx,q,0.2,0\n", ":3:1: expected each id once");
  compare(head + "x,p,1.5,1\ny,q,0.2,0\n", ":2:5: expected a probability");
  compare(head + "x,p,nan,1\ny,q,0.2,0\n", ":2:5: expected a probability");
  compare(head + "x,p,,1\ny,q,0.2,0\n", ":2:5: expected a probability");
  compare("id,patient,p\nx,p,1\n", ":1: expected columns named probability_LABEL, got none");
  expect_refused({"compare", a.string(), (*folder_ / "none").string()},
                 "expected a run directory, there is none");
  expect_refused({"compare", a.string(), (*folder_ / "phantom").string()},
                 "expected predictions.csv there; medfusion eval and cv write it");
}

// The cells of a table of a page, a CSV line for each row.
std::string csv_of(const std::string& table) {
  std::string csv;
  for (size_t row = table.find("<tr>"); row != std::string::npos; row = table.find("<tr>", row + 1)) {
    const std::string cells = table.substr(row, table.find("</tr>", row) - row);
    std::string line, comma;
    for (size_t at = cells.find("<t", 1); at != std::string::npos; at = cells.find("<t", at + 1)) {
      const size_t from = cells.find('>', at) + 1;
      std::string text = plain_text(cells.substr(from, cells.find("</t", at) - from));
      for (size_t no_break = text.find("\u00a0"); no_break != std::string::npos;
           no_break = text.find("\u00a0"))
        text.replace(no_break, 2, " ");
      const bool quoted = text.find_first_of(",\"\n") != std::string::npos;
      line += comma + (quoted ? '"' + text + '"' : text);
      comma = ",";
    }
    csv += line + "\n";
  }
  return csv;
}

// One file for each figure and each table of the page, with the cells of the page.
TEST_F(Evaluation, ReportWritesItsFiguresAndTablesAsFiles) {
  const fs::path figures = *folder_ / "figures", page = *folder_ / "report.html";
  succeed({"report", run().string(), "--out", page.string(), "--figures", figures.string(), "--quiet"});
  const std::string html = contents(page);
  const Outcome file = run_medfusion({"report", run().string(), "--figures", page.string()});
  EXPECT_EQ(file.code, 2);
  EXPECT_THAT(file.err, testing::HasSubstr("expected a folder, this is a file"));
  auto lines = lines_of(contents(figures / "index.csv"));
  ASSERT_GT(lines.size(), 30U);
  EXPECT_EQ(lines.front(), "file,shows");
  size_t table = 0, drawings = 0;
  for (size_t i = 1; i < lines.size(); ++i) {
    const std::string name = lines[i].substr(0, lines[i].find(','));
    SCOPED_TRACE(name);
    ASSERT_TRUE(fs::exists(figures / name));
    if (name.ends_with(".svg")) {
      EXPECT_THAT(contents(figures / name), testing::StartsWith("<svg xmlns="));
      ++drawings;
      continue;
    }
    table = html.find("<table", table + 1);
    ASSERT_NE(table, std::string::npos);
    EXPECT_EQ(contents(figures / name), csv_of(html.substr(table, html.find("</table>", table) - table)));
  }
  EXPECT_EQ(html.find("<table", table + 1), std::string::npos);
  size_t shown = 0;
  for (size_t at = html.find("<figure"); at != std::string::npos; at = html.find("<figure", at + 1)) ++shown;
  EXPECT_EQ(drawings, shown);
  EXPECT_EQ(std::distance(fs::directory_iterator(figures), {}), static_cast<std::ptrdiff_t>(lines.size()));
}

}  // namespace
}  // namespace medfusion::tools
