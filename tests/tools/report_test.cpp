#include "tools/evaluation/report/report.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <sstream>
#include <tuple>

#include "core/error.h"
#include "tests/tools/report_record.h"
#include "tools/evaluation/report/chart.h"
#include "tools/evaluation/report/report_fitting.h"
#include "tools/evaluation/report/report_text.h"

namespace medfusion::tools {
namespace {

// A one-pixel PNG's bytes need not be valid here: the page only carries them.
constexpr const char* kPicture = "\x89PNG";

TEST(Report, HoldsWhatTheRunHolds) {
  const RunRecord run = record("r1");
  const std::string html = run_report(run).html();
  const auto auroc = interval_text(run.evaluation["labels"]["Mass"]["measures"]["auroc"]);
  EXPECT_NE(html.find(auroc), std::string::npos);
  EXPECT_NE(html.find("train and test"), std::string::npos);
  EXPECT_NE(html.find("medfusion explain RUN"), std::string::npos);  // what is missing says how it is made
  EXPECT_GE(count_of(html, "<svg"), 6U);
  EXPECT_EQ(missing_parts(run).size(), 2U);
}

// Nothing is fetched: no script of its own, and no address but that of the SVG namespace, which is a name.
TEST(Report, StandsAlone) {
  std::string html = run_report(record("r1")).html();
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
  const std::string html = run_report(run).html();
  EXPECT_EQ(html.find("<script>"), std::string::npos);
  EXPECT_EQ(html.find("<b>&\""), std::string::npos);
  EXPECT_NE(html.find("&lt;b&gt;&amp;&quot;"), std::string::npos);
}

TEST(Report, SaysWhatWasFittedOnHowManyRows) {
  const RunRecord run = record("r1");
  const std::string html = run_report(run).html();
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
  const std::string reason = "no validation part";
  run.preprocessing["weights"] = "last";
  run.preprocessing["thresholds"] = {{{"value", nullptr}, {"undefined", reason}}};
  run.preprocessing["calibration"] = {{{"method", "none"}, {"reason", reason}}};
  run.preprocessing["risk"] = {{{"low", nullptr}, {"high", nullptr}, {"undefined", {{"low", reason}}}}};
  const FittedParts parts = fitted_parts(run);
  for (const Fitted& fitted : {parts.checkpoint, parts.calibration, parts.thresholds, parts.risk}) {
    EXPECT_EQ(fitted.on, "nothing");
    EXPECT_EQ(fitted.note, "the validation part is empty");
  }
  const std::string html = run_report(run).html();
  for (const char* untrue : {"fitted to the validation part", "come from the validation part",
                             "chosen on the validation part", "from the validation part"})
    EXPECT_FALSE(has(html, untrue)) << untrue;
}

TEST(Report, SaysWhichLabelsWereNotCalibrated) {
  RunRecord run = record("r1");
  run.preprocessing["calibration"] = {{{"method", "none"}, {"reason", "4 positives"}}};
  EXPECT_TRUE(has(calibration_section(run).text, "Mass: 4 positives"));
}

TEST(Report, SaysWhichLeaksWereAccepted) {
  RunRecord run = record("r1");
  EXPECT_TRUE(has(data_section(run).text, "refuses to start where a patient"));
  run.data["guard"]["allowed"] = {"patient"};
  run.data["shared_patients"]["train and test"] = 39;
  run.data["guard"]["warnings"] = {"column 'age' alone tells 'Mass'"};
  std::string html = run_report(run).html();
  EXPECT_GE(count_of(html, "train and test share 39 patients: accepted by guard.allow"), 2U);
  EXPECT_FALSE(has(html, "refuses to start"));
  EXPECT_FALSE(has(html, "no patient is in two parts"));
  EXPECT_TRUE(has(html, "column &#39;age&#39; alone tells &#39;Mass&#39;"));
  EXPECT_LT(html.find("class=\"warning\""), html.find("<section"));
  run = record("r1");
  run.settings["resample.before_split"] = true;
  run.data["guard"]["allowed"] = {"resampling"};
  html = run_report(run).html();
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
  EXPECT_TRUE(has(features_section(table_run("top_n")).text, "are what the label sees of the table"));
  EXPECT_TRUE(has(features_section(table_run("all")).text, "every label sees every feature"));
}

TEST(Report, SaysWhyALabelWithoutInputHasChance) {
  RunRecord run = table_run("top_n");
  EXPECT_FALSE(has(performance_section(run).text, "AUROC 0.5 because"));
  EXPECT_TRUE(has(performance_section(run).text, "stage one selected no feature"));
  run.evaluation["labels"]["Mass"]["measures"]["auroc"]["value"] = 0.5;
  EXPECT_TRUE(has(performance_section(run).text, "Mass: AUROC 0.5 because the network has no input for it"));
  EXPECT_EQ(empty_selection_note(table_run("all")), "");
}

TEST(Report, ShowsExamplesWithoutAnImage) {
  RunRecord run = table_run("all");
  nlohmann::ordered_json label{{"label", "Mass"}, {"probability", 0.9}, {"predicted", true}, {"target", 1}};
  label["contributions"]["table"] = {{"present", true}, {"probability", 0.25}, {"logit", 1.25}};
  label["features"] = {{{"name", "age"}, {"present", true}, {"probability", -0.125}, {"logit", -0.5}},
                       {{"name", "gone"}, {"present", false}, {"probability", 0.5}, {"logit", 0.0}}};
  label["attention"]["share"] = {{"labels", 0.5}, {"P4", 0.1}, {"P5", 0.1}, {"table", 0.3}};
  const auto labels = nlohmann::ordered_json::array({label});
  run.explanation["samples"] = nlohmann::ordered_json::array({{{"id", "row-1"}, {"labels", labels}}});
  const std::string html = samples_section(run).text;
  for (const char* part : {"row-1", "changed by: table +0.25", "of the table: age -0.12",
                           "image 20%, table 30% and the labels 50%", "None among the explained rows"})
    EXPECT_TRUE(has(html, part)) << part;
  EXPECT_FALSE(has(html, "<img") || has(html, "images") || has(html, "gone") || has(html, "logit"));
}

TEST(Report, SaysWhatErrorRightProbabilitiesWouldShow) {
  RunRecord run = record("r1");
  const auto& fit = run.evaluation["labels"]["Mass"]["calibration"];
  const std::string html = calibration_section(run).text;
  EXPECT_TRUE(has(html, ">" + number_text(fit["ece_when_calibrated"]) + "</td>"));
  ASSERT_EQ(count_of(html, "<polygon"), 1U);
  EXPECT_EQ(polygon_points(html).size(), 2 * fit["equal_mass"].size());
  EXPECT_EQ(count_of(html, "<rect"), fit["equal_width"].size() + 1);  // and the sign of the legend
}

// Where the decisions of the run lie, and where its risk levels begin.
TEST(Report, ShowsOperatingPointsOnTheCurves) {
  RunRecord run = record("r1");
  auto& label = run.evaluation["labels"]["Mass"];
  label["risk"]["cutoffs"] = {{"low", 0.5}, {"high", 0.5}};
  const std::string html = curves_section(run).text;
  const double sensitivity = label["measures"]["sensitivity"]["value"];
  const double specificity = label["measures"]["specificity"]["value"];
  const double width = 420 - 60 - 12, left = 60, top = 30;
  const std::string on_roc = fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\"",
                                         left + (1 - specificity) * width, top + (1 - sensitivity) * width);
  EXPECT_TRUE(has(html, on_roc)) << on_roc;
  EXPECT_EQ(count_of(html, ">decision from 0.5 on<"), 2U);
  EXPECT_EQ(count_of(html, ">high risk from 0.5 on<"), 2U);
  label["confusion"] = nullptr;
  EXPECT_EQ(count_of(curves_section(run).text, ">decision from 0.5 on<"), 0U);
}

TEST(Report, TheDecisionCurveHasAnIntervalAndSaysItsRange) {
  const RunRecord run = record("r1");
  const std::string html = curves_section(run).text;
  EXPECT_EQ(count_of(html, "<polygon"), 1U);
  // The largest probability is 64/70.
  EXPECT_TRUE(has(html, "threshold probability, 0.01 to 0.91"));
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
  const std::string html = attention_section(run).text;
  EXPECT_TRUE(has(html, ">3.00<"));
  EXPECT_TRUE(has(html, "background:rgb(0,90,160);color:#fff\">4.00<"));  // the largest off the diagonal
  EXPECT_FALSE(has(html, ">77.00<"));                                     // the rollout has no matrix
}

TEST(Report, TheChecklistHasEveryItem) {
  RunRecord run = table_run("all");
  const std::string html = checklist_section(run).text;
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
  EXPECT_FALSE(has(run_report(run).html(), "predicted positive at low risk"));
  EXPECT_EQ(run.evaluation["labels"]["Mass"]["risk"]["positive_at_low"], 0);
  run.evaluation["labels"]["Mass"]["risk"]["positive_at_low"] = 3;
  EXPECT_TRUE(has(run_report(run).html(), "Mass: 3 predicted positive at low risk"));
}

TEST(Report, ExplainsAnEmptyIntermediateLevel) {
  RunRecord run = record("r1");
  EXPECT_TRUE(has(risk_section(run).text, "at least 0.95 of the positives"));
  EXPECT_FALSE(has(risk_section(run).text, "the intermediate level is empty"));
  run.evaluation["labels"]["Mass"]["risk"]["cutoffs"] = {{"low", 0.123456}, {"high", 0.123456}};
  EXPECT_TRUE(has(risk_section(run).text, "Mass: the intermediate level is empty"));
  EXPECT_TRUE(has(risk_section(run).text, ">0.1235</td>"));
}

TEST(Report, MarksIntervalsOverPartOfTheResamples) {
  const nlohmann::ordered_json few{{"value", 0.5}, {"low", 0.4}, {"high", 0.6}, {"undefined_resamples", 300}};
  EXPECT_TRUE(has(interval_text(few, 1000), "dagger"));
  EXPECT_FALSE(has(interval_text(few, 10000), "dagger"));
  EXPECT_EQ(partial_note(interval_text(few, 10000)), "");
  RunRecord run = record("r1");
  run.evaluation["labels"]["Mass"]["measures"]["auprc"] = few;
  run.evaluation["resamples"] = 1000;
  EXPECT_TRUE(has(performance_section(run).text, "tenth of the resamples"));
}

TEST(Report, EveryLinkWithinThePageLeadsSomewhere) {
  const std::string html = run_report(record("r1")).html();
  size_t links = 0;
  for (size_t at = html.find("href=\"#"); at != std::string::npos; at = html.find("href=\"#", at + 1)) {
    const std::string id = html.substr(at + 7, html.find('"', at + 7) - at - 7);
    EXPECT_TRUE(has(html, "id=\"" + id + "\"")) << id;
    ++links;
  }
  EXPECT_GE(links, count_of(html, "<section"));
  EXPECT_EQ(count_of(html, "<h2>1. "), 1U);
}

TEST(Report, NumbersThePagesInPrint) { EXPECT_TRUE(has(run_report(record("r1")).html(), "counter(page)")); }

TEST(Report, OpensWhatIsFoldedForPrint) {
  EXPECT_TRUE(has(run_report(record("r1")).html(), "onbeforeprint="));
}

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
  std::string html = cross_validation_report(run).html();
  for (const char* part : {"0.750 &plusmn; 0.125", "0.812", "2 of 2", "fold1", "the 12 to 14 validation rows",
                           "platt, 2 of 2 labels and folds", "out of fold"})
    EXPECT_TRUE(has(html, part)) << part;
  EXPECT_FALSE(has(html, "Honest protocol"));
  EXPECT_TRUE(has(html, "AUROC per label, folds pooled, 95% intervals"));
  EXPECT_LT(html.find("<b>0.750</b><span>macro AUROC, mean over folds"),
            html.find("macro AUROC, folds pooled"));
  const nlohmann::ordered_json measures{
      {"accuracy", 0.5}, {"f1", 0.5}, {"f1_weighted", 0.5}, {"gmean", nullptr}, {"auroc", 0.9876}};
  for (const char* protocol : {"as_published", "same_network", "honest"}) {
    run.protocols[protocol]["macro"] = measures;
    run.protocols[protocol]["labels"]["Mass"] = measures;
  }
  run.protocols["warning"] = "as_published is wrong on purpose";
  html = cross_validation_report(run).html();
  EXPECT_TRUE(has(html, "are wrong") && has(html, "98.76%") && has(html, "wrong on purpose"));
  run.cross_validation.erase("macro_auroc");
  EXPECT_THROW(cross_validation_report(run).html(), core::InputError);
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
  const std::string html = samples_section(run).text;
  EXPECT_EQ(count_of(html, "<img"), 3U);  // the true negative is neither
  EXPECT_EQ(html.find("None among"), std::string::npos);
}

