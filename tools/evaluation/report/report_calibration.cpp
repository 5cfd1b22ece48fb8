// Section of the report: calibration.
#include <fmt/format.h>

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

}  // namespace

Html calibration_section(const RunRecord& run) {
  const Json& evaluation = run.evaluation;
  const auto resamples = evaluation.at("resamples").get<int64_t>();
  Html html =
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
  html += table.html("calibration");
  html += partial_note(html.text) + "<div class=\"figures\">\n";
  for (const auto& [name, label] : labels.items()) {
    const Json& fit = label.at("calibration");
    const std::string absent = absent_class(run, name);
    if (!absent.empty() || fit.value("equal_mass", Json::array()).empty()) {
      html += "<p class=\"note\">" + html_escape(name) +
              ": not estimable: " + html_escape(absent.empty() ? "no row is known" : absent) + ".</p>\n";
      continue;
    }
    html += chart_figure(calibration_chart(run, name, label), name);
  }
  return html +
         "</div>\n<p>Points are bins of equal size; the band joins Wilson's 95% intervals of their observed "
         "shares. The histogram under the axis counts bins of equal width.</p>\n";
}

}  // namespace medfusion::tools
