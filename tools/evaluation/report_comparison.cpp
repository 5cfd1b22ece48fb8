// The report on several runs beside each other.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "core/error.h"
#include "tools/evaluation/chart.h"
#include "tools/evaluation/report.h"

namespace medfusion::tools {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::array<std::pair<const char*, const char*>, 6> kShown{{{"auroc", "AUROC"},
                                                                     {"auprc", "AUPRC"},
                                                                     {"sensitivity", "sensitivity"},
                                                                     {"specificity", "specificity"},
                                                                     {"brier", "Brier"},
                                                                     {"ece", "ECE"}}};

std::vector<std::string> names_of(const std::vector<RunRecord>& runs) {
  std::vector<std::string> names;
  for (const RunRecord& run : runs) names.push_back(run.name);
  return names;
}

HtmlSection macro_section(const std::vector<RunRecord>& runs) {
  HtmlSection section{"macro", "Macro averages", ""};
  std::vector<std::string> head{"run", "part", "images"};
  for (const auto& [key, title] : kShown) head.emplace_back(title);
  HtmlTable table(head);
  std::vector<IntervalEntry> entries;
  for (const RunRecord& run : runs) {
    const Json& macro = run.evaluation.at("macro");
    std::vector<std::string> row{html_escape(run.name),
                                 html_escape(run.evaluation.at("split").get<std::string>()),
                                 fmt::format("{}", run.evaluation.at("samples").get<int64_t>())};
    for (const auto& [key, title] : kShown) row.push_back(interval_text(macro.at(key)));
    table.row(std::move(row));
    const Json& auroc = macro.at("auroc");
    const auto number = [&](const char* key) {
      return auroc.value(key, Json()).is_number() ? auroc[key].get<double>() : std::nan("");
    };
    entries.push_back({run.name, number("value"), number("low"), number("high")});
  }
  section.body =
      table.html() + "<div class=\"forest\"><figure>" +
      interval_svg("Macro AUROC, 95% intervals over patients", "AUROC", entries, 0.5) +
      "</figure></div>\n<p>Intervals of single runs say little about differences on the same images: "
      "<code>medfusion compare RUN_A RUN_B</code> "
      "pairs them.</p>\n";
  std::set<std::string> parts;
  for (const RunRecord& run : runs)
    parts.insert(
        run.data.dump() == "null" ? "" : run.data.at("parts").value("test", Json()).value("ids_hash", ""));
  if (parts.size() > 1) {
    section.body +=
        "<p class=\"note\">The runs were tested on different rows: the numbers are not comparable.</p>\n";
  }
  return section;
}

HtmlSection labels_section(const std::vector<RunRecord>& runs) {
  HtmlSection section{"labels", "AUROC per label", ""};
  std::vector<std::string> head{"label"};
  for (const std::string& name : names_of(runs)) head.push_back(html_escape(name));
  HtmlTable table(head);
  std::vector<std::string> labels;
  for (const RunRecord& run : runs) {
    for (const auto& [name, label] : run.evaluation.at("labels").items()) {
      if (std::find(labels.begin(), labels.end(), name) == labels.end()) labels.push_back(name);
    }
  }
  for (const std::string& label : labels) {
    std::vector<std::string> row{html_escape(label)};
    for (const RunRecord& run : runs) {
      const Json& of_run = run.evaluation.at("labels");
      row.push_back(of_run.contains(label) ? interval_text(of_run[label].at("measures").at("auroc")) : "-");
    }
    table.row(std::move(row));
  }
  section.body = table.html();
  return section;
}

// Lines "key = value" of a configuration with the section before the key.
std::map<std::string, std::string> settings_of(const std::string& config) {
  std::map<std::string, std::string> settings;
  std::string section;
  for (size_t begin = 0; begin < config.size();) {
    const size_t end = std::min(config.find('\n', begin), config.size());
    const std::string line = config.substr(begin, end - begin);
    const size_t equals = line.find(" = ");
    if (line.starts_with('[')) {
      section = line.substr(1, line.find(']') - 1) + ".";
    } else if (equals != std::string::npos && !line.starts_with('#')) {
      settings[section + line.substr(0, equals)] = line.substr(equals + 3);
    }
    begin = end + 1;
  }
  return settings;
}

HtmlSection differences_section(const std::vector<RunRecord>& runs) {
  HtmlSection section{"differences", "Settings that differ", ""};
  std::vector<std::string> head{"setting"};
  std::set<std::string> keys;
  std::vector<std::map<std::string, std::string>> settings;
  for (const RunRecord& run : runs) {
    head.push_back(html_escape(run.name));
    settings.push_back(settings_of(run.config));
    for (const auto& [key, value] : settings.back()) keys.insert(key);
  }
  HtmlTable table(head);
  for (const std::string& key : keys) {
    std::set<std::string> values;
    std::vector<std::string> row{html_escape(key)};
    for (auto& of_run : settings) {
      values.insert(of_run[key]);
      row.push_back(of_run[key].empty() ? "-" : html_escape(of_run[key]));
    }
    if (values.size() > 1) table.row(std::move(row));
  }
  section.body = table.empty() ? "<p>None.</p>\n" : table.html();
  return section;
}

}  // namespace

std::string comparison_report(const std::vector<RunRecord>& runs) {
  MEDFUSION_CHECK(runs.size() > 1, "a comparison of {} runs", runs.size());
  for (const RunRecord& run : runs) {
    if (run.evaluation.is_null()) {
      core::throw_input_error({run.name},
                              "expected evaluation.json, which medfusion eval makes, for a comparison");
    }
  }
  std::string lead;
  for (const std::string& name : names_of(runs)) lead += (lead.empty() ? "" : ", ") + html_escape(name);
  try {
    return html_page("MedFusion: comparison of runs", lead,
                     {macro_section(runs), labels_section(runs), differences_section(runs)});
  } catch (const Json::exception& error) {
    core::throw_input_error({lead},
                            fmt::format("expected the files of this version of medfusion: {}", error.what()));
  }
}

}  // namespace medfusion::tools
