#include "tools/evaluation/measures/decision_intervals.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace medfusion::tools {

std::vector<Interval> decision_intervals(const std::vector<data::DecisionPoint>& curve,
                                         std::span<const double> probabilities,
                                         std::span<const double> targets, const PatientBootstrap& bootstrap) {
  const std::vector<uint32_t>& patient = bootstrap.patient_of_row();
  MEDFUSION_CHECK(probabilities.size() == patient.size() && targets.size() == patient.size(),
                  "decision curve: {} probabilities and {} targets of {} rows", probabilities.size(),
                  targets.size(), patient.size());
  if (curve.empty()) return {};
  // How many thresholds each row reaches; a threshold counts the rows that reach more than those before it.
  std::vector<size_t> reached;
  for (const double probability : probabilities) {
    reached.push_back(static_cast<size_t>(
        std::upper_bound(curve.begin(), curve.end(), probability,
                         [](double p, const data::DecisionPoint& point) { return p < point.threshold; }) -
        curve.begin()));
  }
  const auto count = static_cast<int64_t>(curve.size());
  const std::vector<double> drawn =
      bootstrap.draw<double>(count, [&](const std::vector<uint32_t>& weights, double* benefits) {
        std::vector<double> positive(curve.size() + 1, 0.0), negative(curve.size() + 1, 0.0);
        double all = 0.0;
        for (size_t row = 0; row < reached.size(); ++row) {
          if (std::isnan(targets[row])) continue;
          (targets[row] == 1.0 ? positive : negative)[reached[row]] += weights[patient[row]];
          all += weights[patient[row]];
        }
        double true_positives = 0.0, false_positives = 0.0;
        for (size_t at = curve.size(); at-- > 0;) {
          true_positives += positive[at + 1];
          false_positives += negative[at + 1];
          const double odds = curve[at].threshold / (1.0 - curve[at].threshold);
          benefits[at] = (true_positives - false_positives * odds) / all;
        }
      });
  std::vector<Interval> intervals;
  std::vector<double> draws(static_cast<size_t>(bootstrap.resamples()));
  for (size_t at = 0; at < curve.size(); ++at) {
    for (size_t resample = 0; resample < draws.size(); ++resample)
      draws[resample] = drawn[resample * curve.size() + at];
    intervals.push_back(interval_around(curve[at].model, draws));
  }
  return intervals;
}

}  // namespace medfusion::tools
