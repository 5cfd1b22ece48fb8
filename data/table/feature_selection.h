// Stage one: which features of the table speak of which label, by univariate statistics on the training rows.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/settings.h"
#include "data/dataset.h"
#include "data/statistics/univariate.h"
#include "data/table/table_encoder.h"

namespace medfusion::data {

constexpr core::Names names_of(FeatureScore) { return kFeatureScores; }

inline constexpr std::array kFeatureModes{"top_n", "all", "none"};
enum class FeatureMode : uint8_t { top_n, all, none };
constexpr core::Names names_of(FeatureMode) { return kFeatureModes; }

inline constexpr std::array kDiscretizations{"auto", "none", "mdl", "quantile", "cuts"};
enum class Discretization : uint8_t { automatic, none, mdl, quantile, cuts };
constexpr core::Names names_of(Discretization) { return kDiscretizations; }

struct ColumnCuts {
  std::string column;
  std::vector<double> cuts;  // ascending
};

// The column and the cuts of a text such as "age: 40 60"; nothing where it is none.
std::optional<ColumnCuts> parse_cuts(const std::string& text);

struct FeatureOptions {
  FeatureMode mode = FeatureMode::all;
  int64_t top_n = 8;
  FeatureScore score = FeatureScore::auroc;
  double alpha = 0.05;
  int64_t bootstrap = 100;
  Discretization discretize = Discretization::automatic;
  int64_t bins = 4;
  std::vector<std::string> cuts = {};  // columns not named stay in one bin
  Imputation impute = Imputation::none;
  uint64_t seed = 1;  // of the resamples; no setting

  void visit_fields(core::FieldVisitor& visit) {
    using core::Range;
    visit(
        "mode", mode,
        "Table features that the network reads (docs/features.md): `top_n` (each label sees those that stage "
        "one selected for it), `all` (every label sees all), `none` (the network does not read the table).");
    visit("top_n", top_n, Range::in(1, 4096), "Largest number of features that stage one selects per label.");
    visit("score", score,
          "The score by which features are ranked. The threshold of a feature maximizes it as well; with "
          "`auroc` the threshold maximizes Youden's J.");
    visit("alpha", alpha, Range::in(0, 1),
          "Largest false-discovery rate (Benjamini-Hochberg) of the features selected for a label; 1 lets "
          "all pass. A label for which none passes selects none.");
    visit("bootstrap", bootstrap, Range::in(0, 100000),
          "Number of resamples of the training patients that show how stable the selection is.");
    visit("discretize", discretize,
          "How numeric features are cut into bins, which the tokens then carry: `mdl` (by entropy and "
          "description length, Fayyad and Irani), `quantile` (`features.bins` bins of about equal size), "
          "`cuts` (at `features.cuts`), `none`; `auto` is `mdl` with `features.mode = \"top_n\"` and else "
          "`none`.");
    visit("bins", bins, Range::in(1, 64), "Number of bins of `quantile`.");
    visit("cuts", cuts,
          "Cuts for `features.discretize = \"cuts\"`, one text per column, such as \"age: 40 60\"; a value "
          "at a cut is in the upper bin.");
    visit("impute", impute,
          "What a missing value is read as, besides being marked as missing: `none` (0, the mean), `median` "
          "(that of the training part; for categories the most frequent one).");
  }
  void check_rules(const core::Require& require) const;

  // `discretize`, where `automatic` is resolved.
  Discretization bins_by() const;
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
  FeatureOptions options;          // with `automatic` resolved
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
