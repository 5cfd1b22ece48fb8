#include "tools/evaluation/measures/risk_levels.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "data/statistics/ranking.h"

namespace medfusion::tools {
namespace {

nlohmann::ordered_json value_or_null(const optim::MetricValue& value) {
  return value.defined() ? nlohmann::ordered_json(*value.value) : nlohmann::ordered_json();
}

optim::MetricValue read_value(const nlohmann::ordered_json& json, const char* key) {
  if (!json.at(key).is_null()) return optim::MetricValue::of(json.at(key).get<double>());
  return optim::MetricValue::undefined(json.at("undefined").at(key).get<std::string>());
}

double share_of(int64_t part, int64_t all) {
  return all == 0 ? kUndefined : static_cast<double>(part) / static_cast<double>(all);
}

RiskReached reached_by(const RiskCutoffs& cutoffs, const data::RankedScores& ranked) {
  int64_t low_positives = 0, low_negatives = 0, high_positives = 0, high_negatives = 0;
  for (const data::ScoreGroup& group : ranked.groups) {
    const RiskLevel level = cutoffs.level(group.score);
    if (level == RiskLevel::low) low_positives += group.positives, low_negatives += group.negatives;
    if (level == RiskLevel::high) high_positives += group.positives, high_negatives += group.negatives;
  }
  return {share_of(ranked.positives - low_positives, ranked.positives),
          share_of(low_negatives, low_positives + low_negatives),
          share_of(high_positives, high_positives + high_negatives)};
}

}  // namespace

void RiskOptions::check_rules(const core::Require& require) const {
  require(low <= high, {"risk.low", "risk.high"},
          fmt::format("expected at most risk.high = {}, got {}", high, low));
}

std::optional<RiskLevel> risk_level(const std::string& name) {
  for (const RiskLevel level : kRiskLevels) {
    if (name == name_of(level)) return level;
  }
  return std::nullopt;
}

const char* name_of(RiskLevel level) {
  return level == RiskLevel::low ? "low" : level == RiskLevel::high ? "high" : "intermediate";
}

RiskLevel RiskCutoffs::level(double probability) const {
  if (high.defined() && probability >= *high.value) return RiskLevel::high;
  if (low.defined() && probability < *low.value) return RiskLevel::low;
  return RiskLevel::intermediate;
}

nlohmann::ordered_json RiskCutoffs::to_json() const {
  nlohmann::ordered_json json{{"low", value_or_null(low)}, {"high", value_or_null(high)}};
  if (!low.defined()) json["undefined"]["low"] = low.reason;
  if (!high.defined()) json["undefined"]["high"] = high.reason;
  if (reached) {
    const auto number = [](double value) {
      return std::isnan(value) ? nlohmann::ordered_json() : nlohmann::ordered_json(value);
    };
    json["reached"] = {{"sensitivity", number(reached->sensitivity)},
                       {"npv", number(reached->npv)},
                       {"ppv", number(reached->ppv)}};
  }
  return json;
}

RiskCutoffs RiskCutoffs::from_json(const nlohmann::ordered_json& json) {
  RiskCutoffs cutoffs{read_value(json, "low"), read_value(json, "high")};
  if (json.contains("reached")) {
    const auto number = [&reached = json.at("reached")](const char* key) {
      return reached.at(key).is_null() ? kUndefined : reached.at(key).get<double>();
    };
    cutoffs.reached = {number("sensitivity"), number("npv"), number("ppv")};
  }
  return cutoffs;
}

RiskCutoffs choose_risk_cutoffs(std::span<const double> probabilities, std::span<const double> targets,
                                double sensitivity, double ppv) {
  MEDFUSION_CHECK(probabilities.size() == targets.size(), "risk levels: {} probabilities, {} targets",
                  probabilities.size(), targets.size());
  std::vector<double> scores, known;
  for (size_t i = 0; i < targets.size(); ++i) {
    if (std::isnan(probabilities[i])) continue;
    scores.push_back(probabilities[i]);
    known.push_back(targets[i]);
  }
  const data::RankedScores ranked = data::rank_scores(scores, known);
  if (ranked.positives == 0 || ranked.negatives == 0) {
    const auto none = optim::MetricValue::undefined(fmt::format(
        "no {} among {} known labels", ranked.positives == 0 ? "positive" : "negative", ranked.known()));
    return {none, none};
  }
  RiskCutoffs result;
  result.high = optim::MetricValue::undefined(
      fmt::format("no cut-off has a positive predictive value of {} in the validation part", ppv));
  int64_t positives = 0, above = 0;
  for (size_t i = ranked.groups.size(); i-- > 0;) {
    const data::ScoreGroup& group = ranked.groups[i];
    positives += group.positives;
    above += group.positives + group.negatives;
    if (!result.low.defined() &&
        static_cast<double>(positives) >= sensitivity * static_cast<double>(ranked.positives)) {
      result.low = optim::MetricValue::of(group.score);
    }
    if (static_cast<double>(positives) >= ppv * static_cast<double>(above))
      result.high = optim::MetricValue::of(group.score);
  }
  if (result.high.defined()) *result.high.value = std::max(*result.high.value, *result.low.value);
  result.reached = reached_by(result, ranked);
  return result;
}

RiskCutoffs fixed_risk_cutoffs(double low, double high) {
  MEDFUSION_CHECK(low <= high, "risk levels: cut-offs {} and {}", low, high);
  return {optim::MetricValue::of(low), optim::MetricValue::of(high)};
}

std::vector<RiskGroup> risk_groups(std::span<const RiskLevel> levels, std::span<const double> probabilities,
                                   std::span<const double> targets) {
  MEDFUSION_CHECK(levels.size() == targets.size() && probabilities.size() == targets.size(),
                  "risk levels: {} levels, {} probabilities, {} targets", levels.size(), probabilities.size(),
                  targets.size());
  std::vector<RiskGroup> groups;
  for (const RiskLevel level : kRiskLevels) {
    RiskGroup group;
    group.level = level;
    double sum = 0.0;
    for (size_t i = 0; i < targets.size(); ++i) {
      if (std::isnan(targets[i]) || levels[i] != level) continue;
      ++group.count;
      group.positives += targets[i] == 1.0 ? 1 : 0;
      sum += probabilities[i];
    }
    if (group.count > 0) {
      group.mean_probability = sum / static_cast<double>(group.count);
      group.observed = data::wilson(group.positives, group.count);
    }
    groups.push_back(group);
  }
  return groups;
}

}  // namespace medfusion::tools
