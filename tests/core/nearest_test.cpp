#include "core/nearest.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace medfusion::core {
namespace {

TEST(Nearest, FindsTheClosestName) {
  const std::vector<std::string> names = {"batch_size", "image_size", "seed", "nih"};
  EXPECT_EQ(nearest("batchsize", names), "batch_size");
  EXPECT_EQ(nearest("imgae_size", names), "image_size");
  EXPECT_EQ(nearest("SEED", names), "seed");
  EXPECT_EQ(nearest("nhi", names), "nih");  // a swap is one step
  EXPECT_EQ(nearest("size", names), "");    // half of it or more would change
  EXPECT_EQ(nearest("", names), "");
  EXPECT_EQ(nearest("x", {}), "");
  EXPECT_EQ(did_you_mean("sed", names), "; did you mean 'seed'?");
  EXPECT_EQ(did_you_mean("zzz", names), "");
}

TEST(Nearest, TakesTheFirstOfEquals) {
  const std::vector<std::string> names = {"abcx", "abcy"};
  EXPECT_EQ(nearest("abcz", names), "abcx");
}

}  // namespace
}  // namespace medfusion::core
