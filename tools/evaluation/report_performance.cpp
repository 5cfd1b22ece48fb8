// Sections of the report that show evaluation.json.
#include <fmt/format.h>

#include <cmath>

#include "tools/evaluation/chart.h"
#include "tools/evaluation/report.h"

namespace medfusion::tools {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kDiagonal = "#9aa4b2";

HtmlSection without_evaluation(HtmlSection section) {
  section.body = missing_note("the evaluation", "medfusion eval RUN");
  return section;
}

std::string whole(const Json& value) {
  return value.is_number() ? fmt::format("{}", value.get<int64_t>()) : "-";
}

// Points [x, y, ...] of a curve of evaluation.json.
ChartSeries curve(const Json& points, const std::string& name, size_t y = 1) {
  ChartSeries series;
  series.name = name;
  for (const Json& point : points) {
    if (point.at(0).is_number() && point.at(y).is_number()) {
      series.points.emplace_back(point[0].get<double>(), point[y].get<double>());
    }
  }
  return series;
}

ChartSeries reference(std::vector<std::pair<double, double>> points, const std::string& name = "") {
  ChartSeries series;
  series.name = name;
  series.points = std::move(points);
  series.color = kDiagonal;
  series.dashed = true;
  return series;
}

std::string figure(const Chart& chart) { return "<figure>" + chart_svg(chart) + "</figure>\n"; }

// One line per label and one for the macro average.
std::string measures_table(const Json& evaluation,
                           const std::vector<std::pair<const char*, const char*>>& columns,
                           const std::string& caption) {
  std::vector<std::string> head{"label", "positives", "negatives"};
  for (const auto& [key, title] : columns) head.emplace_back(title);
  HtmlTable table(head, caption);
  for (const auto& [name, label] : evaluation.at("labels").items()) {
    std::vector<std::string> row{html_escape(name), whole(label.at("positives")),
                                 whole(label.at("negatives"))};
    for (const auto& [key, title] : columns) row.push_back(interval_text(label.at("measures").at(key)));
    table.row(std::move(row));
  }
  std::vector<std::string> row{"<b>macro</b>", "", ""};
  for (const auto& [key, title] : columns) row.push_back(interval_text(evaluation.at("macro").at(key)));
  table.row(std::move(row));
  return table.html();
}

std::string interval_of(const Json& level) {
  return interval_text({{"value", level.value("observed", Json())},
                        {"low", level.value("low", Json())},
                        {"high", level.value("high", Json())}});
}

ChartSeries reliability(const Json& calibration, const std::string& name) {
  ChartSeries series;
  series.name = name;
  series.marks = true;
  for (const Json& bin : calibration.at("equal_mass")) {
    series.points.emplace_back(bin.at("mean_probability").get<double>(), bin.at("observed").get<double>());
  }
  return series;
}

}  // namespace

HtmlSection performance_section(const RunRecord& run) {
  HtmlSection section{"performance", "Performance with intervals", ""};
  if (run.evaluation.is_null()) return without_evaluation(section);
  const Json& evaluation = run.evaluation;
  section.body = fmt::format(
      "<p>Brackets hold {}% intervals from {} resamples of the {} patients (all images of a patient "
      "together). Thresholds, calibration and risk "
      "levels come from the validation part alone.</p>\n",
      std::lround(100 * evaluation.at("confidence").get<double>()), evaluation.at("resamples").get<int64_t>(),
      evaluation.at("patients").get<int64_t>());
  section.body += measures_table(evaluation, {{"auroc", "AUROC"}, {"auprc", "AUPRC"}}, "Ranking");
  section.body += measures_table(
      evaluation,
      {{"sensitivity", "sensitivity"}, {"specificity", "specificity"}, {"ppv", "PPV"}, {"npv", "NPV"}},
      "At the thresholds");
  section.body += measures_table(evaluation,
                                 {{"f1", "F1"},
                                  {"gmean", "G-mean"},
                                  {"accuracy", "accuracy"},
                                  {"balanced_accuracy", "balanced accuracy"}},
                                 "At the thresholds, in one number");
  HtmlTable confusion(
      {"label", "threshold", "true positive", "false positive", "true negative", "false negative"}, "Counts");
  for (const auto& [name, label] : evaluation.at("labels").items()) {
    const Json& counts = label.at("confusion");
    const auto count = [&](const char* key) {
      return counts.is_null() ? std::string("-") : whole(counts.at(key));
    };
    confusion.row({html_escape(name), number_text(label.at("threshold"), 4), count("true_positives"),
                   count("false_positives"), count("true_negatives"), count("false_negatives")});
  }
  section.body += confusion.html();
  for (const auto& [name, label] : evaluation.at("labels").items()) {
    const Json& auroc = label.at("measures").at("auroc");
    if (auroc.contains("undefined")) {
      section.body += "<p>" + html_escape(name) +
                      " has no AUROC: " + html_escape(auroc["undefined"].get<std::string>()) + ".</p>\n";
    }
  }
  return section;
}

