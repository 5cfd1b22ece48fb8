// Section of the report: risk levels.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "data/statistics/intervals.h"
#include "tools/evaluation/report/report_fitting.h"
#include "tools/evaluation/report/report_text.h"

namespace medfusion::tools {
namespace {

using Json = nlohmann::ordered_json;

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

// What a figure was on the validation part, of label `at`; over folds its range.
std::string on_validation_text(const RunRecord& run, size_t at, const char* key) {
  std::vector<double> values;
  const auto add = [&](const Json& preprocessing) {
    const Json value = value_at(preprocessing, fmt::format("/risk/{}/reached/{}", at, key));
    if (value.is_number()) values.push_back(value.get<double>());
  };
  for (const FoldRecord& fold : run.folds) add(fold.preprocessing);
  if (run.folds.empty()) add(run.preprocessing);
  if (values.empty()) return "-";
  const auto [least, most] = std::minmax_element(values.begin(), values.end());
  return fmt::format("{:.3f}", *least) + (*least == *most ? "" : fmt::format(" to {:.3f}", *most));
}

// The same on the evaluated rows, from the counts of the levels, with Wilson's interval.
struct ReachedNow {
  data::Estimate sensitivity, npv, ppv;
};

ReachedNow reached_now(const Json& risk) {
  constexpr data::Estimate kNone{kUndefined, kUndefined, kUndefined};
  int64_t positives = 0, low_positives = 0, low = 0;
  ReachedNow result{kNone, kNone, kNone};
  for (const Json& level : risk.at("levels")) {
    const auto count = level.at("count").get<int64_t>(), of_level = level.at("positives").get<int64_t>();
    positives += of_level;
    if (level.at("level") == "low") low = count, low_positives = of_level;
    if (level.at("level") == "high" && count > 0) result.ppv = data::wilson(of_level, count);
  }
  if (low > 0) result.npv = data::wilson(low - low_positives, low);
  const Json& cutoffs = risk.at("cutoffs");
  const bool has_low = !cutoffs.is_object() || cutoffs.value("low", Json()).is_number();
  if (has_low && positives > 0) result.sensitivity = data::wilson(positives - low_positives, positives);
  return result;
}

std::string estimate_text(const data::Estimate& estimate) {
  if (std::isnan(estimate.value)) return "-";
  return interval_text(Json{{"value", estimate.value}, {"low", estimate.low}, {"high", estimate.high}});
}

// What the cut-offs were to reach beside what they reached.
Html targets_html(const RunRecord& run) {
  const std::string here = part_name(run.evaluation);
  const std::string sensitivity = setting_text(run, "risk.sensitivity"), ppv = setting_text(run, "risk.ppv");
  HtmlTable table({"label", "sensitivity, validation", "sensitivity, " + here, "PPV, validation",
                   "PPV, " + here, "NPV, validation", "NPV, " + here},
                  "Targets and what was reached: sensitivity of not low risk, wanted at least " +
                      sensitivity + "; PPV of high risk, wanted at least " + ppv +
                      "; NPV of low risk, no target");
  std::vector<std::string> missed;
  size_t at = 0;
  for (const auto& [name, label] : run.evaluation.at("labels").items()) {
    const ReachedNow now = reached_now(label.at("risk"));
    table.row({html_escape(name), on_validation_text(run, at, "sensitivity"), estimate_text(now.sensitivity),
               on_validation_text(run, at, "ppv"), estimate_text(now.ppv), on_validation_text(run, at, "npv"),
               estimate_text(now.npv)});
    ++at;
    std::vector<std::string> below;  // a comparison with NaN is false
    if (now.sensitivity.value < std::stod(sensitivity)) below.emplace_back("sensitivity");
    if (now.ppv.value < std::stod(ppv)) below.emplace_back("PPV");
    if (!below.empty()) missed.push_back(html_escape(name) + ": " + list_text(below));
  }
  return table.html("targets") +
         (missed.empty()
              ? "<p>Every target was reached on the evaluated rows, where it can be estimated.</p>\n"
              : "<p>Below its target on the evaluated rows:</p>\n" + list_html(missed));
}

}  // namespace

Html risk_section(const RunRecord& run) {
  const Json& labels = run.evaluation.at("labels");
  const std::string method = run.evaluation.value("risk_method", "none");
  Html html = "<p>" + fitted_sentence("Cut-offs", fitted_parts(run).risk);
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
  html += table.empty() ? "<p>The run has no risk levels.</p>\n" : table.html("levels");
  const auto merged = without_intermediate(labels);
  if (!merged.empty()) {
    html +=
        "<p>" + list_text(merged) +
        ": the intermediate level is empty, because both cut-offs are equal: the share of positives "
        "that <code>high</code> requires is already reached from the cut-off of <code>low</code> on.</p>\n";
  }
  if (method == "targets" && !table.empty()) html += targets_html(run);
  return html + disagreements(labels) + missing_levels(labels);
}

}  // namespace medfusion::tools
