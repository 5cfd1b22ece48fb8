// MixUp: what becomes of a row, and the same bytes however many ranks share the batch.
#include "optim/mixup.h"

#include <gtest/gtest.h>

#include <cmath>

namespace medfusion::optim {
namespace {

using core::DType;
using core::Tensor;

// Row r has pixels r and targets (r, unknown in row 3).
core::Batch counted_batch(int64_t first, int64_t last) {
  core::Batch batch;
  const int64_t rows = last - first;
  batch.images = Tensor::zeros({rows, 2, 2, 1});
  batch.targets = Tensor::zeros({rows, 2});
  batch.image_present = Tensor::full({rows}, 1.0, DType::boolean);
  for (int64_t row = 0; row < rows; ++row) {
    const auto value = static_cast<float>(first + row);
    batch.images.slice(0, row, row + 1).fill(value);
    batch.targets.data<float>()[2 * row] = value;
    batch.targets.data<float>()[2 * row + 1] = first + row == 3 ? NAN : 1.0F;
  }
  return batch;
}

TEST(MixUp, ImagesAndTargetsAreMixedAlike) {
  core::Batch batch = counted_batch(0, 8);
  mix_up(batch, 0.4, {}, 5, 17);
  int64_t unknown = 0, changed = 0;
  double sum = 0.0;
  for (int64_t row = 0; row < 8; ++row) {
    const double value = batch.images.at(4 * row);
    EXPECT_EQ(batch.images.at(4 * row + 3), value);
    EXPECT_NEAR(batch.targets.at(2 * row), value, 1e-5);
    changed += std::abs(value - static_cast<double>(row)) > 1e-6 ? 1 : 0;
    unknown += std::isnan(batch.targets.at(2 * row + 1)) ? 1 : 0;
    sum += value;
  }
  EXPECT_NEAR(sum, 28.0, 1e-4);  // an order puts each row in one place
  EXPECT_GE(unknown, 1);
  EXPECT_LE(unknown, 2);  // the row, and the one that it is mixed into
  EXPECT_GE(changed, 4);
  core::Batch again = counted_batch(0, 8), other = counted_batch(0, 8);
  mix_up(again, 0.4, {}, 5, 17);
  mix_up(other, 0.4, {}, 5, 18);
  EXPECT_EQ(again.images.at(0), batch.images.at(0));
  double difference = 0.0;
  for (int64_t row = 0; row < 8; ++row)
    difference += std::abs(other.images.at(4 * row) - batch.images.at(4 * row));
  EXPECT_GT(difference, 0.01) << "another step, another mix";
}

// The variance of Beta(a, a) is 1 / (4 (2 a + 1)).
TEST(MixUp, SharesAreOfTheBetaDistribution) {
  for (const double alpha : {0.3, 0.5, 1.0}) {
    double sum = 0.0, squares = 0.0;
    int64_t count = 0;
    for (int64_t step = 0; step < 6000; ++step) {
      core::Batch batch = counted_batch(0, 2);
      mix_up(batch, alpha, {}, 1, step);
      const double share = batch.images.at(4);  // of row 1, whose partner is row 0 or itself
      if (share == 1.0 && batch.images.at(0) == 0.0) continue;
      sum += share, squares += share * share, ++count;
    }
    const auto n = static_cast<double>(count);
    EXPECT_GT(count, 2000);
    EXPECT_NEAR(sum / n, 0.5, 0.03) << alpha;
    EXPECT_NEAR(squares / n - sum * sum / n / n, 1.0 / (4.0 * (2.0 * alpha + 1.0)), 0.015) << alpha;
  }
}

TEST(MixUp, RanksMixAsOneDoes) {
  core::Batch whole = counted_batch(0, 10);
  mix_up(whole, 0.4, {.shards = 4}, 9, 2);
  for (int64_t rank = 0; rank < 2; ++rank) {
    const core::ShardPlan plan{.shards = 4, .rank = rank, .ranks = 2};
    const core::RowRange own = plan.own_rows(10);
    core::Batch part = counted_batch(own.first, own.last);
    part.whole_targets = counted_batch(0, 10).targets;
    mix_up(part, 0.4, plan, 9, 2);
    for (int64_t i = 0; i < part.images.numel(); ++i)
      EXPECT_EQ(part.images.at(i), whole.images.at(own.first * 4 + i)) << rank;
    for (int64_t i = 0; i < 20; i += 2) EXPECT_EQ(part.whole_targets.at(i), whole.targets.at(i));
  }
}

}  // namespace
}  // namespace medfusion::optim
