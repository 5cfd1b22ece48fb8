// MEDFUSION_KERNEL_TESTS(softmax) checks every case of an operation: gradients of the reference, and each
// variant of the cpu and of the simulated device against it.
#pragma once

#include <gtest/gtest.h>

#include <set>

#include "kernels/simulator/device_type.h"
#include "kernels/workshop/check.h"

namespace medfusion::kernels {

inline void expect_all_cases_pass(const std::string& operation) {
  const auto cases = cases_of(operation);
  ASSERT_FALSE(cases.empty()) << "no cases for " << operation;
  const auto variants = variants_of(operation, core::DeviceType::cpu);
  ASSERT_FALSE(variants.empty()) << "no f32 variant for " << operation;
  const auto simulated = variants_of(operation, simulator::kDeviceType);
  std::set<std::string> checked;
  for (const OpCase& op_case : cases) {
    if (op_case.bench) continue;
    for (const auto& failure : check_gradients(op_case)) ADD_FAILURE() << failure;
    for (const auto& variant : variants) {
      for (const auto& failure : check_parity(op_case, variant)) ADD_FAILURE() << failure;
    }
    for (const auto& variant : simulated) {
      bool supported = false;
      for (const auto precision : {core::DType::f32, core::DType::bf16}) {
        if (supported) break;  // bf16 is for variants that take no f32
        const CheckOptions on_sim{.device = {simulator::kDeviceType, 0}, .precision = precision};
        for (const auto& failure : check_parity(op_case, variant, on_sim, &supported))
          ADD_FAILURE() << failure;
      }
      if (supported) checked.insert(variant);
    }
  }
  for (const auto& variant : simulated)
    EXPECT_EQ(checked.count(variant), 1U) << operation << "/" << variant << " supports no case";
}

// The named variants of the simulated device on every case whose name begins with `prefix`, in bf16: each
// takes them all.
inline void expect_cases_pass_in_bf16(const std::string& operation, const std::string& prefix,
                                      const std::vector<std::string>& variants) {
  const CheckOptions options{.device = {simulator::kDeviceType, 0}, .precision = core::DType::bf16};
  int64_t runs = 0;
  for (const OpCase& op_case : cases_of(operation)) {
    if (op_case.bench || !op_case.name.starts_with(prefix)) continue;
    for (const auto& variant : variants) {
      bool supported = false;
      for (const auto& failure : check_parity(op_case, variant, options, &supported))
        ADD_FAILURE() << failure;
      EXPECT_TRUE(supported) << operation << "/" << variant << " does not take " << op_case.name;
      ++runs;
    }
  }
  EXPECT_GT(runs, 0) << operation << " has no case " << prefix;
}

}  // namespace medfusion::kernels

#define MEDFUSION_KERNEL_TESTS(operation) \
  TEST(Kernel_##operation, AllCasesOnAllVariants) { ::medfusion::kernels::expect_all_cases_pass(#operation); }

// MEDFUSION_KERNEL_TESTS_IN_BF16(activation, "relu", "simt") does the same in bf16 for the cases and variants
// that have it.
#define MEDFUSION_KERNEL_TESTS_IN_BF16(operation, prefix, ...)                          \
  TEST(Kernel_##operation, InBf16) {                                                    \
    ::medfusion::kernels::expect_cases_pass_in_bf16(#operation, prefix, {__VA_ARGS__}); \
  }
