#include "tools/evaluation/report/report_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace medfusion::tools {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kDagger = "<sup>&dagger;</sup>";
constexpr double kLargeShare = 0.1;  // of the resamples

}  // namespace

std::string number_text(const Json& value, int digits) {
  return value.is_number() ? fmt::format("{:.{}f}", value.get<double>(), digits) : "-";
}

std::string significant_text(const Json& value, int digits) {
  return value.is_number() ? fmt::format("{:.{}g}", value.get<double>(), digits) : "-";
}

std::string percent_text(const Json& value, int digits) {
  return value.is_number() ? fmt::format("{:.{}f}%", 100 * value.get<double>(), digits) : "-";
}

std::string count_text(const Json& value) {
  return value.is_number() ? fmt::format("{}", value.get<int64_t>()) : "-";
}

std::string interval_text(const Json& measure, int64_t resamples) {
  if (!measure.is_object() || !measure.contains("value") || !measure["value"].is_number())
    return measure.is_object() && measure.contains("undefined") ? "not estimable" : "-";
  const double undefined = measure.value("undefined_resamples", 0.0);
  const char* mark = undefined > kLargeShare * static_cast<double>(resamples) && resamples > 0 ? kDagger : "";
  const Json low = measure.value("low", Json()), high = measure.value("high", Json());
  if (!low.is_number() || !high.is_number()) return number_text(measure["value"]) + mark;
  return number_text(measure["value"]) + " [" + number_text(low) + ",&nbsp;" + number_text(high) + "]" + mark;
}

std::string interval_text(const Json& json, const char* value, const char* low, const char* high) {
  if (!json.is_object()) return "-";
  const auto number = [&](const char* key) { return json.value(key, Json()); };
  return interval_text({{"value", number(value)}, {"low", number(low)}, {"high", number(high)}});
}

IntervalEntry interval_entry(const std::string& name, const Json& measure) {
  const auto number = [&](const char* key) {
    const Json value = measure.value(key, Json());
    return value.is_number() ? value.get<double>() : std::nan("");
  };
  return {name, number("value"), number("low"), number("high")};
}

ChartSeries curve_series(const Json& points, const std::string& name, size_t y) {
  ChartSeries series{.name = name};
  for (const Json& point : points) {
    if (point.at(0).is_number() && point.at(y).is_number())
      series.points.emplace_back(point[0].get<double>(), point[y].get<double>());
  }
  return series;
}

std::string partial_note(const std::string& html) {
  if (html.find(kDagger) == std::string::npos) return "";
  return fmt::format(
      "<p class=\"hint\">{} In more than a tenth of the resamples the measure had no value (a class, or all "
      "predicted positives, were not drawn). The interval is that of the others, and too narrow; with too "
      "few of them there is none.</p>\n",
      kDagger);
}

Json value_at(const Json& json, const std::string& pointer) {
  const Json::json_pointer at(pointer);
  return json.contains(at) ? json.at(at) : Json();
}

std::string list_html(const std::vector<std::string>& items) {
  std::string html = "<ul>\n";
  for (const std::string& item : items) html += "<li>" + item + "</li>\n";
  return html + "</ul>\n";
}

std::string missing_note(const std::string& what, const std::string& command) {
  return "<p class=\"note\">Not in this report: " + html_escape(what) + ". Made by <code>" +
         html_escape(command) + "</code>, then this report again.</p>\n";
}

Page checked_page(const std::string& name, const std::function<Page()>& make) {
  try {
    return make();
  } catch (const Json::exception& error) {
    core::throw_input_error({name}, "expected the files of this version of medfusion: {}", error.what());
  }
}

std::string setting_of(const RunRecord& run, const std::string& key) {
  if (!run.settings.contains(key)) return "";
  const Json& value = run.settings[key];
  return value.is_string() ? value.get<std::string>() : value.dump();
}

std::string setting_text(const RunRecord& run, const std::string& key) {
  return html_escape(setting_of(run, key));
}

bool setting_is_on(const RunRecord& run, const std::string& key) { return setting_of(run, key) == "true"; }

bool reads_images(const RunRecord& run) {
  return setting_of(run, "model.modalities.image") != "false" &&
         (setting_of(run, "data.format") != "csv" || !setting_of(run, "data.image_column").empty());
}

bool reads_table(const RunRecord& run) {
  if (value_at(run.preprocessing, "/table").is_null()) return false;
  return !value_at(run.preprocessing, "/features").is_object() ||
         !value_at(run.preprocessing, "/features/features").empty();
}

bool reads_text(const RunRecord& run) { return !value_at(run.preprocessing, "/text").is_null(); }

std::string samples_word(const RunRecord& run) { return reads_images(run) ? "images" : "rows"; }

std::string part_name(const Json& evaluation) {
  const std::string split = evaluation.value("split", "?");
  return html_escape(split) + (split == "out of fold" ? "" : " part");
}

std::string control_name(const Json& control) {
  std::string name = control.at("name").get<std::string>();
  std::replace(name.begin(), name.end(), '_', ' ');
  return html_escape(name);
}

std::string list_text(const std::vector<std::string>& words) {
  std::string text;
  for (size_t i = 0; i < words.size(); ++i) {
    text += (i == 0 ? "" : i + 1 == words.size() ? " and " : ", ") + words[i];
  }
  return text;
}

}  // namespace medfusion::tools
