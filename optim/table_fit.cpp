#include "optim/table_fit.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <unordered_map>

#include "data/loader.h"
#include "data/statistics/logistic.h"

namespace medfusion::optim {
namespace {

using core::Tensor;
using data::LogisticFit;

// The rows of a label whose targets are known.
struct Problem {
  Eigen::MatrixXd features;
  std::vector<double> targets;
  std::vector<int64_t> folds;

  Problem of_rows(const std::vector<Eigen::Index>& chosen) const {
    Problem result;
    result.features = features(chosen, Eigen::all);
    for (const Eigen::Index row : chosen) {
      result.targets.push_back(targets[static_cast<size_t>(row)]);
      result.folds.push_back(folds[static_cast<size_t>(row)]);
    }
    return result;
  }
  // Those inside of a fold, or outside of it.
  Problem part(int64_t fold, bool inside) const {
    std::vector<Eigen::Index> chosen;
    for (size_t row = 0; row < targets.size(); ++row) {
      if ((folds[row] == fold) == inside) chosen.push_back(static_cast<Eigen::Index>(row));
    }
    return of_rows(chosen);
  }
  // At most so many, evenly spread.
  Problem thinned(int64_t most) const {
    const auto all = static_cast<int64_t>(targets.size()), count = std::min(all, most);
    std::vector<Eigen::Index> chosen;
    for (int64_t i = 0; i < count; ++i) chosen.push_back(i * all / count);
    return of_rows(chosen);
  }
  bool has_two_classes() const {
    return std::ranges::any_of(targets, [](double t) { return t >= 0.5; }) &&
           std::ranges::any_of(targets, [](double t) { return t < 0.5; });
  }
};

// The summed cross-entropy on rows left out; infinite where no fold can be judged.
double loss_left_out(const Problem& problem, double ridge) {
  double sum = 0.0;
  bool judged = false;
  for (int64_t fold = 0; fold < kTableFolds; ++fold) {
    const Problem training = problem.part(fold, false), rest = problem.part(fold, true);
    if (!training.has_two_classes() || rest.targets.empty()) continue;
    const LogisticFit fit = data::fit_logistic(training.features, training.targets, {.ridge = ridge});
    const Eigen::VectorXd z = data::linear_predictor(fit, rest.features);
    for (Eigen::Index i = 0; i < z.size(); ++i) {
      sum += std::max(z[i], 0.0) + std::log1p(std::exp(-std::abs(z[i]))) -
             rest.targets[static_cast<size_t>(i)] * z[i];
    }
    judged = true;
  }
  return judged ? sum : INFINITY;
}

std::optional<LogisticFit> fit_label(const Problem& problem) {
  if (!problem.has_two_classes()) return std::nullopt;
  const Problem some = problem.thinned(kTableChoiceRows);
  double best = kTableRidges.back(), least = INFINITY;
  for (const double ridge : kTableRidges) {
    const double loss = loss_left_out(some, ridge);
    if (loss >= least) continue;
    least = loss;
    best = ridge;
  }
  LogisticFit fit = data::fit_logistic(problem.features, problem.targets, {.ridge = best});
  if (!fit.converged) return std::nullopt;
  return fit;
}

// What a label reads, of x [rows, inputs], and what is not 0 throughout.
std::vector<int64_t> inputs_of(const Tensor& x, const Tensor& seen) {
  std::vector<int64_t> read;
  for (int64_t input = 0; input < x.size(1); ++input) {
    bool varies = false;
    for (int64_t row = 0; row < x.size(0) && !varies; ++row) varies = x.at(row * x.size(1) + input) != 0.0;
    if (varies && seen.at(input) != 0.0) read.push_back(input);
  }
  return read;
}

Problem problem_of(const Tensor& x, const std::vector<int64_t>& read, const Tensor& targets, int64_t label,
                   const std::vector<int64_t>& folds) {
  std::vector<int64_t> known;
  Problem problem;
  for (int64_t row = 0; row < x.size(0); ++row) {
    const double target = targets.at(row * targets.size(1) + label);
    if (std::isnan(target)) continue;
    known.push_back(row);
    problem.targets.push_back(target);
    problem.folds.push_back(folds[static_cast<size_t>(row)]);
  }
  problem.features.resize(static_cast<int64_t>(known.size()), static_cast<int64_t>(read.size()));
  for (int64_t i = 0; i < problem.features.rows(); ++i) {
    for (int64_t j = 0; j < problem.features.cols(); ++j) {
      problem.features(i, j) = x.at(known[static_cast<size_t>(i)] * x.size(1) + read[static_cast<size_t>(j)]);
    }
  }
  return problem;
}

// Groups take turns, in the order in which they appear.
std::vector<int64_t> folds_of(const std::vector<std::string>& groups, const std::vector<int64_t>& rows) {
  std::unordered_map<std::string, int64_t> fold_of;
  std::vector<int64_t> folds;
  for (const int64_t row : rows) {
    const auto next = static_cast<int64_t>(fold_of.size()) % kTableFolds;
    folds.push_back(fold_of.try_emplace(groups[static_cast<size_t>(row)], next).first->second);
  }
  return folds;
}

}  // namespace

std::vector<int64_t> fit_table_head(models::TableHead& head, const core::Batch& all,
                                    const std::vector<std::string>& groups, Tensor& logits) {
  MEDFUSION_CHECK(static_cast<int64_t>(groups.size()) == all.size(), "table fit: {} rows, {} groups",
                  all.size(), groups.size());
  const int64_t count = std::min(all.size(), kTableFitRows), labels = head.weight.size(0),
                inputs = head.inputs();
  std::vector<int64_t> chosen;
  for (int64_t i = 0; i < count; ++i) chosen.push_back(i * all.size() / count);
  core::Batch part = all;
  part.images = {};
  const core::Batch rows = data::gather(part, chosen);
  const std::vector<int64_t> folds = folds_of(groups, chosen);
  const Tensor present =
      rows.table_present.defined() ? rows.table_present : Tensor::full({count}, 1.0, core::DType::boolean);
  const Tensor x = head.prepare(rows, present).to(core::DType::f64);
  const Tensor seen = head.seen().to(core::Device{}),
               weight = Tensor::zeros({labels, inputs}, core::DType::f64);
  std::vector<int64_t> left;
  for (int64_t label = 0; label < labels; ++label) {
    const std::vector<int64_t> read = inputs_of(x, seen.slice(0, label, label + 1));
    const std::optional<LogisticFit> fit = fit_label(problem_of(x, read, rows.targets, label, folds));
    if (!fit) {
      left.push_back(label);
      continue;
    }
    logits.data<float>()[label] = static_cast<float>(fit->coefficients(0));
    for (size_t j = 0; j < read.size(); ++j)
      weight.data<double>()[label * inputs + read[j]] = fit->coefficients(static_cast<int64_t>(j) + 1);
  }
  head.weight.value().copy_from(weight.to(head.weight.dtype()).to(head.weight.value().device()));
  return left;
}

}  // namespace medfusion::optim
