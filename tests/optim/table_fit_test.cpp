// The linear model of the table before training: at the minimum of the penalized loss, of the rows that are
// known.
#include "optim/table_fit.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/random.h"

namespace medfusion::optim {
namespace {

using core::DType;
using core::Tensor;

constexpr int64_t kFitRows = 60, kFitFeatures = 3, kFitLabels = 3;

// Label 0 depends on feature 0, label 1 is unknown in every third row, label 2 is always 1.
core::Batch fit_rows() {
  core::Batch rows;
  rows.table.values = Tensor::zeros({kFitRows, kFitFeatures});
  rows.table.missing = Tensor::zeros({kFitRows, kFitFeatures}, DType::boolean);
  rows.targets = Tensor::full({kFitRows, kFitLabels}, 1.0);
  const core::Philox philox(3, 1);
  for (int64_t i = 0; i < kFitRows; ++i) {
    for (int64_t j = 0; j < kFitFeatures; ++j) {
      const auto draw = static_cast<uint64_t>(i * kFitFeatures + j);
      rows.table.values.data<float>()[i * kFitFeatures + j] = static_cast<float>(philox.normal(draw));
    }
    rows.table.missing.data<bool>()[i * kFitFeatures + 2] = i % 5 == 0;
    if (i % 5 == 0) rows.table.values.data<float>()[i * kFitFeatures + 2] = NAN;
    const auto noise = static_cast<double>(philox.normal(1000 + static_cast<uint64_t>(i)));
    float* const target = rows.targets.data<float>() + i * kFitLabels;
    target[0] = rows.table.values.at(i * kFitFeatures) + 0.5 * noise > 0.0 ? 1.0F : 0.0F;
    target[1] = i % 3 == 0 ? NAN : static_cast<float>(i % 2);
  }
  return rows;
}

// Two rows each.
std::vector<std::string> patients() {
  std::vector<std::string> result;
  for (int64_t i = 0; i < kFitRows; ++i) result.push_back(std::to_string(i / 2));
  return result;
}

TEST(TableFit, IsAtTheMinimumOfThePenalizedLoss) {
  const core::Batch rows = fit_rows();
  const Tensor selection = Tensor::full({kFitLabels, kFitFeatures}, 1.0, DType::boolean);
  selection.data<bool>()[1 * kFitFeatures + 1] = false;  // label 1 does not read feature 1
  models::TableHead head(kFitLabels, kFitFeatures, {}, selection, {DType::f64, {}});
  Tensor logits = Tensor::full({kFitLabels}, 7.0);
  EXPECT_EQ(fit_table_head(head, rows, patients(), logits), (std::vector<int64_t>{2}));
  EXPECT_EQ(logits.at(2), 7.0) << "a label of one class keeps its prior";
  const Tensor present = Tensor::full({kFitRows}, 1.0, DType::boolean);
  const Tensor x = head.prepare(rows, present), w = head.weight.value();
  for (int64_t label = 0; label < 2; ++label) {
    std::vector<double>
        ridges;  // by each input; they must agree, since the slope of the loss is -ridge x weight
    for (int64_t input = 0; input < head.inputs(); ++input) {
      EXPECT_EQ(w.at(2 * head.inputs() + input), 0.0);
      const bool hidden = label == 1 && (input == 1 || input == kFitFeatures + 1);
      const double weight = w.at(label * head.inputs() + input);
      if (hidden || input == 3 || input == 4) {  // features 0 and 1 are never missing
        EXPECT_EQ(weight, 0.0);
        continue;
      }
      double slope = 0.0;
      for (int64_t row = 0; row < kFitRows; ++row) {
        const double target = rows.targets.at(row * kFitLabels + label);
        if (std::isnan(target)) continue;
        double z = logits.at(label);
        for (int64_t j = 0; j < head.inputs(); ++j)
          z += x.at(row * head.inputs() + j) * w.at(label * head.inputs() + j);
        slope += (1.0 / (1.0 + std::exp(-z)) - target) * x.at(row * head.inputs() + input);
      }
      ridges.push_back(-slope / weight);
    }
    for (const double ridge : ridges) EXPECT_NEAR(ridge, ridges[0], 0.02 * ridges[0]) << label;
    // Label 1 follows nothing, so that the strongest penalty is right for it.
    if (label == 1) {
      EXPECT_NEAR(ridges[0], 100.0, 1.0);
    } else {
      EXPECT_LT(ridges[0], 20.0);
    }
  }
  EXPECT_GT(w.at(0), 0.5) << "label 0 follows feature 0";
}

TEST(TableFit, RowsWithoutATableTeachNothing) {
  core::Batch rows = fit_rows();
  rows.table_present = Tensor::zeros({kFitRows}, DType::boolean);
  models::TableHead head(kFitLabels, kFitFeatures, {}, {}, {DType::f32, {}});
  Tensor logits = Tensor::zeros({kFitLabels});
  fit_table_head(head, rows, patients(), logits);
  for (int64_t i = 0; i < head.weight.value().numel(); ++i) EXPECT_NEAR(head.weight.value().at(i), 0.0, 1e-6);
}

}  // namespace
}  // namespace medfusion::optim