TEST(Report, AFileOfAnotherFormIsRefused) {
  RunRecord run = record("r1");
  run.evaluation.erase("macro");
  EXPECT_THROW(run_report(run).html(), core::InputError);
}

// The first of each label before the second of any.
TEST(Report, TakesExamplesFromAllLabels) {
  RunRecord run = record("r1");
  run.explanation["samples"] = nlohmann::ordered_json::array();
  const auto add = [&](const std::string& id, const std::string& name, double probability) {
    nlohmann::ordered_json label{
        {"label", name}, {"probability", probability}, {"predicted", true}, {"target", 1}};
    label["contributions"] = nlohmann::ordered_json::object();
    run.explanation["samples"].push_back({{"id", id}, {"labels", nlohmann::ordered_json::array({label})}});
  };
  for (int i = 0; i < 6; ++i) add("mass" + std::to_string(i), "Mass", 0.99 - 0.01 * i);
  add("nodule", "Nodule", 0.7);
  add("effusion", "Effusion", 0.6);
  const std::string html = samples_section(run).text;
  for (const char* part : {"mass0", "nodule", "effusion", "mass1"}) EXPECT_TRUE(has(html, part)) << part;
  EXPECT_FALSE(has(html, "mass2"));
}

std::string cell_of(const Page& page, const std::string& file, const std::string& row, size_t column) {
  for (const PageFile& each : page.files()) {
    if (each.name != file) continue;
    for (const auto& cells : each.cells) {
      if (cells.front() == row) return cells.at(column);
    }
  }
  return "none";
}

