// Captured training steps, and running out of memory, on the simulated device.
#include "optim/step.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <regex>
#include <set>
#include <utility>

#include "core/random.h"
#include "core/runtime.h"
#include "kernels/gpu/device_type.h"
#include "kernels/simulator/device_memory.h"
#include "kernels/simulator/device_type.h"
#include "tests/optim/noise.h"
#include "tests/optim/wrapped_sim.h"

namespace medfusion::optim {
namespace {

using core::DType;
using core::Tensor;
using testing::HasSubstr;

Tensor random(const core::Shape& shape, uint64_t stream) {
  Tensor result = Tensor::empty(shape);
  const core::Philox philox(3, stream);
  for (int64_t i = 0; i < result.numel(); ++i) {
    result.data<float>()[i] = static_cast<float>(philox.normal(static_cast<uint64_t>(i)));
  }
  return result;
}

// Batch `number`: some images and table cells missing, some targets unknown.
core::Batch batch_of(int64_t size, uint64_t number) {
  core::Batch batch;
  batch.images = random({size, 16, 16, 1}, 10 * number);
  batch.image_present = Tensor::full({size}, 1.0, DType::boolean);
  batch.image_present.data<bool>()[0] = number % 2 == 0;
  batch.table.values = random({size, 3}, 10 * number + 1);
  batch.table.missing = Tensor::zeros({size, 3}, DType::boolean);
  batch.table.missing.data<bool>()[number % 3] = true;
  batch.text = Tensor::zeros({size, 4}, DType::i64);
  batch.targets = Tensor::zeros({size, 3});
  for (int64_t i = 0; i < size; ++i) {
    batch.text.data<int64_t>()[4 * i] = 1 + static_cast<int64_t>(number + 1) % 6;
    batch.targets.data<float>()[3 * i + static_cast<int64_t>(number % 3)] = i % 2 == 0 ? 1.0F : NAN;
    batch.rows.push_back(i);
  }
  return batch;
}

std::unique_ptr<models::Network> make_network(core::Device device) {
  models::NetworkOptions options;
  options.size = "tiny";
  options.labels = 3;
  options.table_features = 3;
  options.vocabulary = 7;
  options.text_length = 4;
  options.dropout = 0.1;
  options.modality_dropout = 0.3;
  options.device = device;
  auto network = models::make_network(options);
  network->initialize(11);
  return network;
}

struct Outcome {
  std::vector<double> numbers;            // losses and norms of all steps
  std::map<std::string, Tensor> tensors;  // weights, statistics, optimizer, average; on the host
  int64_t replays = 0;
};

Outcome train(core::Device device, bool graph, const std::vector<int64_t>& sizes,
              Precision precision = Precision::f32) {
  const auto network = make_network(device);
  AdamW optimizer(network->parameters(), {});
  WeightAverage average(*network, 0.9);
  TrainingStep step(*network, optimizer, &average,
                    {.loss = {}, .clip_norm = 0.5, .seed = 5, .precision = precision, .graph = graph});
  Outcome outcome;
  step.stage(batch_of(sizes[0], 0), 0);
  for (size_t s = 0; s < sizes.size(); ++s) {
    step.start(1e-3 * static_cast<double>(s + 1));
    if (s + 1 < sizes.size()) step.stage(batch_of(sizes[s + 1], s + 1), static_cast<int64_t>(s + 1));
    const StepResult result = step.finish();
    outcome.numbers.push_back(result.loss);
    outcome.numbers.push_back(result.gradient_norm);
  }
  for (const auto& [name, variable] : network->parameters()) outcome.tensors[name] = variable.value();
  for (const auto& [name, buffer] : network->buffers()) outcome.tensors[name] = buffer;
  for (const auto& [name, tensor] : optimizer.state_tensors()) outcome.tensors["optimizer." + name] = tensor;
  for (const auto& [name, tensor] : average.tensors()) outcome.tensors["average." + name] = tensor;
  for (auto& [name, tensor] : outcome.tensors) tensor = tensor.to(core::Device{}).clone();
  outcome.replays = step.replays();
  return outcome;
}

void expect_same_bits(const Outcome& expected, const Outcome& actual) {
  EXPECT_EQ(expected.numbers, actual.numbers);
  expect_same_tensors(expected.tensors, actual.tensors);
}

class TrainingStepOn : public testing::TestWithParam<core::DeviceType> {};
INSTANTIATE_TEST_SUITE_P(Devices, TrainingStepOn,
                         testing::Values(simulator::kDeviceType, kernels::cuda::kDeviceType),
                         [](const auto& test) { return std::string(core::name_of(test.param)); });

TEST_P(TrainingStepOn, ACapturedStepGivesTheBitsOfTheOthers) {
  const core::Device device{GetParam(), 0};
  try {
    core::runtime(device);
  } catch (const core::Error& error) {
    GTEST_SKIP() << error.what();
  }
  const std::vector<int64_t> sizes{3, 3, 2, 3};  // one in between is ragged
  const Outcome plain = train(device, false, sizes);
  const Outcome captured = train(device, true, sizes);
  EXPECT_EQ(plain.replays, 0);
  EXPECT_EQ(captured.replays, 2);
  expect_same_bits(plain, captured);
  EXPECT_NE(plain.numbers[0], plain.numbers[2]);
}

// Every factor of a product is rounded to 2^-9 of itself; eight of these roundings in a row are allowed, as
// for the kernels (kernels/workshop/check.cpp).
TEST(TrainingStep, InBf16TheLossStaysWithinRoundingOfF32) {
  const std::vector<int64_t> sizes{2, 2};
  const Outcome full = train({simulator::kDeviceType, 0}, true, sizes);
  const Outcome mixed = train({simulator::kDeviceType, 0}, true, sizes, Precision::bf16);
  for (size_t i = 0; i < full.numbers.size(); i += 2) {
    EXPECT_NEAR(full.numbers[i], mixed.numbers[i], 8.0 / 512.0 * full.numbers[i]) << "step " << i / 2;
    EXPECT_NE(full.numbers[i], mixed.numbers[i]) << "step " << i / 2;
  }
  EXPECT_THROW(train({}, false, {2}, Precision::bf16), core::Error);
  EXPECT_THROW(train({}, false, {2}, Precision::tf32), core::Error);
}

// The same batch again and again, on a captured graph: what is learned of it in bf16 is what is learned in
// f32.
TEST(TrainingStep, InBf16TheLossFallsAsInF32) {
  const auto losses = [](Precision precision) {
    const core::Device sim{simulator::kDeviceType, 0};
    models::NetworkOptions options;
    options.size = "tiny";
    options.labels = 3;
    options.dropout = options.modality_dropout = 0.0;
    options.device = sim;
    const auto network = models::make_network(options);
    network->initialize(11);
    AdamW optimizer(network->parameters(), {});
    TrainingStep step(*network, optimizer, nullptr,
                      {.loss = {}, .seed = 5, .precision = precision, .graph = true});
    std::vector<double> result;
    for (int64_t s = 0; s < 4; ++s) {
      step.stage(batch_of(4, 0), s);
      step.start(1e-2);
      result.push_back(step.finish().loss);
    }
    for (const auto& [name, parameter] : network->parameters()) {
      EXPECT_EQ(parameter.dtype(), DType::f32) << name;
      const Tensor host = parameter.value().to(core::Device{});
      for (int64_t i = 0; i < host.numel(); ++i) EXPECT_TRUE(std::isfinite(host.at(i))) << name;
    }
    return result;
  };
  const std::vector<double> full = losses(Precision::f32), mixed = losses(Precision::bf16);
  EXPECT_LT(full.back(), 0.5 * full.front());
  EXPECT_LT(mixed.back(), 0.5 * mixed.front());
}

// A network that notes the precision in which it runs, or refuses to.
class Spy : public models::Network {
 public:
  explicit Spy(core::Device device) : network_(make_network(device)) { add_child("", *network_); }
  models::Prepared prepare(const core::Batch& batch, layers::Context& context) const override {
    return network_->prepare(batch, context);
  }
  models::ImageLevels image_levels(const models::Prepared& batch, layers::Context& context) override {
    MEDFUSION_CHECK(!refuses, "it refuses");
    precisions.push_back(context.precision);
    return network_->image_levels(batch, context);
  }
  core::Variable forward_from(const models::ImageLevels& levels, const models::Prepared& batch,
                              layers::Context& context) override {
    return network_->forward_from(levels, batch, context);
  }
  core::Device device() const override { return network_->device(); }
  void set_prior(const Tensor& logits) override { network_->set_prior(logits); }

