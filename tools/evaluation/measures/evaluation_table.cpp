#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "tools/evaluation/measures/evaluation.h"

namespace medfusion::tools {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::array kColumns{"auroc", "auprc", "f1", "sensitivity", "specificity", "brier", "ece"};

std::string cell(const Json& measure) {
  if (measure.at("value").is_null()) return "undefined";
  std::string text = fmt::format("{:.4f}", measure.at("value").get<double>());
  if (!measure.at("low").is_null()) {
    text +=
        fmt::format(" [{:.3f} {:.3f}]", measure.at("low").get<double>(), measure.at("high").get<double>());
  }
  return text;
}

}  // namespace

std::string evaluation_table(const Json& evaluation) {
  constexpr int kWidth = 20;  // "0.8123 [0.801 0.823]"
  size_t width = 5;
  for (const auto& [name, label] : evaluation.at("labels").items()) width = std::max(width, name.size());
  std::string text = fmt::format("{:<{}}  {:>9}", "label", width, "positives");
  for (const char* column : kColumns) text += fmt::format("  {:<{}}", column, kWidth);
  text += "\n";
  const auto line = [&](const std::string& name, const std::string& positives, const Json& measures) {
    text += fmt::format("{:<{}}  {:>9}", name, width, positives);
    for (const char* column : kColumns) text += fmt::format("  {:<{}}", cell(measures.at(column)), kWidth);
    text.erase(text.find_last_not_of(' ') + 1);
    text += "\n";
  };
  for (const auto& [name, label] : evaluation.at("labels").items()) {
    line(name, fmt::format("{}", label.at("positives").get<int64_t>()), label.at("measures"));
  }
  line("macro", "", evaluation.at("macro"));
  const Json& acc = evaluation.at("acc");
  text += fmt::format("ACC {} ({})\n", cell(acc), acc.at("rule").get<std::string>());
  if (const auto resamples = evaluation.at("resamples").get<int64_t>(); resamples > 0) {
    text += fmt::format("intervals: {:g}%, {} resamples of {} patients ({} samples)\n",
                        100.0 * evaluation.at("confidence").get<double>(), resamples,
                        evaluation.at("patients").get<int64_t>(), evaluation.at("samples").get<int64_t>());
  }
  for (const auto& [name, label] : evaluation.at("labels").items()) {
    const Json& auroc = label.at("measures").at("auroc");
    if (auroc.contains("undefined"))
      text += fmt::format("left out of the macro AUROC: {} ({})\n", name,
                          auroc.at("undefined").get<std::string>());
  }
  return text;
}

}  // namespace medfusion::tools