HtmlSection curves_section(const RunRecord& run) {
  HtmlSection section{"curves", "ROC, precision-recall and decision curves", ""};
  if (run.evaluation.is_null()) return without_evaluation(section);
  section.body =
      "<p>Net benefit is true positives minus false positives weighed by the odds of the threshold, per "
      "image: the model helps where its line is "
      "above both treating all and treating none (Vickers and Elkin 2006).</p>\n";
  for (const auto& [name, label] : run.evaluation.at("labels").items()) {
    if (!label.contains("roc") || label["roc"].empty()) continue;
    const double positives = label.at("positives").get<double>(),
                 negatives = label.at("negatives").get<double>();
    const double prevalence = positives + negatives > 0 ? positives / (positives + negatives) : 0.0;
    Chart roc{"ROC",         "1 - specificity",
              "sensitivity", {curve(label["roc"], ""), reference({{0, 0}, {1, 1}})},
              {0, 1},        {0, 1},
              true};
    Chart pr{"Precision-recall",
             "recall",
             "precision",
             {curve(label.at("precision_recall"), ""), reference({{0, prevalence}, {1, prevalence}})},
             {0, 1},
             {0, 1},
             true};
    Chart decision{"Net benefit", "threshold probability", "net benefit per image", {}, {0, 1}};
    ChartSeries all = curve(label.at("decision"), "all positive", 2);
    decision.series = {curve(label.at("decision"), "the model"), all,
                       reference({{0, 0}, {1, 0}}, "none positive")};
    double top = prevalence;
    for (const auto& point : decision.series[0].points) top = std::max(top, point.second);
    decision.y_range = {-0.25 * std::max(top, 0.02), 1.1 * std::max(top, 0.02)};
    section.body += "<h3>" + html_escape(name) + ": AUROC " +
                    interval_text(label.at("measures").at("auroc")) + "</h3>\n<div class=\"figures\">\n" +
                    figure(roc) + figure(pr) + figure(decision) + "</div>\n";
  }
  return section;
}

HtmlSection calibration_section(const RunRecord& run) {
  HtmlSection section{"calibration", "Calibration", ""};
  if (run.evaluation.is_null()) return without_evaluation(section);
  const Json& evaluation = run.evaluation;
  section.body =
      "<p>Method: <b>" + html_escape(evaluation.value("calibration_method", "none")) +
      "</b>, fitted to the validation part. A perfect model has intercept 0, slope 1 and ECE 0.</p>\n";
  HtmlTable table({"label", "intercept", "slope", "Brier", "Brier, scaled", "ECE", "ECE before"});
  for (const auto& [name, label] : evaluation.at("labels").items()) {
    const Json& fit = label.at("calibration");
    const Json raw = label.contains("calibration_raw") ? label["calibration_raw"].at("ece") : Json();
    table.row({html_escape(name), interval_text(fit.at("intercept")), interval_text(fit.at("slope")),
               number_text(fit.at("brier")), number_text(fit.at("brier_scaled")), number_text(fit.at("ece")),
               number_text(raw)});
  }
  table.row({"<b>macro</b>", "", "", interval_text(evaluation.at("macro").at("brier")),
             interval_text(evaluation.at("macro").at("brier_scaled")),
             interval_text(evaluation.at("macro").at("ece")), ""});
  section.body += table.html() + "<div class=\"figures\">\n";
  for (const auto& [name, label] : evaluation.at("labels").items()) {
    if (!label.at("calibration").contains("equal_mass")) continue;
    Chart chart{name,
                "predicted probability",
                "observed share",
                {reliability(label["calibration"], "as reported")},
                {0, 1},
                {0, 1},
                true};
    if (label.contains("calibration_raw"))
      chart.series.push_back(reliability(label["calibration_raw"], "before calibration"));
    chart.series.push_back(reference({{0, 0}, {1, 1}}));
    section.body += figure(chart);
  }
  section.body += "</div>\n<p>Points are bins of equal size.</p>\n";
  return section;
}

