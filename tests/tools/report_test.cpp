#include "tools/evaluation/report.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/error.h"
#include "core/random.h"
#include "tools/evaluation/chart.h"
#include "tools/evaluation/evaluation.h"

namespace medfusion::tools {
namespace {

// A one-pixel PNG's bytes need not be valid here: the page only carries them.
constexpr const char* kPicture = "\x89PNG";

nlohmann::ordered_json evaluation_of(const std::string& label) {
  EvaluationInput input;
  LabelPredictions predictions;
  predictions.name = label;
  for (int i = 0; i < 40; ++i) {
    input.patients.push_back("p" + std::to_string(i / 2));
    predictions.targets.push_back(i % 3 == 0 ? 1.0 : 0.0);
    predictions.probabilities.push_back((i * 37 % 40 + (i % 3 == 0 ? 25 : 0)) / 70.0);
    predictions.predicted.push_back(predictions.probabilities.back() > 0.5 ? 1 : 0);
    predictions.levels.push_back(predictions.probabilities.back() > 0.5 ? RiskLevel::high : RiskLevel::low);
  }
  predictions.threshold = optim::MetricValue::of(0.5);
  input.labels = {predictions};
  EvaluationOptions options;
  options.resamples = 50;
  nlohmann::ordered_json json{{"split", "test"}, {"calibration_method", "none"}, {"risk_method", "targets"}};
  json.update(evaluation_json(input, options));
  return json;
}

RunRecord record(const std::string& name, const std::string& label = "Mass") {
  RunRecord run;
  run.name = name;
  run.config = "seed = 1\n\n[train]\nloss = \"bce\"\nepochs = 2\n\n[model]\nsize = \"tiny\"\n";
  run.data = {{"version", "0"}, {"dataset", "d"}, {"data_hash", "00ff"}, {"rows", 60}};
  run.data["parts"]["train"] = {{"rows", 20}, {"patients", 10}, {"ids_hash", "a"}};
  run.data["parts"]["test"] = {{"rows", 40}, {"patients", 20}, {"ids_hash", "b"}};
  run.data["shared_patients"]["train and test"] = 0;
  run.data["train_positives"][label] = 7;
  run.history = {{{"epoch", 1}, {"train_loss", 0.5}}, {{"epoch", 2}, {"train_loss", 0.25}}};
  run.evaluation = evaluation_of(label);
  return run;
}

size_t count_of(const std::string& text, const std::string& part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

TEST(Html, EscapesAndEncodes) {
  EXPECT_EQ(html_escape("<a href=\"x\">'&"), "&lt;a href=&quot;x&quot;&gt;&#39;&amp;");
  // RFC 4648, section 10.
  EXPECT_EQ(data_uri("t", ""), "data:t;base64,");
  EXPECT_EQ(data_uri("t", "f"), "data:t;base64,Zg==");
  EXPECT_EQ(data_uri("t", "fo"), "data:t;base64,Zm8=");
  EXPECT_EQ(data_uri("t", "foobar"), "data:t;base64,Zm9vYmFy");
  EXPECT_EQ(data_uri("t", "\xff\xfe\xfd"), "data:t;base64,//79");
  HtmlTable table({"a", "b"});
  EXPECT_THROW(table.row({"1"}), core::Error);
}

TEST(Chart, BreaksLinesWhereThereIsNoNumber) {
  Chart chart{"t", "x", "y", {}};
  chart.series = {{"s", {{0, 1}, {1, NAN}, {2, 3}, {3, 4}}, "", false, false}};
  const std::string svg = chart_svg(chart);
  EXPECT_EQ(count_of(svg, "nan"), 0U);
  const std::string path = svg.substr(svg.find("<path d=\"") + 9,
                                      svg.find('"', svg.find("<path d=\"") + 9) - svg.find("<path d=\"") - 9);
  EXPECT_EQ(count_of(path, "M"), 2U);  // the line begins again after the gap
  EXPECT_EQ(count_of(path, "L"), 1U);
}

TEST(Chart, AnEmptyOneStillDraws) {
  EXPECT_NE(chart_svg({"t", "x", "y", {}}).find("</svg>"), std::string::npos);
  EXPECT_EQ(count_of(interval_svg("t", "x", {{"a", NAN, NAN, NAN}}, 0.5), ">nan"), 0U);
}

TEST(Report, HoldsWhatTheRunHolds) {
  const RunRecord run = record("r1");
  const std::string html = run_report(run);
  const auto auroc = interval_text(run.evaluation["labels"]["Mass"]["measures"]["auroc"]);
  EXPECT_NE(html.find(auroc), std::string::npos);
  EXPECT_NE(html.find("train and test"), std::string::npos);
  EXPECT_NE(html.find("medfusion explain RUN"), std::string::npos);  // what is missing says how it is made
  EXPECT_GE(count_of(html, "<svg"), 6U);
  EXPECT_EQ(missing_parts(run).size(), 2U);
}

// Nothing is fetched: no script, and no address but that of the SVG namespace, which is a name.
TEST(Report, StandsAlone) {
  std::string html = run_report(record("r1"));
  const std::string name_space = "http://www.w3.org/2000/svg";
  for (size_t at = html.find(name_space); at != std::string::npos; at = html.find(name_space))
    html.erase(at, name_space.size());
  for (const char* part :
       {"http:", "https:", "<script", "@import", "url(", "src=\"/", "<link rel=\"stylesheet\""}) {
    EXPECT_EQ(html.find(part), std::string::npos) << part;
  }
}

TEST(Report, NamesCannotBreakThePage) {
  RunRecord run = record("<r>", "<b>&\"'");
  run.config += "[data]\nroot = \"<script>\"\n";
  const std::string html = run_report(run);
  EXPECT_EQ(html.find("<script>"), std::string::npos);
  EXPECT_EQ(html.find("<b>&\""), std::string::npos);
  EXPECT_NE(html.find("&lt;b&gt;&amp;&quot;"), std::string::npos);
}

TEST(Report, ShowsSuccessesAndFailures) {
  RunRecord run = record("r1");
  const auto label = [](double probability, bool predicted, int target) {
    return nlohmann::ordered_json{{"label", "Mass"},
                                  {"probability", probability},
                                  {"predicted", predicted},
                                  {"target", target},
                                  {"overlay", "overlays/a.png"}};
  };
  run.explanation["samples"] = nlohmann::ordered_json::array();
  for (const auto& each :
       {label(0.9, true, 1), label(0.1, false, 1), label(0.8, true, 0), label(0.2, false, 0)}) {
    run.explanation["samples"].push_back(
        {{"id", "a.png"}, {"labels", nlohmann::ordered_json::array({each})}});
  }
  run.explanation["attention"] = nullptr;
  run.explanation["localization"] = nullptr;
  run.picture = [](const std::string&) { return std::string(kPicture); };
  const std::string html = samples_section(run).body;
  EXPECT_EQ(count_of(html, "<img"), 3U);  // the true negative is neither
  EXPECT_EQ(html.find("None among"), std::string::npos);
}

TEST(Report, AFileOfAnotherFormIsRefused) {
  RunRecord run = record("r1");
  run.evaluation.erase("macro");
  EXPECT_THROW(run_report(run), core::InputError);
}

TEST(Comparison, ShowsDifferencesAndWarnsOfDifferentRows) {
  RunRecord a = record("a"), b = record("b");
  b.config.replace(b.config.find("bce"), 3, "focal");
  std::string html = comparison_report({a, b});
  EXPECT_NE(html.find("train.loss"), std::string::npos);
  EXPECT_EQ(html.find("train.epochs"), std::string::npos);
  EXPECT_EQ(html.find("not comparable"), std::string::npos);
  b.data["parts"]["test"]["ids_hash"] = "c";
  EXPECT_NE(comparison_report({a, b}).find("not comparable"), std::string::npos);
  b.evaluation = nullptr;
  EXPECT_THROW(comparison_report({a, b}), core::InputError);
}

}  // namespace
}  // namespace medfusion::tools