TEST(Report, ShowsTheTargetsOfRiskLevelsBesideWhatWasReached) {
  RunRecord run = record("r1");
  run.preprocessing["risk"] = {{{"low", 0.25},
                                {"high", 0.5},
                                {"reached", {{"sensitivity", 0.9375}, {"npv", 0.875}, {"ppv", nullptr}}}}};
  auto& risk = run.evaluation["labels"]["Mass"]["risk"];
  risk["cutoffs"] = {{"low", 0.25}, {"high", 0.5}};
  risk["levels"] = nlohmann::ordered_json::array();
  for (const auto& [level, count, positives] :
       {std::tuple{"low", 10, 1}, {"intermediate", 10, 3}, {"high", 20, 16}}) {
    risk["levels"].push_back({{"level", level},
                              {"count", count},
                              {"positives", positives},
                              {"mean_probability", 0.5},
                              {"observed", 0.5},
                              {"low", 0.4},
                              {"high", 0.6}});
  }
  const Page page = run_report(run);
  EXPECT_EQ(cell_of(page, "risk-targets", "Mass", 1), "0.938");
  EXPECT_TRUE(cell_of(page, "risk-targets", "Mass", 2).starts_with("0.950 ["));  // 19 of 20
  EXPECT_EQ(cell_of(page, "risk-targets", "Mass", 3), "-");
  EXPECT_TRUE(cell_of(page, "risk-targets", "Mass", 4).starts_with("0.800 ["));
  EXPECT_EQ(cell_of(page, "risk-targets", "Mass", 5), "0.875");
  EXPECT_TRUE(cell_of(page, "risk-targets", "Mass", 6).starts_with("0.900 ["));
  EXPECT_TRUE(has(page.html(), "wanted at least 0.95"));
  EXPECT_TRUE(has(page.html(), "Every target was reached"));
  run.settings["risk.ppv"] = 0.9;
  EXPECT_TRUE(has(run_report(run).html(), "<li>Mass: PPV</li>"));
}

