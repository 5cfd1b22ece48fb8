// A training step of a tiny MedFusionNet on the simulated device, and on a GPU where there is one, against
// the same step on the cpu.
#include <gtest/gtest.h>

#include "core/random.h"
#include "core/runtime.h"
#include "kernels/gpu/device_type.h"
#include "kernels/simulator/device_type.h"
#include "layers/functional/loss.h"
#include "models/network.h"
#include "optim/optimizer.h"

namespace medfusion::models {
namespace {

using core::DType;
using core::Tensor;
using core::Variable;

Tensor random(const core::Shape& shape, uint64_t stream) {
  Tensor result = Tensor::empty(shape);
  const core::Philox philox(3, stream);
  for (int64_t i = 0; i < result.numel(); ++i) {
    result.data<float>()[i] = static_cast<float>(philox.normal(static_cast<uint64_t>(i)));
  }
  return result;
}

core::Batch inputs() {
  core::Batch result;
  result.images = random({2, 32, 32, 1}, 1);
  result.image_present = Tensor::full({2}, 1.0, DType::boolean);
  result.image_present.data<bool>()[1] = false;
  result.table.values = random({2, 3}, 2);
  result.table.missing = Tensor::zeros({2, 3}, DType::boolean);
  result.table.missing.data<bool>()[4] = true;
  result.text = Tensor::from<int64_t>({2, 4}, {1, 5, 2, 0, 3, 0, 0, 0});
  return result;
}

struct Step {
  std::unique_ptr<Network> network;
  double loss = 0.0;
};

// Steps of AdamW, dropout and modality dropout included.
Step train(core::Device device, uint64_t steps) {
  NetworkOptions options;
  options.size = "tiny";
  options.labels = 3;
  options.table_features = 3;
  options.vocabulary = 7;
  options.text_length = 4;
  options.dropout = 0.1;
  options.modality_dropout = 0.3;
  options.device = device;
  Step result{make_network(options)};
  result.network->initialize(11);
  optim::AdamW optimizer(result.network->parameters(), {});
  const Tensor targets = Tensor::from<float>({2, 3}, {1, 0, NAN, 0, 1, 1});
  for (uint64_t step = 0; step < steps; ++step) {
    layers::Context context{true, 5, step << 20};
    optimizer.zero_grad();
    const Variable logits = result.network->forward(inputs(), context);
    const Variable loss = layers::multilabel_loss(logits, targets.to(device), {});
    loss.backward();
    result.loss = loss.value().item();
    optimizer.step(1e-3, 1.0 / optim::gradient_norm(result.network->parameters()));
  }
  return result;
}

void expect_near(const Tensor& expected, const Tensor& actual, double tolerance, const std::string& name) {
  double scale = 1e-3;
  for (int64_t i = 0; i < expected.numel(); ++i) scale = std::max(scale, std::abs(expected.at(i)));
  for (int64_t i = 0; i < expected.numel(); ++i) {
    ASSERT_NEAR(expected.at(i), actual.at(i), tolerance * scale) << name << " [" << i << "]";
  }
}

class Device : public testing::TestWithParam<core::DeviceType> {};
INSTANTIATE_TEST_SUITE_P(All, Device, testing::Values(simulator::kDeviceType, kernels::cuda::kDeviceType),
                         [](const auto& test) { return std::string(core::name_of(test.param)); });

TEST_P(Device, ATrainingStepIsThatOnTheCpu) {
  const core::Device device{GetParam(), 0};
  try {
    core::runtime(device);
  } catch (const core::Error& error) {
    GTEST_SKIP() << error.what();
  }
  // The first step of Adam scales the rounding of small gradients up to that of its step: some 5e-5 is left
  // of it in the gradients and statistics of the second.
  for (const auto& [steps, tolerance] : {std::pair<uint64_t, double>{1, 2e-5}, {2, 1e-4}}) {
    SCOPED_TRACE(testing::Message() << steps << " steps");
    const Step cpu = train({}, steps);
    const Step sim = train(device, steps);
    EXPECT_NEAR(cpu.loss, sim.loss, 1e-5);
    const auto expected = cpu.network->parameters();
    const auto actual = sim.network->parameters();
    for (size_t i = 0; i < expected.size(); ++i) {
      const std::string& name = expected[i].first;
      ASSERT_EQ(actual[i].second.value().device(), device) << name;
      const Tensor gradient = actual[i].second.gradient().to(core::Device{});
      expect_near(expected[i].second.gradient(), gradient, tolerance, name + " gradient");
    }
    const auto buffers = cpu.network->buffers();
    const auto sim_buffers = sim.network->buffers();
    for (size_t i = 0; i < buffers.size(); ++i) {
      expect_near(buffers[i].second, sim_buffers[i].second.to(core::Device{}), tolerance, buffers[i].first);
    }
  }
}

}  // namespace
}  // namespace medfusion::models
