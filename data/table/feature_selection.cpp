#include "data/table/feature_selection.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <sstream>
#include <unordered_map>

#include "core/threads.h"
#include "data/statistics/samples.h"
#include "data/statistics/significance.h"
#include "data/table/discretize.h"

namespace medfusion::data {
namespace {

constexpr uint64_t kResampleKey = 0x626F6F7473747261U;

// The training rows as the statistics want them.
struct TrainingTable {
  std::vector<std::vector<double>> values;  // [candidate][row]
  std::vector<std::vector<double>> labels;  // [label][row]
  std::vector<int64_t> patients;            // [row], counting from 0
  int64_t patient_count = 0;

  int64_t rows() const { return static_cast<int64_t>(patients.size()); }
};

void number_patients(const Dataset& dataset, const std::vector<int64_t>& rows, TrainingTable& training) {
  std::unordered_map<std::string_view, int64_t> numbers;
  for (const int64_t row : rows) {
    const auto next = static_cast<int64_t>(numbers.size());
    training.patients.push_back(
        numbers.emplace(dataset.patients[static_cast<size_t>(row)], next).first->second);
  }
  training.patient_count = static_cast<int64_t>(numbers.size());
}

// Adds the candidate that the column of `features` is missing, where that varies.
void add_missingness(const TableEncoder& encoder, const std::vector<int64_t>& features, TrainingTable& rows,
                     std::vector<FeatureCandidate>& candidates) {
  const std::vector<double>& values = rows.values.back();
  std::vector<double> missing;
  for (const double value : values) missing.push_back(std::isnan(value) ? 1.0 : 0.0);
  const auto count = std::count(missing.begin(), missing.end(), 1.0);
  if (count == 0 || count == std::ssize(missing)) return;
  candidates.push_back({encoder.column_name(features.front()) + " is missing", features, true});
  rows.values.push_back(std::move(missing));
}

std::vector<FeatureCandidate> make_candidates(const TableEncoder& encoder, const Dataset& dataset,
                                              const std::vector<int64_t>& rows, TrainingTable& training) {
  const auto raw = encoder.raw_features(dataset.columns);
  std::vector<FeatureCandidate> candidates;
  std::vector<int64_t> of_column;
  for (int64_t feature = 0; feature < encoder.features(); ++feature) {
    std::vector<double> values;
    for (const int64_t row : rows)
      values.push_back(raw[static_cast<size_t>(feature)][static_cast<size_t>(row)]);
    training.values.push_back(std::move(values));
    candidates.push_back({encoder.feature_names()[static_cast<size_t>(feature)], {feature}, false});
    of_column.push_back(feature);
    const bool last =
        feature + 1 == encoder.features() || encoder.column_of(feature + 1) != encoder.column_of(feature);
    if (!last) continue;
    add_missingness(encoder, of_column, training, candidates);
    of_column.clear();
  }
  return candidates;
}

std::vector<std::vector<double>> labels_of(const Dataset& dataset, const std::vector<int64_t>& rows) {
  const auto count = static_cast<int64_t>(dataset.labels.size());
  std::vector<std::vector<double>> result(dataset.labels.size());
  for (const int64_t row : rows) {
    for (int64_t l = 0; l < count; ++l)
      result[static_cast<size_t>(l)].push_back(dataset.targets.data<float>()[row * count + l]);
  }
  return result;
}

// Candidates by falling score, the first of equal ones first; those below 0 left out.
std::vector<size_t> ranking(const std::vector<double>& scores) {
  std::vector<size_t> order;
  for (size_t i = 0; i < scores.size(); ++i) {
    if (scores[i] >= 0.0) order.push_back(i);
  }
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return scores[a] > scores[b]; });
  return order;
}

// q-values, ranks and the selection of one label.
void select(std::vector<FeatureResult>& results, const FeatureOptions& options) {
  std::vector<double> p_values, scores;
  std::vector<size_t> tested;
  for (size_t c = 0; c < results.size(); ++c) {
    const Univariate& statistics = results[c].statistics;
    scores.push_back(statistics.tested() ? statistics.score : -1.0);
    if (!statistics.tested()) continue;
    tested.push_back(c);
    p_values.push_back(statistics.p_value);
  }
  const std::vector<double> q_values = benjamini_hochberg(p_values);
  for (size_t i = 0; i < tested.size(); ++i) results[tested[i]].q_value = q_values[i];
  int64_t taken = 0, rank = 0;
  for (const size_t c : ranking(scores)) {
    FeatureResult& result = results[c];
    result.rank = ++rank;
    if (taken == options.top_n || result.q_value > options.alpha) continue;
    result.selected = true;
    ++taken;
  }
}

