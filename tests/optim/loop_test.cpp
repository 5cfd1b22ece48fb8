#include "optim/loop.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace medfusion::optim {
namespace {

using core::Tensor;
using testing::HasSubstr;

constexpr float kUnknown = std::numeric_limits<float>::quiet_NaN();

// Label 0: one positive, three negatives; label 1: one positive, one negative, two unknown; label 2: no
// positive.
Tensor targets() { return Tensor::from<float>({4, 3}, {1, 1, 0, 0, 0, 0, 0, kUnknown, 0, 0, -1, 0}); }

TEST(PositiveWeights, CountKnownLabelsOnly) {
  const Tensor balanced = positive_weights(targets(), PositiveWeight::balanced);
  EXPECT_EQ(balanced.at(0), 3.0);
  EXPECT_EQ(balanced.at(1), 1.0);
  EXPECT_EQ(balanced.at(2), 1.0);  // nothing to weigh
  EXPECT_FLOAT_EQ(static_cast<float>(positive_weights(targets(), PositiveWeight::sqrt).at(0)),
                  std::sqrt(3.0F));
  EXPECT_EQ(positive_weights(targets(), PositiveWeight::none).at(0), 1.0);
}

TEST(PositiveWeights, AreAtMostAHundred) {
  std::vector<float> rare(301, 0.0F);
  rare[0] = 1.0F;
  EXPECT_EQ(positive_weights(Tensor::from({301, 1}, rare), PositiveWeight::balanced).at(0), 100.0);
}

TEST(PriorLogits, AreTheLogOddsWithOneMoreOfEach) {
  const Tensor logits = prior_logits(targets());
  EXPECT_FLOAT_EQ(static_cast<float>(logits.at(0)), std::log(2.0F / 4.0F));
  EXPECT_EQ(logits.at(1), 0.0);
  EXPECT_FLOAT_EQ(static_cast<float>(logits.at(2)), std::log(1.0F / 5.0F));
}

// Of labels of which exactly one is true: 3 rows of the first, 1 of the second, none of the third, 1 unknown.
TEST(PriorLogits, OfLabelsThatExcludeEachOtherAreLogarithmsOfShares) {
  const float x = kUnknown;
  const Tensor rows = Tensor::from<float>({5, 3}, {1, 0, 0, 1, 0, 0, x, x, x, 0, 1, 0, 1, 0, 0});
  const Tensor logits = prior_logits(rows, true);
  const Tensor weights = positive_weights(rows, PositiveWeight::balanced, true);
  for (const auto& [label, share] : {std::pair{0, 4.0F / 7.0F}, {1, 2.0F / 7.0F}, {2, 1.0F / 7.0F}})
    EXPECT_FLOAT_EQ(static_cast<float>(logits.at(label)), std::log(share)) << label;
  for (const auto& [label, weight] : {std::pair{0, 4.0 / 9.0}, {1, 4.0 / 3.0}, {2, 1.0}})
    EXPECT_NEAR(weights.at(label), weight, 1e-6) << label;
}

class LoadWeights : public testing::Test {
 protected:
  LoadWeights() {
    models::NetworkOptions options;
    options.size = "tiny";
    network_ = models::make_network(options);
    network_->initialize(1);
    for (const auto& [name, tensor] : weights_of(*network_)) file_[name] = tensor.clone();
  }
  std::string error() {
    try {
      load_weights(*network_, file_, "weights.safetensors");
    } catch (const core::InputError& e) {
      return e.what();
    }
    return "";
  }
  std::unique_ptr<models::Network> network_;
  NamedTensors file_;
};

TEST_F(LoadWeights, CopiesByNameAndWantsAll) {
  file_.at("features.conv0.weight").fill(0.25);
  file_["classifier.bias"] = Tensor::zeros({3});
  EXPECT_EQ(error(), "");
  EXPECT_EQ(weights_of(*network_).at("features.conv0.weight").at(5), 0.25);
  file_.at("features.conv0.weight").fill(0.5);
  file_.erase("dense_head.bias");
  EXPECT_THAT(error(), HasSubstr("weights.safetensors: 1 of the network's"));
  EXPECT_THAT(error(), HasSubstr("'dense_head.bias'"));
  EXPECT_EQ(weights_of(*network_).at("features.conv0.weight").at(5), 0.25);
}

TEST_F(LoadWeights, AWrongShapeIsRefusedBeforeAnythingChanges) {
  file_.at("features.conv0.weight").fill(0.25);
  file_.at("pyramid_head.bias") = Tensor::zeros({2});
  EXPECT_THAT(error(), HasSubstr("tensor 'pyramid_head.bias': expected shape [1], got [2]"));
  EXPECT_NE(weights_of(*network_).at("features.conv0.weight").at(5), 0.25);
}

}  // namespace
}  // namespace medfusion::optim
