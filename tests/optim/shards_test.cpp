// Training in shards: the same bytes for any number of ranks and threads.
#include <gtest/gtest.h>

#include <numeric>

#include "core/communicator.h"
#include "core/threads.h"
#include "kernels/simulator/device_type.h"
#include "optim/loop.h"
#include "optim/optimizer_share.h"
#include "tests/optim/noise.h"

namespace medfusion::optim {
namespace {

constexpr int64_t kRows = 21, kEdge = 32, kShards = 8;  // of batches of 8, so that the last one has 5

struct Trained {
  NamedTensors state;                         // weights, statistics, optimizer, average
  std::vector<nlohmann::ordered_json> lines;  // without times
  int64_t steps = 0, bytes_sent = 0;
};

Trained train_on(core::Communicator& ranks, core::Device device, int64_t epochs = 2,
                 int64_t stop_after = 1000, BatchStatistics statistics = BatchStatistics::shard,
                 bool shard_optimizer = false) {
  const data::Dataset dataset = noise_with_unknown_targets(kRows, kEdge);
  data::LoaderOptions loading;
  loading.format = {kEdge, 1, data::Normalization::fixed, {0.5F}, {0.25F}};
  loading.batch_size = 8;
  loading.shuffle = true;
  loading.augment = data::AugmentOptions{};
  loading.drop_last = statistics == BatchStatistics::batch;
  loading.plan = {kShards, ranks.rank(), ranks.size()};
  std::vector<int64_t> rows(kRows);
  std::iota(rows.begin(), rows.end(), 0);
  data::Loader training(dataset, rows, noise_table(kRows), loading);
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
  options.step.bucket_bytes = 4096;
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
  expect_same_tensors(expected.state, actual.state);
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

}  // namespace
}  // namespace medfusion::optim
