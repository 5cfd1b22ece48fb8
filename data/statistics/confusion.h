// Counts of decisions against the truth, and what is computed from them.
#pragma once

#include <cstdint>
#include <span>

namespace medfusion::data {

struct Confusion {
  int64_t true_positives = 0;
  int64_t false_positives = 0;
  int64_t true_negatives = 0;
  int64_t false_negatives = 0;

  int64_t positives() const { return true_positives + false_negatives; }
  int64_t negatives() const { return true_negatives + false_positives; }
  int64_t predicted_positive() const { return true_positives + false_positives; }
  int64_t predicted_negative() const { return true_negatives + false_negatives; }
  int64_t all() const { return positives() + negatives(); }
};

// A sample is predicted positive where score >= threshold. labels: see truth_of; unknown ones are left out. A
// score that is not a number, of a sample whose label is known, throws core::Error.
Confusion confusion_at(std::span<const double> scores, std::span<const double> labels, double threshold);

// In [0, 1]; NaN where the denominator is 0.
double sensitivity(const Confusion& counts);                // TP / (TP + FN)
double specificity(const Confusion& counts);                // TN / (TN + FP)
double positive_predictive_value(const Confusion& counts);  // TP / (TP + FP), also precision
double negative_predictive_value(const Confusion& counts);  // TN / (TN + FN)
double accuracy(const Confusion& counts);                   // (TP + TN) / all
double balanced_accuracy(const Confusion& counts);          // (sensitivity + specificity) / 2
double gmean(const Confusion& counts);                      // sqrt(sensitivity x specificity)
double f1(const Confusion& counts);                         // 2 TP / (2 TP + FP + FN)
// F1 of both classes, weighted by their samples, as sklearn.metrics.f1_score(average="weighted"). NaN where
// either does not exist.
double weighted_f1(const Confusion& counts);

// Sensitivity + specificity - 1, in [-1, 1] (Youden, Cancer 3, 1950). NaN where a class is empty.
double youden(const Confusion& counts);

// Pearson's chi-square of the table of two by two, without a correction for continuity. At least 0; NaN where
// a row or a column of it is empty.
double chi_square(const Confusion& counts);

// Entropy of the classes times the number of samples, in bits: -sum of n log2(n / all). 0 for one class.
double class_bits(int64_t positives, int64_t negatives);

// By how many bits a sample's decision lessens the entropy of its class, in [0, 1] (Quinlan, Machine Learning
// 1, 1986). NaN without samples.
double information_gain(const Confusion& counts);

}  // namespace medfusion::data
