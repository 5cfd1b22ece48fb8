#include "tools/medfusion/run/feature_report.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <numeric>

#include "tools/medfusion/config/text_file.h"

namespace medfusion::tools {
namespace {

using data::FeatureCandidate;
using data::FeatureResult;
using data::Univariate;

const char* score_name(const data::StageOne& stage) { return core::text_of(stage.options.score); }

// The statistics of a tested candidate, by name.
std::vector<std::pair<const char*, double>> numbers_of(const FeatureResult& result) {
  const Univariate& s = result.statistics;
  return {{"score", s.score},
          {"threshold", s.best.threshold},
          {"auroc", s.auroc},
          {"auroc_low", s.auroc_low},
          {"auroc_high", s.auroc_high},
          {"youden", s.best.youden},
          {"sensitivity", data::sensitivity(s.best.counts)},
          {"specificity", data::specificity(s.best.counts)},
          {"chi_square", s.best.chi_square},
          {"information_gain", s.best.information_gain},
          {"odds_ratio", s.odds_ratio.value},
          {"odds_ratio_low", s.odds_ratio.low},
          {"odds_ratio_high", s.odds_ratio.high},
          {"p_value", s.p_value},
          {"q_value", result.q_value},
          {"design_effect", s.design_effect}};
}

nlohmann::ordered_json candidate_json(const FeatureCandidate& candidate, const FeatureResult& result) {
  const Univariate& s = result.statistics;
  nlohmann::ordered_json json = {{"feature", candidate.name},
                                 {"missingness", candidate.missingness},
                                 {"selected", result.selected},
                                 {"rank", result.rank > 0 ? nlohmann::ordered_json(result.rank) : nullptr},
                                 {"positives", s.positives},
                                 {"negatives", s.negatives},
                                 {"missing", s.missing}};
  if (!s.tested()) {
    json["untested"] = s.untested;
    return json;
  }
  json["direction"] = s.best.higher ? "higher" : "lower";
  for (const auto& [name, value] : numbers_of(result)) json[name] = value;
  json["stability"] = or_null(result.stability);
  json["cuts"] = result.cuts;
  return json;
}

// Candidates of a label by rank, the untested ones last.
std::vector<size_t> by_rank(const std::vector<FeatureResult>& results) {
  std::vector<size_t> order(results.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    const auto key = [&](size_t i) { return results[i].rank > 0 ? results[i].rank : INT64_MAX; };
    return key(a) < key(b);
  });
  return order;
}

std::string rule_of(const std::string& name, const Univariate& s, bool binary) {
  if (binary) return s.best.higher ? name : "not " + name;
  return fmt::format("{} {} {:.4g}", name, s.best.higher ? ">=" : "<", s.best.threshold);
}

std::string text_row(const FeatureCandidate& candidate, const FeatureResult& result, size_t width) {
  const Univariate& s = result.statistics;
  // Categories and missingness are 0 or 1.
  const bool binary = candidate.missingness || candidate.name.find('=') != std::string::npos;
  return fmt::format(
      "  {} {:<{}}  {:.3f} [{:.3f}, {:.3f}]  {:6.3f}  {:>7.2f} [{:.2f}, {:.2f}]  {:8.2g}  {:8.2g}  {}\n",
      result.selected ? '*' : ' ', rule_of(candidate.name, s, binary), width, s.auroc, s.auroc_low,
      s.auroc_high, s.best.youden, s.odds_ratio.value, s.odds_ratio.low, s.odds_ratio.high, s.p_value,
      result.q_value, result.stability ? fmt::format("{:.2f}", *result.stability) : "-");
}

}  // namespace

nlohmann::ordered_json features_json(const data::StageOne& stage) {
  nlohmann::ordered_json json = {{"score", score_name(stage)},
                                 {"top_n", stage.options.top_n},
                                 {"alpha", stage.options.alpha},
                                 {"bootstrap", stage.options.bootstrap},
                                 {"discretize", core::text_of(stage.options.discretize)},
                                 {"rows", stage.rows},
                                 {"patients", stage.patients}};
  for (size_t l = 0; l < stage.labels.size(); ++l) {
    nlohmann::ordered_json& label = json["labels"][stage.labels[l]];
    label["selected"] = nlohmann::ordered_json::array();
    label["features"] = nlohmann::ordered_json::array();
    for (const size_t c : by_rank(stage.results[l])) {
      if (stage.results[l][c].selected) label["selected"].push_back(stage.candidates[c].name);
      label["features"].push_back(candidate_json(stage.candidates[c], stage.results[l][c]));
    }
  }
  return json;
}

std::string features_csv(const data::StageOne& stage) {
  std::string csv = "label,feature,rank,selected,direction";
  for (const auto& [name, value] : numbers_of({})) csv.append(",").append(name);
  csv += ",stability,positives,negatives,missing,cuts,untested\n";
  for (size_t l = 0; l < stage.labels.size(); ++l) {
    for (const size_t c : by_rank(stage.results[l])) {
      const FeatureResult& result = stage.results[l][c];
      const Univariate& s = result.statistics;
      csv += fmt::format("{},{},{},{},{}", csv_cell(stage.labels[l]), csv_cell(stage.candidates[c].name),
                         result.rank > 0 ? std::to_string(result.rank) : "", result.selected ? 1 : 0,
                         !s.tested()     ? ""
                         : s.best.higher ? "higher"
                                         : "lower");
      for (const auto& [name, value] : numbers_of(result))
        csv += s.tested() ? fmt::format(",{:.6g}", value) : std::string(",");
      csv += fmt::format(",{},{},{},{},{:.6g},{}\n",
                         result.stability ? fmt::format("{:.6g}", *result.stability) : "", s.positives,
                         s.negatives, s.missing, fmt::join(result.cuts, " "), s.untested);
    }
  }
  return csv;
}

std::string features_text(const data::StageOne& stage) {
  size_t width = 20;
  for (const auto& candidate : stage.candidates) width = std::max(width, candidate.name.size() + 10);
  std::string text = fmt::format(
      "{} training rows of {} patients; * selected: among the top {} by {}, false-discovery rate "
      "at most {}\n",
      stage.rows, stage.patients, stage.options.top_n, score_name(stage), stage.options.alpha);
  text += fmt::format("    {:<{}}  {:<20}  {:>6}  {:<20}  {:>8}  {:>8}  {}\n", "rule", width, "AUROC [95%]",
                      "Youden", "odds ratio [95%]", "p", "q", "stability");
  for (size_t l = 0; l < stage.labels.size(); ++l) {
    const auto& results = stage.results[l];
    const auto selected =
        std::count_if(results.begin(), results.end(), [](const auto& r) { return r.selected; });
    int64_t positives = 0;
    for (const auto& r : results) positives = std::max(positives, r.statistics.positives);
    text +=
        fmt::format("{} ({} positives): {}\n", stage.labels[l], positives,
                    selected == 0 ? std::string("no feature passes") : fmt::format("{} selected", selected));
    for (const size_t c : by_rank(results)) {
      const FeatureResult& result = results[c];
      if (result.rank == 0 || (result.rank > stage.options.top_n && !result.selected)) continue;
      text += text_row(stage.candidates[c], result, width);
    }
  }
  return text;
}

}  // namespace medfusion::tools