  std::vector<Precision> precisions;
  bool refuses = false;

 private:
  const std::unique_ptr<models::Network> network_;
};

TEST(TrainingStep, RunsTheNetworkInItsPrecision) {
  for (const Precision precision : {Precision::tf32, Precision::f32, Precision::bf16}) {
    Spy network({simulator::kDeviceType, 0});
    AdamW optimizer(network.parameters(), {});
    TrainingStep step(network, optimizer, nullptr, {.loss = {}, .seed = 5, .precision = precision});
    step.stage(batch_of(2, 0), 0);
    step.start(1e-3);
    step.finish();
    EXPECT_THAT(network.precisions, testing::ElementsAre(precision));
  }
}

TEST(TrainingStep, OnTheCpuThereIsNoGraph) {
  const Outcome plain = train({}, false, {3, 2});
  const Outcome asked = train({}, true, {3, 2});
  EXPECT_EQ(asked.replays, 0);
  expect_same_bits(plain, asked);
}

// A simulated device that counts waits, copies from and to the host, by the memory that they use there, and
// pinned memory that is freed before the host has waited for its copies.
class CountingRuntime final : public WrappedSim {
 public:
  struct Counts {
    int64_t pinned_to_device = 0, pageable_to_device = 0, to_pinned = 0, to_pageable = 0, waits = 0;
    int64_t freed_early = 0;
    bool operator==(const Counts&) const = default;
  };
  using WrappedSim::WrappedSim;
  void* allocate_pinned(int64_t bytes) override {
    void* const pointer = WrappedSim::allocate_pinned(bytes);
    pinned_[static_cast<char*>(pointer)] = {bytes, {}};
    return pointer;
  }
  void free_pinned(void* pointer) noexcept override {
    const auto block = pinned_.find(static_cast<char*>(pointer));
    if (block != pinned_.end()) {
      if (!block->second.streams.empty()) ++counts_.freed_early;
      pinned_.erase(block);
    }
    WrappedSim::free_pinned(pointer);
  }
  void copy_to_device(void* to, const void* from, int64_t bytes, core::Stream stream) override {
    ++(use_pinned(from, bytes, stream) ? counts_.pinned_to_device : counts_.pageable_to_device);
    WrappedSim::copy_to_device(to, from, bytes, stream);
  }
  void copy_to_host(void* to, const void* from, int64_t bytes, core::Stream stream) override {
    ++(use_pinned(to, bytes, stream) ? counts_.to_pinned : counts_.to_pageable);
    WrappedSim::copy_to_host(to, from, bytes, stream);
  }
  void synchronize(core::Stream stream) override {
    ++counts_.waits;
    WrappedSim::synchronize(stream);
    for (auto& [begin, block] : pinned_) block.streams.erase(stream.id);
  }
  // Since the call before.
  Counts take() { return std::exchange(counts_, {}); }
  size_t pinned_blocks() const { return pinned_.size(); }

