#include "data/statistics/curves.h"

#include <limits>

#include "core/error.h"
#include "data/statistics/confusion.h"
#include "data/statistics/ranking.h"

namespace medfusion::data {
namespace {

// visit(score, true positives, false positives) after each group of equal scores, from the highest.
template <class Visit>
void for_each_threshold(const RankedScores& ranked, Visit&& visit) {
  int64_t positives = 0, negatives = 0;
  for (size_t i = ranked.groups.size(); i-- > 0;) {
    positives += ranked.groups[i].positives;
    negatives += ranked.groups[i].negatives;
    visit(ranked.groups[i].score, positives, negatives);
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

}  // namespace

std::vector<CurvePoint> roc_curve(std::span<const double> scores, std::span<const double> targets,
                                  int64_t most) {
  const RankedScores ranked = rank_scores(scores, targets);
  if (!ranked.obstacle().empty()) return {};
  std::vector<CurvePoint> points{{0.0, 0.0, std::numeric_limits<double>::infinity()}};
  std::vector<double> way{0.0};
  for_each_threshold(ranked, [&](double score, int64_t positives, int64_t negatives) {
    points.push_back({static_cast<double>(negatives) / static_cast<double>(ranked.negatives),
                      static_cast<double>(positives) / static_cast<double>(ranked.positives), score});
    way.push_back(points.back().x + points.back().y);
  });
  if (static_cast<int64_t>(points.size()) > most) keep_corners(points, way);
  return thin(std::move(points), way, most);
}

std::vector<CurvePoint> precision_recall_curve(std::span<const double> scores,
                                               std::span<const double> targets, int64_t most) {
  const RankedScores ranked = rank_scores(scores, targets);
  if (!ranked.obstacle().empty()) return {};
  std::vector<CurvePoint> points;
  std::vector<double> way;
  for_each_threshold(ranked, [&](double score, int64_t positives, int64_t negatives) {
    if (!points.empty() && points.back().x == 1.0) return;  // below the last positive nothing is gained
    points.push_back({static_cast<double>(positives) / static_cast<double>(ranked.positives),
                      static_cast<double>(positives) / static_cast<double>(positives + negatives), score});
    way.push_back(points.back().x);
  });
  return thin(std::move(points), way, most);
}

std::vector<DecisionPoint> decision_curve(std::span<const double> probabilities,
                                          std::span<const double> targets,
                                          std::span<const double> thresholds) {
  const RankedScores ranked = rank_scores(probabilities, targets);
  if (ranked.groups.empty()) return {};
  const auto n = static_cast<double>(ranked.known());
  std::vector<DecisionPoint> result;
  for (const double threshold : thresholds) {
    MEDFUSION_CHECK(threshold > 0.0 && threshold < 1.0, "decision curve: threshold {}", threshold);
    const Confusion counts = confusion_at(probabilities, targets, threshold);
    const double odds = threshold / (1.0 - threshold);
    const auto benefit = [&](int64_t true_positives, int64_t false_positives) {
      return (static_cast<double>(true_positives) - static_cast<double>(false_positives) * odds) / n;
    };
    result.push_back({threshold, benefit(counts.true_positives, counts.false_positives),
                      benefit(ranked.positives, ranked.negatives)});
  }
  return result;
}

}  // namespace medfusion::data
