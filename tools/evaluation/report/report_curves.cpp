// Section of the report: ROC, precision-recall and decision curves.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "tools/evaluation/report/chart.h"
#include "tools/evaluation/report/report_text.h"

namespace medfusion::tools {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kDecisionColor = "#d55e00";
constexpr const char* kHighRiskColor = "#cc79a7";
constexpr const char* kLowRiskColor = "#009e73";

// Some of the rows taken as positive: where that lies on the curves.
struct OperatingPoint {
  std::string name, color;
  double true_positives, false_positives;
  double radius = 6;
};

// Of the risk levels where they were counted, and of the decisions, which are drawn last.
std::vector<OperatingPoint> operating_points(const Json& label) {
  std::vector<OperatingPoint> points;
  const auto from = [](const Json& cut) {
    return cut.is_number() ? " from " + significant_text(cut, 3) + " on" : std::string(", cut by fold");
  };
  const Json& cutoffs = label.at("risk").at("cutoffs");
  double positives = 0, count = 0;
  const Json& levels = label["risk"].at("levels");
  for (size_t i = levels.size(); i-- > 1;) {  // from the highest down: at or above the lower end of the level
    positives += levels[i].at("positives").get<double>();
    count += levels[i].at("count").get<double>();
    const bool high = levels[i].at("level") == "high";
    const Json cut = cutoffs.is_object() ? cutoffs.value(high ? "high" : "low", Json()) : Json();
    if (cutoffs.is_object() && !cut.is_number()) continue;  // there is no such level
    points.push_back({(high ? "high risk" : "not low risk") + from(cut),
                      high ? kHighRiskColor : kLowRiskColor, positives, count - positives});
  }
  if (label.at("confusion").is_object()) {
    const Json& counts = label["confusion"];
    points.push_back({"decision" + from(label.at("threshold")), kDecisionColor,
                      counts.at("true_positives").get<double>(), counts.at("false_positives").get<double>(),
                      3.5});
  }
  return points;
}

Chart roc_chart(const std::string& name, const Json& label) {
  std::vector<ChartSeries> series{curve_series(label.at("roc"), ""), reference_line({{0, 0}, {1, 1}})};
  for (const OperatingPoint& point : operating_points(label)) {
    series.push_back(single_point({point.false_positives / label.at("negatives").get<double>(),
                                   point.true_positives / label.at("positives").get<double>()},
                                  point.name, point.color, point.radius));
  }
  return unit_chart("ROC, " + name, "1 - specificity", "sensitivity", std::move(series));
}

Chart precision_recall_chart(const std::string& name, const Json& label, double prevalence) {
  std::vector<ChartSeries> series{curve_series(label.at("precision_recall"), ""),
                                  reference_line({{0, prevalence}, {1, prevalence}})};
  for (const OperatingPoint& point : operating_points(label)) {
    series.push_back(single_point({point.true_positives / label.at("positives").get<double>(),
                                   point.true_positives / (point.true_positives + point.false_positives)},
                                  point.name, point.color, point.radius));
  }
  return unit_chart("Precision-recall, " + name, "recall", "precision", std::move(series));
}

// The last threshold up to which the model calls any row positive.
double last_threshold(const Json& decision) {
  double last = decision.at(0).at(0).get<double>();
  for (const Json& point : decision) {
    if (point.at(1).get<double>() != 0.0) last = std::max(last, point.at(0).get<double>());
  }
  return last;
}

Chart decision_chart(const std::string& name, const Json& label, double prevalence) {
  const Json& decision = label.at("decision");
  const double last = last_threshold(decision);
  Chart chart{
      "Net benefit, " + name,
      fmt::format("threshold probability, {:.2f} to {:.2f}", decision.at(0).at(0).get<double>(), last),
      "net benefit per row",
      {},
      {0, std::max(last, 0.05)}};
  Json shown = Json::array();
  for (const Json& point : decision) {
    if (point.at(0).get<double>() <= last) shown.push_back(point);
  }
  ChartSeries model = curve_series(shown, "the model, with its interval");
  double top = prevalence, bottom = 0.0;
  for (const Json& point : shown) {
    const bool known = point.size() > 5 && point[4].is_number() && point[5].is_number();
    model.band.emplace_back(known ? point[4].get<double>() : std::nan(""),
                            known ? point[5].get<double>() : std::nan(""));
    top = std::max({top, point[1].get<double>(), known ? point[5].get<double>() : 0.0});
    bottom = std::min({bottom, point[1].get<double>(), known ? point[4].get<double>() : 0.0});
  }
  if (decision.at(0).size() < 6) model.name = "the model";
  chart.series = {std::move(model), curve_series(shown, "all positive", 2),
                  reference_line({{0, 0}, {chart.x_range.second, 0}}, "none positive")};
  top = std::max(top, 0.02);
  chart.y_range = {std::clamp(1.05 * bottom, -top, -0.25 * top), 1.1 * top};
  return chart;
}

}  // namespace

Html curves_section(const RunRecord& run) {
  Html html =
      "<p>Dots are where the run decides: from the threshold of its decisions on, and from the cut-offs of "
      "its risk levels "
      "on. Net benefit is true positives minus false positives weighed by the odds of the threshold, per "
      "row: the model "
      "helps where its line is above both treating all and treating none (Vickers and Elkin 2006). The curve "
      "ends at the "
      "last threshold that any predicted probability reaches; from there on the model calls nothing "
      "positive. Its band is "
      "the interval of each threshold over patients.</p>\n";
  for (const auto& [name, label] : run.evaluation.at("labels").items()) {
    const double positives = label.at("positives").get<double>(),
                 negatives = label.at("negatives").get<double>();
    const std::string absent = absent_class(run, name);
    if (!label.contains("roc") || label["roc"].empty()) {
      html += "<h3>" + html_escape(name) + "</h3>\n<p class=\"note\">not estimable: " +
              html_escape(absent.empty() ? "a probability is not a number" : absent) + ".</p>\n";
      continue;
    }
    const double prevalence = positives / (positives + negatives);
    html += "<h3>" + html_escape(name) + ": AUROC " + interval_text(label.at("measures").at("auroc")) +
            "</h3>\n" +
            (absent.empty() ? "" : "<p class=\"note\">not estimable: " + html_escape(absent) + ".</p>\n") +
            "<div class=\"figures\">\n" + chart_figure(roc_chart(name, label), name + " roc") +
            chart_figure(precision_recall_chart(name, label, prevalence), name + " precision-recall") +
            chart_figure(decision_chart(name, label, prevalence), name + " decision") + "</div>\n";
  }
  return html;
}

}  // namespace medfusion::tools