 private:
  struct Block {
    int64_t bytes = 0;
    std::set<uint64_t> streams;  // with copies that may use it
  };
  bool use_pinned(const void* pointer, int64_t bytes, core::Stream stream) {
    const char* const first = static_cast<const char*>(pointer);
    for (auto& [begin, block] : pinned_) {
      if (first < begin || first + bytes > begin + block.bytes) continue;
      block.streams.insert(stream.id);
      return true;
    }
    return false;
  }
  std::map<const char*, Block> pinned_;
  Counts counts_;
};

void PrintTo(const CountingRuntime::Counts& counts, std::ostream* out) {
  *out << fmt::format(
      "{} pinned and {} pageable copies to the device, {} and {} to the host, {} waits, "
      "{} blocks freed early",
      counts.pinned_to_device, counts.pageable_to_device, counts.to_pinned, counts.to_pageable, counts.waits,
      counts.freed_early);
}

constexpr core::Device kCounting{simulator::kDeviceType, 8};
CountingRuntime& counting_runtime() {
  core::register_runtime(simulator::kDeviceType, [](int index) -> std::unique_ptr<core::Runtime> {
    if (index == kCounting.index) return std::make_unique<CountingRuntime>(index);
    return simulator::make_sim_runtime(index);
  });
  core::Runtime& made = core::runtime(kCounting);
  core::register_runtime(simulator::kDeviceType, simulator::make_sim_runtime);
  return dynamic_cast<CountingRuntime&>(made);
}

TEST(TrainingStep, BringsItsScalarsInOnePinnedCopyAndWaitsForResultsAlone) {
  CountingRuntime& runtime = counting_runtime();
  for (const bool graph : {false, true}) {
    const auto network = make_network(kCounting);
    AdamW optimizer(network->parameters(), {});
    WeightAverage average(*network, 0.9);
    TrainingStep step(*network, optimizer, &average, {.loss = {}, .clip_norm = 0.5, .graph = graph});
    const std::vector<int64_t> sizes{2, 2, 3,
                                     2};  // the first runs as it is, the third too; the last is replayed
    for (size_t s = 0; s < sizes.size(); ++s) {
      runtime.take();
      step.stage(batch_of(sizes[s], s), static_cast<int64_t>(s));
      const CountingRuntime::Counts stage = runtime.take();
      EXPECT_GT(stage.pinned_to_device, 0);
      EXPECT_EQ(stage.pageable_to_device, 0);
      EXPECT_EQ(stage.waits, 1) << "for the copies of the batch before, on a stream of its own";
      step.start(1e-3);
      const CountingRuntime::Counts start = runtime.take();
      if (s > 0) {  // the first brings constants of the network, too
        EXPECT_EQ(start, (CountingRuntime::Counts{.pinned_to_device = 1})) << "start, step " << s;
      }
      step.finish();
      EXPECT_EQ(runtime.take(), (CountingRuntime::Counts{.to_pinned = 1, .waits = 1}))
          << "finish, step " << s;
    }
    EXPECT_EQ(step.replays(), graph ? 2 : 0);
  }
  EXPECT_EQ(runtime.pinned_blocks(), 0U) << "never given back";
}

// The copy of the first step's scalars may still read what the second would overwrite.
TEST(TrainingStep, IsFinishedBeforeTheNextStarts) {
  const auto network = make_network({simulator::kDeviceType, 0});
  AdamW optimizer(network->parameters(), {});
  TrainingStep step(*network, optimizer, nullptr, {.loss = {}, .graph = true});
  step.stage(batch_of(2, 0), 0);
  step.start(1e-3);
  step.stage(batch_of(2, 1), 1);
  try {
    step.start(1e-3);
    FAIL() << "started";
  } catch (const core::Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("start() before finish() of the step before"));
  }
  EXPECT_EQ(optimizer.steps_taken(), 1);
  EXPECT_GT(step.finish().loss, 0.0);
  step.start(1e-3);
  EXPECT_GT(step.finish().loss, 0.0);
  EXPECT_EQ(optimizer.steps_taken(), 2);
}

// The copy of its scalars may be queued still.
TEST(TrainingStep, KeepsPinnedMemoryUntilAFailedStepHasReadIt) {
  CountingRuntime& runtime = counting_runtime();
  Spy network(kCounting);
  network.refuses = true;
  AdamW optimizer(network.parameters(), {});
  {
    TrainingStep step(network, optimizer, nullptr, {.loss = {}});
    step.stage(batch_of(2, 0), 0);
    EXPECT_THROW(step.start(1e-3), core::Error);
    runtime.take();
  }
  EXPECT_EQ(runtime.take().freed_early, 0);
  EXPECT_EQ(runtime.pinned_blocks(), 0U);
}

// Steps of a batch on a device with so many bytes beyond the network's; the error, or nothing.
std::string error_with(int64_t samples, int64_t bytes) {
  constexpr core::Device kSmall{simulator::kDeviceType, 7};
  const auto network = make_network(kSmall);
  AdamW optimizer(network->parameters(), {});
  TrainingStep step(*network, optimizer, nullptr, {.loss = {}, .graph = true});
  core::runtime(kSmall).synchronize(core::current_stream(kSmall));
  simulator::set_sim_memory_limit(kSmall.index, core::allocator(kSmall).counters().live + bytes);
  std::string message;
  try {
    for (int64_t s = 0; s < 2; ++s) {
      step.stage(batch_of(samples, 0), s);
      step.start(1e-3);
      step.finish();
    }
  } catch (const core::OutOfMemory& error) {
    message = error.what();
  }
  simulator::set_sim_memory_limit(kSmall.index, 0);
  return message;
}

TEST(TrainingStep, OutOfMemorySaysWhichBatchWouldFit) {
  constexpr int64_t kBytes = 600 << 10;
  const std::string message = error_with(8, kBytes);
  EXPECT_THAT(message, HasSubstr("sim:7: out of memory, "));
  EXPECT_THAT(message, HasSubstr(" bytes held, "));
  EXPECT_THAT(message, HasSubstr(" bytes free; the allocator held "));
  std::smatch match;
  ASSERT_TRUE(
      std::regex_search(message, match, std::regex("; by estimate, a batch of (\\d+) would fit \\(now 8; ")))
      << message;
  const int64_t fits = std::stoll(match[1]);
  EXPECT_EQ(error_with(fits, kBytes), "");
  EXPECT_NE(error_with(fits + 2, kBytes), "") << "the estimate is far too small: " << fits;
  EXPECT_THAT(error_with(3, 30 << 10), HasSubstr("a batch of 2 would not fit either"));
}

}  // namespace
}  // namespace medfusion::optim
