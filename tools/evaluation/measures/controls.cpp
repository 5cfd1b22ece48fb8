#include "tools/evaluation/measures/controls.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/error.h"
#include "core/random.h"
#include "core/threads.h"
#include "data/statistics/logistic.h"
#include "data/statistics/ranking.h"
#include "data/statistics/samples.h"
#include "data/table/table_encoder.h"
#include "tools/evaluation/measures/measures.h"
#include "tools/evaluation/measures/subgroups.h"

namespace medfusion::tools {
namespace {

// Features, and a missing indicator for each that is missing in some row of `train`: [all rows, features].
Eigen::MatrixXd design(const std::vector<data::Column>& columns, const std::vector<int64_t>& train) {
  const auto encoder = data::TableEncoder::fit(columns, train);
  const core::Table encoded = encoder.encode(columns);
  const int64_t rows = encoded.values.size(0), features = encoded.values.size(1);
  Eigen::MatrixXd result = Eigen::MatrixXd::Zero(rows, 2 * features);
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t feature = 0; feature < features; ++feature) {
      result(row, feature) = encoded.values.at(row * features + feature);
      result(row, features + feature) = encoded.missing.at(row * features + feature);
    }
  }
  return result;
}

std::vector<double> scores_of(const Eigen::MatrixXd& features, const data::Dataset& dataset, size_t label,
                              const std::vector<int64_t>& train, const std::vector<int64_t>& rows) {
  const auto labels = static_cast<int64_t>(dataset.labels.size());
  std::vector<int64_t> known;
  std::vector<double> targets;
  for (const int64_t row : train) {
    const double target = dataset.targets.at(row * labels + static_cast<int64_t>(label));
    if (std::isnan(target)) continue;
    known.push_back(row);
    targets.push_back(target);
  }
  const double share = targets.empty() ? 0.0 : data::mean(targets);
  if (share == 0.0 || share == 1.0) return std::vector<double>(rows.size(), share);
  const data::LogisticFit fit = data::fit_logistic(features(known, Eigen::all), targets, {.ridge = 1.0});
  const Eigen::VectorXd predictor = linear_predictor(fit, features(rows, Eigen::all));
  std::vector<double> scores;
  for (const double z : predictor) scores.push_back(data::sigmoid(z));
  return scores;
}

// For each column that has an empty cell in some row of `train`, a column of 1 where a cell is empty and 0
// elsewhere.
std::vector<data::Column> empty_cells(const data::Dataset& dataset, const std::vector<int64_t>& train) {
  std::vector<data::Column> result;
  for (const data::Column& column : dataset.columns) {
    data::Column empty{column.name, true, {}, {}};
    for (size_t row = 0; row < dataset.ids.size(); ++row)
      empty.numbers.push_back(
          (column.numeric ? std::isnan(column.numbers[row]) : column.categories[row].empty()) ? 1.0 : 0.0);
    if (std::any_of(train.begin(), train.end(),
                    [&](int64_t row) { return empty.numbers[static_cast<size_t>(row)] == 1.0; }))
      result.push_back(std::move(empty));
  }
  return result;
}

}  // namespace

Control table_control(const data::Dataset& dataset, const std::vector<data::Column>& columns,
                      const std::vector<int64_t>& train, const std::vector<int64_t>& rows,
                      const std::string& name, const std::string& description) {
  Control control{name, description, {}, {}};
  if (columns.empty()) control.undefined = "the data has no such column";
  if (train.empty()) control.undefined = "the data has no training rows";
  if (!control.undefined.empty()) return control;
  const Eigen::MatrixXd features = design(columns, train);
  control.scores.resize(dataset.labels.size());
  core::parallel_for(0, static_cast<int64_t>(dataset.labels.size()), 1, [&](int64_t first, int64_t last) {
    for (int64_t label = first; label < last; ++label) {
      const auto at = static_cast<size_t>(label);
      control.scores[at] = scores_of(features, dataset, at, train, rows);
    }
  });
  return control;
}

std::vector<Control> standard_controls(const data::Dataset& dataset, const std::vector<int64_t>& train,
                                       const std::vector<int64_t>& rows,
                                       const std::vector<std::string>& wanted) {
  std::vector<Control> controls;
  const auto add = [&](const std::string& name, const std::vector<data::Column>& columns,
                       const std::string& on_what) -> Control* {
    if (std::find(wanted.begin(), wanted.end(), name) == wanted.end()) return nullptr;
    return &controls.emplace_back(
        table_control(dataset, columns, train, rows, name,
                      "Logistic regression on " + on_what + ", fitted to the training part."));
  };
  std::vector<data::Column> view;
  for (const data::Column& column : dataset.columns) {
    if (same_name(column.name, "view")) view.push_back(column);
  }
  add("table_only", dataset.columns, "the table's columns");
  add("view_only", view, "the view position alone");
  const std::vector<data::Column> empty = empty_cells(dataset, train);
  Control* const missing = add("missing_only", empty, "which cells of the table are empty, and nothing else");
  if (missing != nullptr && empty.empty() && !train.empty() && !dataset.columns.empty())
    missing->undefined = "no cell of the training rows is empty";
  return controls;
}

ShuffledAuroc shuffled_auroc(const std::vector<std::vector<double>>& scores,
                             const std::vector<std::vector<double>>& targets, int64_t repeats,
                             uint64_t seed) {
  MEDFUSION_CHECK(scores.size() == targets.size(), "shuffle: {} labels of scores, {} of targets",
                  scores.size(), targets.size());
  const auto slots = static_cast<size_t>(repeats);
  ShuffledAuroc result{std::vector(scores.size(), std::vector<double>(slots, kUndefined)),
                       std::vector<double>(slots, kUndefined)};
  constexpr uint64_t kStream = uint64_t{1} << 32;  // beside those of the bootstrap
  core::parallel_for(0, repeats, 1, [&](int64_t first, int64_t last) {
    for (int64_t repeat = first; repeat < last; ++repeat) {
      const auto slot = static_cast<size_t>(repeat);
      std::vector<size_t> order(scores.empty() ? 0 : scores[0].size());
      std::iota(order.begin(), order.end(), size_t{0});
      core::Generator generator(seed, kStream + static_cast<uint64_t>(repeat));
      generator.shuffle(order);
      data::Mean mean;
      for (size_t label = 0; label < scores.size(); ++label) {
        std::vector<double> shuffled;
        shuffled.reserve(order.size());
        for (const size_t i : order) shuffled.push_back(targets[label][i]);
        result.labels[label][slot] = data::auroc(scores[label], shuffled);
        mean.add(result.labels[label][slot]);
      }
      result.macro[slot] = mean.value();
    }
  });
  return result;
}

}  // namespace medfusion::tools
