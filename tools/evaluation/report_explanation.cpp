// Sections of the report: stage one, attention between labels, and examples of single images.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "tools/evaluation/chart.h"
#include "tools/evaluation/report.h"

namespace medfusion::tools {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kSamplesPerKind = 4;
constexpr size_t kFeaturesPerLabel = 5;

std::string share(const Json& value) {
  return value.is_number() ? fmt::format("{:.1f}%", 100 * value.get<double>()) : "-";
}

std::string of_share(const Json& proportion) {
  if (!proportion.is_object() || !proportion.value("value", Json()).is_number()) return "-";
  return fmt::format("{} [{}, {}]", share(proportion["value"]), share(proportion["low"]),
                     share(proportion["high"]));
}

std::string localization_html(const Json& localization) {
  HtmlTable table({"label", "cases", "pointing game", "with tolerance", "chance", "peak of another image",
                   "mean IoU", "IoU &ge; 0.3"},
                  "Do the maps point at the boxes?");
  for (const Json& score : localization.at("scores")) {
    table.row({html_escape(score.at("label").get<std::string>()),
               fmt::format("{}", score.at("cases").get<int64_t>()), of_share(score.at("pointing_game")),
               of_share(score.at("with_tolerance")), share(score.at("chance")),
               of_share(score.at("peak_of_another")), number_text(score.at("mean_iou")),
               of_share(score.at("iou").at("0.3"))});
  }
  return table.html();
}

// An image and a label that can be shown.
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

std::string strongest(const Json& label) {
  std::string text;
  if (label.contains("contributions")) {
    for (const auto& [modality, value] : label["contributions"].items()) {
      if (!value.value("present", false)) continue;
      text += fmt::format("{}{} {:+.2f}", text.empty() ? "change of the logit by " : ", ", modality,
                          value.at("logit").get<double>());
    }
  }
  return text;
}

std::string example_html(const RunRecord& run, const Example& example) {
  const Json& label = *example.label;
  const std::string id = example.sample->at("id").get<std::string>();
  const std::string name = label.at("label").get<std::string>();
  std::string html = "<figure><img alt=\"" + html_escape(id + ", " + name) + "\" src=\"" +
                     data_uri("image/png", run.picture(label.at("overlay").get<std::string>())) +
                     "\">\n<figcaption>";
  html += html_escape(fmt::format("{}, {}: probability {:.3f}", name, id, example.probability));
  const std::string why = strongest(label);
  if (!why.empty()) html += "; " + html_escape(why);
  return html + "</figcaption></figure>\n";
}

}  // namespace

HtmlSection features_section(const RunRecord& run) {
  HtmlSection section{"features", "Stage one: thresholds of single features", ""};
  if (run.features.is_null() || !run.features.contains("labels")) {
    section.body =
        "<p>The run's table did not go through stage one (<code>features.mode</code>), or it has no "
        "table.</p>\n";
    return section;
  }
  section.body = fmt::format(
      "<p>Fitted to {} training rows. The score is {}; q is the p-value after Benjamini and Hochberg's "
      "correction within the label; selected "
      "features (<b>*</b>) become what the label sees of the table. The first {} of each label:</p>\n",
      run.features.value("rows", int64_t{0}), html_escape(run.features.value("score", "?")),
      kFeaturesPerLabel);
  HtmlTable table({"label", "feature", "threshold", "AUROC", "odds ratio", "p", "q", "stability"});
  for (const auto& [name, label] : run.features["labels"].items()) {
    size_t shown = 0;
    for (const Json& feature : label.at("features")) {
      if (feature.contains("untested") || shown++ >= kFeaturesPerLabel) continue;
      const auto small = [](const Json& value) {
        return value.is_number() ? fmt::format("{:.2g}", value.get<double>()) : std::string("-");
      };
      const std::string sign = feature.value("direction", "higher") == "higher" ? "&ge; " : "&lt; ";
      table.row({html_escape(name),
                 (feature.value("selected", false) ? "<b>*</b> " : "") +
                     html_escape(feature.at("feature").get<std::string>()),
                 sign + small(feature.at("threshold")),
                 interval_text({{"value", feature.at("auroc")},
                                {"low", feature.at("auroc_low")},
                                {"high", feature.at("auroc_high")}}),
                 number_text(feature.at("odds_ratio"), 2), small(feature.at("p_value")),
                 small(feature.at("q_value")), number_text(feature.value("stability", Json()), 2)});
    }
  }
  section.body += table.html();
  return section;
}

HtmlSection attention_section(const RunRecord& run) {
  HtmlSection section{"attention", "What the labels attend to", ""};
  if (run.explanation.is_null()) {
    section.body = missing_note("explanations", "medfusion explain RUN --split test");
    return section;
  }
  const Json& attention = run.explanation.at("attention");
  if (attention.is_null()) {
    section.body = "<p>The network has no attention branch.</p>\n";
  } else {
    const auto names = attention.at("labels").get<std::vector<std::string>>();
    const Json& map = attention.at("maps").back();
    HtmlTable shares({"label", "labels", "image", "table", "text"},
                     "Where a label's attention goes, summed by kind of token");
    for (size_t i = 0; i < names.size(); ++i) {
      const Json& row = map.at("share").at(i);
      shares.row({html_escape(names[i]), share(row.value("labels", Json())),
                  share(row.value("image", Json())), share(row.value("table", Json())),
                  share(row.value("text", Json()))});
    }
    const auto values = map.at("label_label").get<std::vector<std::vector<double>>>();
    double high = 0.0;
    for (size_t i = 0; i < values.size(); ++i) {
      for (size_t j = 0; j < values[i].size(); ++j) high = i == j ? high : std::max(high, values[i][j]);
    }
    section.body = fmt::format("<p>Means over {} images, {}.</p>\n", attention.at("samples").get<int64_t>(),
                               html_escape(map.at("name").get<std::string>())) +
                   shares.html() +
                   "<div class=\"scroll\"><figure style=\"max-width:760px;min-width:480px\">" +
                   matrix_svg("Attention from a label (row) to another (column), percent", names, names,
                              values, 0.0, high) +
                   "</figure></div>\n";
  }
  const Json& localization = run.explanation.at("localization");
  if (!localization.is_null()) section.body += localization_html(localization);
  return section;
}

HtmlSection samples_section(const RunRecord& run) {
  HtmlSection section{"examples", "Examples: successes and failures", ""};
  if (run.explanation.is_null()) {
    section.body = missing_note("explanations", "medfusion explain RUN --split test");
    return section;
  }
  std::map<std::string, std::vector<Example>> kinds;
  for (const Json& sample : run.explanation.at("samples")) {
    for (const Json& label : sample.at("labels")) {
      const std::string kind = kind_of(label);
      if (kind.empty() || !label.contains("overlay") || !label["overlay"].is_string()) continue;
      kinds[kind].push_back({&sample, &label, label.at("probability").get<double>()});
    }
  }
  section.body =
      "<p>Of the explained images, the surest successes and the worst failures, so that both are seen. Left "
      "the image, right what the output rests on "
      "(bright: more); a cross marks the strongest place, cyan boxes the annotated one where there is "
      "one.</p>\n";
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
    section.body += "<h3>" + std::string(title) + "</h3>\n";
    if (examples.empty()) {
      section.body += "<p>None among the explained images.</p>\n";
      continue;
    }
    section.body += "<div class=\"figures\">\n";
    for (size_t i = 0; i < std::min(examples.size(), kSamplesPerKind); ++i)
      section.body += example_html(run, examples[i]);
    section.body += "</div>\n";
  }
  return section;
}

}  // namespace medfusion::tools
