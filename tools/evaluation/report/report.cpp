#include "tools/evaluation/report/report.h"

#include <fmt/format.h>

#include "core/error.h"
#include "tools/evaluation/report/chart.h"
#include "tools/evaluation/report/report_fitting.h"
#include "tools/evaluation/report/report_text.h"

namespace medfusion::tools {
namespace {

using Json = nlohmann::ordered_json;

// What a section shows; without it, the section says how it is made.
enum class Shows : uint8_t { run, evaluation, explanation };

struct Section {
  const char *id, *title;
  Html (*body)(const RunRecord&);
  Shows shows = Shows::run;
  bool of_folds = true;  // whether the report of a cross-validation has it
};

constexpr Section kSections[] = {
    {"summary", "Summary", summary_section, Shows::evaluation},
    {"folds", "Folds and seeds", folds_section},
    {"protocols", "Honest protocol beside the published one", protocols_section},
    {"data", "Data flow and proof of the split", data_section},
    {"settings", "Settings", settings_section},
    {"training", "Training", training_section, Shows::run, false},
    {"performance", "Performance with intervals", performance_section, Shows::evaluation},
    {"curves", "ROC, precision-recall and decision curves", curves_section, Shows::evaluation},
    {"calibration", "Calibration", calibration_section, Shows::evaluation},
    {"risk", "Risk levels", risk_section, Shows::evaluation},
    {"subgroups", "Subgroups", subgroup_section, Shows::evaluation},
    {"controls", "Controls", control_section, Shows::evaluation, false},
    {"features", "Stage one: thresholds of single features", features_section, Shows::run, false},
    {"attention", "What the labels attend to", attention_section, Shows::explanation, false},
    {"examples", "Examples: successes and failures", samples_section, Shows::explanation, false},
    {"checklist", "Checklist after TRIPOD+AI and CLAIM", checklist_section}};

Html body_of(const Section& section, const RunRecord& run) {
  if (section.shows == Shows::evaluation && run.evaluation.is_null())
    return missing_note("the evaluation", "medfusion eval RUN");
  if (section.shows == Shows::explanation && run.explanation.is_null())
    return missing_note("explanations", "medfusion explain RUN --split test");
  return section.body(run);
}

Page report_of(const RunRecord& run, const std::string& title) {
  return checked_page(run.name, [&] {
    std::vector<HtmlSection> sections;
    for (const Section& section : kSections) {
      if (!section.of_folds && !run.folds.empty()) continue;
      const Html body = body_of(section, run);
      if (!body.text.empty()) sections.push_back({section.id, section.title, body});
    }
    return Page{title + run.name, report_lead(run), sections};
  });
}

}  // namespace

std::string report_lead(const RunRecord& run) {
  std::string lead = "MedFusion " + html_escape(run.data.value("version", "?")) + ", data " +
                     html_escape(run.data.value("dataset", "?")) + " (hash " +
                     html_escape(run.data.value("data_hash", "?")) + ")";
  const Json hash = value_at(run.evaluation, "/data_hash");
  if (!hash.is_null() && hash != run.data.value("data_hash", Json())) {
    lead += "; evaluated on other data: " + html_escape(run.evaluation.value("dataset", "?")) + " (hash " +
            html_escape(run.evaluation.value("data_hash", "?")) + ")";
  }
  return lead +
         ". This is a research tool and no medical device; do not use it for decisions about patients." +
         warning_box(run);
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

Html summary_section(const RunRecord& run) {
  const Json& evaluation = run.evaluation;
  const Json& macro = evaluation.at("macro");
  const auto tile = [](const std::string& value, const std::string& what) {
    return "<div class=\"tile\"><b>" + value + "</b><span>" + what + "</span></div>\n";
  };
  std::string html = "<div class=\"tiles\">\n";
  if (!run.folds.empty()) {  // the headline; the others are of the rows of all folds together
    const Json& folds = run.cross_validation.at("macro_auroc");
    html += tile(number_text(folds.at("mean")),
                 "macro AUROC, mean over folds<br>standard deviation " + number_text(folds.at("std")));
  }
  const std::string pooled = run.folds.empty() ? "" : ", folds pooled";
  for (const auto& [key, what] :
       {std::pair{"auroc", "macro AUROC"}, std::pair{"auprc", "macro AUPRC"},
        std::pair{"sensitivity", "macro sensitivity"}, std::pair{"specificity", "macro specificity"},
        std::pair{"ece", "macro ECE"}}) {
    const Json& measure = macro.at(key);
    std::string note = what + pooled;
    if (measure.value("low", Json()).is_number()) {
      note +=
          fmt::format("<br>95% interval {} to {}", number_text(measure["low"]), number_text(measure["high"]));
    }
    html += tile(number_text(measure.value("value", Json())), note);
  }
  html += tile(fmt::format("{}", evaluation.at("samples").get<int64_t>()),
               fmt::format("{} of {} patients, {}", samples_word(run),
                           evaluation.at("patients").get<int64_t>(), part_name(evaluation)));
  html += "</div>\n";
  std::vector<IntervalEntry> entries;
  for (const auto& [name, label] : evaluation.at("labels").items())
    entries.push_back(interval_entry(name, label.at("measures").at("auroc")));
  return html +
         interval_figure("auroc", "AUROC per label" + pooled + ", 95% intervals over patients", "AUROC",
                         entries, 0.5) +
         empty_selection_note(run);
}

Html settings_section(const RunRecord& run) {
  HtmlTable table({"what", "value"});
  constexpr std::array<std::array<const char*, 2>, 14> kShown{{{"model.name", "network"},
                                                               {"model.backbone", "backbone"},
                                                               {"model.fusion", "fusion with the table"},
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
  const std::string name = setting_text(run, "model.name");
  const auto applies = [&](const std::string& key) {
    if (key == "model.backbone") return name == "medfusionnet";
    if (key == "model.fusion") return name != "medfusionnet";
    return key != "model.size" || name == "medfusionnet" || name == "densenet";
  };
  for (const auto& [key, what] : kShown) {
    const std::string value = setting_text(run, key);
    if (!value.empty() && applies(key)) table.row({what, value});
  }
  return table.html("settings") +
         "<details><summary>The whole resolved configuration (config.toml)</summary><pre>" +
         html_escape(run.config) + "</pre></details>\n";
}

Page run_report(const RunRecord& run) { return report_of(run, "MedFusion report: "); }

Page cross_validation_report(const RunRecord& run) {
  return report_of(run, "MedFusion report: cross-validation ");
}

}  // namespace medfusion::tools
