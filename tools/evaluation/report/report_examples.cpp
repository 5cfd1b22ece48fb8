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

// "image +0.31, age -0.05": what raised or lowered the probability, the strongest first, without those that
// changed less than half a percent.
std::string changes_text(const std::vector<std::pair<std::string, Json>>& parts) {
  std::vector<std::pair<double, std::string>> strongest;
  for (const auto& [name, value] : parts) {
    const double change = value.value("probability", 0.0);
    if (value.value("present", false) && std::abs(change) >= 0.005) strongest.emplace_back(change, name);
  }
  std::stable_sort(strongest.begin(), strongest.end(),
                   [](const auto& a, const auto& b) { return std::abs(a.first) > std::abs(b.first); });
  std::vector<std::string> texts;
  for (size_t i = 0; i < std::min(strongest.size(), kFeaturesShown); ++i)
    texts.push_back(fmt::format("{} {:+.2f}", html_escape(strongest[i].second), strongest[i].first));
  return list_text(texts);
}

std::string modalities_text(const Json& label) {
  std::vector<std::pair<std::string, Json>> parts;
  const Json contributions = label.value("contributions", Json::object());  // items() keeps a reference
  for (const auto& [modality, value] : contributions.items()) parts.emplace_back(modality, value);
  const std::string text = changes_text(parts);
  return parts.empty()  ? ""
         : text.empty() ? "no input changed the probability by 0.01"
                        : "changed by: " + text;
}

std::string features_text(const Json& label) {
  std::vector<std::pair<std::string, Json>> parts;
  for (const Json& feature : label.value("features", Json::array()))
    parts.emplace_back(feature.value("name", "?"), feature);
  const std::string text = changes_text(parts);
  return text.empty() ? "" : "of the table: " + text;
}

// Levels of the image are one.
std::string attention_text(const Json& label) {
  std::map<std::string, double> shares;
  const Json share = label.value("attention", Json::object()).value("share", Json::object());
  for (const auto& [kind, value] : share.items()) {
    const bool other = kind == "labels" || kind == "table" || kind == "text";
    if (value.is_number())
      shares[kind == "labels" ? "the labels" : other ? kind : "image"] += value.get<double>();
  }
  std::vector<std::string> parts;
  for (const auto& [kind, value] : shares) parts.push_back(fmt::format("{} {:.0f}%", kind, 100 * value));
  return parts.empty() ? "" : "attention: " + list_text(parts);
}

// The first of each label before the second of any.
std::vector<Example> over_the_labels(const std::vector<Example>& examples) {
  std::map<std::string, size_t> seen;
  std::vector<std::pair<size_t, Example>> ranked;
  for (const Example& example : examples)
    ranked.emplace_back(seen[example.label->at("label").get<std::string>()]++, example);
  std::stable_sort(ranked.begin(), ranked.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<Example> result;
  for (const auto& [rank, example] : ranked) result.push_back(example);
  return result;
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
          html_escape(fmt::format("{}, {}: probability {:.2f}", name, id, example.probability)) + "\n<ul>";
  for (const std::string& line : {modalities_text(label), features_text(label), attention_text(label)}) {
    if (!line.empty()) html += "<li>" + line + "</li>";
  }
  return html + "</ul></figcaption></figure>\n";
}

}  // namespace

Html samples_section(const RunRecord& run) {
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
  std::string html =
      "<p>Of the explained " + samples_word(run) +
      ", these are the most confident correct predictions and the worst errors, of as many labels as "
      "there are.";
  if (pictures) {
    html +=
        " The image is at the left. At the right, the brighter a place, the more the probability rests on "
        "it; a cross "
        "marks the brightest, and cyan boxes are annotations.";
  }
  html +=
      " &quot;Changed by&quot; is the probability with a part of the input minus that without it. "
      "&quot;Attention&quot; "
      "says how the network's weight on what it read is divided.</p>\n";
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
    examples = over_the_labels(examples);
    html += "<div class=\"figures\">\n";
    for (size_t i = 0; i < std::min(examples.size(), kSamplesPerKind); ++i)
      html += example_html(run, examples[i]);
    html += "</div>\n";
  }
  return html;
}

}  // namespace medfusion::tools
