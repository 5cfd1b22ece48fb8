// MEDFUSION_KERNEL_TESTS(softmax) checks every case of an operation: gradients of the reference, and each
// variant of the cpu and of the simulated device against it.
#pragma once

#include <gtest/gtest.h>

#include "kernels/check.h"

namespace medfusion::kernels {

inline void expect_all_cases_pass(const std::string& operation) {
  const auto cases = cases_of(operation);
  ASSERT_FALSE(cases.empty()) << "no cases for " << operation;
  const auto variants = variants_of(operation, core::DeviceType::cpu);
  ASSERT_FALSE(variants.empty()) << "no f32 variant for " << operation;
  const auto simulated = variants_of(operation, core::DeviceType::sim);
  for (const OpCase& op_case : cases) {
    if (op_case.bench) continue;
    for (const auto& failure : check_gradients(op_case)) ADD_FAILURE() << failure;
    for (const auto& variant : variants) {
      for (const auto& failure : check_parity(op_case, variant)) ADD_FAILURE() << failure;
    }
    for (const auto& variant : simulated) {
      const CheckOptions on_sim{.device = {core::DeviceType::sim, 0}};
      for (const auto& failure : check_parity(op_case, variant, on_sim)) ADD_FAILURE() << failure;
    }
  }
}

}  // namespace medfusion::kernels

#define MEDFUSION_KERNEL_TESTS(operation) \
  TEST(Kernel_##operation, AllCasesOnAllVariants) { ::medfusion::kernels::expect_all_cases_pass(#operation); }