// How often a row comes in a resample, in the lower half, and the same where its label is positive, in the
// upper one; 0 where the label is unknown. Sums of them are sums of both.
using Weights = std::vector<uint64_t>;

// A candidate's known rows by ascending value, equal ones in order, so that they are read in order.
struct SortedCandidate {
  std::vector<uint32_t> rows;
  std::vector<size_t> ends;  // in rows, of each group of equal values
  std::vector<double> scores;

  explicit SortedCandidate(const std::vector<double>& values) {
    for (size_t row = 0; row < values.size(); ++row) {
      if (!std::isnan(values[row])) rows.push_back(static_cast<uint32_t>(row));
    }
    std::stable_sort(rows.begin(), rows.end(), [&](uint32_t a, uint32_t b) { return values[a] < values[b]; });
    for (size_t i = 0; i < rows.size(); ++i) {
      const double value = values[rows[i]];
      if (!scores.empty() && scores.back() == value) continue;
      if (!scores.empty()) ends.push_back(i);
      scores.push_back(value);
    }
    if (!scores.empty()) ends.push_back(rows.size());
  }

  double score(const Weights& weights, FeatureScore kind) const {
    std::vector<ScoreGroup> groups;
    groups.reserve(ends.size());
    for (size_t group = 0, i = 0; group < ends.size(); ++group) {
      uint64_t sum = 0;
      for (; i < ends[group]; ++i) sum += weights[rows[i]];
      const auto all = static_cast<int64_t>(sum & UINT32_MAX), positive = static_cast<int64_t>(sum >> 32U);
      groups.push_back({scores[group], positive, all - positive});
    }
    return feature_score(groups, kind);
  }
};

Weights weights_of(const std::vector<int64_t>& drawn, const std::vector<double>& labels) {
  Weights weights(labels.size(), 0);
  for (size_t row = 0; row < labels.size(); ++row) {
    const auto times = static_cast<uint64_t>(drawn[row]);
    if (!std::isnan(labels[row])) weights[row] = labels[row] == 1.0 ? times | (times << 32U) : times;
  }
  return weights;
}

// How often each row comes in a resample: as often as its patient is drawn.
std::vector<int64_t> draw_weights(const TrainingTable& training, uint64_t seed, int64_t number) {
  const auto drawn = draw_counts(training.patient_count, seed ^ kResampleKey, static_cast<uint64_t>(number));
  std::vector<int64_t> weights;
  for (const int64_t patient : training.patients) weights.push_back(drawn[static_cast<size_t>(patient)]);
  return weights;
}

void put_stability(const TrainingTable& training, const FeatureOptions& options,
                   std::vector<std::vector<FeatureResult>>& results) {
  if (options.bootstrap == 0) return;
  const std::vector<SortedCandidate> sorted(training.values.begin(), training.values.end());
  const size_t labels = results.size(), count = sorted.size();
  const auto resamples = static_cast<size_t>(options.bootstrap);
  std::vector<uint8_t> hits(resamples * labels * count, 0);
  std::vector<size_t> places;  // of each label: as many as it selected
  for (const auto& label : results) {
    const auto selected =
        std::count_if(label.begin(), label.end(), [](const FeatureResult& r) { return r.selected; });
    places.push_back(static_cast<size_t>(std::max<std::ptrdiff_t>(1, selected)));
  }
  core::parallel_for(0, options.bootstrap, 1, [&](int64_t first, int64_t last) {
    for (int64_t r = first; r < last; ++r) {
      const std::vector<int64_t> drawn = draw_weights(training, options.seed, r);
      for (size_t l = 0; l < labels; ++l) {
        const Weights weights = weights_of(drawn, training.labels[l]);
        std::vector<double> scores(count, -1.0);
        for (size_t c = 0; c < count; ++c) {
          if (results[l][c].statistics.tested()) scores[c] = sorted[c].score(weights, options.score);
        }
        const std::vector<size_t> order = ranking(scores);
        const size_t kept = std::min(order.size(), places[l]);
        for (size_t i = 0; i < kept; ++i) hits[(static_cast<size_t>(r) * labels + l) * count + order[i]] = 1;
      }
    }
  });
  for (size_t l = 0; l < labels; ++l) {
    for (size_t c = 0; c < count; ++c) {
      int64_t sum = 0;
      for (size_t r = 0; r < resamples; ++r) sum += hits[(r * labels + l) * count + c];
      results[l][c].stability = static_cast<double>(sum) / static_cast<double>(resamples);
    }
  }
}

