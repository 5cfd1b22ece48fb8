// Sections of the report that show evaluation.json.
#include <fmt/format.h>

#include <cmath>

#include "tools/evaluation/report/chart.h"
#include "tools/evaluation/report/report_fitting.h"
#include "tools/evaluation/report/report_text.h"

namespace medfusion::tools {
namespace {

using Json = nlohmann::ordered_json;

// One line per label and one for the macro average.
Html measures_table(const std::string& name, const Json& evaluation,
                    const std::vector<std::pair<const char*, const char*>>& columns,
                    const std::string& caption) {
  const auto resamples = evaluation.at("resamples").get<int64_t>();
  std::vector<std::string> head{"label", "positives", "negatives"};
  for (const auto& [key, title] : columns) head.emplace_back(title);
  HtmlTable table(head, caption);
  const auto add = [&](std::vector<std::string> row, const Json& measures) {
    for (const auto& [key, title] : columns) row.push_back(interval_text(measures.at(key), resamples));
    table.row(std::move(row));
  };
  for (const auto& [label_name, label] : evaluation.at("labels").items()) {
    add({html_escape(label_name), count_text(label.at("positives")), count_text(label.at("negatives"))},
        label.at("measures"));
  }
  add({"<b>macro</b>", "", ""}, evaluation.at("macro"));
  return table.html(name);
}

// ACC and, where exactly one label is true, which label is taken for which. Evaluations of earlier versions
// have neither.
Html overall_html(const Json& evaluation) {
  if (!evaluation.contains("acc")) return "";
  const Json& acc = evaluation["acc"];
  std::string html =
      fmt::format("<p>ACC {} ({}).</p>\n", interval_text(acc, evaluation.at("resamples").get<int64_t>()),
                  html_escape(acc.at("rule").get<std::string>()));
  if (!evaluation.contains("confusion_matrix")) return html;
  const Json& matrix = evaluation["confusion_matrix"];
  std::vector<std::string> head{"true label"};
  for (const Json& label : matrix.at("labels")) head.push_back(html_escape(label.get<std::string>()));
  HtmlTable table(head, "Rows by true and by most probable label");
  for (size_t label = 0; label < matrix.at("labels").size(); ++label) {
    std::vector<std::string> row{head[label + 1]};
    for (const Json& count : matrix.at("counts").at(label)) row.push_back(count_text(count));
    table.row(std::move(row));
  }
  return html + table.html("confusion-matrix");
}

}  // namespace

Html performance_section(const RunRecord& run) {
  const Json& evaluation = run.evaluation;
  const FittedParts fitted = fitted_parts(run);
  Html html = fmt::format(
      "<p>Evaluated: {}, {} {} of {} patients. Brackets hold {}% intervals from {} resamples of the patients "
      "(all {} of a patient together). {}</p>\n",
      part_name(evaluation), evaluation.at("samples").get<int64_t>(), samples_word(run),
      evaluation.at("patients").get<int64_t>(), std::lround(100 * evaluation.at("confidence").get<double>()),
      evaluation.at("resamples").get<int64_t>(), samples_word(run),
      fitted_sentence("Checkpoint", fitted.checkpoint) + " " +
          fitted_sentence("Thresholds", fitted.thresholds));
  html += measures_table("ranking", evaluation, {{"auroc", "AUROC"}, {"auprc", "AUPRC"}}, "Ranking");
  html += empty_selection_note(run);
  html += overall_html(evaluation);
  const std::string decided =
      evaluation.contains("confusion_matrix") ? "Of the most probable label" : "At the thresholds";
  html += measures_table(
      "thresholds", evaluation,
      {{"sensitivity", "sensitivity"}, {"specificity", "specificity"}, {"ppv", "PPV"}, {"npv", "NPV"}},
      decided);
  html += measures_table("summary", evaluation,
                         {{"f1", "F1"},
                          {"gmean", "G-mean"},
                          {"accuracy", "accuracy"},
                          {"balanced_accuracy", "balanced accuracy"}},
                         decided + ", in one number");
  HtmlTable confusion(
      {"label", "threshold", "true positive", "false positive", "true negative", "false negative"}, "Counts");
  for (const auto& [name, label] : evaluation.at("labels").items()) {
    const Json& counts = label.at("confusion");
    const auto count = [&](const char* key) {
      return counts.is_null() ? std::string("-") : count_text(counts.at(key));
    };
    confusion.row({html_escape(name), significant_text(label.at("threshold")), count("true_positives"),
                   count("false_positives"), count("true_negatives"), count("false_negatives")});
  }
  html += confusion.html("counts");
  for (const auto& [name, label] : evaluation.at("labels").items()) {
    std::string reason = absent_class(run, name);
    const Json& auroc = label.at("measures").at("auroc");
    if (reason.empty() && auroc.contains("undefined")) reason = auroc["undefined"].get<std::string>();
    if (!reason.empty())
      html += "<p class=\"note\">" + html_escape(name + " is not estimable: " + reason) + ".</p>\n";
  }
  return html + partial_note(html.text);
}

Html subgroup_section(const RunRecord& run) {
  const auto resamples = run.evaluation.at("resamples").get<int64_t>();
  HtmlTable table({"group", samples_word(run), "patients", "macro AUROC", "labels averaged",
                   "macro sensitivity", "macro specificity", "macro ECE"});
  Html details;
  for (const Json& grouping : run.evaluation.at("subgroups")) {
    const std::string column = html_escape(grouping.at("column").get<std::string>());
    HtmlTable labels({"label", "group", "positives", "negatives", "AUROC", "sensitivity", "specificity"});
    for (const Json& group : grouping.at("groups")) {
      const std::string name = html_escape(group.at("name").get<std::string>());
      const Json& macro = group.at("macro");
      table.row(
          {column + " " + name, count_text(group.at("samples")), count_text(group.at("patients")),
           interval_text(macro.at("auroc"), resamples), count_text(macro.at("auroc").value("labels", Json())),
           interval_text(macro.at("sensitivity"), resamples),
           interval_text(macro.at("specificity"), resamples), interval_text(macro.at("ece"), resamples)});
      for (const auto& [label, values] : group.at("labels").items()) {
        labels.row({html_escape(label), name, count_text(values.at("positives")),
                    count_text(values.at("negatives")), interval_text(values.at("auroc"), resamples),
                    interval_text(values.at("sensitivity"), resamples),
                    interval_text(values.at("specificity"), resamples)});
      }
    }
    details += "<details><summary>Each label by " + column + "</summary>" +
               labels.html("labels by " + grouping.at("column").get<std::string>()) + "</details>\n";
  }
  if (table.empty()) return "<p>The data has no column to group by.</p>\n";
  const Html shown = table.html("groups");
  return shown +
         "<p>Groups with few positives have wide intervals or none; a difference within them is no "
         "finding.</p>\n" +
         partial_note(shown.text + details.text) + details;
}

Html control_section(const RunRecord& run) {
  HtmlTable table({"predictions", "macro AUROC", "what it is"});
  table.row({"the run", interval_text(run.evaluation.at("macro").at("auroc")), wide_cell("this report")});
  for (const Json& control : run.evaluation.at("controls")) {
    const std::string value =
        control.contains("macro") ? interval_text(control["macro"].at("auroc")) : "undefined";
    std::string what = html_escape(control.value("description", ""));
    if (control.contains("undefined")) what += " " + html_escape(control["undefined"].get<std::string>());
    table.row({control_name(control), value, wide_cell(what)});
  }
  return table.html("controls") +
         "<p>A network that is not ahead of the table or the view position alone has not shown that it reads "
         "the image, and one that is not ahead of missing cells alone has not shown that it reads their "
         "values.</p>\n";
}

}  // namespace medfusion::tools
