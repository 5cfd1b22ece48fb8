#include "tools/evaluation/measures.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "core/error.h"

namespace medfusion::tools {
namespace {

bool needs_threshold(Measure measure) {
  return measure >= Measure::f1 && measure <= Measure::balanced_accuracy;
}

double ratio(int64_t part, int64_t whole) {
  return whole == 0 ? kUndefined : static_cast<double>(part) / static_cast<double>(whole);
}

// As scikit-learn: a probability of 0 or 1 counts as the nearest one inside.
double log_loss_of(double score, bool positive) {
  const double inside =
      std::clamp(score, std::numeric_limits<double>::epsilon(), 1.0 - std::numeric_limits<double>::epsilon());
  return -std::log(positive ? inside : 1.0 - inside);
}

}  // namespace

const char* name_of(Measure measure) {
  static constexpr std::array kNames{
      "auroc",       "auprc",        "f1",       "gmean",    "sensitivity",
      "specificity", "ppv",          "npv",      "accuracy", "balanced_accuracy",
      "brier",       "brier_scaled", "log_loss", "ece"};
  static_assert(kNames.size() == kMeasures.size());
  return kNames.at(static_cast<size_t>(measure));
}

bool smaller_is_better(Measure measure) {
  return measure == Measure::brier || measure == Measure::log_loss || measure == Measure::ece;
}

MeasureValues::MeasureValues() { values_.fill(kUndefined); }

RankedLabel::RankedLabel(std::span<const double> scores, std::span<const double> targets,
                         std::span<const uint32_t> group, std::span<const uint8_t> predicted, int64_t bins)
    : decided_(!predicted.empty()) {
  MEDFUSION_CHECK(scores.size() == targets.size() && scores.size() == group.size() &&
                      (predicted.empty() || predicted.size() == scores.size()),
                  "measures: {} scores, {} targets, {} groups, {} decisions", scores.size(), targets.size(),
                  group.size(), predicted.size());
  MEDFUSION_CHECK(bins >= 1, "measures: expected at least one bin, got {}", bins);
  std::vector<size_t> order;
  for (size_t i = 0; i < scores.size(); ++i) {
    if (std::isnan(targets[i])) continue;
    MEDFUSION_CHECK(targets[i] == 0.0 || targets[i] == 1.0, "measures: a target is 0, 1 or NaN, got {}",
                    targets[i]);
    (targets[i] == 1.0 ? positives_ : negatives_) += 1;
    not_numbers_ += std::isnan(scores[i]) ? 1 : 0;
    order.push_back(i);
  }
  if (not_numbers_ > 0) return;
  std::sort(order.begin(), order.end(),
            [&](size_t a, size_t b) { return scores[a] != scores[b] ? scores[a] > scores[b] : a < b; });
  for (size_t i = 0; i < order.size(); ++i) {
    const size_t at = order[i];
    const bool positive = targets[at] == 1.0;
    group_.push_back(group[at]);
    positive_.push_back(positive ? 1 : 0);
    predicted_.push_back(decided_ ? predicted[at] : 0);
    last_of_tie_.push_back(i + 1 == order.size() || scores[order[i + 1]] != scores[at] ? 1 : 0);
    score_.push_back(scores[at]);
    log_loss_.push_back(log_loss_of(scores[at], positive));
  }
  find_bins(bins);
}

void RankedLabel::find_bins(int64_t bins) {
  // Bin k holds k / bins <= score < (k + 1) / bins, the last one 1 as well.
  const auto bin_of = [&](double score) {
    return std::clamp<int64_t>(static_cast<int64_t>(std::floor(score * static_cast<double>(bins))), 0,
                               bins - 1);
  };
  for (size_t end = 1; end <= score_.size(); ++end) {
    const bool last = end == score_.size();
    if (last || bin_of(score_[end]) != bin_of(score_[end - 1])) bin_ends_.push_back(end);
  }
}

// What a pass has added up, from the highest score.
struct RankedLabel::Sums {
  int64_t positives = 0, negatives = 0;
  int64_t true_positives = 0, false_positives = 0;
  int64_t twice_area = 0;  // twice the pairs in the right order, a tie counting once
  double precision = 0.0;  // sum over the positives of the precision at their score
  double squares = 0.0, logs = 0.0;
  double gap = 0.0;  // sum over the bins of |positives - probabilities|
};

MeasureValues RankedLabel::measures(std::span<const uint32_t> weights) const {
  MeasureValues values;
  if (not_numbers_ > 0) return values;
  Sums sums;
  int64_t positives_above = 0, negatives_above = 0;
  size_t i = 0;
  for (const size_t end : bin_ends_) {
    double probabilities = 0.0;
    const int64_t positives_before = sums.positives;
    for (; i < end; ++i) {
      const int64_t weight = weights[group_[i]];
      const int64_t positive = weight * positive_[i];
      const int64_t predicted = predicted_[i];
      const auto w = static_cast<double>(weight);
      const double error = static_cast<double>(positive_[i]) - score_[i];
      sums.positives += positive;
      sums.negatives += weight - positive;
      sums.true_positives += predicted * positive;
      sums.false_positives += predicted * (weight - positive);
      sums.squares += w * error * error;
      sums.logs += w * log_loss_[i];
      probabilities += w * score_[i];
      if (last_of_tie_[i] == 0) continue;
      sums.twice_area += (positives_above + sums.positives) * (sums.negatives - negatives_above);
      if (sums.positives != positives_above) {
        const double precision =
            static_cast<double>(sums.positives) / static_cast<double>(sums.positives + sums.negatives);
        sums.precision += static_cast<double>(sums.positives - positives_above) * precision;
      }
      positives_above = sums.positives;
      negatives_above = sums.negatives;
    }
    sums.gap += std::abs(static_cast<double>(sums.positives - positives_before) - probabilities);
  }
  finish(sums, values);
  return values;
}

void RankedLabel::finish(const Sums& sums, MeasureValues& values) const {
  const int64_t all = sums.positives + sums.negatives;
  if (all == 0) return;
  const auto count = static_cast<double>(all);
  const auto positives = static_cast<double>(sums.positives);
  const auto negatives = static_cast<double>(sums.negatives);
  values[Measure::brier] = sums.squares / count;
  values[Measure::log_loss] = sums.logs / count;
  values[Measure::ece] = sums.gap / count;
  const bool both = sums.positives > 0 && sums.negatives > 0;
  if (both) {
    values[Measure::auroc] = static_cast<double>(sums.twice_area) / (2.0 * positives * negatives);
    values[Measure::auprc] = sums.precision / positives;
    values[Measure::brier_scaled] = 1.0 - values[Measure::brier] / (positives / count * (negatives / count));
  }
  if (!decided_) return;
  const int64_t true_negatives = sums.negatives - sums.false_positives;
  const int64_t false_negatives = sums.positives - sums.true_positives;
  values[Measure::sensitivity] = ratio(sums.true_positives, sums.positives);
  values[Measure::specificity] = ratio(true_negatives, sums.negatives);
  values[Measure::ppv] = ratio(sums.true_positives, sums.true_positives + sums.false_positives);
  values[Measure::npv] = ratio(true_negatives, true_negatives + false_negatives);
  values[Measure::accuracy] = ratio(sums.true_positives + true_negatives, all);
  values[Measure::f1] =
      ratio(2 * sums.true_positives, 2 * sums.true_positives + sums.false_positives + false_negatives);
  if (both) {
    const double sensitivity = values[Measure::sensitivity];
    const double specificity = values[Measure::specificity];
    values[Measure::gmean] = std::sqrt(sensitivity * specificity);
    values[Measure::balanced_accuracy] = (sensitivity + specificity) / 2.0;
  }
}

std::string RankedLabel::why_undefined(Measure measure, const std::string& no_threshold) const {
  const int64_t known = positives_ + negatives_;
  if (not_numbers_ > 0) return fmt::format("{} of {} scores are not numbers", not_numbers_, known);
  if (known == 0) return "no known label";
  if (needs_threshold(measure) && !decided_) return "no threshold: " + no_threshold;
  if (measure == Measure::ppv) return fmt::format("none of {} predicted positive", known);
  if (measure == Measure::npv) return fmt::format("none of {} predicted negative", known);
  if (positives_ == 0) {
    return fmt::format("no positive among {} known labels{}", known,
                       measure == Measure::f1 ? ", and none predicted" : "");
  }
  return fmt::format("no negative among {} known labels", known);
}

}  // namespace medfusion::tools
