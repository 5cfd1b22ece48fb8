// MEDFUSION_KERNEL_TESTS(softmax) checks every case of an operation: gradients of the reference, and each
// variant of the cpu and of the simulated device against it.
#pragma once

#include <gtest/gtest.h>

#include <set>

#include "kernels/check.h"

namespace medfusion::kernels {

inline void expect_all_cases_pass(const std::string& operation) {
  const auto cases = cases_of(operation);
  ASSERT_FALSE(cases.empty()) << "no cases for " << operation;
  const auto variants = variants_of(operation, core::DeviceType::cpu);
  ASSERT_FALSE(variants.empty()) << "no f32 variant for " << operation;
  const auto simulated = variants_of(operation, core::DeviceType::sim);
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
        const CheckOptions on_sim{.device = {core::DeviceType::sim, 0}, .precision = precision};
        for (const auto& failure : check_parity(op_case, variant, on_sim, &supported))
          ADD_FAILURE() << failure;
      }
      if (supported) checked.insert(variant);
    }
  }
  for (const auto& variant : simulated)
    EXPECT_EQ(checked.count(variant), 1U) << operation << "/" << variant << " supports no case";
}

}  // namespace medfusion::kernels

#define MEDFUSION_KERNEL_TESTS(operation) \
  TEST(Kernel_##operation, AllCasesOnAllVariants) { ::medfusion::kernels::expect_all_cases_pass(#operation); }
