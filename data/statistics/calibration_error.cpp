#include "data/statistics/calibration_error.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/random.h"
#include "data/statistics/ranking.h"

namespace medfusion::data {

int64_t probability_bin(double probability, int64_t bins) {
  const auto width = static_cast<double>(bins);
  return static_cast<int64_t>(std::clamp(std::floor(probability * width), 0.0, width - 1.0));
}

std::vector<CalibrationBin> calibration_bins(std::span<const double> probabilities,
                                             std::span<const double> targets, int64_t bins,
                                             bool equal_width) {
  MEDFUSION_CHECK(bins >= 1, "calibration: expected at least one bin, got {}", bins);
  const RankedScores ranked = rank_scores(probabilities, targets);
  std::vector<CalibrationBin> result;
  int64_t open = -1, done = 0;  // the bin that the last of `result` is; samples so far
  for (const ScoreGroup& group : ranked.groups) {
    // Bin k of equal mass ends with the group that brings the count to the floor of (k + 1) / bins of all.
    const int64_t bin =
        equal_width ? probability_bin(group.score, bins) : ((done + 1) * bins - 1) / ranked.known();
    if (bin != open) {
      const auto width = static_cast<double>(bins), k = static_cast<double>(bin);
      result.push_back({equal_width ? k / width : group.score, (k + 1.0) / width});
      open = bin;
    }
    CalibrationBin& last = result.back();
    if (!equal_width) last.upper = group.score;
    last.count += group.positives + group.negatives;
    last.positives += group.positives;
    for (int64_t i = 0; i < group.positives + group.negatives; ++i) last.probabilities += group.score;
    done += group.positives + group.negatives;
  }
  return result;
}

double calibration_gap(double positives, double probabilities) { return std::abs(positives - probabilities); }

double expected_calibration_error(const std::vector<CalibrationBin>& bins) {
  double sum = 0.0;
  int64_t count = 0;
  for (const CalibrationBin& bin : bins) {
    sum += calibration_gap(static_cast<double>(bin.positives), bin.probabilities);
    count += bin.count;
  }
  return sum / static_cast<double>(count);  // 0 / 0 is NaN
}

double expected_error_when_calibrated(std::span<const double> probabilities, std::span<const double> targets,
                                      int64_t bins, int64_t draws, uint64_t seed) {
  const RankedScores ranked = rank_scores(probabilities, targets);
  std::vector<double> gap(static_cast<size_t>(bins));
  double sum = 0.0;
  core::Generator generator(seed, uint64_t{1} << 33);  // beside the bootstrap's streams
  for (int64_t draw = 0; draw < draws; ++draw) {
    std::fill(gap.begin(), gap.end(), 0.0);
    for (size_t g = ranked.groups.size(); g-- > 0;) {
      const ScoreGroup& group = ranked.groups[g];
      const auto bin = static_cast<size_t>(probability_bin(group.score, bins));
      for (int64_t i = 0; i < group.positives + group.negatives; ++i) {
        const double target = static_cast<double>(generator.uniform()) < group.score ? 1.0 : 0.0;
        gap[bin] += target - group.score;
      }
    }
    for (const double each : gap) sum += std::abs(each);
  }
  return sum / static_cast<double>(draws) / static_cast<double>(ranked.known());
}

}  // namespace medfusion::data
