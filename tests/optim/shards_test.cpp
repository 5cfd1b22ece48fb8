// Training in shards: the same bytes for any number of ranks and threads, and the right numbers.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <numeric>

#include "core/communicator.h"
#include "core/random.h"
#include "core/threads.h"
#include "kernels/gpu/device_type.h"
#include "kernels/gpu/nccl_ranks.h"
#include "kernels/simulator/device_type.h"
#include "optim/freeze.h"
#include "optim/loop.h"
#include "optim/step.h"

namespace medfusion::optim {
namespace {

using core::Tensor;

constexpr int64_t kRows = 21, kEdge = 32, kShards = 8;  // of batches of 8, so that the last one has 5

class Noise : public data::ImageSource {
 public:
  Tensor read(int64_t row) const override {
    Tensor image = Tensor::empty({kEdge, kEdge, 1}, core::DType::u8);
    const core::Philox philox(5, static_cast<uint64_t>(row));
    for (int64_t i = 0; i < image.numel(); ++i)
      image.data<uint8_t>()[i] = static_cast<uint8_t>(philox.block(static_cast<uint64_t>(i))[0]);
    return image;
  }
  bool present(int64_t row) const override { return row != 3; }
};

// Images and a table; some targets are unknown, all of row 5.
data::Dataset noise_with_targets() {
  data::Dataset dataset;
  dataset.labels = {"a", "b"};
  for (int64_t i = 0; i < kRows; ++i) dataset.ids.push_back(std::to_string(i));
  dataset.patients = dataset.ids;
  dataset.images = std::make_shared<Noise>();
  dataset.targets = Tensor::zeros({kRows, 2});
  for (int64_t i = 0; i < kRows; ++i) {
    dataset.targets.data<float>()[2 * i + i % 2] = 1.0F;
    if (i % 4 == 1) dataset.targets.data<float>()[2 * i] = NAN;
    if (i == 5) dataset.targets.data<float>()[2 * i + 1] = NAN;
  }
  return dataset;
}

core::Batch table_of(int64_t rows) {
  core::Batch encoded;
  encoded.table.values = Tensor::empty({rows, 3});
  encoded.table.missing = Tensor::zeros({rows, 3}, core::DType::boolean);
  const core::Philox philox(7, 0);
  for (int64_t i = 0; i < 3 * rows; ++i)
    encoded.table.values.data<float>()[i] = static_cast<float>(philox.normal(static_cast<uint64_t>(i)));
  return encoded;
}

struct Trained {
  NamedTensors state;                         // weights, statistics, optimizer, average
  std::vector<nlohmann::ordered_json> lines;  // without times
  int64_t steps = 0, bytes_sent = 0;
};

Trained train_on(core::Communicator& ranks, core::Device device, int64_t epochs = 2,
                 int64_t stop_after = 1000, BatchStatistics statistics = BatchStatistics::shard,
                 bool shard_optimizer = false) {
  const data::Dataset dataset = noise_with_targets();
  data::LoaderOptions loading;
  loading.format = {kEdge, 1, data::Normalization::fixed, {0.5F}, {0.25F}};
  loading.batch_size = 8;
  loading.shuffle = true;
  loading.augment = data::AugmentOptions{};
  loading.drop_last = statistics == BatchStatistics::batch;
  loading.plan = {kShards, ranks.rank(), ranks.size()};
  std::vector<int64_t> rows(kRows);
  std::iota(rows.begin(), rows.end(), 0);
  data::Loader training(dataset, rows, table_of(kRows), loading);
  models::NetworkOptions network_options;
  network_options.size = "tiny";
  network_options.labels = 2;
  network_options.table_features = 3;
  network_options.dropout = 0.1;
  network_options.modality_dropout = 0.3;
  network_options.device = device;
  const auto network = models::make_network(network_options);
  network->initialize(11);
  TrainOptions options;
  options.epochs = epochs;
  options.ema_decay = 0.9;
  options.step.shards = kShards;
  options.step.batch_statistics = statistics;
  options.shard_optimizer = shard_optimizer;
  Trained result;
  TrainCallbacks callbacks;
  callbacks.on_epoch = [&](nlohmann::ordered_json line) {
    line.erase("seconds");
    line.erase("images_per_second");
    result.lines.push_back(line);
  };
  callbacks.on_batch = [&](const BatchProgress&) { ++result.steps; };
  callbacks.should_stop = [&] { return ranks.rank() == 0 && result.steps >= stop_after; };
  callbacks.on_state = [&](const TrainState& state) {
    for (const auto& [name, tensor] : state.tensors) result.state[name] = tensor.to(core::Device{}).clone();
  };
  TrainResult outcome = train(*network, training, dataset.targets, nullptr, dataset.labels, options,
                              callbacks, nullptr, &ranks);
  EXPECT_EQ(outcome.interrupted, stop_after < 1000);
  result.bytes_sent = ranks.bytes_sent();
  return result;
}

core::Device device_of(core::DeviceType type, int rank) {
  return {type, type == core::DeviceType::cpu ? 0 : rank};
}

// Of each rank, which has a device of its own.
std::vector<Trained> train_on_ranks(int ranks, core::Device device, int64_t epochs = 2,
                                    BatchStatistics statistics = BatchStatistics::shard,
                                    bool shard_optimizer = false, bool queues = false) {
  std::vector<Trained> all(static_cast<size_t>(ranks));
  const auto train = [&](core::Communicator& communicator) {
    const int rank = communicator.rank();
    all[static_cast<size_t>(rank)] =
        train_on(communicator, device_of(device.type, rank), epochs, 1000, statistics, shard_optimizer);
  };
  core::run_ranks(ranks, train, queues);
  return all;
}

void expect_same(const Trained& expected, const Trained& actual) {
  EXPECT_EQ(expected.lines, actual.lines);
  ASSERT_EQ(expected.state.size(), actual.state.size());
  for (const auto& [name, tensor] : expected.state) {
    const Tensor& other = actual.state.at(name);
    ASSERT_EQ(tensor.bytes(), other.bytes()) << name;
    EXPECT_EQ(std::memcmp(tensor.view().data, other.view().data, static_cast<size_t>(tensor.bytes())), 0)
        << name;
  }
}

class Shards : public testing::Test {
 protected:
  void TearDown() override { core::set_num_threads(before_); }
  int before_ = core::num_threads();
};

TEST_F(Shards, RanksAndThreadsDoNotChangeTheBytesOnTheCpu) {
  core::set_num_threads(1);
  const Trained alone = train_on_ranks(1, {}).front();
  EXPECT_EQ(alone.lines.size(), 2U);
  for (const int ranks : {2, 4, 8}) {
    core::set_num_threads(ranks == 4 ? 2 : 1);
    for (const Trained& each : train_on_ranks(ranks, {})) expect_same(alone, each);
  }
}

TEST_F(Shards, RanksDoNotChangeTheBytesOnTheSimulatedDevice) {
  const core::Device sim{simulator::kDeviceType, 0};
  const Trained alone = train_on_ranks(1, sim, 1).front();
  const auto expect_same_on = [&](int ranks, bool queues) {
    SCOPED_TRACE(fmt::format("{} ranks, {}", ranks, queues ? "on the device's queue" : "through the host"));
    for (const Trained& each : train_on_ranks(ranks, sim, 1, BatchStatistics::shard, false, queues))
      expect_same(alone, each);
  };
  for (const int ranks : {2, 8}) expect_same_on(ranks, false);
  for (const int ranks : {1, 2, 4, 8}) expect_same_on(ranks, true);  // as with NCCL, within the captured step
}

TEST_F(Shards, ThoseThatMeetDoNotChangeTheBytesWithTheRanks) {
  core::set_num_threads(1);
  const Trained alone = train_on_ranks(1, {}, 2, BatchStatistics::batch).front();
  for (const int ranks : {2, 4, 8}) {
    core::set_num_threads(ranks == 4 ? 2 : 1);
    for (const Trained& each : train_on_ranks(ranks, {}, 2, BatchStatistics::batch)) expect_same(alone, each);
  }
}

TEST_F(Shards, AnOptimizerDividedAmongRanksGivesTheBytesOfOne) {
  const Trained alone = train_on_ranks(1, {}).front();
  for (const int ranks : {1, 2, 4, 8}) {
    for (const Trained& each : train_on_ranks(ranks, {}, 2, BatchStatistics::shard, true))
      expect_same(alone, each);
  }
}

TEST_F(Shards, ARankKeepsTheOptimizerStateOfItsShare) {
  models::NetworkOptions network_options;
  network_options.size = "tiny";
  const auto network = models::make_network(network_options);
  const Parameters parameters = network->parameters();
  const auto values_of = [](const Parameters& some) {
    int64_t values = 0;
    for (const auto& [name, variable] : some) values += variable.value().numel();
    return values;
  };
  std::vector<Parameters> shares(4);
  core::run_ranks(4, [&](core::Communicator& ranks) {
    shares[static_cast<size_t>(ranks.rank())] = OptimizerShare(parameters, ranks).own();
  });
  int64_t all = 0;
  for (const Parameters& share : shares) {
    all += values_of(share);
    EXPECT_LT(values_of(share), values_of(parameters) / 2);
  }
  EXPECT_EQ(all, values_of(parameters));
}

// All to all and all gather of chunks: what a ring sends too.
TEST_F(Shards, ARankSendsTwiceItsShareOfTheGradients) {
  const std::vector<Trained> all = train_on_ranks(4, {});
  int64_t elements = 0;
  for (const auto& [name, tensor] : all.front().state) {
    if (name.starts_with("ema.") && name != "ema.updates") elements += tensor.numel();  // as many as are sent
  }
  const double expected =
      static_cast<double>(all.front().steps) * 2.0 * 3.0 / 4.0 * 4.0 * static_cast<double>(elements);
  for (const Trained& each : all) {
    EXPECT_EQ(each.bytes_sent, all.front().bytes_sent);
    EXPECT_GE(static_cast<double>(each.bytes_sent), expected);
    EXPECT_LE(static_cast<double>(each.bytes_sent), 1.1 * expected);  // the tensors of tiny are small
  }
}

TEST_F(Shards, AllRanksStopWhereOneIsAskedTo) {
  core::run_ranks(2, [](core::Communicator& ranks) {
    const Trained stopped = train_on(ranks, {}, 2, 2);
    EXPECT_EQ(stopped.steps, 2);
  });
}

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
  core::Batch all = table_of(kRows);
  all.targets = noise_with_targets().targets;
  step.stage(data::gather(all, rows), 0);
  step.start(0.5);
  const StepResult result = step.finish();
  NamedTensors weights;
  for (const auto& [name, variable] : network->parameters()) weights[name] = variable.value().clone();
  weights["loss"] = Tensor::full({1}, result.loss);
  weights["norm"] = Tensor::full({1}, result.gradient_norm);
  return weights;
}

TEST_F(Shards, TheLossIsTheMeanOverTheBatch) {
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
  all.images = Tensor::empty({kRows, kEdge, kEdge, 1});
  const core::Philox philox(9, 0);
  for (int64_t i = 0; i < all.images.numel(); ++i)
    all.images.data<float>()[i] = static_cast<float>(philox.normal(static_cast<uint64_t>(i)));
  all.targets = noise_with_targets().targets;
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

TEST_F(Shards, RunningStatisticsAreTheMeanOverTheShards) {
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
TEST_F(Shards, ThoseThatMeetTrainAsTheWholeBatch) {
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
TEST_F(Shards, WhatIsFrozenOrNotFiniteStaysToTheBit) {
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
  batch.images = Tensor::full({5, kEdge, kEdge, 1}, 0.3);
  batch.targets = Tensor::full({5, 2}, 1.0);
  for (const bool finite : {false, true}) {
    batch.images.data<float>()[3 * kEdge * kEdge] = finite ? 0.5F : NAN;
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

TEST_F(Shards, ThoseThatMeetWantARowEach) {
  EXPECT_THAT(
      [] {
        statistics_after({0, 1, 2}, 4, {}, BatchStatistics::batch);
      },
      testing::ThrowsMessage<core::Error>(testing::HasSubstr("at least one row in every shard")));
}

struct Steps {
  std::vector<double> losses;
  int64_t replays = 0, bytes_sent = 0;
};

// Batches of these numbers of rows of a table.
Steps step_through(core::Communicator& ranks, const std::vector<int64_t>& sizes, bool graph,
                   core::DeviceType type = simulator::kDeviceType) {
  models::NetworkOptions network_options;
  network_options.size = "tiny";
  network_options.labels = 2;
  network_options.table_features = 3;
  network_options.modalities.image = network_options.branches.dense = network_options.branches.pyramid =
      false;
  network_options.device = {type, ranks.rank()};
  const auto network = models::make_network(network_options);
  network->initialize(11);
  AdamW optimizer(network->parameters(), {});
  StepOptions options;
  options.shards = 4;
  options.graph = graph;
  TrainingStep step(*network, optimizer, nullptr, options, &ranks);
  core::Batch all = table_of(kRows);
  all.targets = noise_with_targets().targets;
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
  return result;
}

// Of 7 rows in 4 shards, rank 0 of 2 has as many as of 6, and rank 1 has one more.
TEST_F(Shards, AStepIsCapturedOnAllRanksOrOnNone) {
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
TEST_F(Shards, ABatchOfOtherShapesIsNotReplayed) {
  core::run_ranks(1, [](core::Communicator& ranks) {
    const std::vector<int64_t> sizes{3, 3, 2, 3, 2};
    const Steps captured = step_through(ranks, sizes, true), plain = step_through(ranks, sizes, false);
    EXPECT_EQ(captured.replays, 2);
    EXPECT_EQ(captured.losses, plain.losses);
  });
}

TEST_F(Shards, APlanThatDoesNotFitIsRefused) {
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
