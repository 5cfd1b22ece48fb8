// One step on shards: the right numbers, what must stay, and what a graph holds.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <numeric>

#include "core/communicator.h"
#include "core/random.h"
#include "kernels/gpu/device_type.h"
#include "kernels/gpu/nccl_ranks.h"
#include "kernels/simulator/device_type.h"
#include "optim/freeze.h"
#include "optim/step.h"
#include "tests/optim/noise.h"

namespace medfusion::optim {
namespace {

using core::Tensor;

constexpr int64_t kStepRows = 21, kStepEdge = 32;

// One step of plain gradient descent on a table alone, without dropout and without batch statistics.
NamedTensors step_on_table(int64_t shards, bool exclusive) {
  models::NetworkOptions network_options;
  network_options.size = "tiny";
  network_options.labels = 2;
  network_options.table_features = 3;
  network_options.dropout = 0.0;
  network_options.modalities.image = network_options.branches.dense = network_options.branches.pyramid =
      false;
  const auto network = models::make_network(network_options);
  network->initialize(11);
  SGD optimizer(network->parameters(), {.momentum = 0.0});
  StepOptions options;
  options.clip_norm = 0.0;
  options.shards = shards;
  options.loss.exclusive = exclusive;
  options.loss.positive_weight = Tensor::from<float>({2}, {3.0F, 0.5F});
  TrainingStep step(*network, optimizer, nullptr, options);
  std::vector<int64_t> rows(13);
  std::iota(rows.begin(), rows.end(), 0);
  core::Batch all = noise_table(kStepRows);
  all.targets = noise_with_unknown_targets(kStepRows, kStepEdge).targets;
  step.stage(data::gather(all, rows), 0);
  step.start(0.5);
  const StepResult result = step.finish();
  NamedTensors weights;
  for (const auto& [name, variable] : network->parameters()) weights[name] = variable.value().clone();
  weights["loss"] = Tensor::full({1}, result.loss);
  weights["norm"] = Tensor::full({1}, result.gradient_norm);
  return weights;
}

TEST(ShardsStep, TheLossIsTheMeanOverTheBatch) {
  for (const bool exclusive : {false, true}) {
    const NamedTensors whole = step_on_table(1, exclusive);
    for (const int64_t shards : {2, 4, 16}) {  // 16: of 13 rows, so some have none
      for (const auto& [name, tensor] : step_on_table(shards, exclusive)) {
        for (int64_t i = 0; i < tensor.numel(); ++i)
          ASSERT_NEAR(tensor.at(i), whole.at(name).at(i), 2e-6) << name << " of " << shards << " shards";
      }
    }
  }
}

// The weights and running statistics of the network after a step on the images of these rows.
NamedTensors statistics_after(const std::vector<int64_t>& rows, int64_t shards, core::Device device = {},
                              BatchStatistics where = BatchStatistics::shard, bool weights = false) {
  models::NetworkOptions network_options;
  network_options.size = "tiny";
  network_options.labels = 2;
  network_options.dropout = network_options.modality_dropout = 0.0;
  network_options.device = device;
  const auto network = models::make_network(network_options);
  network->initialize(11);
  SGD optimizer(network->parameters(), {.momentum = 0.0});
  StepOptions options;
  options.shards = shards;
  options.batch_statistics = where;
  TrainingStep step(*network, optimizer, nullptr, options);
  core::Batch all;
  all.images = Tensor::empty({kStepRows, kStepEdge, kStepEdge, 1});
  const core::Philox philox(9, 0);
  for (int64_t i = 0; i < all.images.numel(); ++i)
    all.images.data<float>()[i] = static_cast<float>(philox.normal(static_cast<uint64_t>(i)));
  all.targets = noise_with_unknown_targets(kStepRows, kStepEdge).targets;
  step.stage(data::gather(all, rows), 0);
  step.start(0.1);
  step.finish();
  NamedTensors statistics;
  for (const auto& [name, buffer] : network->buffers()) statistics[name] = buffer.to(core::Device{}).clone();
  if (!weights) return statistics;
  for (const auto& [name, parameter] : network->parameters())
    statistics[name] = parameter.value().to(core::Device{}).clone();
  return statistics;
}

TEST(ShardsStep, RunningStatisticsAreTheMeanOverTheShards) {
  const NamedTensors both = statistics_after({0, 1, 2, 3, 4, 5, 6}, 2),
                     first = statistics_after({0, 1, 2}, 1), second = statistics_after({3, 4, 5, 6}, 1);
  for (const auto& [name, tensor] : both) {
    for (int64_t i = 0; i < tensor.numel(); ++i) {
      const double mean = 0.5 * (first.at(name).at(i) + second.at(name).at(i));
      ASSERT_NEAR(tensor.at(i), mean, 1e-6 * std::max(1.0, std::abs(mean))) << name;
    }
  }
}

// Shards that meet are the whole batch, up to rounding.
TEST(ShardsStep, ThoseThatMeetTrainAsTheWholeBatch) {
  const std::vector<int64_t> rows{0, 1, 2, 3, 4, 5, 6};
  for (const core::DeviceType type : {core::DeviceType::cpu, simulator::kDeviceType}) {
    const core::Device device{type, 0};
    const NamedTensors whole = statistics_after(rows, 1, device, BatchStatistics::batch, true),
                       met = statistics_after(rows, 4, device, BatchStatistics::batch, true),
                       apart = statistics_after(rows, 4, device, BatchStatistics::shard, true);
    double worst = 0.0, worst_apart = 0.0;
    for (const auto& [name, tensor] : whole) {
      for (int64_t i = 0; i < tensor.numel(); ++i) {
        worst = std::max(worst, std::abs(tensor.at(i) - met.at(name).at(i)));
        worst_apart = std::max(worst_apart, std::abs(tensor.at(i) - apart.at(name).at(i)));
      }
    }
    EXPECT_LT(worst, 2e-5) << core::name_of(type);
    EXPECT_GT(worst_apart, 1e-3) << core::name_of(type);
  }
}

// One row has a NaN: the step changes nothing, whichever shard has it. And what is frozen stays, to the bit.
TEST(ShardsStep, WhatIsFrozenOrNotFiniteStaysToTheBit) {
  models::NetworkOptions network_options;
  network_options.size = "tiny";
  network_options.labels = 2;
  const auto network = models::make_network(network_options);
  network->initialize(11);
  for (const auto& [name, buffer] : network->buffers()) {
    const core::Philox philox(3, name.size());
    for (int64_t i = 0; i < buffer.numel(); ++i)
      buffer.data<float>()[i] = 0.1F + static_cast<float>(philox.uniform(static_cast<uint64_t>(i)));
  }
  freeze(*network, {"features"}, "train.freeze");
  const auto state = [&] {
    NamedTensors all;
    for (const auto& [name, buffer] : network->buffers()) all[name] = buffer.clone();
    for (const auto& [name, parameter] : network->parameters()) all[name] = parameter.value().clone();
    return all;
  };
  const auto same = [](const Tensor& a, const Tensor& b) {
    return std::memcmp(a.view().data, b.view().data, static_cast<size_t>(a.bytes())) == 0;
  };
  AdamW optimizer(trained_parameters(*network), {});
  StepOptions options;
  options.shards = 8;
  TrainingStep step(*network, optimizer, nullptr, options);
  core::Batch batch;
  batch.images = Tensor::full({5, kStepEdge, kStepEdge, 1}, 0.3);
  batch.targets = Tensor::full({5, 2}, 1.0);
  for (const bool finite : {false, true}) {
    batch.images.data<float>()[3 * kStepEdge * kStepEdge] = finite ? 0.5F : NAN;
    const NamedTensors before = state();
    step.stage(batch, 0);
    step.start(0.1);
    EXPECT_EQ(step.finish().finite(), finite);
    int64_t changed = 0;
    for (const auto& [name, tensor] : state()) {
      const bool stays = !finite || name.starts_with("features.");
      if (stays) {
        EXPECT_TRUE(same(before.at(name), tensor)) << name;
      } else {
        changed += same(before.at(name), tensor) ? 0 : 1;
      }
    }
    EXPECT_EQ(changed > 0, finite);
  }
}

TEST(ShardsStep, ThoseThatMeetWantARowEach) {
  EXPECT_THAT(
      [] {
        statistics_after({0, 1, 2}, 4, {}, BatchStatistics::batch);
      },
      testing::ThrowsMessage<core::Error>(testing::HasSubstr("at least one row in every shard")));
}

struct Steps {
  std::vector<double> losses;
  int64_t replays = 0, bytes_sent = 0, sent_early = 0;
};

// Batches of these numbers of rows of a table.
Steps step_through(core::Communicator& ranks, const std::vector<int64_t>& sizes, bool graph,
                   core::DeviceType type = simulator::kDeviceType, int64_t bucket_bytes = 4096) {
  models::NetworkOptions network_options;
  network_options.size = "tiny";
  network_options.labels = 2;
  network_options.table_features = 3;
  network_options.modalities.image = network_options.branches.dense = network_options.branches.pyramid =
      false;
  network_options.device = {type, type == core::DeviceType::cpu ? 0 : ranks.rank()};
  const auto network = models::make_network(network_options);
  network->initialize(11);
  AdamW optimizer(network->parameters(), {});
  StepOptions options;
  options.shards = 4;
  options.graph = graph;
  options.bucket_bytes = bucket_bytes;
  TrainingStep step(*network, optimizer, nullptr, options, &ranks);
  core::Batch all = noise_table(kStepRows);
  all.targets = noise_with_unknown_targets(kStepRows, kStepEdge).targets;
  Steps result;
  for (const int64_t size : sizes) {
    const core::RowRange own = core::ShardPlan{4, ranks.rank(), ranks.size()}.own_rows(size);
    std::vector<int64_t> whole(static_cast<size_t>(size));
    std::iota(whole.begin(), whole.end(), 0);
    core::Batch batch = data::gather(all, {whole.begin() + own.first, whole.begin() + own.last});
    batch.whole_targets = data::gather(all, whole).targets;
    step.stage(batch, static_cast<int64_t>(result.losses.size()));
    step.start(1e-3);
    result.losses.push_back(step.finish().loss);
  }
  result.replays = step.replays();
  result.bytes_sent = ranks.bytes_sent();
  result.sent_early = step.sent_early();
  return result;
}

// On the cpu, and on devices that queue the exchange or do not. A graph has what was sent when it was made,
// in the second of the four steps.
TEST(ShardsStep, BucketsGoWhileTheBackwardPassGoesOn) {
  const auto single = core::single_communicator();
  const core::DeviceType cpu = core::DeviceType::cpu, sim = simulator::kDeviceType;
  const std::vector<int64_t> sizes{6, 6, 6, 6};
  const std::vector<double> losses = step_through(*single, sizes, false, cpu).losses;
  const auto sent_early = [&](core::DeviceType type, bool queues, bool graph, int64_t bucket_bytes) {
    std::vector<Steps> steps(2);
    core::run_ranks(
        2,
        [&](core::Communicator& ranks) {
          steps[static_cast<size_t>(ranks.rank())] = step_through(ranks, sizes, graph, type, bucket_bytes);
        },
        queues);
    EXPECT_EQ(steps[0].losses, steps[1].losses);
    EXPECT_EQ(steps[0].sent_early, steps[1].sent_early);
    if (type == cpu) {
      EXPECT_EQ(steps[0].losses, losses);
    }
    return steps[0].sent_early;
  };
  EXPECT_EQ(sent_early(cpu, false, false, 1 << 30), 0);  // one bucket, which is full at the end of the pass
  const int64_t all = sent_early(cpu, false, false, 4096);
  EXPECT_GT(all, 0);
  EXPECT_EQ(sent_early(sim, false, false, 4096), all);
  EXPECT_EQ(sent_early(sim, true, false, 4096), all);
  EXPECT_EQ(sent_early(sim, true, true, 4096), all / 2);
}

// Of 7 rows in 4 shards, rank 0 of 2 has as many as of 6, and rank 1 has one more.
TEST(ShardsStep, AStepIsCapturedOnAllRanksOrOnNone) {
  for (const int ranks : {1, 2}) {
    std::vector<Steps> captured(2), plain(2);
    core::run_ranks(
        ranks,
        [&](core::Communicator& communicator) {
          const auto rank = static_cast<size_t>(communicator.rank());
          captured[rank] = step_through(communicator, {6, 6, 7, 6, 6, 7}, true);
        },
        true);
    core::run_ranks(ranks, [&](core::Communicator& communicator) {
      plain[static_cast<size_t>(communicator.rank())] = step_through(communicator, {6, 6, 7, 6, 6, 7}, false);
    });
    for (size_t rank = 0; rank < static_cast<size_t>(ranks); ++rank) {
      EXPECT_EQ(captured[rank].replays, 3);
      EXPECT_EQ(captured[rank].losses, plain[0].losses);
      // What a replay sends counts; and a rank asks the others at every step whether its shapes are the
      // graph's.
      EXPECT_EQ(captured[rank].bytes_sent, plain[rank].bytes_sent + 6 * (ranks - 1));
    }
  }
}

// One rank exchanges with itself, on `cuda` by NCCL.
class ExchangeOn : public testing::TestWithParam<core::DeviceType> {};
INSTANTIATE_TEST_SUITE_P(Devices, ExchangeOn,
                         testing::Values(simulator::kDeviceType, kernels::cuda::kDeviceType),
                         [](const auto& test) { return std::string(core::name_of(test.param)); });

TEST_P(ExchangeOn, TheDeviceGivesTheBytesOfNone) {
  const core::Device device{GetParam(), 0};
  const auto single = core::single_communicator();
  const std::vector<int64_t> sizes{6, 6, 7, 6};
  const auto expect_same_steps = [&](core::Communicator& ranks) {
    ASSERT_TRUE(ranks.queues_on(device.type));
    const Steps alone = step_through(*single, sizes, true, device.type);
    for (const bool graph : {false, true}) {
      const Steps queued = step_through(ranks, sizes, graph, device.type);
      EXPECT_EQ(queued.losses, alone.losses);
      EXPECT_EQ(queued.replays, graph ? 2 : 0);
    }
  };
  if (device.type == simulator::kDeviceType) return core::run_ranks(1, expect_same_steps, true);
  if (!core::is_present(device)) GTEST_SKIP() << "NOT TESTED: there is no GPU";
  if (const std::string why = kernels::cuda::nccl_missing(); !why.empty())
    GTEST_SKIP() << "NOT TESTED: " << why;
  const auto nccl = kernels::cuda::nccl_communicator(*single, device);
  expect_same_steps(*nccl);
}

// The fewest rows that a batch may have leave the first shard without any; such batches differ all the same.
TEST(ShardsStep, ABatchOfOtherShapesIsNotReplayed) {
  core::run_ranks(1, [](core::Communicator& ranks) {
    const std::vector<int64_t> sizes{3, 3, 2, 3, 2};
    const Steps captured = step_through(ranks, sizes, true), plain = step_through(ranks, sizes, false);
    EXPECT_EQ(captured.replays, 2);
    EXPECT_EQ(captured.losses, plain.losses);
  });
}

TEST(ShardsStep, APlanThatDoesNotFitIsRefused) {
  models::NetworkOptions network_options;
  network_options.size = "tiny";
  const auto network = models::make_network(network_options);
  AdamW optimizer(network->parameters(), {});
  StepOptions options;
  options.shards = 2;
  EXPECT_THAT(
      [&] {
        core::run_ranks(4, [&](core::Communicator& ranks) {
          TrainingStep step(*network, optimizer, nullptr, options, &ranks);
        });
      },
      testing::ThrowsMessage<core::Error>(testing::HasSubstr("2 shards and rank")));
}

}  // namespace
}  // namespace medfusion::optim
