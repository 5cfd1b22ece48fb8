#include "kernels/registry.h"

#include <gtest/gtest.h>

#include <string>

namespace medfusion::kernels {
namespace {

struct Arguments {
  static constexpr const char* kOperation = "registry_test";
  static constexpr const char* kDirection = "forward";
  int size;
};

std::string ran;
const core::DeviceType kDevice = core::DeviceType::sim;

// "large" can do all but size 0, and should from 10 on; "small" can do less than 100.
const Register<Arguments> small({"small", kDevice, 1, [](const Arguments& a) { return a.size < 100; },
                                 [](const Arguments&) { ran = "small"; }});
const Register<Arguments> large({"large", kDevice, 2, [](const Arguments& a) { return a.size > 0; },
                                 [](const Arguments&) { ran = "large"; },
                                 [](const Arguments& a) { return a.size >= 10 && a.size < 1000; }});

std::string chosen(int size, const std::string& wanted = {}) {
  ran.clear();
  dispatch<Arguments>({size}, kDevice, wanted);
  return ran;
}

TEST(Registry, DispatchTakesTheFirstThatSuits) {
  EXPECT_EQ(chosen(0), "small");
  EXPECT_EQ(chosen(5), "small");  // large could
  EXPECT_EQ(chosen(10), "large");
  EXPECT_EQ(chosen(2000), "large");  // it should not, but nobody else can
}

TEST(Registry, ANamedVariantNeedOnlySupport) {
  EXPECT_EQ(chosen(5, "large"), "large");
  EXPECT_THROW(chosen(0, "large"), NoVariant);
  set_kernel_override("registry_test", "large");
  EXPECT_EQ(chosen(5), "large");
  EXPECT_EQ(chosen(0), "small");
  EXPECT_EQ(chosen(5, "small"), "small");
  set_kernel_override("registry_test", "small");
  EXPECT_EQ(chosen(20), "small");
  set_kernel_override("registry_test", "");
  EXPECT_EQ(chosen(20), "large");
}

}  // namespace
}  // namespace medfusion::kernels
