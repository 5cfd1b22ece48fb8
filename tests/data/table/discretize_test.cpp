#include "data/table/discretize.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/data/statistics/fixture.h"

namespace medfusion::data {
namespace {

using testing::DoubleNear;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pointwise;

TEST(Discretize, CutsAgreeWithThePaperAndNumpy) {
  for (const auto file = read_fixture("features.json"); const auto& each : file.at("cases")) {
    SCOPED_TRACE(each.at("name").get<std::string>());
    const auto values = numbers_of(each.at("values")), labels = numbers_of(each.at("labels"));
    std::vector<double> known;
    std::vector<uint8_t> positive;
    for (size_t i = 0; i < values.size(); ++i) {
      if (std::isnan(values[i]) || std::isnan(labels[i])) continue;
      known.push_back(values[i]);
      positive.push_back(labels[i] == 1.0 ? 1 : 0);
    }
    EXPECT_THAT(mdl_cuts(group_scores(known, positive)),
                Pointwise(DoubleNear(1e-12), numbers_of(each.at("mdl_cuts"))));
    EXPECT_THAT(quantile_cuts(known, 4), Pointwise(DoubleNear(1e-12), numbers_of(each.at("quantile_cuts"))));
  }
}

// Eight of a kind on each side: gain 1 bit; the cost is (log2 15 + log2 7 - 2) / 16 = 0.294.
TEST(Discretize, MdlByHand) {
  std::vector<ScoreGroup> groups;
  for (int i = 0; i < 16; ++i) groups.push_back({static_cast<double>(i), i >= 8 ? 1 : 0, i >= 8 ? 0 : 1});
  EXPECT_THAT(mdl_cuts(groups), ElementsAre(7.5));
  // Two of a kind: gain 1 bit, the cost is (log2 3 + log2 7 - 2) / 4 = 0.598; one of a kind costs 0.807 / 2.
  const std::vector<ScoreGroup> four{{1, 0, 1}, {2, 0, 1}, {3, 1, 0}, {4, 1, 0}};
  EXPECT_THAT(mdl_cuts(four), ElementsAre(2.5));
  // In turn: no cut is worth its description.
  const std::vector<ScoreGroup> turns{{1, 0, 1}, {2, 1, 0}, {3, 0, 1}, {4, 1, 0}};
  EXPECT_THAT(mdl_cuts(turns), IsEmpty());
  EXPECT_THAT(mdl_cuts({}), IsEmpty());
}

TEST(Discretize, QuantilesOfTiedValuesLeaveNoEmptyBin) {
  EXPECT_THAT(quantile_cuts(std::vector<double>{0, 0, 0, 0, 0, 0, 1, 2}, 4), ElementsAre(0.25));
  EXPECT_THAT(quantile_cuts(std::vector<double>{3, 3, 3}, 4), IsEmpty());
  EXPECT_THAT(quantile_cuts({}, 4), IsEmpty());
  EXPECT_THAT(quantile_cuts(std::vector<double>{1, 2, 3}, 1), IsEmpty());
}

TEST(Discretize, AValueAtACutIsAboveIt) {
  const std::vector<double> cuts{1.0, 2.0};
  EXPECT_EQ(bin_of(cuts, 0.5), 0);
  EXPECT_EQ(bin_of(cuts, 1.0), 1);
  EXPECT_EQ(bin_of(cuts, 1.5), 1);
  EXPECT_EQ(bin_of(cuts, 7.0), 2);
  EXPECT_EQ(bin_of({}, 7.0), 0);
}

}  // namespace
}  // namespace medfusion::data
