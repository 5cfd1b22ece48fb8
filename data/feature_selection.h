// Stage one: which features of the table speak of which label, by univariate statistics on the training rows.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "data/statistics/univariate.h"
#include "data/table_encoder.h"

namespace medfusion::data {

enum class Discretization : uint8_t { none, mdl, quantile, cuts };

struct ColumnCuts {
  std::string column;
  std::vector<double> cuts;  // ascending
};

struct FeatureOptions {
  FeatureScore score = FeatureScore::auroc;
  int64_t top_n = 8;        // features per label
  double alpha = 0.05;      // highest false-discovery rate of a label's features
  int64_t bootstrap = 100;  // resamples of patients for the stability; 0: none
  uint64_t seed = 1;        // of the resamples
  Discretization discretize = Discretization::none;
  int64_t bins = 4;                // of quantile
  std::vector<ColumnCuts> cuts{};  // of cuts; columns not named stay in one bin
};

// One that a label may select: a feature of the encoder, or that a column is missing. That one is there where
// the column is missing in some training rows, not in all, and brings with it the features of the column.
struct FeatureCandidate {
  std::string name;               // "age", "sex=M", "age is missing"
  std::vector<int64_t> features;  // of the encoder
  bool missingness = false;
};

struct FeatureResult {
  Univariate statistics;
  double q_value = 1.0;  // least false-discovery rate at which the label would take it; 1 where untested
  int64_t rank = 0;      // by score among the label's tested candidates, from 1; 0: untested
  std::optional<double> stability;  // share of the resamples whose best k hold it, k as many as the label
                                    // selected, at least 1
  bool selected = false;            // q_value <= alpha, and among the first top_n of those by score
  std::vector<double> cuts;         // for this label, in units of the column; empty where not discretized
};

struct StageOne {
  FeatureOptions options;
  int64_t rows = 0, patients = 0;  // of the training part
  std::vector<std::string> labels;
  std::vector<FeatureCandidate> candidates;
  std::vector<std::vector<FeatureResult>> results;  // [label][candidate]

  // Reads `rows` of the dataset alone. A label for which no candidate passes `alpha` selects none. The
  // false-discovery rate is controlled per label over its tested candidates. Throws core::InputError for
  // cuts of a column that is not numeric.
  static StageOne fit(const TableEncoder& encoder, const Dataset& dataset, const std::vector<int64_t>& rows,
                      const FeatureOptions& options);
};

}  // namespace medfusion::data