std::vector<double> cuts_of(const std::vector<double>& values, const std::vector<double>& labels,
                            const std::string& column, const FeatureOptions& options) {
  std::vector<double> known;
  std::vector<uint8_t> positive;
  for (size_t i = 0; i < values.size(); ++i) {
    if (std::isnan(values[i]) || (options.discretize == Discretization::mdl && std::isnan(labels[i])))
      continue;
    known.push_back(values[i]);
    positive.push_back(labels[i] == 1.0 ? 1 : 0);
  }
  switch (options.discretize) {
    case Discretization::mdl:
      return mdl_cuts(group_scores(known, positive));
    case Discretization::quantile:
      return quantile_cuts(known, options.bins);
    case Discretization::cuts:
      for (const std::string& text : options.cuts) {
        const ColumnCuts given = parse_cuts(text).value();
        if (given.column == column) return given.cuts;
      }
      return {};
    default:
      return {};
  }
}

void check_cuts(const TableEncoder& encoder, const FeatureOptions& options) {
  for (const std::string& text : options.cuts) {
    const auto cuts = parse_cuts(text);
    MEDFUSION_CHECK(cuts.has_value(), "features.cuts: '{}'", text);
    bool found = false;
    for (int64_t f = 0; f < encoder.features() && !found; ++f)
      found = encoder.numeric(f) && encoder.column_name(f) == cuts->column;
    if (!found) {
      core::throw_input_error({}, "features.cuts: the table has no numeric column '{}'", cuts->column);
    }
  }
}

}  // namespace

std::optional<ColumnCuts> parse_cuts(const std::string& text) {
  const size_t colon = text.rfind(':');
  if (colon == 0 || colon == std::string::npos) return std::nullopt;
  ColumnCuts result{text.substr(0, colon), {}};
  std::istringstream words(text.substr(colon + 1));
  for (std::string word; words >> word;) {
    double cut = 0.0;
    const char* const end = word.data() + word.size();
    const auto parsed = std::from_chars(word.data(), end, cut);
    const bool rises = result.cuts.empty() || cut > result.cuts.back();
    if (parsed.ec != std::errc() || parsed.ptr != end || !std::isfinite(cut) || !rises) return std::nullopt;
    result.cuts.push_back(cut);
  }
  if (result.cuts.empty()) return std::nullopt;
  return result;
}

Discretization FeatureOptions::bins_by() const {
  if (discretize != Discretization::automatic) return discretize;
  return mode == FeatureMode::top_n ? Discretization::mdl : Discretization::none;
}

void FeatureOptions::check_rules(const core::Require& require) const {
  for (const std::string& text : cuts) {
    require(parse_cuts(text).has_value(), {"features.cuts"},
            fmt::format("expected a column, a colon and ascending numbers such as \"age: 40 60\", got '{}'",
                        text));
  }
  require(discretize != Discretization::cuts || !cuts.empty(), {"features.cuts", "features.discretize"},
          "expected cuts for features.discretize = \"cuts\", got none");
}

StageOne StageOne::fit(const TableEncoder& encoder, const Dataset& dataset, const std::vector<int64_t>& rows,
                       const FeatureOptions& given) {
  FeatureOptions options = given;
  options.discretize = given.bins_by();
  check_cuts(encoder, options);
  StageOne stage;
  stage.options = options;
  stage.labels = dataset.labels;
  TrainingTable training;
  number_patients(dataset, rows, training);
  stage.candidates = make_candidates(encoder, dataset, rows, training);
  training.labels = labels_of(dataset, rows);
  stage.rows = training.rows();
  stage.patients = training.patient_count;
  const auto count = static_cast<int64_t>(stage.candidates.size());
  const auto pairs = static_cast<int64_t>(stage.labels.size()) * count;
  stage.results.assign(stage.labels.size(), std::vector<FeatureResult>(stage.candidates.size()));
  core::parallel_for(0, pairs, 1, [&](int64_t first, int64_t last) {
    for (int64_t pair = first; pair < last; ++pair) {
      const auto l = static_cast<size_t>(pair / count), c = static_cast<size_t>(pair % count);
      const FeatureCandidate& candidate = stage.candidates[c];
      FeatureResult& result = stage.results[l][c];
      result.statistics =
          univariate(training.values[c], training.labels[l], training.patients, options.score);
      if (candidate.missingness || !encoder.numeric(candidate.features.front())) continue;
      result.cuts = cuts_of(training.values[c], training.labels[l],
                            encoder.column_name(candidate.features.front()), options);
    }
  });
  for (auto& results : stage.results) select(results, options);
  put_stability(training, options, stage.results);
  return stage;
}

}  // namespace medfusion::data