TEST(Report, TableOneDescribesTheParts) {
  RunRecord run = record("r1");
  EXPECT_TRUE(has(run_report(run).html(), "positive in training"));  // of a run without schema.json
  run.schema["columns"] = {{{"name", "age"}, {"role", "input"}},
                           {{"name", "sex"}, {"role", "input"}},
                           {{"name", "id"}, {"role", "id"}},
                           {{"name", "Mass"}, {"role", "label"}}};
  const auto part = [](int rows, int men, int missing, int known, int positive) {
    nlohmann::ordered_json json{{"rows", rows}, {"patients", rows / 2}};
    json["labels"]["Mass"] = {{"known", known}, {"positive", positive}};
    json["inputs"]["age"] = {{"missing", 0}, {"mean", 49.375}, {"deviation", 14.6611}};
    json["inputs"]["sex"] = {{"missing", missing}, {"categories", {{"F", rows - men - missing}, {"M", men}}}};
    return json;
  };
  run.schema["parts"]["train"] = part(20, 5, 10, 20, 7);
  run.schema["parts"]["val"] = part(12, 6, 0, 10, 0);
  run.schema["parts"]["test"] = part(40, 10, 0, 40, 14);
  const Page page = run_report(run);
  const auto cell = [&](const std::string& row, size_t column) {
    return cell_of(page, "data-table-1", row, column);
  };
  EXPECT_EQ(cell("images", 1), "20");
  EXPECT_EQ(cell("patients", 3), "20");
  EXPECT_EQ(cell("age, mean (SD)", 1), "49.38 (14.7)");
  EXPECT_EQ(cell("age, missing", 1), "none");  // nowhere missing: no such line
  EXPECT_EQ(cell("sex: M", 1), "5 (50.0%)");   // of the known
  EXPECT_EQ(cell("sex, missing", 1), "10 (50.0%)");
  EXPECT_EQ(cell("Mass, positive", 1), "7 (35.0%)");
  EXPECT_EQ(cell("Mass, positive", 2), "0 (0.0%)");
  EXPECT_EQ(cell("Mass, unknown", 2), "2 (16.7%)");
  EXPECT_FALSE(has(page.html(), "positive in training"));
}

