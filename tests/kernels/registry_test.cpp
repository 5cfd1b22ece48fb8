#include "kernels/registry.h"
#include "kernels/simulator/device_type.h"

#include <gtest/gtest.h>

#include <string>

#include "core/tensor.h"

namespace medfusion::kernels {
namespace {

struct Arguments {
  static constexpr const char* kOperation = "registry_test";
  static constexpr const char* kDirection = "forward";
  int size;
};

std::string ran;
const core::DeviceType kDevice = simulator::kDeviceType;

// "large" can do all but size 0, and should from 10 on; "small" can do less than 100.
const Register<Arguments> small("small", kDevice, 1,
                                {{"less than 100", [](const Arguments& a) { return a.size < 100; }}},
                                [](const Arguments&) { ran = "small"; });
const Register<Arguments> large(
    "large", kDevice, 2,
    {{"more than 0", [](const Arguments& a) { return a.size > 0; }},
     {"no limit", [](const Arguments&) { return true; }}},
    [](const Arguments&) { ran = "large"; },
    Requirement<Arguments>("from 10 on", [](const Arguments& a) { return a.size >= 10 && a.size < 1000; }));

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

TEST(Registry, ALogListsWhatDispatchRan) {
  DispatchLog outer;
  {
    DispatchLog log;
    chosen(5);
    chosen(10);
    EXPECT_EQ(log.take(),
              (std::vector<std::string>{"registry_test forward small", "registry_test forward large"}));
    EXPECT_TRUE(log.take().empty());
  }
  EXPECT_TRUE(outer.take().empty());
  chosen(0);
  EXPECT_EQ(outer.take(), (std::vector<std::string>{"registry_test forward small"}));
}

TEST(Registry, ListsSayWhatIsChecked) {
  for (const VariantInfo& info : all_variants()) {
    if (info.operation != "registry_test") continue;
    EXPECT_EQ(info.takes, info.name == "small" ? "less than 100"
                                               : "more than 0, no limit; chosen automatically from 10 on");
  }
}

struct Tensors3 {
  static constexpr const char* kOperation = "registry_test_tensors";
  static constexpr const char* kDirection = "forward";
  core::View x, y, optional;
  auto tensors() const { return std::array{&x, &y, &optional}; }
};

TEST(Registry, SharedRequirementsLookAtEveryTensorThatIsGiven) {
  const auto holds = [](const TensorRequirement& requirement, const Tensors3& a) {
    return Requirement<Tensors3>(requirement).holds(a);
  };
  const core::Tensor wide = core::Tensor::zeros({4, 6}),
                     narrow = core::Tensor::zeros({4, 6}, core::DType::bf16);
  core::View columns = wide.view();  // every second
  columns.shape = {4, 3};
  columns.strides = {6, 2};
  core::View part = wide.view();  // the first three
  part.shape = {4, 3};
  const Tensors3 plain{wide.view(), wide.view(), {}}, mixed{wide.view(), narrow.view(), {}},
      sliced{wide.view(), part, part}, sparse{wide.view(), wide.view(), columns};
  EXPECT_TRUE(holds(takes::f32, plain));
  EXPECT_FALSE(holds(takes::f64, plain));
  EXPECT_TRUE(holds(takes::f32_or_bf16, plain));
  EXPECT_FALSE(holds(takes::f32_or_bf16, mixed)) << "they differ";
  EXPECT_TRUE(holds(takes::any_strides, sparse));
  EXPECT_TRUE(holds(takes::contiguous, plain));
  EXPECT_FALSE(holds(takes::contiguous, sliced));
  EXPECT_TRUE(holds(takes::uniform_rows, sliced));
  EXPECT_FALSE(holds(takes::uniform_rows, sparse));
  EXPECT_TRUE(holds(takes::adjacent_channels, sliced));
  EXPECT_FALSE(holds(takes::adjacent_channels, sparse));
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
