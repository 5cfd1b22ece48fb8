// Section of the report: examples of single images, or rows of a table.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "tools/evaluation/report/report_text.h"

namespace medfusion::tools {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kSamplesPerKind = 4;
constexpr size_t kFeaturesShown = 5;

// A sample and a label that can be shown.
struct Example {
  const Json* sample;
  const Json* label;
  double probability;
};

// Why a label is shown: true/false positive/negative; nothing where target or decision is unknown.
std::string kind_of(const Json& label) {
  const Json target = label.value("target", Json()), predicted = label.value("predicted", Json());
  if (!target.is_number() || predicted.is_null()) return "";
  const bool positive = target.get<double>() == 1.0;
  const bool said = predicted.is_boolean() ? predicted.get<bool>() : predicted.get<double>() != 0.0;
  return positive ? (said ? "found" : "missed") : (said ? "false alarm" : "");
}

bool has_picture(const Json& label) { return label.contains("overlay") && label["overlay"].is_string(); }

bool is_explained(const Json& label) { return has_picture(label) || label.contains("contributions"); }

// What the modalities changed, those that are there.
std::string modalities_text(const Json& label) {
  std::string text;
  const Json contributions = label.value("contributions", Json::object());  // items() keeps a reference
  for (const auto& [modality, value] : contributions.items()) {
    if (!value.value("present", false)) continue;
    text += fmt::format("{}{} {:+.2f}", text.empty() ? "change of the logit by " : ", ", modality,
                        value.at("logit").get<double>());
  }
  return html_escape(text);
}

// The features that changed the logit most.
std::string features_text(const Json& label) {
  std::vector<std::pair<double, std::string>> strongest;
  for (const Json& feature : label.value("features", Json::array())) {
    const double logit = feature.value("logit", 0.0);
    if (feature.value("present", false) && logit != 0.0)
      strongest.emplace_back(logit, feature.value("name", "?"));
  }
  std::stable_sort(strongest.begin(), strongest.end(),
                   [](const auto& a, const auto& b) { return std::abs(a.first) > std::abs(b.first); });
  std::vector<std::string> parts;
  for (size_t i = 0; i < std::min(strongest.size(), kFeaturesShown); ++i)
    parts.push_back(fmt::format("{} {:+.2f}", html_escape(strongest[i].second), strongest[i].first));
  return parts.empty() ? "" : "by feature: " + list_text(parts);
}

std::string attention_text(const Json& label) {
  const Json share = label.value("attention", Json::object()).value("share", Json::object());
  std::vector<std::string> parts;
  for (const auto& [kind, value] : share.items()) {
    if (value.is_number())
      parts.push_back(fmt::format("{} {:.0f}%", html_escape(kind), 100 * value.get<double>()));
  }
  return parts.empty() ? "" : "attention, rolled out: " + list_text(parts);
}

std::string example_html(const RunRecord& run, const Example& example) {
  const Json& label = *example.label;
  const std::string id = example.sample->at("id").get<std::string>();
  const std::string name = label.at("label").get<std::string>();
  std::string html = "<figure class=\"card\">";
  if (has_picture(label)) {
    html += "<img alt=\"" + html_escape(id + ", " + name) + "\" src=\"" +
            data_uri("image/png", run.picture(label["overlay"].get<std::string>())) + "\">\n";
  }
  html += "<figcaption>" +
          html_escape(fmt::format("{}, {}: probability {:.3f}", name, id, example.probability)) + "\n<ul>";
  for (const std::string& line : {modalities_text(label), features_text(label), attention_text(label)}) {
    if (!line.empty()) html += "<li>" + line + "</li>";
  }
  return html + "</ul></figcaption></figure>\n";
}

}  // namespace

std::string samples_section(const RunRecord& run) {
  std::map<std::string, std::vector<Example>> kinds;
  bool pictures = false;
  for (const Json& sample : run.explanation.at("samples")) {
    for (const Json& label : sample.at("labels")) {
      const std::string kind = kind_of(label);
      if (kind.empty() || !is_explained(label)) continue;
      pictures |= has_picture(label);
      kinds[kind].push_back({&sample, &label, label.at("probability").get<double>()});
    }
  }
  std::string html = "<p>Of the explained " + samples_word(run) +
                     ", these are the most confident correct predictions and the worst errors.";
  if (pictures) {
    html +=
        " The image is at the left. The map at the right shows what the output depends on (brighter means "
        "more). "
        "A cross marks the largest value; cyan boxes are annotations.";
  }
  html += " A change of the logit is the output with a modality or feature minus that without it.</p>\n";
  const std::pair<const char*, const char*> titles[] = {
      {"found", "Found: positive and predicted so"},
      {"missed", "Missed: positive, predicted negative"},
      {"false alarm", "False alarm: negative, predicted positive"}};
  for (const auto& [kind, title] : titles) {
    auto& examples = kinds[kind];
    const bool rising = std::string(kind) == "missed";
    std::stable_sort(examples.begin(), examples.end(), [&](const Example& a, const Example& b) {
      return rising ? a.probability < b.probability : a.probability > b.probability;
    });
    html += "<h3>" + std::string(title) + "</h3>\n";
    if (examples.empty()) {
      html += "<p>None among the explained " + samples_word(run) + ".</p>\n";
      continue;
    }
    html += "<div class=\"figures\">\n";
    for (size_t i = 0; i < std::min(examples.size(), kSamplesPerKind); ++i)
      html += example_html(run, examples[i]);
    html += "</div>\n";
  }
  return html;
}

}  // namespace medfusion::tools
