#include "tools/evaluation/curves.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/error.h"
#include "core/random.h"

namespace medfusion::tools {
namespace {

struct Sample {
  double score;
  bool positive;
};

struct Sorted {
  std::vector<Sample> samples;  // by falling score
  int64_t positives = 0, negatives = 0;
};

// The known samples; none where a score is not a number.
Sorted sort(std::span<const double> scores, std::span<const double> targets) {
  MEDFUSION_CHECK(scores.size() == targets.size(), "curves: {} scores, {} targets", scores.size(),
                  targets.size());
  Sorted sorted;
  for (size_t i = 0; i < scores.size(); ++i) {
    if (std::isnan(targets[i])) continue;
    if (std::isnan(scores[i])) return {};
    const bool positive = targets[i] == 1.0;
    (positive ? sorted.positives : sorted.negatives) += 1;
    sorted.samples.push_back({scores[i], positive});
  }
  std::stable_sort(sorted.samples.begin(), sorted.samples.end(),
                   [](const Sample& a, const Sample& b) { return a.score > b.score; });
  return sorted;
}

// visit(score, true positives, false positives) after each group of equal scores.
template <class Visit>
void for_each_threshold(const Sorted& sorted, Visit&& visit) {
  int64_t positives = 0, negatives = 0;
  for (size_t i = 0; i < sorted.samples.size(); ++i) {
    (sorted.samples[i].positive ? positives : negatives) += 1;
    if (i + 1 == sorted.samples.size() || sorted.samples[i + 1].score != sorted.samples[i].score) {
      visit(sorted.samples[i].score, positives, negatives);
    }
  }
}

// Keeps the first and the last point, and of the others those nearest after even steps of `way`.
std::vector<CurvePoint> thin(std::vector<CurvePoint> points, const std::vector<double>& way, int64_t most) {
  if (static_cast<int64_t>(points.size()) <= most) return points;
  std::vector<CurvePoint> kept{points.front()};
  const double length = way.back() - way.front();
  for (size_t i = 1; i + 1 < points.size(); ++i) {
    const double step = length * static_cast<double>(kept.size()) / static_cast<double>(most - 1);
    if (way[i] - way.front() >= step && static_cast<int64_t>(kept.size()) < most - 1)
      kept.push_back(points[i]);
  }
  kept.push_back(points.back());
  return kept;
}

// Without the points that lie on a line along an axis between their neighbours: a curve of steps keeps its
// corners.
void keep_corners(std::vector<CurvePoint>& points, std::vector<double>& way) {
  size_t kept = 1;
  for (size_t i = 1; i + 1 < points.size(); ++i) {
    const CurvePoint &a = points[kept - 1], &b = points[i], &c = points[i + 1];
    if ((a.x == b.x && b.x == c.x) || (a.y == b.y && b.y == c.y)) continue;
    points[kept] = b;
    way[kept++] = way[i];
  }
  points[kept] = points.back();
  way[kept++] = way.back();
  points.resize(kept);
  way.resize(kept);
}

// Extends a list of bins by samples [first, last), sorted by probability.
void add_bin(std::vector<CalibrationBin>& bins, std::span<const Sample> samples, double lower, double upper) {
  if (samples.empty()) return;
  double sum = 0.0;
  int64_t positives = 0;
  for (const Sample& sample : samples) {
    sum += sample.score;
    positives += sample.positive ? 1 : 0;
  }
  const auto count = static_cast<int64_t>(samples.size());
  bins.push_back({lower, upper, count, sum / static_cast<double>(count), wilson(positives, count)});
}

}  // namespace

std::vector<CurvePoint> roc_curve(std::span<const double> scores, std::span<const double> targets,
                                  int64_t most) {
  const Sorted sorted = sort(scores, targets);
  if (sorted.positives == 0 || sorted.negatives == 0) return {};
  std::vector<CurvePoint> points{{0.0, 0.0, std::numeric_limits<double>::infinity()}};
  std::vector<double> way{0.0};
  for_each_threshold(sorted, [&](double score, int64_t positives, int64_t negatives) {
    points.push_back({static_cast<double>(negatives) / static_cast<double>(sorted.negatives),
                      static_cast<double>(positives) / static_cast<double>(sorted.positives), score});
    way.push_back(points.back().x + points.back().y);
  });
  if (static_cast<int64_t>(points.size()) > most) keep_corners(points, way);
  return thin(std::move(points), way, most);
}

std::vector<CurvePoint> precision_recall_curve(std::span<const double> scores,
                                               std::span<const double> targets, int64_t most) {
  const Sorted sorted = sort(scores, targets);
  if (sorted.positives == 0 || sorted.negatives == 0) return {};
  std::vector<CurvePoint> points;
  std::vector<double> way;
  for_each_threshold(sorted, [&](double score, int64_t positives, int64_t negatives) {
    if (!points.empty() && points.back().x == 1.0) return;  // below the last positive nothing is gained
    points.push_back({static_cast<double>(positives) / static_cast<double>(sorted.positives),
                      static_cast<double>(positives) / static_cast<double>(positives + negatives), score});
    way.push_back(points.back().x);
  });
  return thin(std::move(points), way, most);
}

Proportion wilson(int64_t successes, int64_t total, double confidence) {
  MEDFUSION_CHECK(total > 0 && successes >= 0 && successes <= total, "wilson: {} of {}", successes, total);
  const double z = normal_quantile(0.5 + confidence / 2.0);
  const auto n = static_cast<double>(total);
  const double p = static_cast<double>(successes) / n;
  const double centre = (p + z * z / (2.0 * n)) / (1.0 + z * z / n);
  const double half = z / (1.0 + z * z / n) * std::sqrt(p * (1.0 - p) / n + z * z / (4.0 * n * n));
  // At the ends the bound is exact.
  return {p, successes == 0 ? 0.0 : std::max(0.0, centre - half),
          successes == total ? 1.0 : std::min(1.0, centre + half)};
}

std::vector<CalibrationBin> calibration_bins(std::span<const double> probabilities,
                                             std::span<const double> targets, int64_t bins,
                                             bool equal_width) {
  MEDFUSION_CHECK(bins >= 1, "calibration: expected at least one bin, got {}", bins);
  Sorted sorted = sort(probabilities, targets);
  std::reverse(sorted.samples.begin(), sorted.samples.end());
  const std::span<const Sample> samples = sorted.samples;
  const auto width = static_cast<double>(bins);
  std::vector<CalibrationBin> result;
  size_t first = 0;
  for (int64_t bin = 0; bin < bins; ++bin) {
    size_t last = first;
    if (equal_width) {
      const bool rest = bin + 1 == bins;
      while (last < samples.size() &&
             (rest || std::floor(samples[last].score * width) <= static_cast<double>(bin)))
        ++last;
      add_bin(result, samples.subspan(first, last - first), static_cast<double>(bin) / width,
              static_cast<double>(bin + 1) / width);
    } else {
      last = std::max(first, samples.size() * static_cast<size_t>(bin + 1) / static_cast<size_t>(bins));
      while (last > first && last < samples.size() && samples[last].score == samples[last - 1].score) ++last;
      if (last > first) {
        add_bin(result, samples.subspan(first, last - first), samples[first].score, samples[last - 1].score);
      }
    }
    first = last;
  }
  return result;
}

double expected_calibration_error(const std::vector<CalibrationBin>& bins) {
  double sum = 0.0;
  int64_t count = 0;
  for (const CalibrationBin& bin : bins) {
    sum += static_cast<double>(bin.count) * std::abs(bin.mean_probability - bin.observed.value);
    count += bin.count;
  }
  return sum / static_cast<double>(count);  // 0 / 0 is NaN
}

double expected_error_when_calibrated(std::span<const double> probabilities, std::span<const double> targets,
                                      int64_t bins, int64_t draws, uint64_t seed) {
  const Sorted sorted = sort(probabilities, targets);
  const auto width = static_cast<double>(bins);
  std::vector<double> gap(static_cast<size_t>(bins));
  double sum = 0.0;
  core::Generator generator(seed, uint64_t{1} << 33);  // beside the bootstrap's streams
  for (int64_t draw = 0; draw < draws; ++draw) {
    std::fill(gap.begin(), gap.end(), 0.0);
    for (const Sample& sample : sorted.samples) {
      const auto bin = static_cast<size_t>(std::clamp(std::floor(sample.score * width), 0.0, width - 1.0));
      const double target = static_cast<double>(generator.uniform()) < sample.score ? 1.0 : 0.0;
      gap[bin] += target - sample.score;
    }
    for (const double each : gap) sum += std::abs(each);
  }
  return sum / static_cast<double>(draws) / static_cast<double>(sorted.samples.size());
}

std::vector<DecisionPoint> decision_curve(std::span<const double> probabilities,
                                          std::span<const double> targets,
                                          std::span<const double> thresholds) {
  const Sorted sorted = sort(probabilities, targets);
  if (sorted.samples.empty()) return {};
  const auto n = static_cast<double>(sorted.samples.size());
  std::vector<DecisionPoint> result;
  for (const double threshold : thresholds) {
    MEDFUSION_CHECK(threshold > 0.0 && threshold < 1.0, "decision curve: threshold {}", threshold);
    int64_t positives = 0, negatives = 0;
    for (const Sample& sample : sorted.samples) {
      if (sample.score < threshold) break;
      (sample.positive ? positives : negatives) += 1;
    }
    const double odds = threshold / (1.0 - threshold);
    const auto benefit = [&](int64_t true_positives, int64_t false_positives) {
      return (static_cast<double>(true_positives) - static_cast<double>(false_positives) * odds) / n;
    };
    result.push_back({threshold, benefit(positives, negatives), benefit(sorted.positives, sorted.negatives)});
  }
  return result;
}

nlohmann::ordered_json to_json(const std::vector<CurvePoint>& points) {
  auto list = nlohmann::ordered_json::array();
  for (const CurvePoint& point : points) {
    const auto threshold =
        std::isinf(point.threshold) ? nlohmann::ordered_json() : nlohmann::ordered_json(point.threshold);
    list.push_back({point.x, point.y, threshold});
  }
  return list;
}

nlohmann::ordered_json to_json(const std::vector<CalibrationBin>& bins) {
  auto list = nlohmann::ordered_json::array();
  for (const CalibrationBin& bin : bins) {
    list.push_back({{"lower", bin.lower},
                    {"upper", bin.upper},
                    {"count", bin.count},
                    {"mean_probability", bin.mean_probability},
                    {"observed", bin.observed.value},
                    {"low", bin.observed.low},
                    {"high", bin.observed.high}});
  }
  return list;
}

nlohmann::ordered_json to_json(const std::vector<DecisionPoint>& points) {
  auto list = nlohmann::ordered_json::array();
  for (const DecisionPoint& point : points) list.push_back({point.threshold, point.model, point.all, 0.0});
  return list;
}

double normal_cdf(double value) { return 0.5 * std::erfc(-value / std::sqrt(2.0)); }

double normal_quantile(double probability) {
  MEDFUSION_CHECK(probability > 0.0 && probability < 1.0, "normal quantile of {}", probability);
  // Newton's method from the middle with the step bounded: the distribution function is smooth, and the few
  // calls do not need speed.
  constexpr double kRootTwoPi = 2.5066282746310005024;
  double value = 0.0;
  for (int i = 0; i < 200; ++i) {
    const double density = std::exp(-0.5 * value * value) / kRootTwoPi;
    const double step = (normal_cdf(value) - probability) / density;
    value -= std::clamp(step, -0.5, 0.5);
    if (std::abs(step) < 1e-14) break;
  }
  return value;
}

}  // namespace medfusion::tools