HtmlSection risk_section(const RunRecord& run) {
  HtmlSection section{"risk", "Risk levels", ""};
  if (run.evaluation.is_null()) return without_evaluation(section);
  section.body = "<p>Cut-offs by <b>" + html_escape(run.evaluation.value("risk_method", "none")) +
                 "</b> from the validation part; the observed shares are of the evaluated part, with "
                 "Wilson's 95% intervals.</p>\n";
  HtmlTable table({"label", "level", "probability from", "images", "share of images", "positive",
                   "mean probability", "observed share"});
  for (const auto& [name, label] : run.evaluation.at("labels").items()) {
    const Json& risk = label.at("risk");
    double total = 0.0;
    for (const Json& level : risk.at("levels")) total += level.at("count").get<double>();
    for (const Json& level : risk.at("levels")) {
      const std::string which = level.at("level").get<std::string>();
      std::string from = "0";
      if (which != "low" && risk.at("cutoffs").is_object()) {
        from = number_text(risk["cutoffs"].value(which == "high" ? "high" : "low", Json()), 4);
      }
      table.row({html_escape(name), which, from, whole(level.at("count")),
                 total > 0 ? fmt::format("{:.1f}%", 100 * level["count"].get<double>() / total) : "-",
                 whole(level.at("positives")), number_text(level.at("mean_probability")),
                 interval_of(level)});
    }
  }
  section.body += table.empty() ? "<p>The run has no risk levels.</p>\n" : table.html();
  return section;
}

HtmlSection subgroup_section(const RunRecord& run) {
  HtmlSection section{"subgroups", "Subgroups", ""};
  if (run.evaluation.is_null()) return without_evaluation(section);
  HtmlTable table({"group", "images", "patients", "macro AUROC", "labels averaged", "macro sensitivity",
                   "macro specificity", "macro ECE"});
  std::string details;
  for (const Json& grouping : run.evaluation.at("subgroups")) {
    const std::string column = html_escape(grouping.at("column").get<std::string>());
    HtmlTable labels({"label", "group", "positives", "negatives", "AUROC", "sensitivity", "specificity"});
    for (const Json& group : grouping.at("groups")) {
      const std::string name = html_escape(group.at("name").get<std::string>());
      const Json& macro = group.at("macro");
      table.row({column + " " + name, whole(group.at("samples")), whole(group.at("patients")),
                 interval_text(macro.at("auroc")), whole(macro.at("auroc").value("labels", Json())),
                 interval_text(macro.at("sensitivity")), interval_text(macro.at("specificity")),
                 interval_text(macro.at("ece"))});
      for (const auto& [label, values] : group.at("labels").items()) {
        labels.row({html_escape(label), name, whole(values.at("positives")), whole(values.at("negatives")),
                    interval_text(values.at("auroc")), interval_text(values.at("sensitivity")),
                    interval_text(values.at("specificity"))});
      }
    }
    details += "<details><summary>Each label by " + column + "</summary>" + labels.html() + "</details>\n";
  }
  section.body = table.empty() ? "<p>The data has no column to group by.</p>\n"
                               : table.html() +
                                     "<p>Groups with few positives have wide intervals or none; a difference "
                                     "within them is no finding.</p>\n" +
                                     details;
  return section;
}

HtmlSection control_section(const RunRecord& run) {
  HtmlSection section{"controls", "Controls", ""};
  if (run.evaluation.is_null()) return without_evaluation(section);
  HtmlTable table({"predictions", "macro AUROC", "what it is"});
  table.row({"the run", interval_text(run.evaluation.at("macro").at("auroc")),
             "<span class=\"wide\">this report</span>"});
  for (const Json& control : run.evaluation.at("controls")) {
    const std::string value =
        control.contains("macro") ? interval_text(control["macro"].at("auroc")) : "undefined";
    std::string what = html_escape(control.value("description", ""));
    if (control.contains("undefined")) what += " " + html_escape(control["undefined"].get<std::string>());
    std::string name = control.at("name").get<std::string>();
    std::replace(name.begin(), name.end(), '_', ' ');
    table.row({html_escape(name), value, "<span class=\"wide\">" + what + "</span>"});
  }
  section.body = table.html() +
                 "<p>A network that is not ahead of the table or the view position alone has not shown that "
                 "it reads the image.</p>\n";
  return section;
}

}  // namespace medfusion::tools
