#include "kernels/workshop/time_case.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "core/runtime.h"
#include "kernels/gpu/device_type.h"
#include "kernels/registry.h"
#include "kernels/simulator/device_type.h"
#include "kernels/workshop/check.h"

namespace medfusion::kernels {
namespace {

constexpr CeilingSizes kSmall{.bytes = 4096, .product = 16, .bf16_product = 32, .seconds = 1e-3};

TEST(Ceilings, OfTheCpuHaveNoProductOfBf16) {
  const Ceilings ceilings = measure_ceilings({}, kSmall);
  EXPECT_GT(ceilings.bytes_per_second, 0.0);
  EXPECT_GT(ceilings.flops_of(core::DType::f32), 0.0);
  EXPECT_EQ(ceilings.flops_of(core::DType::bf16), 0.0);
}

TEST(Ceilings, OfMemoryAreThoseOfAsMuchOrMore) {
  const Ceilings ceilings{2.0, 1.0, 0.0, {{100, 9.0}, {200, 3.0}, {400, 5.0}, {800, 2.0}}};
  EXPECT_EQ(ceilings.bytes_per_second_of(10), 9.0);
  EXPECT_EQ(ceilings.bytes_per_second_of(100), 9.0);
  EXPECT_EQ(ceilings.bytes_per_second_of(199), 9.0);
  EXPECT_EQ(ceilings.bytes_per_second_of(200), 5.0) << "a rate is one of more memory, too";
  EXPECT_EQ(ceilings.bytes_per_second_of(500), 5.0);
  EXPECT_EQ(ceilings.bytes_per_second_of(1e9), 2.0);
  EXPECT_EQ((Ceilings{7.0, 1.0, 0.0}.bytes_per_second_of(1)), 7.0) << "a GPU has one";
}

// What they are means nothing at these sizes, and nothing at all on `sim`.
class DeviceCeilings : public testing::TestWithParam<core::DeviceType> {};
INSTANTIATE_TEST_SUITE_P(Devices, DeviceCeilings,
                         testing::Values(simulator::kDeviceType, kernels::cuda::kDeviceType),
                         [](const auto& test) { return std::string(core::name_of(test.param)); });

TEST_P(DeviceCeilings, HaveProductsOfBothTypes) {
  const core::Device device{GetParam(), 0};
  try {
    core::runtime(device);
  } catch (const core::Error& error) {
    GTEST_SKIP() << error.what();
  }
  const Ceilings ceilings = measure_ceilings(device, kSmall);
  EXPECT_GT(ceilings.bytes_per_second, 0.0);
  EXPECT_GT(ceilings.flops_per_second, 0.0);
  EXPECT_GT(ceilings.bf16_flops_per_second, 0.0);
  EXPECT_EQ(ceilings.flops_of(core::DType::bf16), ceilings.bf16_flops_per_second);
}

// A case that counts what is called.
struct Counts {
  int64_t prepared = 0, forward = 0, prepared_backward = 0, backward = 0;
};
OpCase counting(Counts& counts, int64_t elements = 4) {
  OpCase c;
  c.operation = "counting";
  c.name = "of calls";
  c.inputs = {{.name = "x", .shape = {elements}}};
  c.outputs = {{.name = "y", .shape = {elements}}};
  c.prepare_forward = [&](CaseTensors&) { ++counts.prepared; };
  c.forward = [&](CaseTensors&, const std::string&) { ++counts.forward; };
  c.prepare_backward = [&](CaseTensors&) { ++counts.prepared_backward; };
  c.backward = [&](CaseTensors&, const std::string&) { ++counts.backward; };
  c.flops = 10.0;
  c.bytes = 100.0;
  return c;
}

TEST(TimeCase, TakesAsManySetsOfTensorsAsExceedTheCacheFourTimes) {
  Counts counts;
  const OpCase c = counting(counts, 1 << 18);  // 2 MiB in f32
  EXPECT_EQ(sets_for(c, core::DType::f32, 0), 1) << "a cache that is not known";
  EXPECT_EQ(sets_for(c, core::DType::f32, int64_t{50} << 20), 100);
  EXPECT_EQ(sets_for(c, core::DType::bf16, int64_t{50} << 20), 200);
  EXPECT_EQ(sets_for(c, core::DType::f32, 1000), 1);
  EXPECT_LE(sets_for(counting(counts, 1), core::DType::f32, int64_t{50} << 20), 256)
      << "launches take longer";
}

TEST(TimeCase, PreparesEveryCallOfItsPass) {
  for (const Pass pass : {Pass::forward, Pass::backward, Pass::both}) {
    Counts counts;
    const Timing timing =
        time_case(counting(counts), "", pass, {}, core::DType::f32, {.seconds = 1e-3, .sets = 3});
    EXPECT_EQ(timing.sets, 3);
    EXPECT_GE(counts.prepared, counts.forward) << name_of(pass);
    EXPECT_GE(counts.prepared_backward, counts.backward) << name_of(pass);
    EXPECT_EQ(counts.backward > 0, pass != Pass::forward);
    if (pass == Pass::both) {
      EXPECT_EQ(counts.forward, counts.backward + 3) << "one ahead on each set";
    }
    if (pass == Pass::backward) {
      EXPECT_EQ(counts.forward, 3) << "what the backward reads";
    }
  }
}

TEST(TimeCase, CountsTheWorkOfAPass) {
  Counts counts;
  OpCase c = counting(counts);
  EXPECT_EQ(flops_of(c, Pass::forward), 10.0);
  EXPECT_EQ(flops_of(c, Pass::backward), 20.0);
  EXPECT_EQ(flops_of(c, Pass::both), 30.0);
  c.backward_flops = 2.5;
  EXPECT_EQ(flops_of(c, Pass::backward), 25.0);
  EXPECT_EQ(bytes_of(c, Pass::both), 300.0);
  c.backward_bytes = 1.5;
  EXPECT_EQ(bytes_of(c, Pass::backward), 150.0);
  for (const OpCase& attention : cases_of("attention")) EXPECT_EQ(attention.backward_flops, 2.5);
}

// A forward that takes scratch of two blocks, one after the other, and a backward that takes three times as
// much: what lives at once is one of the blocks, what is held both.
class TimeCaseMemory : public testing::TestWithParam<core::DeviceType> {
 protected:
  static constexpr int64_t kElements = 1 << 16, kScratch = 1 << 20;
  static constexpr int64_t kTensor = 4 * kElements;

