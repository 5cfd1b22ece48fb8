// Sections of the report: stage one, and attention between labels.
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "tools/evaluation/report/chart.h"
#include "tools/evaluation/report/report_fitting.h"
#include "tools/evaluation/report/report_text.h"

namespace medfusion::tools {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kFeaturesPerLabel = 5;

std::string of_share(const Json& proportion) {
  if (!proportion.is_object() || !proportion.value("value", Json()).is_number()) return "-";
  return fmt::format("{} [{},&nbsp;{}]", percent_text(proportion["value"]), percent_text(proportion["low"]),
                     percent_text(proportion["high"]));
}

Html localization_html(const Json& localization) {
  HtmlTable table({"label", "cases", "pointing game", "with tolerance", "chance", "peak of another image",
                   "mean IoU", "IoU &ge; 0.3"},
                  "Do the maps point at the boxes?");
  for (const Json& score : localization.at("scores")) {
    table.row({html_escape(score.at("label").get<std::string>()),
               fmt::format("{}", score.at("cases").get<int64_t>()), of_share(score.at("pointing_game")),
               of_share(score.at("with_tolerance")), percent_text(score.at("chance")),
               of_share(score.at("peak_of_another")), number_text(score.at("mean_iou")),
               of_share(score.at("iou").at("0.3"))});
  }
  return table.html("localization");
}

// What the mode made of the features that passed.
std::string mode_text(const RunRecord& run) {
  const std::string mode = setting_of(run, "features.mode");
  if (mode == "top_n")
    return "Mode <code>top_n</code>: the selected features (<b>*</b>) are what the label sees of the table.";
  if (mode == "none")
    return "Mode <code>none</code>: the network does not read the table; the marks (<b>*</b>) changed "
           "nothing.";
  return "Mode <code>all</code>: every label sees every feature; the marks (<b>*</b>) show what "
         "<code>top_n</code> would select and changed nothing.";
}

// The mean of the layers' attention, without the residual path that the rollout adds.
struct MeanAttention {
  std::vector<std::map<std::string, double>> share;  // of each label, by kind of token
  std::vector<std::vector<double>> label_label;
  int64_t layers = 0;
};

MeanAttention mean_attention(const Json& maps) {
  MeanAttention mean;
  for (const Json& map : maps) mean.layers += map.at("name") == "rollout" ? 0 : 1;
  for (const Json& map : maps) {
    if (map["name"] == "rollout") continue;
    const Json& values = map.at("label_label");
    mean.share.resize(values.size());
    mean.label_label.resize(values.size(), std::vector<double>(values.size(), 0.0));
    for (size_t i = 0; i < values.size(); ++i) {
      for (const auto& [kind, value] : map.at("share").at(i).items())
        mean.share[i][kind] += value.get<double>() / static_cast<double>(mean.layers);
      for (size_t j = 0; j < values.size(); ++j)
        mean.label_label[i][j] += values.at(i).at(j).get<double>() / static_cast<double>(mean.layers);
    }
  }
  return mean;
}

Html shares_html(const std::string& name, const std::vector<std::string>& names,
                 const std::vector<std::map<std::string, double>>& shares, const std::string& title) {
  HtmlTable table({"label", "labels", "image", "table", "text"}, title);
  for (size_t i = 0; i < names.size(); ++i) {
    std::vector<std::string> row{html_escape(names[i])};
    for (const char* kind : {"labels", "image", "table", "text"})
      row.push_back(shares[i].contains(kind) ? percent_text(shares[i].at(kind)) : "-");
    table.row(std::move(row));
  }
  return table.html(name);
}

Html matrix_html(const std::vector<std::string>& names, const std::vector<std::vector<double>>& values) {
  double high = 0.0;
  for (size_t i = 0; i < values.size(); ++i) {
    for (size_t j = 0; j < values[i].size(); ++j) high = i == j ? high : std::max(high, values[i][j]);
  }
  return matrix_table("labels", "Attention from a label (row) to another (column), percent", names, names,
                      values, 0.0, high, high < 0.1 ? 2 : 1);
}

Html attention_html(const RunRecord& run, const Json& attention) {
  const auto names = attention.at("labels").get<std::vector<std::string>>();
  const MeanAttention mean = mean_attention(attention.at("maps"));
  const std::string over = fmt::format("{} {}", attention.at("samples").get<int64_t>(), samples_word(run));
  Html html;
  if (mean.layers > 0) {
    html = fmt::format(
        "<p>Attention of the labels' tokens in the encoder: mean over heads, {}, and {}. The residual path, "
        "by "
        "which a token also keeps what it was, is not in it; rows, with what goes to itself, sum to 100%. "
        "The "
        "colors of the matrix are scaled to what lies off its diagonal.</p>\n",
        mean.layers == 1 ? "its one layer" : fmt::format("{} layers", mean.layers), over);
    html +=
        shares_html("shares", names, mean.share, "Where a label's attention goes, summed by kind of token") +
        matrix_html(names, mean.label_label);
  }
  const Json& last = attention["maps"].back();
  if (last.at("name") == "rollout") {
    std::vector<std::map<std::string, double>> shares;
    for (const Json& row : last.at("share")) shares.push_back(row.get<std::map<std::string, double>>());
    html +=
        "<details><summary>Rolled out over the layers, with the residual path</summary>" +
        shares_html("shares-rolled-out", names, shares,
                    "The product over layers of (attention + identity) / 2: half of a token bypasses each "
                    "layer, so that every label attends mostly to itself") +
        "</details>\n";
  }
  return html;
}

}  // namespace

Html features_section(const RunRecord& run) {
  if (!run.features.contains("labels"))
    return "<p>The run's table did not go through stage one (<code>features.mode</code>), or it has no "
           "table.</p>\n";
  const std::string lead = fmt::format(
      "<p>Fitted to {} training rows. The score is {}; q is the p-value after Benjamini and Hochberg's "
      "correction within the label. {} The first {} of each label:</p>\n",
      run.features.value("rows", int64_t{0}), html_escape(run.features.value("score", "?")), mode_text(run),
      kFeaturesPerLabel);
  HtmlTable table({"label", "feature", "threshold", "AUROC", "odds ratio", "p", "q", "stability"});
  for (const auto& [name, label] : run.features["labels"].items()) {
    size_t shown = 0;
    for (const Json& feature : label.at("features")) {
      if (feature.contains("untested") || shown++ >= kFeaturesPerLabel) continue;
      const std::string sign = feature.value("direction", "higher") == "higher" ? "&ge; " : "&lt; ";
      table.row({html_escape(name),
                 (feature.value("selected", false) ? "<b>*</b> " : "") +
                     html_escape(feature.at("feature").get<std::string>()),
                 sign + significant_text(feature.at("threshold")),
                 interval_text(feature, "auroc", "auroc_low", "auroc_high"),
                 number_text(feature.at("odds_ratio"), 2), significant_text(feature.at("p_value"), 2),
                 significant_text(feature.at("q_value"), 2),
                 number_text(feature.value("stability", Json()), 2)});
    }
  }
  return lead + table.html("thresholds") + empty_selection_note(run);
}

Html attention_section(const RunRecord& run) {
  const Json& attention = run.explanation.at("attention");
  const Json& localization = run.explanation.at("localization");
  return (attention.is_null() ? "<p>The network has no attention branch.</p>\n"
                              : attention_html(run, attention)) +
         (localization.is_null() ? "" : localization_html(localization));
}

}  // namespace medfusion::tools
