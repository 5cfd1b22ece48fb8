#include "tools/evaluation/report/report_study.h"

#include <fmt/format.h>

#include <cmath>

#include "tools/evaluation/report/chart.h"
#include "tools/evaluation/report/critical_difference.h"
#include "tools/evaluation/report/report_text.h"
#include "tools/evaluation/report/study_tables.h"

namespace medfusion::tools {
namespace {

using Json = nlohmann::ordered_json;

// Intervals are not broken into lines.
std::string cell_html(const std::string& text) {
  std::string html = html_escape(text);
  for (size_t at = html.find(", "); text.ends_with(']') && at != std::string::npos; at = html.find(", ", at))
    html.replace(at, 2, ",&nbsp;");
  return html.starts_with("&lt;= ") ? "&le;&nbsp;" + html.substr(6) : html;
}

Html table_html(const TextTable& table, const std::string& name, const std::string& caption) {
  const auto escaped = [](const std::vector<std::string>& row) {
    std::vector<std::string> cells;
    for (const std::string& cell : row) cells.push_back(cell_html(cell));
    return cells;
  };
  HtmlTable html(escaped(table.front()), html_escape(caption));
  for (size_t row = 1; row < table.size(); ++row) html.row(escaped(table[row]));
  return html.html(name);
}

Html intervals_html(const Json& study, const Json& own) {
  const std::string title = "macro " + measure_title(own.at("primary").get<std::string>());
  const std::string reference = study.at("reference").get<std::string>();
  std::vector<IntervalEntry> values, differences;
  for (const auto& [name, model] : own.at("models").items()) {
    values.push_back(interval_entry(name, model.at("measures").at(own.at("primary").get<std::string>())));
    if (model.contains("difference")) differences.push_back(interval_entry(name, model.at("difference")));
  }
  const double line = values.front().value;
  Html html = interval_figure("values", title + ", mean over folds and seeds, 95% intervals over patients",
                              title, values, std::isfinite(line) ? line : 0.0);
  if (!differences.empty())
    html += interval_figure("differences", title + ", difference to " + reference, "difference", differences,
                            0.0);
  return html;
}

Html learning_html(const Json& own) {
  std::vector<ChartSeries> series;
  for (const auto& [name, model] : own.at("models").items()) {
    ChartSeries curve{.name = name};
    for (const Json& point : model.at("history"))
      curve.points.emplace_back(point.at(0).get<double>(), point.at(1).get<double>());
    if (curve.points.empty()) continue;
    curve.marks = curve.points.size() == 1;
    series.push_back(std::move(curve));
  }
  if (series.empty()) return "";
  Chart chart{"Macro AUROC on the validation parts", "epoch", "AUROC", std::move(series)};
  chart.whole = true;
  return "<div class=\"figures\">\n" + chart_figure(chart, "learning-curves") +
         "</div>\n<p>Each point is the mean over the folds and seeds whose network reached that epoch.</p>\n";
}

// What the search chose for each model and fold.
Html search_html(const Json& own) {
  HtmlTable table({"model", "fold", "draw", "settings", "score of the choice", "of the configuration"},
                  "What the search chose");
  for (const auto& [name, model] : own.at("models").items()) {
    if (!model.contains("choice")) continue;
    for (const Json& fold : model.at("choice").at("folds")) {
      std::string settings;
      for (const auto& [key, value] : fold.at("settings").items())
        settings += (settings.empty() ? "" : ", ") + key + " = " + value.get<std::string>();
      const auto draw = fold.at("draw").get<size_t>();
      table.row({html_escape(name), count_text(fold.at("fold")), count_text(fold.at("draw")),
                 wide_cell(html_escape(settings.empty() ? "as configured" : settings)),
                 number_text(fold.at("scores").at(draw)), number_text(fold.at("scores").at(0))});
    }
  }
  return table.empty() ? Html() : table.html("search");
}

Html data_html(const Json& study, const std::string& name, const Json& own) {
  if (own.contains("undefined"))
    return "<p class=\"note\">Nothing is compared: " + html_escape(own.at("undefined").get<std::string>()) +
           ".</p>\n";
  Html html =
      fmt::format("<p>{} rows of {} patients, {} folds, {} seeds.</p>\n", count_text(own.at("samples")),
                  count_text(own.at("patients")), count_text(own.at("folds")), own.at("seeds").size());
  std::vector<std::string> left_out;
  for (const Json& model : own.at("left_out")) left_out.push_back(html_escape(model.get<std::string>()));
  if (!left_out.empty())
    html += "<p class=\"note\">Not finished and left out: " + list_text(left_out) + ".</p>\n";
  html += table_html(study_performance(study, name), "performance", "Performance");
  html += intervals_html(study, own);
  html += table_html(study_costs(study, name), "costs", "Costs, means over all networks");
  html += learning_html(own);
  return html + search_html(own);
}

Html ranking_html(const Json& study) {
  const Json& ranking = study.at("ranking");
  if (ranking.contains("undefined"))
    return "<p class=\"note\">There are no ranks: " +
           html_escape(ranking.at("undefined").get<std::string>()) + ".</p>\n";
  std::vector<std::string> names;
  std::vector<double> ranks;
  for (const auto& [name, rank] : ranking.at("ranks").items()) {
    names.push_back(name);
    ranks.push_back(rank.get<double>());
  }
  const std::string title = "Average ranks by macro " + measure_title(study.at("measure").get<std::string>());
  const std::string svg =
      critical_difference_svg(title, names, ranks, ranking.at("critical_difference").get<double>());
  return Html("<figure style=\"max-width:620px\">" + svg + "</figure>\n",
              {"critical-difference", title, svg, {}}) +
         fmt::format(
             "<p>Friedman's test over {} blocks (each fold of each data set): chi-square {}, p {}. A bar "
             "joins models whose ranks differ by less than Nemenyi's critical difference at 5%. Folds of "
             "one data set share training rows, so the blocks are not independent, and these tests find "
             "too many differences. The intervals above resample patients and use no blocks.</p>\n",
             count_text(ranking.at("blocks")), number_text(ranking.at("friedman").at("statistic"), 2),
             significant_text(ranking.at("friedman").at("p_value"), 2));
}

Html models_html(const Json& study) {
  HtmlTable table({"model", "what it changes"});
  for (const auto& [name, settings] : study.at("models").items()) {
    std::string text;
    for (const auto& [key, value] : settings.items())
      text += (text.empty() ? "" : ", ") + key + " = " + value.get<std::string>();
    table.row({html_escape(name), wide_cell(html_escape(text.empty() ? "nothing" : text))});
  }
  return table.html("models");
}

std::string methods_html(const Json& study) {
  const auto trials = study.at("trials").get<int64_t>();
  std::vector<std::string> items{
      "All models share rows, folds and seeds. Everything that is fitted is fitted inside the training part "
      "of a "
      "fold.",
      "A figure is the macro average of a fold, averaged over folds and then over seeds.",
      fmt::format(
          "Its interval, and that of a difference, comes from {} resamples of the patients, the same for "
          "all models; p is two-sided, from the same resamples. The spread over seeds is averaged, not "
          "part of the interval.",
          count_text(study.at("resamples"))),
      "p, Holm is adjusted for the number of models that are compared with the reference on that data set; "
      "intervals are not.",
      trials == 0
          ? std::string("There was no search: every model has the settings it was given.")
          : fmt::format("For each model and fold, {} draws of the same search were scored on rows held out "
                        "of the training part; the rows of the fold had no part in the choice.",
                        trials),
      "FLOPs are those of one row in one forward pass: twice the multiply-adds of convolutions, linear "
      "layers, matrix products and attention."};
  return list_html(items);
}

}  // namespace

Page study_report(const Json& study) {
  return checked_page("study.json", [&] {
    std::vector<HtmlSection> sections;
    for (const auto& [name, own] : study.at("data").items())
      sections.push_back({"data-" + name, "Results on " + name, data_html(study, name, own)});
    sections.push_back({"ranks", "Ranks", ranking_html(study)});
    sections.push_back({"models", "Models", models_html(study)});
    sections.push_back({"methods", "How the figures are made", methods_html(study)});
    std::string lead =
        "MedFusion " + html_escape(study.value("medfusion", "?")) + ", reference " +
        html_escape(study.at("reference").get<std::string>()) +
        ". This is a research tool and no medical device; do not use it for decisions about patients.";
    std::vector<std::string> unfinished;
    for (const Json& each : study.at("unfinished"))
      unfinished.push_back(html_escape(each.get<std::string>()));
    if (!unfinished.empty()) lead += "<p class=\"note\">Not finished: " + list_text(unfinished) + ".</p>";
    return Page{"MedFusion study: " + study.value("name", "?"), lead, sections};
  });
}

}  // namespace medfusion::tools