// Where a label's curves would stand, and beside its figures.
TEST(Report, SaysThatALabelWithoutAClassIsNotEstimable) {
  RunRecord run = record("r1");
  EXPECT_FALSE(has(run_report(run).html(), "not estimable:"));
  run.data["train_positives"]["Mass"] = 0;
  std::string html = run_report(run).html();
  EXPECT_EQ(count_of(html, "not estimable: no row is positive in the training part"), 3U);
  auto& label = run.evaluation["labels"]["Mass"];
  label["positives"] = 0;
  label["roc"] = label["precision_recall"] = nlohmann::ordered_json::array();
  label["measures"]["auroc"] = {
      {"value", nullptr}, {"low", nullptr}, {"high", nullptr}, {"undefined", "why"}};
  const Page page = run_report(run);
  EXPECT_TRUE(has(page.html(), "no row is positive in the training part, and no evaluated row is positive"));
  EXPECT_EQ(cell_of(page, "performance-ranking", "Mass", 3), "not estimable");
  for (const PageFile& file : page.files()) EXPECT_FALSE(file.name.starts_with("curves-")) << file.name;
}

// The names of a figure's or a table's file are those of every report.
TEST(Report, NamesItsFiguresAndTablesAfterTheirSections) {
  const Page page = run_report(record("r1"));
  std::vector<std::string> names;
  for (const PageFile& file : page.files()) names.push_back(file.name);
  for (const char* name :
       {"summary-auroc", "data-parts", "data-fitted", "settings-settings", "training-loss",
        "performance-ranking", "performance-thresholds", "performance-summary", "performance-counts",
        "curves-mass-roc", "curves-mass-precision-recall", "curves-mass-decision", "calibration-calibration",
        "calibration-mass", "risk-levels", "controls-controls", "checklist-items"}) {
    EXPECT_EQ(std::count(names.begin(), names.end(), name), 1) << name;
  }
  const std::string html = page.html();
  size_t figures = 0;
  for (const PageFile& file : page.files()) figures += file.svg.empty() ? 0 : 1;
  EXPECT_EQ(figures, count_of(html, "<figure"));
  EXPECT_EQ(page.files().size() - figures, count_of(html, "<table"));
}

}  // namespace
}  // namespace medfusion::tools
