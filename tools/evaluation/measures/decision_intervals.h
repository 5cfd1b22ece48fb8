// Intervals of a decision curve over patients.
#pragma once

#include <span>
#include <vector>

#include "data/statistics/curves.h"
#include "tools/evaluation/measures/bootstrap.h"

namespace medfusion::tools {

// Of each point of data::decision_curve(probabilities, targets, ...), whose thresholds ascend: the interval
// of the model's net benefit, as interval_around() makes it. One entry of `probabilities` and `targets` per
// row of the bootstrap; rows with an unknown target (NaN) do not count.
std::vector<Interval> decision_intervals(const std::vector<data::DecisionPoint>& curve,
                                         std::span<const double> probabilities,
                                         std::span<const double> targets, const PatientBootstrap& bootstrap);

}  // namespace medfusion::tools
