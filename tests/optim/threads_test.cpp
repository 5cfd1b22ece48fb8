// Training with threads at work everywhere: those that compute, those that load, and the progress line.
// ThreadSanitizer runs it (tools/test.sh --sanitize=thread).
#include <gtest/gtest.h>

#include <cstring>
#include <numeric>

#include "core/random.h"
#include "core/threads.h"
#include "kernels/simulator/device_type.h"
#include "optim/loop.h"
#include "optim/progress.h"
#include "tests/optim/noise.h"

namespace medfusion::optim {
namespace {

using core::DType;
using core::Tensor;

constexpr int64_t kPictures = 12, kSide = 16;

// The weights after two epochs of training with an evaluation after each.
NamedTensors trained_with(core::Device device, int threads, int workers) {
  core::set_num_threads(threads);
  const data::Dataset dataset = noise_dataset(kPictures, kSide, true);
  data::LoaderOptions loading;
  loading.format = {kSide, 1, data::Normalization::fixed, {0.5F}, {0.25F}};
  loading.batch_size = 4;
  loading.shuffle = true;
  loading.augment = data::AugmentOptions{};
  loading.workers = workers;
  loading.cache_bytes = 1 << 20;
  std::vector<int64_t> rows(kPictures);
  std::iota(rows.begin(), rows.end(), 0);
  data::Loader training(dataset, {rows.begin(), rows.end() - 4}, {}, loading);
  loading.shuffle = false;
  loading.augment.reset();
  data::Loader validation(dataset, {rows.end() - 4, rows.end()}, {}, loading);

  models::NetworkOptions network_options;
  network_options.size = "tiny";
  network_options.labels = 2;
  network_options.device = device;
  const auto network = models::make_network(network_options);
  network->initialize(11);
  TrainOptions options;
  options.epochs = 2;
  options.ema_decay = 0.9;
  ProgressOptions quiet;
  quiet.stream = std::tmpfile();
  quiet.terminal = true;
  quiet.terminal_interval = 0.0;
  {
    Progress progress(quiet);
    progress.begin("training", 4);
    TrainCallbacks callbacks;
    callbacks.on_batch = [&](const BatchProgress& p) { progress.advance(p.samples, p.loss); };
    train(*network, training, dataset.targets, &validation, dataset.labels, options, callbacks);
  }
  std::fclose(quiet.stream);
  NamedTensors weights;
  for (const auto& [name, tensor] : weights_of(*network)) weights[name] = tensor.to(core::Device{}).clone();
  return weights;
}

class TrainingThreads : public testing::Test {
 protected:
  void TearDown() override { core::set_num_threads(before_); }
  int before_ = core::num_threads();
};

TEST_F(TrainingThreads, DoNotChangeTheWeightsOnTheCpu) {
  expect_same_tensors(trained_with({}, 1, 0), trained_with({}, 3, 3));
}

TEST_F(TrainingThreads, DoNotChangeTheWeightsOnTheSimulatedDevice) {
  const core::Device sim{simulator::kDeviceType, 0};
  expect_same_tensors(trained_with(sim, 1, 0), trained_with(sim, 3, 3));
}

}  // namespace
}  // namespace medfusion::optim
