#include "tools/evaluation/report/report.h"

#include <fmt/format.h>

#include "core/error.h"
#include "tools/evaluation/report/chart.h"
#include "tools/evaluation/report/report_fitting.h"
#include "tools/evaluation/report/report_text.h"

namespace medfusion::tools {
using Json = nlohmann::ordered_json;

std::string report_lead(const RunRecord& run) {
  std::string lead = "MedFusion " + html_escape(run.data.value("version", "?")) + ", data " +
                     html_escape(run.data.value("dataset", "?")) + " (hash " +
                     html_escape(run.data.value("data_hash", "?")) + ")";
  const Json hash = run.evaluation.is_object() ? run.evaluation.value("data_hash", Json()) : Json();
  if (!hash.is_null() && hash != run.data.value("data_hash", Json())) {
    lead += "; evaluated on other data: " + html_escape(run.evaluation.value("dataset", "?")) + " (hash " +
            html_escape(run.evaluation.value("data_hash", "?")) + ")";
  }
  return lead + ". A research tool: no medical device, not for decisions about patients." + warning_box(run);
}

std::vector<std::string> missing_parts(const RunRecord& run) {
  std::vector<std::string> missing;
  if (!run.folds.empty()) {
    if (run.evaluation.is_null()) missing.push_back("evaluation.json: medfusion cv");
    return missing;
  }
  if (run.evaluation.is_null()) missing.push_back("evaluation.json: medfusion eval RUN");
  if (run.features.is_null()) missing.push_back("features.json: a run whose table goes through stage one");
  if (run.explanation.is_null())
    missing.push_back("explain/explain.json: medfusion explain RUN --split test");
  return missing;
}

HtmlSection summary_section(const RunRecord& run) {
  HtmlSection section{"summary", "Summary", ""};
  if (run.evaluation.is_null()) {
    section.body = missing_note("the evaluation", "medfusion eval RUN");
    return section;
  }
  const Json& evaluation = run.evaluation;
  const Json& macro = evaluation.at("macro");
  const auto tile = [](const std::string& value, const std::string& what) {
    return "<div class=\"tile\"><b>" + value + "</b><span>" + what + "</span></div>\n";
  };
  section.body = "<div class=\"tiles\">\n";
  for (const auto& [key, what] :
       {std::pair{"auroc", "macro AUROC"}, std::pair{"auprc", "macro AUPRC"},
        std::pair{"sensitivity", "macro sensitivity"}, std::pair{"specificity", "macro specificity"},
        std::pair{"ece", "macro ECE"}}) {
    const Json& measure = macro.at(key);
    std::string note = what;
    if (measure.value("low", Json()).is_number()) {
      note +=
          fmt::format("<br>95% interval {} to {}", number_text(measure["low"]), number_text(measure["high"]));
    }
    section.body += tile(number_text(measure.value("value", Json())), note);
  }
  section.body += tile(fmt::format("{}", evaluation.at("samples").get<int64_t>()),
                       fmt::format("{} of {} patients, {}", samples_word(run),
                                   evaluation.at("patients").get<int64_t>(), part_name(evaluation)));
  section.body += "</div>\n";
  std::vector<IntervalEntry> entries;
  for (const auto& [name, label] : evaluation.at("labels").items())
    entries.push_back(interval_entry(name, label.at("measures").at("auroc")));
  section.body += interval_figure("AUROC per label, 95% intervals over patients", "AUROC", entries, 0.5) +
                  empty_selection_note(run);
  return section;
}

HtmlSection settings_section(const RunRecord& run) {
  HtmlSection section{"settings", "Settings", ""};
  HtmlTable table({"what", "value"});
  constexpr std::array<std::array<const char*, 2>, 12> kShown{{{"model.name", "network"},
                                                               {"model.size", "size"},
                                                               {"train.loss", "loss"},
                                                               {"train.pos_weight", "weight of positives"},
                                                               {"resample.method", "resampling"},
                                                               {"train.epochs", "epochs"},
                                                               {"train.batch_size", "batch size"},
                                                               {"train.optimizer", "optimizer"},
                                                               {"train.learning_rate", "learning rate"},
                                                               {"train.weight_decay", "weight decay"},
                                                               {"train.select", "checkpoint used"},
                                                               {"features.mode", "stage one"}}};
  for (const auto& [key, what] : kShown) {
    const std::string value = setting_text(run, key);
    if (!value.empty()) table.row({what, value});
  }
  section.body = table.html();
  section.body += "<details><summary>The whole resolved configuration (config.toml)</summary><pre>" +
                  html_escape(run.config) + "</pre></details>\n";
  return section;
}

std::string run_report(const RunRecord& run) {
  try {
    return html_page("MedFusion report: " + run.name, report_lead(run),
                     {summary_section(run), data_section(run), settings_section(run), training_section(run),
                      performance_section(run), curves_section(run), calibration_section(run),
                      risk_section(run), subgroup_section(run), control_section(run), features_section(run),
                      attention_section(run), samples_section(run), checklist_section(run)});
  } catch (const Json::exception& error) {
    core::throw_input_error({run.name},
                            fmt::format("expected the files of this version of medfusion: {}", error.what()));
  }
}

}  // namespace medfusion::tools
