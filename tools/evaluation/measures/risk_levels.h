// Risk levels per label: low below one cut-off of the probability, high from another one on, intermediate
// between. The cut-offs are fixed, or chosen on the validation part by what they must achieve.
#pragma once

#include <array>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/settings.h"
#include "data/statistics/intervals.h"
#include "optim/metrics.h"
#include "tools/evaluation/measures/measures.h"

namespace medfusion::tools {

enum class RiskLevel : uint8_t { low, intermediate, high };
inline constexpr std::array kRiskLevels{RiskLevel::low, RiskLevel::intermediate, RiskLevel::high};
const char* name_of(RiskLevel level);
std::optional<RiskLevel> risk_level(const std::string& name);

inline constexpr std::array kRiskMethods{"targets", "cutoffs", "none"};
enum class RiskMethod : uint8_t { targets, cutoffs, none };
constexpr core::Names names_of(RiskMethod) { return kRiskMethods; }

struct RiskOptions {
  RiskMethod method = RiskMethod::targets;
  double sensitivity = 0.95;
  double ppv = 0.5;
  double low = 0.1;
  double high = 0.5;

  void visit_fields(core::FieldVisitor& visit) {
    using core::Range;
    visit("method", method,
          "How the cut-offs between low, intermediate and high risk are set for each label: `targets` "
          "chooses them on the validation part by `risk.sensitivity` and `risk.ppv`, `cutoffs` takes "
          "`risk.low` and `risk.high`, `none` gives no levels.");
    visit("sensitivity", sensitivity, Range::in(0, 1),
          "`targets`: at least this share of the positives is not at low risk.");
    visit("ppv", ppv, Range::in(0, 1),
          "`targets`: at least this share of the samples at high risk is positive.");
    visit("low", low, Range::in(0, 1), "`cutoffs`: the risk is low below this probability.");
    visit("high", high, Range::in(0, 1), "`cutoffs`: the risk is high from this probability on.");
  }
  void check_rules(const core::Require& require) const;
};

// What the cut-offs reached on the rows they were chosen on; NaN where a level is not there or empty.
struct RiskReached {
  double sensitivity = kUndefined;  // share of the positives that is not at low risk
  double npv = kUndefined;          // share of the rows at low risk that is negative
  double ppv = kUndefined;          // share of the rows at high risk that is positive
};

struct RiskCutoffs {
  optim::MetricValue low;   // low where probability < low; undefined: no sample is low
  optim::MetricValue high;  // high where probability >= high; undefined: no sample is high

  std::optional<RiskReached> reached = {};  // of chosen cut-offs; earlier runs do not know it

  bool defined() const { return low.defined() || high.defined(); }
  RiskLevel level(double probability) const;

  nlohmann::ordered_json to_json() const;
  // Throws nlohmann's exceptions where it is not what to_json() gives.
  static RiskCutoffs from_json(const nlohmann::ordered_json& json);
};

// From probabilities with targets 1, 0 or NaN (unknown) of the validation part:
// low   the highest score at or above which at least the share `sensitivity` of the positives lies,
// high  the lowest score at or above which at least the share `ppv` of the samples is positive, but not below
//       `low`.
// Undefined, with the reason, where a class is missing or no score achieves it. `reached` is of these
// samples.
RiskCutoffs choose_risk_cutoffs(std::span<const double> probabilities, std::span<const double> targets,
                                double sensitivity, double ppv);

// The same two for every label. low <= high.
RiskCutoffs fixed_risk_cutoffs(double low, double high);

// How many samples are in each level, and how many of those with a known target are positive.
struct RiskGroup {
  RiskLevel level = RiskLevel::low;
  int64_t count = 0;  // with a known target
  int64_t positives = 0;
  double mean_probability = kUndefined;
  data::Estimate observed{kUndefined, kUndefined, kUndefined};  // with Wilson's interval; NaN without samples
};
std::vector<RiskGroup> risk_groups(std::span<const RiskLevel> levels, std::span<const double> probabilities,
                                   std::span<const double> targets);

}  // namespace medfusion::tools
