#include "data/table/discretize.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "data/statistics/confusion.h"
#include "data/statistics/samples.h"

namespace medfusion::data {
namespace {

struct ClassCounts {
  int64_t positives = 0, negatives = 0;
  double all() const { return static_cast<double>(positives + negatives); }
  int classes() const { return (positives > 0 ? 1 : 0) + (negatives > 0 ? 1 : 0); }
  double bits() const { return class_bits(positives, negatives); }
  double entropy() const { return bits() / all(); }
};

ClassCounts operator-(const ClassCounts& a, const ClassCounts& b) {
  return {a.positives - b.positives, a.negatives - b.negatives};
}

void add(ClassCounts& counts, const ScoreGroup& group) {
  counts.positives += group.positives;
  counts.negatives += group.negatives;
}

// Whether cutting `all` into `below` and the rest saves more than it costs to describe the cut.
bool accepted(const ClassCounts& all, const ClassCounts& below) {
  const ClassCounts above = all - below;
  const double n = all.all();
  const double gain = (all.bits() - below.bits() - above.bits()) / n;
  const double cost =
      std::log2(std::pow(3.0, all.classes()) - 2.0) -
      (all.classes() * all.entropy() - below.classes() * below.entropy() - above.classes() * above.entropy());
  return gain > (std::log2(n - 1.0) + cost) / n;
}

void cut_range(std::span<const ScoreGroup> groups, std::vector<double>& cuts) {
  ClassCounts all;
  for (const ScoreGroup& group : groups) add(all, group);
  if (groups.size() < 2 || all.classes() < 2) return;
  ClassCounts below, best_below;
  size_t best = 0;
  double least = 0.0;
  for (size_t i = 0; i + 1 < groups.size(); ++i) {
    add(below, groups[i]);
    const ClassCounts above = all - below;
    const double left = below.bits() + above.bits();
    if (best > 0 && left >= least * (1.0 - 1e-12)) continue;
    best = i + 1;
    least = left;
    best_below = below;
  }
  if (!accepted(all, best_below)) return;
  cut_range(groups.first(best), cuts);
  const double low = groups[best - 1].score, high = groups[best].score;
  const double middle = low + 0.5 * (high - low);
  cuts.push_back(middle > low ? middle : high);
  cut_range(groups.subspan(best), cuts);
}

}  // namespace

std::vector<double> mdl_cuts(std::span<const ScoreGroup> ascending) {
  std::vector<double> cuts;
  cut_range(ascending, cuts);
  return cuts;
}

std::vector<double> quantile_cuts(std::span<const double> values, int64_t bins) {
  MEDFUSION_CHECK(bins >= 1, "quantile_cuts: expected at least one bin, got {}", bins);
  std::vector<double> sorted(values.begin(), values.end());
  std::sort(sorted.begin(), sorted.end());
  std::vector<double> cuts;
  for (int64_t i = 1; i < bins && !sorted.empty(); ++i) {
    const double cut = quantile(sorted, static_cast<double>(i) / static_cast<double>(bins));
    if (cut > sorted.front() && (cuts.empty() || cut > cuts.back())) cuts.push_back(cut);
  }
  return cuts;
}

int64_t bin_of(std::span<const double> cuts, double value) {
  return std::upper_bound(cuts.begin(), cuts.end(), value) - cuts.begin();
}

}  // namespace medfusion::data
