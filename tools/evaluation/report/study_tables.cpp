#include "tools/evaluation/report/study_tables.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "tools/evaluation/measures/bootstrap.h"
#include "tools/evaluation/report/report_text.h"

namespace medfusion::tools {
namespace {

using Json = nlohmann::ordered_json;

const Json& data_of(const Json& study, const std::string& data) { return study.at("data").at(data); }

// "0.912 [0.880, 0.941]"
std::string plain_interval(const Json& measure, bool with_sign = false) {
  const auto number = [&](const char* key) {
    const Json value = measure.value(key, Json());
    return value.is_number()
               ? fmt::format(fmt::runtime(with_sign ? "{:+.3f}" : "{:.3f}"), value.get<double>())
               : std::string("-");
  };
  if (!measure.value("low", Json()).is_number()) return number("value");
  return fmt::format("{} [{}, {}]", number("value"), number("low"), number("high"));
}

std::string plain_p(const Json& difference, const char* key, int64_t resamples) {
  const Json raw = difference.value("p_value", Json()), p = difference.value(key, Json());
  if (!raw.is_number() || !p.is_number()) return "-";
  return (is_least_p_value(raw.get<double>(), resamples) ? "<= " : "") +
         fmt::format("{:.2g}", p.get<double>());
}

// The measures of the table besides the primary one.
std::vector<std::string> other_measures(const std::string& primary) {
  std::vector<std::string> names{"auroc", "ece", "brier"};
  std::erase(names, primary);
  return names;
}

// With the comma before it; an empty cell where there is no value.
std::string csv_number(const Json& object, const char* key) {
  const Json value = object.is_object() ? object.value(key, Json()) : Json();
  return fmt::format(",{}", value.is_null() ? std::string() : value.dump());
}

std::string in_latex(const std::string& text) {
  std::string result;
  for (const char c : text) {
    switch (c) {
      case '_':
      case '%':
      case '&':
      case '#':
      case '$':
      case '{':
      case '}':
        result += std::string("\\") + c;
        break;
      case '\\':
        result += "\\textbackslash{}";
        break;
      case '~':
        result += "\\textasciitilde{}";
        break;
      case '^':
        result += "\\textasciicircum{}";
        break;
      default:
        result += c;
    }
  }
  const size_t at_most = result.find("<= ");
  if (at_most != std::string::npos) result.replace(at_most, 3, "$\\le$ ");
  return result;
}

}  // namespace

std::string measure_title(const std::string& measure) {
  static const std::map<std::string, std::string> kTitles{
      {"auroc", "AUROC"}, {"auprc", "AUPRC"}, {"ece", "ECE"}, {"brier", "Brier score"}, {"f1", "F1"}};
  const auto found = kTitles.find(measure);
  return found == kTitles.end() ? measure : found->second;
}

TextTable study_performance(const Json& study, const std::string& data) {
  const Json& own = data_of(study, data);
  const std::string primary = own.at("primary").get<std::string>();
  const auto resamples = own.at("resamples").get<int64_t>();
  TextTable table{{"model", "macro " + measure_title(primary),
                   "difference to " + study.at("reference").get<std::string>(), "p", "p, Holm",
                   "folds won-tied-lost"}};
  for (const std::string& each : other_measures(primary)) table[0].push_back(measure_title(each));
  for (const auto& [name, model] : own.at("models").items()) {
    const Json& measures = model.at("measures");
    std::vector<std::string>& row = table.emplace_back();
    row = {name, plain_interval(measures.at(primary))};
    if (model.contains("difference")) {
      const Json& difference = model.at("difference");
      row.push_back(plain_interval(difference, true));
      for (const char* key : {"p_value", "p_holm"}) row.push_back(plain_p(difference, key, resamples));
      row.push_back(fmt::format("{}-{}-{}", model.at("wins").get<int>(), model.at("ties").get<int>(),
                                model.at("losses").get<int>()));
    } else {
      row.insert(row.end(), {"reference", "", "", ""});
    }
    for (const std::string& each : other_measures(primary)) row.push_back(plain_interval(measures.at(each)));
  }
  return table;
}

TextTable study_costs(const Json& study, const std::string& data) {
  constexpr double kMebi = 1024.0 * 1024.0;
  TextTable table{
      {"model", "parameters", "FLOPs", "training, s", "prediction, ms per row", "peak memory, MiB"}};
  for (const auto& [name, model] : data_of(study, data).at("models").items()) {
    const Json& costs = model.at("costs");
    table.push_back({name, count_text(costs.at("parameters")),
                     costs.at("flops").is_number() ? significant_text(costs.at("flops")) : "not counted",
                     fmt::format("{:.3g}", costs.at("training_seconds").get<double>()),
                     fmt::format("{:.3g}", 1e3 * costs.at("predict_seconds_per_row").get<double>()),
                     fmt::format("{:.0f}", costs.at("peak_resident_bytes").get<double>() / kMebi)});
  }
  return table;
}

TextTable study_table(const Json& study, const std::string& data) {
  TextTable table = study_performance(study, data);
  const TextTable costs = study_costs(study, data);
  for (size_t row = 0; row < table.size(); ++row)
    table[row].insert(table[row].end(), costs[row].begin() + 1, costs[row].end());
  return table;
}

std::string study_table_csv(const Json& study, const std::string& data) {
  const Json& own = data_of(study, data);
  const std::string primary = own.at("primary").get<std::string>();
  std::vector<std::string> measures = other_measures(primary);
  measures.insert(measures.begin(), primary);
  constexpr std::array kEnds{"value", "low", "high"};
  constexpr std::array kOfDifference{"value", "low", "high", "p_value", "p_holm"};
  constexpr std::array kFolds{"wins", "ties", "losses"};
  constexpr std::array kCosts{"parameters", "flops", "training_seconds", "predict_seconds_per_row",
                              "peak_resident_bytes"};
  std::string csv = "model";
  for (const std::string& measure : measures)
    for (const char* end : kEnds) csv += "," + measure + "_" + end;
  for (const char* key : kOfDifference) csv += std::string(",difference_") + key;
  for (const char* key : kFolds) csv += std::string(",") + key;
  for (const char* key : kCosts) csv += std::string(",") + key;
  csv += "\n";
  for (const auto& [name, model] : own.at("models").items()) {
    csv += name;
    for (const std::string& measure : measures)
      for (const char* end : kEnds) csv += csv_number(model.at("measures").at(measure), end);
    for (const char* key : kOfDifference) csv += csv_number(model.value("difference", Json()), key);
    for (const char* key : kFolds) csv += csv_number(model, key);
    for (const char* key : kCosts) csv += csv_number(model.at("costs"), key);
    csv += "\n";
  }
  return csv;
}

std::string aligned_text(const TextTable& table) {
  std::vector<size_t> widths(table.front().size(), 0);
  for (const auto& row : table)
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  std::string text;
  for (const auto& row : table) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i)
      line += i == 0 ? fmt::format("{:<{}}", row[i], widths[i]) : fmt::format("  {:>{}}", row[i], widths[i]);
    text += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
  }
  return text;
}

std::string latex_table(const TextTable& table, const std::string& caption) {
  std::string tex = "% needs \\usepackage{booktabs}\n\\begin{table}\n\\caption{" + in_latex(caption) +
                    "}\n\\begin{tabular}{l" + std::string(table.front().size() - 1, 'r') + "}\n\\toprule\n";
  for (size_t row = 0; row < table.size(); ++row) {
    for (size_t i = 0; i < table[row].size(); ++i) tex += (i == 0 ? "" : " & ") + in_latex(table[row][i]);
    tex += " \\\\\n";
    if (row == 0) tex += "\\midrule\n";
  }
  return tex + "\\bottomrule\n\\end{tabular}\n\\end{table}\n";
}

}  // namespace medfusion::tools
