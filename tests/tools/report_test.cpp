#include "tools/evaluation/report/report.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <sstream>

#include "core/error.h"
#include "core/random.h"
#include "tools/evaluation/measures/evaluation.h"
#include "tools/evaluation/report/chart.h"
#include "tools/evaluation/report/report_fitting.h"
#include "tools/evaluation/report/report_text.h"

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
  run.settings = {{"seed", 1},
                  {"train.loss", "bce"},
                  {"train.epochs", 2},
                  {"train.threshold", "youden"},
                  {"train.pos_weight", "sqrt"},
                  {"model.size", "tiny"},
                  {"data.format", "phantom"},
                  {"resample.method", "none"},
                  {"calibration.method", "platt"},
                  {"risk.method", "targets"},
                  {"risk.sensitivity", 0.95},
                  {"risk.ppv", 0.5}};
  run.data = {{"version", "0"}, {"dataset", "d"}, {"data_hash", "00ff"}, {"rows", 60}};
  run.data["parts"]["train"] = {{"rows", 20}, {"patients", 10}, {"ids_hash", "a"}};
  run.data["parts"]["val"] = {{"rows", 12}, {"patients", 6}, {"ids_hash", "v"}};
  run.data["parts"]["test"] = {{"rows", 40}, {"patients", 20}, {"ids_hash", "b"}};
  run.data["shared_patients"]["train and test"] = 0;
  run.data["train_positives"][label] = 7;
  run.data["guard"] = {{"allowed", nlohmann::ordered_json::array()},
                       {"notes", nlohmann::ordered_json::array()},
                       {"warnings", nlohmann::ordered_json::array()}};
  run.preprocessing = {{"table", nullptr}, {"features", nullptr}, {"text", nullptr}, {"weights", "best"}};
  run.preprocessing["thresholds"] = {{{"value", 0.5}}};
  run.preprocessing["calibration"] = {{{"method", "platt"}, {"slope", 1.0}, {"intercept", 0.0}}};
  run.preprocessing["risk"] = {{{"low", 0.25}, {"high", 0.5}}};
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

TEST(Html, TakesTagsAndEntitiesAway) {
  EXPECT_EQ(plain_text("<b>a &amp; b</b> &ge; 0.5, &#39;x&lt;y&#39;"), "a & b \u2265 0.5, 'x<y'");
  EXPECT_EQ(plain_text(html_escape("<a href=\"x\">'&")), "<a href=\"x\">'&");
}

// The class of each heading of a table, in order.
std::vector<std::string> alignment(const HtmlTable& table) {
  std::istringstream html(table.html());
  std::string line;
  while (std::getline(html, line) && !line.starts_with("<thead>")) {
  }
  std::vector<std::string> result;
  for (size_t at = line.find("<th "); at != std::string::npos; at = line.find("<th ", at + 1))
    result.push_back(line.substr(at, line.find('>', at) - at).ends_with("num\"") ? "right" : "left");
  return result;
}

TEST(Html, AlignsNumbersAtTheRightAndWordsAtTheLeft) {
  HtmlTable table({"label", "level", "from", "AUROC", "hash", "p", "value", "of folds", "none"});
  table.row({"1", "low", "0", "0.5 [0.4,&nbsp;0.6]<sup>&dagger;</sup>", "1234a", "&le; 0.002", "tiny",
             "2 of 3", "-"});
  table.row({"2", "high", "by fold", "not estimable: no positive", "5678", "1e-05", "12", "1 of 3", ""});
  EXPECT_EQ(alignment(table), (std::vector<std::string>{"left", "left", "right", "right", "left", "right",
                                                        "left", "right", "left"}));
}

// On a telephone a table that is too wide stands row by row, so that nothing of it is out of sight.
TEST(Html, StacksWhatDoesNotFitATelephone) {
  HtmlTable narrow({"label", "n &ge; 5"});
  narrow.row({"Mass", "12"});
  EXPECT_FALSE(narrow.html().find("stack") != std::string::npos);
  EXPECT_NE(narrow.html().find("data-head=\"n \u2265 5\""), std::string::npos);
  HtmlTable wide({"label", "a", "b", "c", "d"});
  wide.row({"Mass", "0.51 [0.405,&nbsp;0.603]", "0.51 [0.405,&nbsp;0.603]", "0.51 [0.405,&nbsp;0.603]", "1"});
  EXPECT_NE(wide.html().find("class=\" stack\""), std::string::npos);
}

