#include "optim/staging.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kernels/simulator/device_memory.h"
#include "kernels/simulator/device_type.h"
#include "kernels/simulator/runtime.h"
#include "tests/optim/wrapped_sim.h"

namespace medfusion::optim {
namespace {

using core::Tensor;
using testing::HasSubstr;

// Eight batches through the staging: the sum of what the device computed from each.
double use(core::Device device, bool release = true) {
  Staging staging(device);
  const Tensor sum = Tensor::zeros({1000}, core::DType::f64, device);
  Tensor host = Tensor::empty({1000}, core::DType::f64);
  const Tensor mine = Tensor::empty({1000}, core::DType::f64, device);
  for (int i = 1; i <= 8; ++i) {
    host.fill(i);
    staging.put({Tensor(), host});
    host.fill(-1.0);  // the caller's memory is free again
    const std::vector<Tensor>& copies = staging.take();
    EXPECT_FALSE(copies[0].defined());
    mine.copy_from(copies[1]);
    if (release) staging.release();
    core::runtime(device).launch(core::current_stream(device), "add",
                                 {{mine.view().data, false}, {sum.view().data, true}}, [=](void*) {
                                   for (int64_t k = 0; k < 1000; ++k) {
                                     sum.view().as<double>()[k] += mine.view().as<double>()[k];
                                   }
                                 });
  }
  return sum.at(999);
}

TEST(Staging, BringsEveryBatchInAnyOrderOfTheStreams) {
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    simulator::set_sim_seed(seed);
    EXPECT_EQ(use({simulator::kDeviceType, 0}), 36.0);
  }
  simulator::set_sim_seed(1);
}

TEST(Staging, OverwritingWhatIsStillReadIsFound) {
  try {
    use({simulator::kDeviceType, 0}, false);
    FAIL() << "not found";
  } catch (const core::Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("without a wait between them"));
  }
}

// A simulated device whose streams do not wait for events.
class DeafRuntime final : public WrappedSim {
 public:
  using WrappedSim::WrappedSim;
  void wait(core::Stream /*stream*/, core::Event /*event*/) override {}
};

TEST(Staging, AMissingWaitIsFound) {
  constexpr core::Device kDeaf{simulator::kDeviceType, 9};
  core::register_runtime(simulator::kDeviceType, [](int index) -> std::unique_ptr<core::Runtime> {
    if (index == kDeaf.index) return std::make_unique<DeafRuntime>(index);
    return simulator::make_sim_runtime(index);
  });
  try {
    use(kDeaf);
    FAIL() << "not found";
  } catch (const core::Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("without a wait between them"));
  }
  core::register_runtime(simulator::kDeviceType, simulator::make_sim_runtime);
}

}  // namespace
}  // namespace medfusion::optim
