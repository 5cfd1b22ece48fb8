// Sections of the report on probabilities: calibration and risk levels.
#include <fmt/format.h>

#include <map>

#include "tools/evaluation/report/chart.h"
#include "tools/evaluation/report/report_fitting.h"
#include "tools/evaluation/report/report_text.h"

namespace medfusion::tools {
namespace {

using Json = nlohmann::ordered_json;

ChartSeries reliability(const Json& calibration, const std::string& name, bool with_band) {
  ChartSeries series{.name = name, .marks = true};
  for (const Json& bin : calibration.at("equal_mass")) {
    series.points.emplace_back(bin.at("mean_probability").get<double>(), bin.at("observed").get<double>());
    if (with_band && bin.value("low", Json()).is_number())
      series.band.emplace_back(bin["low"].get<double>(), bin["high"].get<double>());
  }
  if (series.band.size() != series.points.size()) series.band.clear();
  return series;
}

Chart calibration_chart(const RunRecord& run, const std::string& name, const Json& label) {
  const Json& fit = label.at("calibration");
  std::vector<ChartSeries> series{reliability(fit, "as reported", true)};
  if (label.contains("calibration_raw"))
    series.push_back(reliability(label["calibration_raw"], "before calibration", false));
  series.push_back(reference_line({{0, 0}, {1, 1}}));
  Chart chart = unit_chart(name, "predicted probability", "observed share", std::move(series));
  for (const Json& bin : fit.at("equal_width")) {
    chart.histogram.push_back(
        {bin.at("lower").get<double>(), bin.at("upper").get<double>(), bin.at("count").get<double>()});
  }
  chart.histogram_name = samples_word(run) + " with such a probability, as reported";
  return chart;
}

// The mean over the labels that have it.
std::string mean_of(const Json& labels, const char* key) {
  double sum = 0.0;
  int64_t count = 0;
  for (const auto& [name, label] : labels.items()) {
    const Json value = label.at("calibration").value(key, Json());
    if (value.is_number()) sum += value.get<double>(), ++count;
  }
  return count == 0 ? "-" : fmt::format("{:.3f}", sum / static_cast<double>(count));
}

// Labels whose two cut-offs are one.
std::vector<std::string> without_intermediate(const Json& labels) {
  std::vector<std::string> names;
  for (const auto& [name, label] : labels.items()) {
    const Json& cutoffs = label.at("risk").at("cutoffs");
    if (cutoffs.is_object() && cutoffs.value("low", Json()).is_number() &&
        cutoffs["low"] == cutoffs.value("high", Json()))
      names.push_back(html_escape(name));
  }
  return names;
}

// Labels of which a level has no cut-off, by reason.
std::string missing_levels(const Json& labels) {
  std::map<std::string, std::vector<std::string>> by_reason;
  for (const auto& [name, label] : labels.items()) {
    const Json& cutoffs = label.at("risk").at("cutoffs");
    if (!cutoffs.is_object() || !cutoffs.contains("undefined")) continue;
    for (const auto& [level, reason] : cutoffs["undefined"].items()) {
      const std::string text = level + ": " + reason.get<std::string>();
      by_reason[html_escape(text)].push_back(html_escape(name));
    }
  }
  std::vector<std::string> items;
  for (const auto& [reason, names] : by_reason)
    items.push_back(list_text(names) + ", no cut-off for " + reason);
  return items.empty() ? "" : "<p>Levels that are not there:</p>\n" + list_html(items);
}

}  // namespace

std::string calibration_section(const RunRecord& run) {
  const Json& evaluation = run.evaluation;
  const auto resamples = evaluation.at("resamples").get<int64_t>();
  std::string html =
      "<p>" + fitted_sentence("Method", fitted_parts(run).calibration) +
      " A perfect model has intercept 0 and slope 1. The expected calibration error (ECE) of a finite sample "
      "is never 0: <b>ECE if calibrated</b> is the average ECE that exactly right probabilities would have "
      "on "
      "as many " +
      samples_word(run) +
      ". Resamples hold rows several times and show more error than the sample itself. Where the percentile "
      "interval of the ECE lies above its value, none is shown.</p>\n";
  HtmlTable table({"label", "intercept", "slope", "Brier", "Brier, scaled", "ECE", "ECE if calibrated",
                   "ECE before calibration"});
  const Json& labels = evaluation.at("labels");
  for (const auto& [name, label] : labels.items()) {
    const Json& fit = label.at("calibration");
    const Json raw = label.contains("calibration_raw") ? label["calibration_raw"].at("ece") : Json();
    const auto estimate = [&](const char* key) {
      return fit.at(key).contains("undefined") ? "not estimable" : interval_text(fit.at(key));
    };
    table.row({html_escape(name), estimate("intercept"), estimate("slope"), number_text(fit.at("brier")),
               number_text(fit.at("brier_scaled")), interval_text(label.at("measures").at("ece"), resamples),
               number_text(fit.value("ece_when_calibrated", Json())), number_text(raw)});
  }
  const Json& macro = evaluation.at("macro");
  table.row({"<b>macro</b>", "", "", interval_text(macro.at("brier"), resamples),
             interval_text(macro.at("brier_scaled"), resamples), interval_text(macro.at("ece"), resamples),
             mean_of(labels, "ece_when_calibrated"), ""});
  html += table.html();
  html += partial_note(html) + "<div class=\"figures\">\n";
  for (const auto& [name, label] : labels.items()) {
    if (!label.at("calibration").contains("equal_mass")) continue;
    html += chart_figure(calibration_chart(run, name, label));
  }
  return html +
         "</div>\n<p>Points are bins of equal size; the band joins Wilson's 95% intervals of their observed "
         "shares. The histogram under the axis counts bins of equal width.</p>\n";
}

// Where threshold and cut-offs disagree, and why they may.
std::string disagreements(const Json& labels) {
  std::vector<std::string> items;
  for (const auto& [name, label] : labels.items()) {
    const auto count = [&risk = label.at("risk")](const char* key) { return risk.value(key, int64_t{0}); };
    const int64_t positive = count("positive_at_low"), negative = count("negative_at_high");
    if (positive > 0)
      items.push_back(fmt::format("{}: {} predicted positive at low risk", html_escape(name), positive));
    if (negative > 0)
      items.push_back(fmt::format("{}: {} predicted negative at high risk", html_escape(name), negative));
  }
  if (items.empty()) return "";
  return "<p>The threshold of the prediction and the cut-offs of the levels follow different aims: the "
         "threshold balances both kinds of errors (train.threshold), the cut-offs keep the sensitivity and "
         "the "
         "share of positives above. They disagree on these samples:</p>\n" +
         list_html(items);
}

std::string risk_section(const RunRecord& run) {
  const Json& labels = run.evaluation.at("labels");
  const std::string method = run.evaluation.value("risk_method", "none");
  std::string html = "<p>" + fitted_sentence("Cut-offs", fitted_parts(run).risk);
  if (method == "targets") {
    html += fmt::format(
        " The risk is low below the highest cut-off that leaves at least {} of the positives at or above it "
        "(risk.sensitivity). It is high from the lowest cut-off on at or above which at least {} of the "
        "samples are positive (risk.ppv); this cut-off is not below the first.",
        setting_text(run, "risk.sensitivity"), setting_text(run, "risk.ppv"));
  }
  html +=
      " The observed shares are those of the evaluated rows, with Wilson's 95% intervals. They show whether "
      "the "
      "targets hold there.</p>\n";
  HtmlTable table({"label", "level", "probability from", samples_word(run), "share", "positive",
                   "mean probability", "observed share"});
  for (const auto& [name, label] : labels.items()) {
    const Json& risk = label.at("risk");
    double total = 0.0;
    for (const Json& level : risk.at("levels")) total += level.at("count").get<double>();
    for (const Json& level : risk.at("levels")) {
      const std::string which = level.at("level").get<std::string>();
      std::string from = which == "low" ? "0" : "by fold";
      if (which != "low" && risk.at("cutoffs").is_object()) {
        from = significant_text(risk["cutoffs"].value(which == "high" ? "high" : "low", Json()));
      }
      table.row({html_escape(name), which, from, count_text(level.at("count")),
                 total > 0 ? fmt::format("{:.1f}%", 100 * level["count"].get<double>() / total) : "-",
                 count_text(level.at("positives")), number_text(level.at("mean_probability")),
                 interval_text(level, "observed")});
    }
  }
  html += table.empty() ? "<p>The run has no risk levels.</p>\n" : table.html();
  const auto merged = without_intermediate(labels);
  if (!merged.empty()) {
    html +=
        "<p>" + list_text(merged) +
        ": the intermediate level is empty, because both cut-offs are equal: the share of positives "
        "that <code>high</code> requires is already reached from the cut-off of <code>low</code> on.</p>\n";
  }
  return html + disagreements(labels) + missing_levels(labels);
}

}  // namespace medfusion::tools
