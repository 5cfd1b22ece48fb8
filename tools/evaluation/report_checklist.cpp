// Section of the report: what a publication must state, after TRIPOD+AI (Collins et al., BMJ
// 2024;385:e078378) and CLAIM (Tejani et al., Radiology: Artificial Intelligence 2024;6:e240300), in our own
// words.
#include <fmt/format.h>

#include <cmath>

#include "tools/evaluation/report.h"

namespace medfusion::tools {
namespace {

using Json = nlohmann::ordered_json;

// What only a person can answer.
std::string open_item(const std::string& question) {
  return "<span class=\"open\">for a person to answer:</span> " + question;
}

std::string rows_of(const Json& data, const char* part) {
  const Json& parts = data.at("parts");
  if (!parts.contains(part)) return "0";
  const Json& entry = parts.at(part);
  std::string text = fmt::format("{}", entry.value("rows", int64_t{0}));
  if (entry.contains("patients")) text += fmt::format(" (of {} patients)", entry["patients"].get<int64_t>());
  return text;
}

std::string size_item(const RunRecord& run) {
  return fmt::format(
      "{} images for training, {} for validation, {} for test; nothing was computed beforehand on how many "
      "are needed",
      rows_of(run.data, "train"), rows_of(run.data, "val"), rows_of(run.data, "test"));
}

std::string outcome_item(const RunRecord& run) {
  std::string names;
  for (const auto& [name, count] : run.data.at("train_positives").items()) {
    names += fmt::format("{}{} ({} in training)", names.empty() ? "" : ", ", name, count.get<int64_t>());
  }
  return html_escape(names) + ". " + open_item("who set the labels, how, and how often they are wrong");
}

std::string missing_item(const RunRecord& run) {
  const bool table = run.preprocessing.contains("table") && !run.preprocessing["table"].is_null();
  return table ? "table: missing cells are marked to the network as missing, what fills them was fitted to "
                 "the training part "
                 "(preprocessing.json); unknown labels are left out of loss and metrics"
               : "unknown labels are left out of loss and metrics; the run reads no table";
}

std::string performance_item(const RunRecord& run) {
  if (run.evaluation.is_null()) return "not evaluated: <code>medfusion eval RUN</code>";
  const Json& macro = run.evaluation.at("macro");
  return fmt::format(
      "macro AUROC {}, macro ECE {}; per label, with intervals over patients, in <a "
      "href=\"#performance\">Performance</a>",
      interval_text(macro.at("auroc")), interval_text(macro.at("ece")));
}

std::string fairness_item(const RunRecord& run) {
  if (run.evaluation.is_null() || run.evaluation.at("subgroups").empty()) return "no column to group by";
  std::string columns;
  for (const Json& grouping : run.evaluation["subgroups"]) {
    columns += (columns.empty() ? "" : ", ") + html_escape(grouping.at("column").get<std::string>());
  }
  return "by " + columns + ", in <a href=\"#subgroups\">Subgroups</a>. " +
         open_item("which differences matter, and what was done about them");
}

std::string controls_item(const RunRecord& run) {
  if (run.evaluation.is_null()) return "not evaluated";
  return "labels shuffled, table only, view position only, in <a href=\"#controls\">Controls</a>";
}

std::string explanation_item(const RunRecord& run) {
  return run.explanation.is_null()
             ? "not made: <code>medfusion explain RUN --split test</code>"
             : "maps, attention and contributions of modalities, in <a href=\"#attention\">Attention</a> and "
               "<a href=\"#examples\">Examples</a>";
}

}  // namespace

HtmlSection checklist_section(const RunRecord& run) {
  HtmlSection section{"checklist", "Checklist after TRIPOD+AI and CLAIM", ""};
  HtmlTable table({"item", "answer"});
  const auto add = [&](const std::string& item, const std::string& answer) {
    table.row({"<span class=\"wide\">" + item + "</span>", "<span class=\"wide\">" + answer + "</span>"});
  };
  add("Title says prediction model, method and target", open_item("the title of the publication"));
  add("Background, intended use and users", open_item("the decision it is to help, by whom, for whom"));
  add("Aim: development, evaluation or both", open_item("state it"));
  add("Source of the data, dates, places, eligibility",
      "dataset " + html_escape(run.data.value("dataset", "?")) + ", hash " +
          html_escape(run.data.value("data_hash", "?")) + ". " +
          open_item("where and when it was collected, who was included"));
  add("Outcome and how it was determined", outcome_item(run));
  add("Predictors, and when they are measured",
      "in <a href=\"#settings\">Settings</a>. " +
          open_item("whether each is known at the time of the decision"));
  add("Sample size", size_item(run));
  add("Missing data", missing_item(run));
  add("Parts of the data, and that no patient is in two", "in <a href=\"#data\">Data flow</a>");
  add("Preparation of images and table",
      "docs/images.md and docs/configuration.md of medfusion; values in <a href=\"#settings\">Settings</a>");
  add("Model, training, choice of settings",
      "in <a href=\"#settings\">Settings</a> and <a href=\"#training\">Training</a>; the checkpoint and all "
      "cut-offs were chosen on the validation part. " +
          open_item("how many configurations were tried"));
  add("Class imbalance",
      "see loss, pos_weight and resampling in <a href=\"#settings\">Settings</a>; probabilities are "
      "calibrated afterwards where that is set");
  add("Measures of discrimination, calibration and benefit, with uncertainty", performance_item(run));
  add("Fairness: performance in subgroups", fairness_item(run));
  add("Controls against shortcuts", controls_item(run));
  add("Explanation of outputs, with failures", explanation_item(run));
  add("External evaluation",
      open_item("data of another place; <code>medfusion eval RUN --data DIR</code> evaluates there"));
  add("Risk groups and how they were made", "in <a href=\"#risk\">Risk levels</a>");
  add("Limits, and what would make the results wrong", open_item("say it"));
  add("Ethics approval, consent, funding, conflicts of interest", open_item("state them"));
  add("Protocol and registration", open_item("where, if anywhere"));
  add("Patients and public involved", open_item("how, or that they were not"));
  add("Availability of data, code and model",
      "code: Apache-2.0; run directory: configuration, seed, data hash and weights. " +
          open_item("where data and weights can be had"));
  section.body = "<p>Filled from the run where the run knows; the rest is marked.</p>\n" + table.html();
  return section;
}

}  // namespace medfusion::tools
