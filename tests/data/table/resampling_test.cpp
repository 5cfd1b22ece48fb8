#include "data/table/resampling.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "core/random.h"
#include "data/table/table_encoder.h"
#include "tests/data/temporary_folder.h"

namespace medfusion::data {
namespace {

using testing::HasSubstr;
constexpr float kUnknown = std::numeric_limits<float>::quiet_NaN();

// 60 rows of two numbers and a category; every fifth is positive for "rare", every seventh for "other".
Dataset table_of_sixty() {
  Dataset data;
  data.labels = {"rare", "other"};
  data.targets = core::Tensor::zeros({60, 2});
  data.columns = {{"x", true, {}, {}}, {"y", true, {}, {}}, {"kind", false, {}, {}}};
  core::Generator generator(7);
  for (int row = 0; row < 60; ++row) {
    data.ids.push_back(fmt::format("r{}", row));
    data.targets.data<float>()[2 * row] = row % 5 == 0 ? 1.0F : 0.0F;
    data.targets.data<float>()[2 * row + 1] = row % 7 == 0 ? 1.0F : 0.0F;
    data.columns[0].numbers.push_back(generator.normal());
    data.columns[1].numbers.push_back(generator.normal() * 100.0);
    data.columns[2].categories.push_back(row % 3 == 0 ? "a" : "b");
  }
  data.patients = data.ids;
  return data;
}

std::vector<int64_t> rows_up_to(int64_t count) {
  std::vector<int64_t> rows;
  for (int64_t row = 0; row < count; ++row) rows.push_back(row);
  return rows;
}

core::Tensor encoded(const Dataset& data, const std::vector<int64_t>& rows) {
  return TableEncoder::fit(data.columns, rows).encode(data.columns).values;
}

ResampleOptions options_of(ResampleMethod method, int64_t label = 0) {
  ResampleOptions options;
  options.method = method;
  options.label_index = label;
  return options;
}

double distance(const core::Tensor& features, int64_t a, int64_t b) {
  double sum = 0.0;
  for (int64_t i = 0; i < features.size(1); ++i) {
    const double d = features.at(a * features.size(1) + i) - features.at(b * features.size(1) + i);
    sum += d * d;
  }
  return sum;
}

TEST(Resampling, EveryMethodBalancesWithRowsOfTheRareClassInTheTrainingPart) {
  const Dataset data = table_of_sixty();
  const auto rows = rows_up_to(50);  // 10 positive, 40 negative; the last ten rows are not for training
  const core::Tensor features = encoded(data, rows);
  for (const auto method : {ResampleMethod::random, ResampleMethod::smote, ResampleMethod::adasyn}) {
    const auto added = plan_resampling(features, data.targets, rows, options_of(method));
    EXPECT_EQ(added.size(), 30U);
    for (const SyntheticRow& row : added) {
      EXPECT_LT(row.base, 50);
      EXPECT_EQ(row.base % 5, 0);
      EXPECT_LT(row.neighbour, 50);
      EXPECT_EQ(row.neighbour % 5, 0);
    }
  }
  auto half = options_of(ResampleMethod::smote);
  half.ratio = 0.5;
  EXPECT_EQ(plan_resampling(features, data.targets, rows, half).size(), 10U);
  half.ratio = 0.2;  // there are as many already
  EXPECT_TRUE(plan_resampling(features, data.targets, rows, half).empty());
  EXPECT_TRUE(plan_resampling(features, data.targets, rows, {}).empty());
}

TEST(Resampling, AnyPositiveLabelCountsWhereNoneIsNamed) {
  const Dataset data = table_of_sixty();
  const auto rows = rows_up_to(60);
  const auto added =
      plan_resampling(encoded(data, rows), data.targets, rows, options_of(ResampleMethod::smote, -1));
  EXPECT_EQ(added.size(), 22U);  // 12 + 9 - 2 = 19 rows with a positive label, 41 without
  for (const SyntheticRow& row : added) EXPECT_TRUE(row.base % 5 == 0 || row.base % 7 == 0);
}

TEST(Resampling, SegmentsEndAtOneOfTheNearestOfTheRareClass) {
  const Dataset data = table_of_sixty();
  const auto rows = rows_up_to(60);
  const core::Tensor features = encoded(data, rows);
  auto options = options_of(ResampleMethod::smote);
  options.neighbours = 3;
  const auto added = plan_resampling(features, data.targets, rows, options);
  std::map<int64_t, int> started;
  std::set<double> weights;
  for (const SyntheticRow& row : added) {
    ++started[row.base];
    weights.insert(row.weight);
    EXPECT_TRUE(row.weight >= 0.0 && row.weight < 1.0);
    EXPECT_NE(row.base, row.neighbour);
    int nearer = 0;
    for (int64_t other = 0; other < 60; other += 5) {
      if (other != row.base)
        nearer += distance(features, row.base, other) < distance(features, row.base, row.neighbour);
    }
    EXPECT_LT(nearer, 3);
  }
  EXPECT_EQ(started.size(), 12U);  // 36 new rows, three from each
  for (const auto& [base, count] : started) EXPECT_EQ(count, 3) << base;
  EXPECT_GT(weights.size(), 30U);
}

TEST(Resampling, NewRowsLieOnTheSegmentBetweenTheirTwo) {
  Dataset data = table_of_sixty();
  data.columns[1].numbers[0] = std::nan("");
  const auto rows = rows_up_to(60);
  const auto added =
      plan_resampling(encoded(data, rows), data.targets, rows, options_of(ResampleMethod::smote));
  append_rows(data, added);
  ASSERT_EQ(data.size(), 96);
  ASSERT_EQ(data.targets.size(0), 96);
  std::set<std::string> ids(data.ids.begin(), data.ids.end());
  EXPECT_EQ(ids.size(), 96U);
  for (size_t i = 0; i < added.size(); ++i) {
    const auto& [base, neighbour, weight] = added[i];
    const size_t row = 60 + i;
    const auto near = static_cast<size_t>(weight < 0.5 ? base : neighbour);
    for (const size_t column : {0U, 1U}) {
      const auto& numbers = data.columns[column].numbers;
      const double from = numbers[static_cast<size_t>(base)], to = numbers[static_cast<size_t>(neighbour)];
      if (std::isnan(from) || std::isnan(to)) {
        EXPECT_TRUE(numbers[row] == numbers[near] || std::isnan(numbers[near]));
        EXPECT_EQ(std::isnan(numbers[row]), std::isnan(numbers[near]));
      } else {
        EXPECT_DOUBLE_EQ(numbers[row], from + weight * (to - from));
      }
    }
    EXPECT_EQ(data.columns[2].categories[row], data.columns[2].categories[near]);
    EXPECT_EQ(data.targets.at(static_cast<int64_t>(2 * row)), 1.0);
    EXPECT_EQ(data.targets.at(static_cast<int64_t>(2 * row + 1)),
              data.targets.at(static_cast<int64_t>(2 * near + 1)));
    EXPECT_EQ(data.patients[row], data.patients[static_cast<size_t>(base)]);
  }
}

// Positives at 0, 0.1 ... among themselves, but for one amid the negatives at 10: all new rows start there.
TEST(Resampling, AdasynStartsWhereTheOtherClassIsNear) {
  std::vector<float> values, targets;
  for (int i = 0; i < 6; ++i) values.push_back(0.1F * static_cast<float>(i));
  for (int i = 0; i < 20; ++i) values.push_back(10.0F + 0.1F * static_cast<float>(i));
  for (int i = 0; i < 26; ++i) targets.push_back(i < 6 ? 1.0F : 0.0F);
  targets[16] = 1.0F;  // at 11
  const auto features = core::Tensor::from({26, 1}, values);
  const auto labels = core::Tensor::from({26, 1}, targets);
  const auto added = plan_resampling(features, labels, rows_up_to(26), options_of(ResampleMethod::adasyn));
  EXPECT_EQ(added.size(), 12U);
  for (const SyntheticRow& row : added) EXPECT_EQ(row.base, 16);
  // Without it none is near the other class: all start alike.
  targets[16] = 0.0F;
  const auto even = plan_resampling(features, core::Tensor::from({26, 1}, targets), rows_up_to(26),
                                    options_of(ResampleMethod::adasyn));
  std::map<int64_t, int> started;
  for (const SyntheticRow& row : even) ++started[row.base];
  EXPECT_EQ(started.size(), 6U);
}

TEST(Resampling, DependsOnTheSeedAlone) {
  const Dataset data = table_of_sixty();
  const auto rows = rows_up_to(60);
  const auto draw = [&](uint64_t seed) {
    auto options = options_of(ResampleMethod::smote);
    options.seed = seed;
    std::vector<double> numbers;
    for (const SyntheticRow& row : plan_resampling(encoded(data, rows), data.targets, rows, options)) {
      numbers.insert(numbers.end(),
                     {static_cast<double>(row.base), static_cast<double>(row.neighbour), row.weight});
    }
    return numbers;
  };
  EXPECT_EQ(draw(3), draw(3));
  EXPECT_NE(draw(3), draw(4));
}

TEST(Resampling, UnknownLabelsCountForNeitherClassAndTooFewRowsAreRefused) {
  Dataset data = table_of_sixty();
  const auto rows = rows_up_to(60);
  const core::Tensor features = encoded(data, rows);
  for (int row = 1; row < 31; ++row) {
    if (row % 5 != 0) data.targets.data<float>()[2 * row] = kUnknown;
  }
  // 12 positives, 24 known negatives.
  EXPECT_EQ(plan_resampling(features, data.targets, rows, options_of(ResampleMethod::random)).size(), 12U);
  for (int row = 5; row < 60; row += 5) data.targets.data<float>()[2 * row] = kUnknown;
  EXPECT_THAT(
      input_error([&] { plan_resampling(features, data.targets, rows, options_of(ResampleMethod::smote)); }),
      HasSubstr("at least 2 rows of the rarer class in the training part, got 1"));
  EXPECT_EQ(plan_resampling(features, data.targets, rows, options_of(ResampleMethod::random)).size(), 23U);
}

}  // namespace
}  // namespace medfusion::data