// Headings count on from 1, and each link of the navigation leads to a section with its number and title.
TEST(Html, NumbersHeadingsAndLinksToThem) {
  const std::string html = html_page(
      "t", "", {{"a", "First & one", "<h3>x</h3><h3>y</h3>"}, {"b", "Second", "<p>z</p>\n<h3>w</h3>"}});
  for (const char* part :
       {"<h2>1. First &amp; one</h2>", "<h3>1.1 x</h3><h3>1.2 y</h3>", "<h2>2. Second</h2>", "<h3>2.1 w</h3>",
        "<a href=\"#a\"><span class=\"number\">1.</span>First &amp; one</a>", "<section id=\"a\">",
        "<a href=\"#b\"><span class=\"number\">2.</span>Second</a>", "<section id=\"b\">"})
    EXPECT_NE(html.find(part), std::string::npos) << part;
}

TEST(Chart, BreaksLinesWhereThereIsNoNumber) {
  Chart chart{"t", "x", "y", {}};
  chart.series = {{"s", {{0, 1}, {1, 2}, {1.5, NAN}, {2, 3}, {3, 4}}, "", false, false, {}}};
  const std::string svg = chart_svg(chart);
  EXPECT_EQ(count_of(svg, "nan"), 0U);
  const std::string path = svg.substr(svg.find("<path d=\"") + 9,
                                      svg.find('"', svg.find("<path d=\"") + 9) - svg.find("<path d=\"") - 9);
  EXPECT_EQ(count_of(path, "M"), 2U);  // the line begins again after the gap
  EXPECT_EQ(count_of(path, "L"), 2U);
}

TEST(Chart, AnEmptyOneStillDraws) {
  EXPECT_NE(chart_svg({"t", "x", "y", {}}).find("</svg>"), std::string::npos);
  const std::string figure = interval_figure("t", "x", {{"a", NAN, NAN, NAN}}, 0.5);
  EXPECT_EQ(count_of(figure, "nan"), 0U);
  EXPECT_NE(figure.find("undefined"), std::string::npos);
}

std::vector<std::pair<double, double>> path_points(const std::string& svg) {
  const size_t from = svg.find("<path d=\"") + 9;
  std::string path = svg.substr(from, svg.find('"', from) - from);
  std::replace_if(
      path.begin(), path.end(), [](char c) { return c == 'M' || c == 'L'; }, ' ');
  std::istringstream numbers(path);
  std::vector<std::pair<double, double>> points;
  for (double x = 0, y = 0; numbers >> x >> y;) points.emplace_back(x, y);
  return points;
}

// A line that leaves the range ends at its edge, it does not run along it.
TEST(Chart, CutsOffWhatIsOutOfRange) {
  Chart chart{"t", "x", "y", {}, {0, 4}, {0, 1}};
  chart.series = {{"", {{0, 0.5}, {1, 0.5}, {2, -0.5}, {3, -4}, {4, -9}}, "", false, false, {}}};
  const auto points = path_points(chart_svg(chart));
  ASSERT_EQ(points.size(), 3U);
  chart.series = {{"", {{0, 0.5}, {1.5, 0.0}, {4, 0.0}}, "", false, false, {}}};
  const auto inside = path_points(chart_svg(chart));
  EXPECT_NEAR(points.back().first, inside[1].first, 0.11);  // crosses 0 at 1.5
  EXPECT_NEAR(points.back().second, inside[1].second, 0.11);
  chart.series = {{"", {{0, 2}, {1, -1}}, "", false, false, {}}};  // in at the top, out at the bottom
  EXPECT_EQ(path_points(chart_svg(chart)).size(), 2U);
  chart.series = {{"", {{0, 2}, {1, 3}}, "", false, true, {}}};
  EXPECT_EQ(chart_svg(chart).find("<path"), std::string::npos);
  EXPECT_EQ(chart_svg(chart).find("<circle"), std::string::npos);
}

TEST(Chart, ErrorBarsStandAtTheirPoints) {
  Chart chart{"t", "x", "y", {}, {0, 1}, {0, 1}};
  chart.series = {{"", {{0.5, 0.5}}, "", false, true, {{0.25, 2.0}}}};
  EXPECT_EQ(count_of(chart_svg(chart), "stroke-opacity"), 1U);
}

