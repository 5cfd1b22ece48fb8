#include "tools/evaluation/measures/measures.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "core/error.h"
#include "data/statistics/calibration_error.h"
#include "data/statistics/confusion.h"
#include "data/statistics/ranking.h"

namespace medfusion::tools {
namespace {

bool needs_threshold(Measure measure) {
  return measure >= Measure::f1 && measure <= Measure::balanced_accuracy;
}

// As scikit-learn: a probability of 0 or 1 counts as the nearest one inside.
double log_loss_of(double score, bool positive) {
  const double inside =
      std::clamp(score, std::numeric_limits<double>::epsilon(), 1.0 - std::numeric_limits<double>::epsilon());
  return -std::log(positive ? inside : 1.0 - inside);
}

}  // namespace

MeasureValues::MeasureValues() { values_.fill(kUndefined); }

RankedLabel::RankedLabel(std::span<const double> scores, std::span<const double> targets,
                         std::span<const uint32_t> group, std::span<const uint8_t> predicted, int64_t bins,
                         std::span<const double> ranking)
    : bins_(static_cast<size_t>(bins)), decided_(!predicted.empty()) {
  if (ranking.empty()) ranking = scores;
  MEDFUSION_CHECK(scores.size() == targets.size() && scores.size() == group.size() &&
                      scores.size() == ranking.size() &&
                      (predicted.empty() || predicted.size() == scores.size()),
                  "measures: {} scores, {} targets, {} groups, {} decisions, {} ranks", scores.size(),
                  targets.size(), group.size(), predicted.size(), ranking.size());
  MEDFUSION_CHECK(bins >= 1, "measures: expected at least one bin, got {}", bins);
  std::vector<size_t> order;
  for (size_t i = 0; i < scores.size(); ++i) {
    const data::Truth truth = data::truth_of(targets[i]);
    if (truth == data::Truth::unknown) continue;
    (truth == data::Truth::positive ? positives_ : negatives_) += 1;
    not_numbers_ += std::isnan(scores[i]) || std::isnan(ranking[i]) ? 1 : 0;
    order.push_back(i);
  }
  if (not_numbers_ > 0) return;
  std::sort(order.begin(), order.end(),
            [&](size_t a, size_t b) { return ranking[a] != ranking[b] ? ranking[a] > ranking[b] : a < b; });
  for (size_t i = 0; i < order.size(); ++i) {
    const size_t at = order[i];
    const bool positive = targets[at] == 1.0;
    group_.push_back(group[at]);
    positive_.push_back(positive ? 1 : 0);
    predicted_.push_back(decided_ ? predicted[at] : 0);
    last_of_tie_.push_back(i + 1 == order.size() || ranking[order[i + 1]] != ranking[at] ? 1 : 0);
    score_.push_back(scores[at]);
    log_loss_.push_back(log_loss_of(scores[at], positive));
    bin_.push_back(static_cast<size_t>(data::probability_bin(scores[at], bins)));
  }
}

// What a pass has added up, from the highest rank.
struct RankedLabel::Sums {
  data::RankingAreas ranking;
  int64_t true_positives = 0, false_positives = 0;
  double squares = 0.0, logs = 0.0;
  double gap = 0.0;  // sum over the bins
};

MeasureValues RankedLabel::measures(std::span<const uint32_t> weights) const {
  MeasureValues values;
  if (not_numbers_ > 0) return values;
  Sums sums;
  int64_t tied_positives = 0, tied_negatives = 0;
  struct Bin {
    int64_t positives = 0;
    double probabilities = 0.0;
  };
  std::vector<Bin> bins(bins_);
  for (size_t i = 0; i < score_.size(); ++i) {
    const int64_t weight = weights[group_[i]];
    const int64_t positive = weight * positive_[i];
    const int64_t predicted = predicted_[i];
    const auto w = static_cast<double>(weight);
    const double error = static_cast<double>(positive_[i]) - score_[i];
    tied_positives += positive;
    tied_negatives += weight - positive;
    sums.true_positives += predicted * positive;
    sums.false_positives += predicted * (weight - positive);
    sums.squares += w * error * error;
    sums.logs += w * log_loss_[i];
    bins[bin_[i]].positives += positive;
    bins[bin_[i]].probabilities += w * score_[i];
    if (last_of_tie_[i] == 0) continue;
    sums.ranking.add(tied_positives, tied_negatives);
    tied_positives = tied_negatives = 0;
  }
  for (size_t bin = bins.size(); bin-- > 0;)
    sums.gap += data::calibration_gap(static_cast<double>(bins[bin].positives), bins[bin].probabilities);
  finish(sums, values);
  return values;
}

void RankedLabel::finish(const Sums& sums, MeasureValues& values) const {
  const auto positives = static_cast<double>(sums.ranking.positives());
  const auto negatives = static_cast<double>(sums.ranking.negatives());
  const double count = positives + negatives;
  values[Measure::brier] = sums.squares / count;
  values[Measure::log_loss] = sums.logs / count;
  values[Measure::ece] = sums.gap / count;
  values[Measure::auroc] = sums.ranking.auroc();
  values[Measure::auprc] = sums.ranking.average_precision();
  if (positives > 0.0 && negatives > 0.0)
    values[Measure::brier_scaled] = 1.0 - values[Measure::brier] / (positives / count * (negatives / count));
  if (!decided_) return;
  const data::Confusion counts{sums.true_positives, sums.false_positives,
                               sums.ranking.negatives() - sums.false_positives,
                               sums.ranking.positives() - sums.true_positives};
  values[Measure::sensitivity] = data::sensitivity(counts);
  values[Measure::specificity] = data::specificity(counts);
  values[Measure::ppv] = data::positive_predictive_value(counts);
  values[Measure::npv] = data::negative_predictive_value(counts);
  values[Measure::accuracy] = data::accuracy(counts);
  values[Measure::balanced_accuracy] = data::balanced_accuracy(counts);
  values[Measure::f1] = data::f1(counts);
  values[Measure::gmean] = data::gmean(counts);
}

std::string RankedLabel::why_undefined(Measure measure, const std::string& no_threshold) const {
  const data::RankedScores ranked{{}, positives_, negatives_, not_numbers_};
  const int64_t known = ranked.known();
  if (not_numbers_ > 0 || known == 0) return ranked.obstacle();
  if (needs_threshold(measure) && !decided_) return "no threshold: " + no_threshold;
  if (measure == Measure::ppv) return fmt::format("none of {} predicted positive", known);
  if (measure == Measure::npv) return fmt::format("none of {} predicted negative", known);
  return ranked.obstacle() + (measure == Measure::f1 ? ", and none predicted" : "");
}

}  // namespace medfusion::tools
