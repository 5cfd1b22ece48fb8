// The report on several runs beside each other.
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "core/error.h"
#include "tools/evaluation/measures/compare.h"
#include "tools/evaluation/report/chart.h"
#include "tools/evaluation/report/report_fitting.h"
#include "tools/evaluation/report/report_text.h"

namespace medfusion::tools {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::array<std::pair<const char*, const char*>, 6> kShown{{{"auroc", "AUROC"},
                                                                     {"auprc", "AUPRC"},
                                                                     {"sensitivity", "sensitivity"},
                                                                     {"specificity", "specificity"},
                                                                     {"brier", "Brier"},
                                                                     {"ece", "ECE"}}};

// What tells apart which rows a run was evaluated on: their names where its predictions are there, else the
// hashes of the data and of the evaluated part.
std::string evaluated_rows(const RunRecord& run, bool by_name) {
  if (by_name) {
    std::vector<std::string> ids = run.predictions->ids;
    std::sort(ids.begin(), ids.end());
    std::string names;
    for (const std::string& id : ids) names += id + "\n";
    return names;
  }
  const std::string split = run.evaluation.at("split").get<std::string>();
  const Json hash = value_at(run.evaluation, "/data_hash");
  // Of other data (medfusion eval --data) the run knows no hash of the part.
  const bool own = run.data.is_object() && (hash.is_null() || hash == value_at(run.data, "/data_hash"));
  const Json part = value_at(run.data, "/parts/" + split + "/ids_hash");
  return hash.dump() + (!own || !run.folds.empty() ? split : part.is_string() ? part.get<std::string>() : "");
}

bool same_rows(const std::vector<RunRecord>& runs) {
  const bool by_name =
      std::all_of(runs.begin(), runs.end(), [](const RunRecord& run) { return run.predictions.has_value(); });
  return std::all_of(runs.begin(), runs.end(), [&](const RunRecord& run) {
    return evaluated_rows(run, by_name) == evaluated_rows(runs.front(), by_name);
  });
}

Html macro_html(const std::vector<RunRecord>& runs) {
  std::vector<std::string> head{"run", "part", "rows"};
  for (const auto& [key, title] : kShown) head.emplace_back(title);
  HtmlTable table(head);
  std::vector<IntervalEntry> entries;
  for (const RunRecord& run : runs) {
    const Json& macro = run.evaluation.at("macro");
    std::vector<std::string> row{html_escape(run.name), part_name(run.evaluation),
                                 count_text(run.evaluation.at("samples"))};
    for (const auto& [key, title] : kShown)
      row.push_back(interval_text(macro.at(key), run.evaluation.at("resamples").get<int64_t>()));
    table.row(std::move(row));
    entries.push_back(interval_entry(run.name, macro.at("auroc")));
  }
  const Html shown = table.html("measures");
  Html html = shown + partial_note(shown.text) +
              interval_figure("auroc", "Macro AUROC, 95% intervals over patients", "AUROC", entries, 0.5) +
              "<p>Intervals of single runs say little about differences on the same rows.</p>\n";
  if (!same_rows(runs)) {
    html +=
        "<p class=\"note\">The runs were evaluated on different rows: the numbers are not comparable.</p>\n";
  }
  for (const RunRecord& run : runs) {
    const auto leaks = accepted_leaks(run);
    if (!leaks.empty())
      html += "<p class=\"note\">" + html_escape(run.name) + ": " + list_text(leaks) + ".</p>\n";
  }
  return html;
}

// A p-value of a test, "p_value" or "p_holm"; at most that where no draw lies on the other side of 0.
std::string p_text(const Json& test, const char* key, int64_t resamples = 0) {
  if (!test.is_object()) return "-";
  const Json raw = test.value("p_value", Json());
  const bool least = raw.is_number() && is_least_p_value(raw.get<double>(), resamples);
  return (least && test.contains(key) ? "&le; " : "") + significant_text(test.value(key, Json()), 2);
}

Html pair_html(const RunRecord& first, const RunRecord& second, const EvaluationOptions& options) {
  const Json json =
      compare_predictions(*first.predictions, *second.predictions, first.name, second.name, options);
  HtmlTable table({"AUROC", html_escape(first.name), html_escape(second.name), "difference", "p", "p, Holm",
                   "difference, DeLong", "p, DeLong", "p, DeLong, Holm"},
                  html_escape(first.name + " minus " + second.name));
  std::vector<IntervalEntry> entries;
  const auto add = [&](const std::string& name, const Json& pair, const Json& delong) {
    const Json& difference = pair.at("difference");
    table.row({html_escape(name), number_text(pair.at("first").at("value")),
               number_text(pair.at("second").at("value")), interval_text(difference, options.resamples),
               p_text(difference, "p_value", options.resamples),
               p_text(difference, "p_holm", options.resamples), interval_text(delong, "difference"),
               p_text(delong, "p_value"), p_text(delong, "p_holm")});
    entries.push_back(interval_entry(name, difference));
  };
  for (const auto& [name, label] : json.at("labels").items())
    add(name, label.at("measures").at("auroc"), label.at("delong"));
  add("macro", json.at("macro").at("auroc"), nullptr);
  const std::string both = first.name + " and " + second.name;
  HtmlTable macro({"macro", html_escape(first.name), html_escape(second.name), "difference", "p"});
  for (const auto& [name, pair] : json["macro"].items()) {
    macro.row({html_escape(name), number_text(pair.at("first").at("value")),
               number_text(pair.at("second").at("value")),
               interval_text(pair.at("difference"), options.resamples),
               p_text(pair["difference"], "p_value", options.resamples)});
  }
  return "<h3>" + html_escape(both) + "</h3>\n" + table.html(both + " auroc") +
         interval_figure(both + " difference", "AUROC, " + first.name + " minus " + second.name, "difference",
                         entries, 0.0) +
         "<details><summary>Other measures, macro</summary>" + macro.html(both + " macro") + "</details>\n";
}

Html pairs_html(const std::vector<RunRecord>& runs) {
  const EvaluationOptions options;
  Html html = fmt::format(
      "<p>The first run and each other on the same rows, as <code>medfusion compare</code>: both are "
      "resampled together, {} "
      "times over patients. p is two-sided and belongs to the interval beside it; &quot;Holm&quot; is p "
      "adjusted for the "
      "number of labels, and decides whether any one of them differs. &le; marks a p that more resamples "
      "could lower. "
      "DeLong's test takes {} of one patient as independent.</p>\n",
      options.resamples, samples_word(runs.front()));
  for (size_t i = 1; i < runs.size(); ++i) {
    if (!runs.front().predictions || !runs[i].predictions) {
      html += missing_note(
          "the pair " + runs.front().name + " and " + runs[i].name + ", for which predictions.csv is needed",
          "medfusion eval RUN");
      continue;
    }
    try {
      html += pair_html(runs.front(), runs[i], options);
    } catch (const core::InputError& error) {
      html += "<p class=\"note\">Not a pair: " + html_escape(error.what()) + ".</p>\n";
    }
  }
  return html + partial_note(html.text);
}

// The labels of all runs, each once.
std::vector<std::string> labels_of(const std::vector<RunRecord>& runs) {
  std::vector<std::string> labels;
  for (const RunRecord& run : runs) {
    for (const auto& [name, label] : run.evaluation.at("labels").items()) {
      if (std::find(labels.begin(), labels.end(), name) == labels.end()) labels.push_back(name);
    }
  }
  return labels;
}

Html roc_html(const std::vector<RunRecord>& runs) {
  Html html = "<div class=\"figures\">\n";
  for (const std::string& label : labels_of(runs)) {
    std::vector<ChartSeries> series;
    for (const RunRecord& run : runs) {
      const Json of_label = run.evaluation.at("labels").value(label, Json::object());
      if (of_label.value("roc", Json::array()).empty()) continue;
      series.push_back(
          curve_series(of_label["roc"],
                       run.name + ", AUROC " + number_text(of_label.at("measures").at("auroc").at("value"))));
    }
    if (series.empty()) continue;
    series.push_back(reference_line({{0, 0}, {1, 1}}));
    html += chart_figure(unit_chart(label, "1 - specificity", "sensitivity", std::move(series)), label);
  }
  return html + "</div>\n";
}

Html labels_html(const std::vector<RunRecord>& runs) {
  std::vector<std::string> head{"label"};
  for (const RunRecord& run : runs) head.push_back(html_escape(run.name));
  HtmlTable table(head);
  for (const std::string& label : labels_of(runs)) {
    std::vector<std::string> row{html_escape(label)};
    for (const RunRecord& run : runs) {
      const Json& of_run = run.evaluation.at("labels");
      row.push_back(of_run.contains(label) ? interval_text(of_run[label].at("measures").at("auroc")) : "-");
    }
    table.row(std::move(row));
  }
  return table.html("auroc");
}

Html differences_html(const std::vector<RunRecord>& runs) {
  std::vector<std::string> head{"setting"};
  std::set<std::string> keys;
  for (const RunRecord& run : runs) {
    head.push_back(html_escape(run.name));
    for (const auto& [key, value] : run.settings.items()) keys.insert(key);
  }
  HtmlTable table(head);
  for (const std::string& key : keys) {
    std::set<std::string> values;
    std::vector<std::string> row{html_escape(key)};
    for (const RunRecord& run : runs) {
      const std::string value = setting_of(run, key);
      values.insert(value);
      row.push_back(value.empty() ? "-" : html_escape(value));
    }
    if (values.size() > 1) table.row(std::move(row));
  }
  return table.empty() ? "<p>None.</p>\n" : table.html("settings");
}

}  // namespace

Page comparison_report(const std::vector<RunRecord>& runs) {
  MEDFUSION_CHECK(runs.size() > 1, "a comparison of {} runs", runs.size());
  for (const RunRecord& run : runs) {
    if (run.evaluation.is_null()) {
      core::throw_input_error({run.name},
                              "expected evaluation.json, which medfusion eval makes, for a comparison");
    }
  }
  std::string lead;
  for (const RunRecord& run : runs) lead += (lead.empty() ? "" : ", ") + html_escape(run.name);
  return checked_page(lead, [&] {
    return Page{"MedFusion: comparison of runs",
                lead,
                {{"macro", "Macro averages", macro_html(runs)},
                 {"pairs", "Differences in pairs", pairs_html(runs)},
                 {"labels", "AUROC per label", labels_html(runs)},
                 {"roc", "ROC curves over each other", roc_html(runs)},
                 {"differences", "Settings that differ", differences_html(runs)}}};
  });
}

}  // namespace medfusion::tools