// On a telephone numbers in a scaled drawing cannot be read: they stand beside it.
TEST(Chart, IntervalsAreTextBesideTheDrawing) {
  const std::string figure = interval_figure("t", "x", {{"<a>", 0.75, 0.5, 0.9}}, 0.5);
  EXPECT_NE(figure.find("<span>0.750 [0.500, 0.900]</span>"), std::string::npos);
  EXPECT_NE(figure.find("<span class=\"name\">&lt;a&gt;</span>"), std::string::npos);
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

// Nothing is fetched: no script of its own, and no address but that of the SVG namespace, which is a name.
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

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

TEST(Report, SaysWhatWasFittedOnHowManyRows) {
  const RunRecord run = record("r1");
  const std::string html = run_report(run);
  EXPECT_TRUE(has(html, "platt, 1 of 1 labels"));
  EXPECT_TRUE(has(html, "12 validation rows of 6 patients"));
  EXPECT_TRUE(has(html, "20 training rows of 10 patients"));
  EXPECT_TRUE(has(fitted_parts(run).checkpoint.how, "best macro AUROC"));
  EXPECT_EQ(warning_box(run), "");
}

// The weights that eval takes are those of the best epoch so far, whatever the last one was.
TEST(Report, SaysThatARunWasInterrupted) {
  RunRecord run = record("r1");
  run.settings["train.epochs"] = 40;
  run.settings["train.select"] = "best";
  run.history.clear();
  for (const double auroc : {0.6, 0.8, 0.7}) {
    run.history.push_back({{"epoch", run.history.size() + 1}});
    run.history.back()["val"]["macro"]["auroc"] = auroc;
  }
  EXPECT_TRUE(has(fitted_parts(run).checkpoint.how, "best macro AUROC (epoch 2)"));
  EXPECT_FALSE(has(warning_box(run), "interrupted"));
  run.preprocessing["weights"] = "";
  EXPECT_TRUE(has(warning_box(run), "interrupted after epoch 3 of 40"));
  EXPECT_TRUE(has(warning_box(run), "best macro AUROC (epoch 2)"));
  EXPECT_TRUE(has(fitted_parts(run).checkpoint.how, "epoch 2"));
}

TEST(Report, SaysThatNothingWasFittedWithoutAValidationPart) {
  RunRecord run = record("r1");
  run.data["parts"]["val"] = {{"rows", 0}, {"patients", 0}};
  const std::string reason = "no validation part to choose it on";
  run.preprocessing["weights"] = "last";
  run.preprocessing["thresholds"] = {{{"value", nullptr}, {"undefined", reason}}};
  run.preprocessing["calibration"] = {{{"method", "none"}, {"reason", reason}}};
  run.preprocessing["risk"] = {{{"low", nullptr}, {"high", nullptr}, {"undefined", {{"low", reason}}}}};
  const FittedParts parts = fitted_parts(run);
  for (const Fitted& fitted : {parts.checkpoint, parts.calibration, parts.thresholds, parts.risk}) {
    EXPECT_EQ(fitted.on, "nothing");
    EXPECT_EQ(fitted.note, "the validation part is empty");
  }
  const std::string html = run_report(run);
  for (const char* untrue : {"fitted to the validation part", "come from the validation part",
                             "chosen on the validation part", "from the validation part"})
    EXPECT_FALSE(has(html, untrue)) << untrue;
}

TEST(Report, SaysWhichLabelsWereNotCalibrated) {
  RunRecord run = record("r1");
  run.preprocessing["calibration"] = {{{"method", "none"}, {"reason", "4 positives"}}};
  EXPECT_TRUE(has(calibration_section(run), "Mass: 4 positives"));
}

TEST(Report, SaysWhichLeaksWereAccepted) {
  RunRecord run = record("r1");
  EXPECT_TRUE(has(data_section(run), "refuses to start where a patient"));
  run.data["guard"]["allowed"] = {"patient"};
  run.data["shared_patients"]["train and test"] = 39;
  run.data["guard"]["warnings"] = {"column 'age' alone tells 'Mass'"};
  std::string html = run_report(run);
  EXPECT_GE(count_of(html, "train and test share 39 patients: accepted by guard.allow"), 2U);
  EXPECT_FALSE(has(html, "refuses to start"));
  EXPECT_FALSE(has(html, "no patient is in two parts"));
  EXPECT_TRUE(has(html, "column &#39;age&#39; alone tells &#39;Mass&#39;"));
  EXPECT_LT(html.find("class=\"warning\""), html.find("<section"));
  run = record("r1");
  run.settings["resample.before_split"] = true;
  run.data["guard"]["allowed"] = {"resampling"};
  html = run_report(run);
  EXPECT_GE(count_of(html, "the figures of the test part are wrong"), 2U);
}

TEST(Report, WarnsOfAnEvaluationOfTheRowsThatWereFitted) {
  RunRecord run = record("r1");
  run.evaluation["split"] = "val";
  EXPECT_TRUE(has(warning_box(run), "validation part"));
}

RunRecord table_run(const std::string& mode) {
  RunRecord run = record("r1");
  run.settings["model.modalities.image"] = false;
  run.settings["features.mode"] = mode;
  run.preprocessing["table"]["columns"] = {{{"name", "age"}, {"mean", 50.0}},
                                           {{"name", "s<x"}, {"categories", {"F", "M"}}}};
  run.features = {{"score", "auroc"}, {"rows", 20}};
  run.features["labels"]["Mass"] = {{"selected", nlohmann::ordered_json::array()},
                                    {"features", nlohmann::ordered_json::array()}};
  return run;
}

TEST(Report, SaysWhatTheModeMadeOfTheFeatures) {
  EXPECT_TRUE(has(features_section(table_run("top_n")), "are what the label sees of the table"));
  EXPECT_TRUE(has(features_section(table_run("all")), "every label sees every feature"));
}

TEST(Report, SaysWhyALabelWithoutInputHasChance) {
  RunRecord run = table_run("top_n");
  EXPECT_FALSE(has(performance_section(run), "AUROC 0.5 because"));
  EXPECT_TRUE(has(performance_section(run), "stage one selected no feature"));
  run.evaluation["labels"]["Mass"]["measures"]["auroc"]["value"] = 0.5;
  EXPECT_TRUE(has(performance_section(run), "Mass: AUROC 0.5 because the network has no input for it"));
  EXPECT_EQ(empty_selection_note(table_run("all")), "");
}

TEST(Report, ShowsExamplesWithoutAnImage) {
  RunRecord run = table_run("all");
  nlohmann::ordered_json label{{"label", "Mass"}, {"probability", 0.9}, {"predicted", true}, {"target", 1}};
  label["contributions"]["table"] = {{"present", true}, {"logit", 1.25}};
  label["features"] = {{{"name", "age"}, {"present", true}, {"logit", -0.5}},
                       {{"name", "gone"}, {"present", false}, {"logit", 0.0}}};
  label["attention"]["share"] = {{"labels", 0.6}, {"table", 0.4}};
  const auto labels = nlohmann::ordered_json::array({label});
  run.explanation["samples"] = nlohmann::ordered_json::array({{{"id", "row-1"}, {"labels", labels}}});
  const std::string html = samples_section(run);
  for (const char* part : {"row-1", "table +1.25", "age -0.50", "table 40%", "None among the explained rows"})
    EXPECT_TRUE(has(html, part)) << part;
  EXPECT_FALSE(has(html, "<img") || has(html, "images") || has(html, "gone"));
}

TEST(Report, SaysWhatErrorRightProbabilitiesWouldShow) {
  RunRecord run = record("r1");
  const auto& fit = run.evaluation["labels"]["Mass"]["calibration"];
  const std::string html = calibration_section(run);
  EXPECT_TRUE(has(html, ">" + number_text(fit["ece_when_calibrated"]) + "</td>"));
  EXPECT_EQ(count_of(html, "stroke-opacity"), fit["equal_mass"].size());  // a bar at every point
}

TEST(Report, ShowsAttentionWithoutTheResidual) {
  RunRecord run = record("r1");
  const auto map = [](const std::string& name, double own, double other) {
    nlohmann::ordered_json json{{"name", name}};
    json["label_label"] = {{own, other}, {other, own}};
    json["share"] = {{{"labels", own}, {"image", other}}, {{"labels", own}, {"image", other}}};
    return json;
  };
  run.explanation["attention"] = {{"samples", 3}, {"labels", {"a", "b"}}};
  run.explanation["attention"]["maps"] = {map("layer 1", 0.02, 0.03), map("layer 2", 0.04, 0.05),
                                          map("rollout", 0.77, 0.01)};
  run.explanation["localization"] = nullptr;
  const std::string html = attention_section(run);
  EXPECT_TRUE(has(html, ">3.00<"));
  EXPECT_TRUE(has(html, "background:rgb(0,90,160);color:#fff\">4.00<"));  // the largest off the diagonal
  EXPECT_FALSE(has(html, ">77.00<"));                                     // the rollout has no matrix
}

TEST(Report, TheChecklistHasEveryItem) {
  RunRecord run = table_run("all");
  const std::string html = checklist_section(run);
  const auto numbered = [&](size_t column, int number) {
    for (size_t at = html.find("<tr><th scope=\"row\">"); at != std::string::npos;
         at = html.find("<tr><th scope=\"row\">", at + 1)) {
      size_t cell = at;
      for (size_t i = 0; i < column; ++i) cell = html.find("<td", cell + 1);
      cell = html.find('>', cell) + 1;
      std::istringstream numbers(html.substr(cell, html.find("</td>", cell) - cell));
      for (std::string each; std::getline(numbers, each, ',');)
        if (!each.empty() && std::stoi(each) == number) return true;
    }
    return false;
  };
  for (int item = 1; item <= 27; ++item) EXPECT_TRUE(numbered(1, item)) << "TRIPOD+AI " << item;
  for (int item = 1; item <= 42; ++item) EXPECT_TRUE(numbered(2, item)) << "CLAIM " << item;
  EXPECT_TRUE(has(html, "2 columns of the table: age, s&lt;x (F and M)"));
  EXPECT_TRUE(has(html, "(train.pos_weight) sqrt"));
  EXPECT_FALSE(has(html, "docs/images.md"));
}

// Threshold and cut-offs follow different aims, and may disagree on a sample.
TEST(Report, ExplainsDecisionsThatDisagreeWithTheRiskLevel) {
  RunRecord run = record("r1");
  EXPECT_FALSE(has(run_report(run), "predicted positive at low risk"));
  EXPECT_EQ(run.evaluation["labels"]["Mass"]["risk"]["positive_at_low"], 0);
  run.evaluation["labels"]["Mass"]["risk"]["positive_at_low"] = 3;
  EXPECT_TRUE(has(run_report(run), "Mass: 3 predicted positive at low risk"));
}

TEST(Report, ExplainsAnEmptyIntermediateLevel) {
  RunRecord run = record("r1");
  EXPECT_TRUE(has(risk_section(run), "at least 0.95 of the positives"));
  EXPECT_FALSE(has(risk_section(run), "the intermediate level is empty"));
  run.evaluation["labels"]["Mass"]["risk"]["cutoffs"] = {{"low", 0.123456}, {"high", 0.123456}};
  EXPECT_TRUE(has(risk_section(run), "Mass: the intermediate level is empty"));
  EXPECT_TRUE(has(risk_section(run), ">0.1235</td>"));
}

TEST(Report, MarksIntervalsOverPartOfTheResamples) {
  const nlohmann::ordered_json few{{"value", 0.5}, {"low", 0.4}, {"high", 0.6}, {"undefined_resamples", 300}};
  EXPECT_TRUE(has(interval_text(few, 1000), "dagger"));
  EXPECT_FALSE(has(interval_text(few, 10000), "dagger"));
  EXPECT_EQ(partial_note(interval_text(few, 10000)), "");
  RunRecord run = record("r1");
  run.evaluation["labels"]["Mass"]["measures"]["auprc"] = few;
  run.evaluation["resamples"] = 1000;
  EXPECT_TRUE(has(performance_section(run), "tenth of the resamples"));
}

TEST(Report, EveryLinkWithinThePageLeadsSomewhere) {
  const std::string html = run_report(record("r1"));
  size_t links = 0;
  for (size_t at = html.find("href=\"#"); at != std::string::npos; at = html.find("href=\"#", at + 1)) {
    const std::string id = html.substr(at + 7, html.find('"', at + 7) - at - 7);
    EXPECT_TRUE(has(html, "id=\"" + id + "\"")) << id;
    ++links;
  }
  EXPECT_GE(links, count_of(html, "<section"));
  EXPECT_EQ(count_of(html, "<h2>1. "), 1U);
}

TEST(Report, NumbersThePagesInPrint) { EXPECT_TRUE(has(run_report(record("r1")), "counter(page)")); }

TEST(Report, OpensWhatIsFoldedForPrint) { EXPECT_TRUE(has(run_report(record("r1")), "onbeforeprint=")); }

TEST(Report, OfACrossValidation) {
  RunRecord run = record("cv");
  run.evaluation["split"] = "out of fold";
  run.cross_validation = {{"folds", 2}, {"seeds", {1}}, {"redrawn", false}};
  run.cross_validation["macro_auroc"] = {{"mean", 0.75},
                                         {"std", 0.125},
                                         {"per_fold", {0.6875, 0.8125}},
                                         {"per_seed", {0.75}},
                                         {"seed_std", nullptr}};
  run.cross_validation["labels"]["Mass"] = {{"auroc", 0.75}, {"defined_in", 2}};
  run.folds = {{"fold0", run.data, run.preprocessing}, {"fold1", run.data, run.preprocessing}};
  run.folds[1].data["parts"]["val"]["rows"] = 14;
  std::string html = cross_validation_report(run);
  for (const char* part : {"0.750 &plusmn; 0.125", "0.812", "2 of 2", "fold1", "the 12 to 14 validation rows",
                           "platt, 2 of 2 labels and folds", "out of fold"})
    EXPECT_TRUE(has(html, part)) << part;
  EXPECT_FALSE(has(html, "Honest protocol"));
  EXPECT_LT(html.find("<b>0.750</b><span>macro AUROC, mean over folds"),
            html.find("macro AUROC, folds pooled"));
  const nlohmann::ordered_json measures{
      {"accuracy", 0.5}, {"f1", 0.5}, {"f1_weighted", 0.5}, {"gmean", nullptr}, {"auroc", 0.9876}};
  for (const char* protocol : {"as_published", "same_network", "honest"}) {
    run.protocols[protocol]["macro"] = measures;
    run.protocols[protocol]["labels"]["Mass"] = measures;
  }
  run.protocols["warning"] = "as_published is wrong on purpose";
  html = cross_validation_report(run);
  EXPECT_TRUE(has(html, "are wrong") && has(html, "98.76%") && has(html, "wrong on purpose"));
  run.cross_validation.erase("macro_auroc");
  EXPECT_THROW(cross_validation_report(run), core::InputError);
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
  const std::string html = samples_section(run);
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
  b.settings["train.loss"] = "focal";
  std::string html = comparison_report({a, b});
  EXPECT_NE(html.find("train.loss"), std::string::npos);
  EXPECT_EQ(html.find("train.epochs"), std::string::npos);
  EXPECT_EQ(html.find("not comparable"), std::string::npos);
  b.data["parts"]["test"]["ids_hash"] = "c";
  EXPECT_NE(comparison_report({a, b}).find("not comparable"), std::string::npos);
  b.evaluation = nullptr;
  EXPECT_THROW(comparison_report({a, b}), core::InputError);
}

PredictionsFile predictions(double step) {
  std::string csv = "id,patient,probability_Mass,target_Mass\n";
  for (int i = 0; i < 40; ++i)
    csv += fmt::format("r{0},p{0},{1:.4f},{2}\n", i, std::fmod(i * step, 1.0), i % 3 == 0 ? 1 : 0);
  return parse_predictions(csv, "predictions.csv");
}

TEST(Comparison, PairsRunsOnTheSameRows) {
  RunRecord a = record("x/fold0"), b = record("y/fold0");
  EXPECT_TRUE(has(comparison_report({a, b}), "predictions.csv is needed"));
  a.predictions = predictions(0.37);
  b.predictions = predictions(0.73);
  std::string html = comparison_report({a, b});
  EXPECT_TRUE(has(html, "x/fold0 minus y/fold0"));
  EXPECT_TRUE(has(html, "DeLong"));
  EXPECT_FALSE(has(html, "not comparable"));
  b.predictions->ids[0] = "another";
  html = comparison_report({a, b});
  EXPECT_TRUE(has(html, "Not a pair"));
  EXPECT_TRUE(has(html, "not comparable"));
}

// The hash of the part that was evaluated counts, and that of other data.
TEST(Comparison, LooksAtTheEvaluatedPart) {
  RunRecord a = record("a"), b = record("b");
  for (RunRecord* run : {&a, &b}) run->evaluation["split"] = "val";
  b.data["parts"]["test"]["ids_hash"] = "c";
  EXPECT_FALSE(has(comparison_report({a, b}), "not comparable"));
  b.data["parts"]["val"]["ids_hash"] = "c";
  EXPECT_TRUE(has(comparison_report({a, b}), "not comparable"));
  for (RunRecord* run : {&a, &b}) run->evaluation["data_hash"] = "other";
  EXPECT_FALSE(has(comparison_report({a, b}), "not comparable"));
}

}  // namespace
}  // namespace medfusion::tools