  Timing of(Pass pass) {
    const core::Device device{GetParam(), 0};
    Counts counts;
    OpCase c = counting(counts, kElements);
    const auto scratch = [device](int64_t bytes) {
      core::Tensor::empty({bytes}, core::DType::u8, device);
      core::Tensor::empty({bytes / 2}, core::DType::u8, device);
    };
    c.forward = [=](CaseTensors&, const std::string&) { scratch(kScratch); };
    c.backward = [=](CaseTensors&, const std::string&) { scratch(3 * kScratch); };
    // A cached block of another row must not be taken for one of this.
    core::Tensor::empty({kScratch + kScratch / 2}, core::DType::u8, device);
    return time_case(c, "", pass, device, core::DType::f32, {.seconds = 1e-3, .sets = 5});
  }
};
INSTANTIATE_TEST_SUITE_P(Devices, TimeCaseMemory,
                         testing::Values(core::DeviceType::cpu, simulator::kDeviceType),
                         [](const auto& test) { return std::string(core::name_of(test.param)); });

TEST_P(TimeCaseMemory, IsThatOfOneSetOfTensorsAndACallOnIt) {
  const int64_t forward = 2 * kTensor, backward = 4 * kTensor;  // x and y, and their gradients
  EXPECT_EQ(of(Pass::forward).peak_bytes, forward + kScratch);
  EXPECT_EQ(of(Pass::backward).peak_bytes, backward + 3 * kScratch);
  EXPECT_EQ(of(Pass::both).peak_bytes, backward + 3 * kScratch);
}

TEST_P(TimeCaseMemory, ThatIsHeldCountsEveryBlockOfACall) {
  const int64_t forward = 2 * kTensor, backward = 4 * kTensor;
  const bool cached = GetParam() == core::DeviceType::cpu;  // sim keeps no block for reuse
  EXPECT_EQ(of(Pass::forward).reserved_bytes, forward + kScratch + (cached ? kScratch / 2 : 0));
  EXPECT_EQ(of(Pass::backward).reserved_bytes, backward + 3 * kScratch + (cached ? 3 * kScratch / 2 : 0));
  // The forward's blocks are too small for the backward, or too large for it to reuse.
  EXPECT_EQ(of(Pass::both).reserved_bytes,
            backward + 3 * kScratch + (cached ? kScratch + kScratch / 2 + 3 * kScratch / 2 : 0));
}

// Those of no operation read or write gradients there, which a set for it lacks.
TEST(TimeCase, TakesTheForwardOfEveryOperation) {
  for (const std::string& operation : operations_with_cases()) {
    int64_t timed = 0;
    for (const OpCase& c : cases_of(operation)) {
      if (c.bench || timed > 0) continue;
      try {
        timed += time_case(c, "", Pass::forward, {}, core::DType::f32, {.seconds = 1e-4}).calls;
      } catch (const NoVariant&) {
      }
    }
    EXPECT_GT(timed, 0) << operation;
  }
}

// Cases that prepare copies and cases that allocate while they run.
TEST(TimeCase, ReplaysACapturedGraphOfCalls) {
  const core::Device sim{simulator::kDeviceType, 0};
  for (const char* operation : {"layer_norm", "dense_block"}) {
    const std::vector<OpCase> cases = cases_of(operation);
    const auto small = std::find_if(cases.begin(), cases.end(), [](const OpCase& c) { return !c.bench; });
    const Timing timing = time_case(*small, "simt", Pass::both, sim, core::DType::f32,
                                    {.seconds = 1e-3, .graph = true, .sets = 2});
    EXPECT_EQ(timing.sets, 2) << operation;
    EXPECT_EQ(timing.calls % 2, 0) << operation;
    EXPECT_GT(timing.median, 0.0) << operation;
  }
}

}  // namespace
}  // namespace medfusion::kernels
