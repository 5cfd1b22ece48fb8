#include "data/statistics/confusion.h"

#include <cmath>

#include "core/error.h"
#include "data/statistics/ranking.h"

namespace medfusion::data {
namespace {

// 0 / 0 is NaN.
double ratio(int64_t part, int64_t whole) { return static_cast<double>(part) / static_cast<double>(whole); }

}  // namespace

Confusion confusion_at(std::span<const double> scores, std::span<const double> labels, double threshold) {
  MEDFUSION_CHECK(scores.size() == labels.size(), "metrics: {} scores for {} labels", scores.size(),
                  labels.size());
  Confusion counts;
  for (size_t i = 0; i < scores.size(); ++i) {
    const Truth truth = truth_of(labels[i]);
    if (truth == Truth::unknown) continue;
    MEDFUSION_CHECK(!std::isnan(scores[i]), "metrics: score {} is not a number", i);
    if (truth == Truth::positive) {
      (scores[i] >= threshold ? counts.true_positives : counts.false_negatives) += 1;
    } else {
      (scores[i] >= threshold ? counts.false_positives : counts.true_negatives) += 1;
    }
  }
  return counts;
}

double sensitivity(const Confusion& counts) { return ratio(counts.true_positives, counts.positives()); }

double specificity(const Confusion& counts) { return ratio(counts.true_negatives, counts.negatives()); }

double positive_predictive_value(const Confusion& counts) {
  return ratio(counts.true_positives, counts.predicted_positive());
}

double negative_predictive_value(const Confusion& counts) {
  return ratio(counts.true_negatives, counts.predicted_negative());
}

double accuracy(const Confusion& counts) {
  return ratio(counts.true_positives + counts.true_negatives, counts.all());
}

double balanced_accuracy(const Confusion& counts) {
  return (sensitivity(counts) + specificity(counts)) / 2.0;
}

double gmean(const Confusion& counts) { return std::sqrt(sensitivity(counts) * specificity(counts)); }

double f1(const Confusion& counts) {
  return ratio(2 * counts.true_positives,
               2 * counts.true_positives + counts.false_positives + counts.false_negatives);
}

double weighted_f1(const Confusion& counts) {
  const Confusion mirrored{counts.true_negatives, counts.false_negatives, counts.true_positives,
                           counts.false_positives};
  const auto p = static_cast<double>(counts.positives());
  const auto n = static_cast<double>(counts.negatives());
  return (p * f1(counts) + n * f1(mirrored)) / (p + n);
}

double youden(const Confusion& counts) {
  return ratio(counts.true_negatives, counts.negatives()) - ratio(counts.false_negatives, counts.positives());
}

double chi_square(const Confusion& counts) {
  const auto above = static_cast<double>(counts.predicted_positive());
  const auto below = static_cast<double>(counts.predicted_negative());
  const auto p = static_cast<double>(counts.positives());
  const auto n = static_cast<double>(counts.negatives());
  const double difference = youden(counts) * p * n;
  return (p + n) * difference * difference / (above * below * p * n);
}

double class_bits(int64_t positives, int64_t negatives) {
  const auto term = [&](int64_t part) {
    return part == 0 ? 0.0 : -static_cast<double>(part) * std::log2(ratio(part, positives + negatives));
  };
  return term(positives) + term(negatives);
}

double information_gain(const Confusion& counts) {
  return (class_bits(counts.positives(), counts.negatives()) -
          class_bits(counts.false_negatives, counts.true_negatives) -
          class_bits(counts.true_positives, counts.false_positives)) /
         static_cast<double>(counts.all());
}

}  // namespace medfusion::data
