// Every variant of every operation on `sim` under several orders of its threads, blocks and streams: the same
// bits. The other tests of kernels run each case under one order.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "kernels/gpu/device.cuh"
#include "kernels/registry.h"
#include "kernels/simulator/device_memory.h"
#include "kernels/simulator/device_type.h"
#include "kernels/workshop/check.h"

namespace medfusion::kernels {
namespace {

constexpr core::Device kSim{simulator::kDeviceType, 0};
constexpr int64_t kSchedules = 4;
constexpr int64_t kMostElements = 3000;  // of a case: what is larger takes seconds
constexpr size_t kCases = 2;             // of a kind

int64_t elements_of(const OpCase& op_case) {
  int64_t count = 0;
  for (const auto* slots : {&op_case.inputs, &op_case.outputs}) {
    for (const Slot& slot : *slots) count += slot.shape.numel();
  }
  return count;
}

// Cases with the same tensors are of a kind: an operation's directions, with a mask and without.
std::string kind_of(const OpCase& op_case) {
  std::string kind;
  for (const Slot& slot : op_case.inputs) kind += slot.name + " ";
  for (const Slot& slot : op_case.outputs) kind += "> " + slot.name + " ";
  return kind;
}

// Of each kind the largest cases that are small, and the smallest one where none is.
std::vector<OpCase> some_cases_of(const std::string& operation) {
  std::vector<OpCase> cases = cases_of(operation);
  std::erase_if(cases, [](const OpCase& each) { return each.bench; });
  std::stable_sort(cases.begin(), cases.end(),
                   [](const OpCase& a, const OpCase& b) { return elements_of(a) > elements_of(b); });
  std::map<std::string, std::vector<OpCase>> kinds;
  for (const OpCase& each : cases) {
    std::vector<OpCase>& chosen = kinds[kind_of(each)];
    const auto large = [](const OpCase& x) { return elements_of(x) > kMostElements; };
    std::erase_if(chosen, large);
    if (chosen.size() < kCases) chosen.push_back(each);
  }
  std::vector<OpCase> result;
  for (auto& [kind, chosen] : kinds) result.insert(result.end(), chosen.begin(), chosen.end());
  return result;
}

// In each precision that the variant takes the case in; returns whether there is one.
bool check(const OpCase& op_case, const std::string& variant) {
  bool any = false;
  for (const auto precision : {core::DType::f32, core::DType::bf16}) {
    bool supported = false;
    const CheckOptions options{.device = kSim, .precision = precision};
    for (const auto& failure : check_schedules(op_case, variant, options, kSchedules, &supported))
      ADD_FAILURE() << failure;
    any = any || supported;
  }
  return any;
}

class Schedules : public testing::TestWithParam<std::string> {};

TEST_P(Schedules, GiveTheSameBits) {
  std::set<std::string> checked;
  const std::vector<OpCase> cases = some_cases_of(GetParam());
  const std::vector<std::string> variants = variants_of(GetParam(), kSim.type);
  for (const std::string& variant : variants) {
    for (const OpCase& op_case : cases) {
      if (check(op_case, variant)) checked.insert(variant);
    }
  }
  // A variant that takes none of them takes others.
  for (const std::string& variant : variants) {
    for (const OpCase& op_case : cases_of(GetParam())) {
      if (checked.count(variant) != 0) break;
      if (!op_case.bench && check(op_case, variant)) checked.insert(variant);
    }
    EXPECT_EQ(checked.count(variant), 1U) << variant << " supports no case";
  }
}

INSTANTIATE_TEST_SUITE_P(All, Schedules, testing::ValuesIn(operations_with_cases()),
                         [](const auto& of) { return of.param; });

// A kernel whose result is the order of its blocks; parity cannot tell, since it is in no reference.
__global__ void order_of_blocks(cuda::Global<float> count, cuda::Global<float> y) {
  const float before = count[0];
  y[blockIdx.x] = before;
  count[0] = before + 1.0F;
}

OpCase order_dependent() {
  OpCase c;
  c.operation = "order";
  c.name = "of blocks";
  c.outputs = {{.name = "y", .shape = {8}}};
  c.tolerance = 1e12;
  c.forward = [](CaseTensors& t, const std::string& variant) {
    if (variant == "reference") return t.out("y").fill(1.0);
    const core::Tensor count = core::Tensor::zeros({1}, core::DType::f32, kSim);
    cuda::launch({"order_of_blocks", kSim, dim3(8), dim3(1)}, order_of_blocks, count.view().as<float>(),
                 t.out("y").view().as<float>());
  };
  return c;
}

TEST(CheckSchedules, SeesAResultThatDependsOnTheOrder) {
  const uint64_t before = simulator::sim_seed();
  const CheckOptions options{.device = kSim};
  EXPECT_TRUE(check_parity(order_dependent(), "simt", options).empty());
  const auto failures = check_schedules(order_dependent(), "simt", options, 8);
  ASSERT_EQ(failures.size(), 1U);
  EXPECT_NE(failures[0].find("order/simt [of blocks]: other bits with MEDFUSION_SIM_SEED="),
            std::string::npos)
      << failures[0];
  EXPECT_EQ(simulator::sim_seed(), before);
}

}  // namespace
}  // namespace medfusion::kernels
