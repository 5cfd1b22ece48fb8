#include "optim/table_fit.h"

#include <algorithm>
#include <cmath>

#include "data/loader.h"
#include "data/statistics/logistic.h"

namespace medfusion::optim {

using core::Tensor;

std::vector<int64_t> fit_table_head(models::TableHead& head, const core::Batch& all, Tensor& logits) {
  const int64_t count = std::min(all.size(), kTableFitRows), labels = head.weight.size(0),
                inputs = head.inputs();
  std::vector<int64_t> chosen;
  for (int64_t i = 0; i < count; ++i) chosen.push_back(i * all.size() / count);
  core::Batch part = all;
  part.images = {};
  const core::Batch rows = data::gather(part, chosen);
  const Tensor present =
      rows.table_present.defined() ? rows.table_present : Tensor::full({count}, 1.0, core::DType::boolean);
  const Tensor x = head.prepare(rows, present).to(core::DType::f64);
  const Tensor seen = head.seen().to(core::Device{}), targets = rows.targets.to(core::DType::f64);
  const Tensor weight = Tensor::zeros({labels, inputs}, core::DType::f64);
  std::vector<int64_t> left;
  for (int64_t label = 0; label < labels; ++label) {
    std::vector<int64_t> read, known;
    for (int64_t input = 0; input < inputs; ++input) {
      if (seen.at(label * inputs + input) != 0.0) read.push_back(input);
    }
    std::vector<double> y;
    for (int64_t row = 0; row < count; ++row) {
      const double target = targets.at(row * labels + label);
      if (std::isnan(target)) continue;
      known.push_back(row);
      y.push_back(target);
    }
    const bool two = std::ranges::any_of(y, [](double t) { return t >= 0.5; }) &&
                     std::ranges::any_of(y, [](double t) { return t < 0.5; });
    Eigen::MatrixXd features(static_cast<int64_t>(known.size()), static_cast<int64_t>(read.size()));
    for (int64_t i = 0; i < features.rows(); ++i) {
      for (int64_t j = 0; j < features.cols(); ++j)
        features(i, j) = x.at(known[static_cast<size_t>(i)] * inputs + read[static_cast<size_t>(j)]);
    }
    const data::LogisticFit fit =
        two ? data::fit_logistic(features, y, {.ridge = kTableRidge}) : data::LogisticFit{};
    if (!fit.converged) {
      left.push_back(label);
      continue;
    }
    logits.data<float>()[label] = static_cast<float>(fit.coefficients(0));
    for (size_t j = 0; j < read.size(); ++j)
      weight.data<double>()[label * inputs + read[j]] = fit.coefficients(static_cast<int64_t>(j) + 1);
  }
  head.weight.value().copy_from(weight.to(head.weight.dtype()).to(head.weight.value().device()));
  return left;
}

}  // namespace medfusion::optim
