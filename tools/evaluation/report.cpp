#include "tools/evaluation/report.h"

#include <fmt/format.h>

#include <cmath>

#include "core/error.h"
#include "tools/evaluation/chart.h"

namespace medfusion::tools {
namespace {

using Json = nlohmann::ordered_json;

// The value of "key = value" in config.toml, as written there.
std::string setting(const std::string& config, const std::string& section, const std::string& key) {
  const size_t begin = config.find("[" + section + "]");
  if (begin == std::string::npos) return "";
  const size_t end = config.find("\n[", begin);
  const size_t at = config.find("\n" + key + " = ", begin);
  if (at == std::string::npos || at > end) return "";
  const size_t from = at + key.size() + 4;
  return config.substr(from, config.find('\n', from) - from);
}

std::string lead_of(const RunRecord& run) {
  std::string lead = "MedFusion " + html_escape(run.data.value("version", "?")) + ", data " +
                     html_escape(run.data.value("dataset", "?")) + " (hash " +
                     html_escape(run.data.value("data_hash", "?")) + ")";
  return lead + ". A research tool: no medical device, not for decisions about patients.";
}

}  // namespace

std::string number_text(const Json& value, int digits) {
  return value.is_number() ? fmt::format("{:.{}f}", value.get<double>(), digits) : "-";
}

std::string interval_text(const Json& measure) {
  if (!measure.is_object() || !measure.contains("value") || !measure["value"].is_number()) return "-";
  const Json low = measure.value("low", Json()), high = measure.value("high", Json());
  if (!low.is_number() || !high.is_number()) return number_text(measure["value"]);
  return number_text(measure["value"]) + " [" + number_text(low) + ", " + number_text(high) + "]";
}

std::string missing_note(const std::string& what, const std::string& command) {
  return "<p class=\"note\">Not in this report: " + html_escape(what) + ". Made by <code>" +
         html_escape(command) + "</code>, then this report again.</p>\n";
}

std::vector<std::string> missing_parts(const RunRecord& run) {
  std::vector<std::string> missing;
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
                       fmt::format("images of {} patients, {} part", evaluation.at("patients").get<int64_t>(),
                                   html_escape(evaluation.at("split").get<std::string>())));
  section.body += "</div>\n";
  std::vector<IntervalEntry> entries;
  const auto number = [](const Json& value) { return value.is_number() ? value.get<double>() : NAN; };
  for (const auto& [name, label] : evaluation.at("labels").items()) {
    const Json& auroc = label.at("measures").at("auroc");
    entries.push_back({name, number(auroc["value"]), number(auroc["low"]), number(auroc["high"])});
  }
  section.body += "<div class=\"forest\"><figure>" +
                  interval_svg("AUROC per label, 95% intervals over patients", "AUROC", entries, 0.5) +
                  "</figure></div>\n";
  return section;
}

HtmlSection settings_section(const RunRecord& run) {
  HtmlSection section{"settings", "Settings", ""};
  HtmlTable table({"what", "value"});
  const std::array<std::array<const char*, 3>, 10> shown{{{"model", "name", "network"},
                                                          {"model", "size", "size"},
                                                          {"train", "loss", "loss"},
                                                          {"train", "epochs", "epochs"},
                                                          {"train", "batch_size", "batch size"},
                                                          {"train", "optimizer", "optimizer"},
                                                          {"train", "learning_rate", "learning rate"},
                                                          {"train", "weight_decay", "weight decay"},
                                                          {"train", "select", "checkpoint used"},
                                                          {"features", "mode", "stage one"}}};
  for (const auto& [group, key, what] : shown) {
    const std::string value = setting(run.config, group, key);
    if (!value.empty()) table.row({what, html_escape(value)});
  }
  section.body = table.html();
  section.body += "<details><summary>The whole resolved configuration (config.toml)</summary><pre>" +
                  html_escape(run.config) + "</pre></details>\n";
  return section;
}

std::string run_report(const RunRecord& run) {
  try {
    return html_page("MedFusion report: " + run.name, lead_of(run),
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
