#include "core/communicator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <numeric>

#include "core/runtime.h"
#include "core/tensor.h"
#include "kernels/simulator/device_type.h"

namespace medfusion::core {
namespace {

using testing::ElementsAre;

// What a rank sends to another: two numbers.
int64_t sent(int from, int to, int place) { return 100 * from + 10 * to + place; }

void expect_every_call_right(Communicator& ranks) {
  const int n = ranks.size(), own = ranks.rank();
  std::vector<int64_t> from, to(static_cast<size_t>(2 * n));
  for (int other = 0; other < n; ++other)
    for (const int place : {0, 1}) from.push_back(sent(own, other, place));
  ranks.all_to_all(from.data(), to.data(), 16);
  for (int other = 0; other < n; ++other)
    for (const int place : {0, 1})
      EXPECT_EQ(to[static_cast<size_t>(2 * other + place)], sent(other, own, place));
  EXPECT_EQ(ranks.bytes_sent(), 16 * (n - 1));

  std::vector<int64_t> all(static_cast<size_t>(n), -1);
  const int64_t square = own * own;
  ranks.all_gather(&square, all.data(), 8);
  for (int other = 0; other < n; ++other) EXPECT_EQ(all[static_cast<size_t>(other)], other * other);
  all[static_cast<size_t>(own)] = own + 1;  // in place
  ranks.all_gather(&all[static_cast<size_t>(own)], all.data(), 8);
  for (int other = 0; other < n; ++other) EXPECT_EQ(all[static_cast<size_t>(other)], other + 1);

  int64_t value = own == n - 1 ? 7 : -1;
  ranks.broadcast(&value, 8, n - 1);
  EXPECT_EQ(value, 7);
  ranks.barrier();
  EXPECT_FALSE(any_rank(ranks, false));
  EXPECT_TRUE(any_rank(ranks, own == n - 1));
  const std::vector<std::string> texts = gather_texts(ranks, std::string(static_cast<size_t>(own), 'x'));
  for (int other = 0; other < n; ++other)
    EXPECT_EQ(texts.at(static_cast<size_t>(other)), std::string(static_cast<size_t>(other), 'x'));
}

TEST(Communicator, OneRankSpeaksToItself) {
  const auto ranks = single_communicator();
  EXPECT_EQ(ranks->rank(), 0);
  EXPECT_EQ(ranks->size(), 1);
  expect_every_call_right(*ranks);
}

TEST(Communicator, ThreadsSpeakToEachOther) {
  for (const int size : {1, 2, 3, 8}) run_ranks(size, expect_every_call_right);
}

TEST(Communicator, NothingMayBeSent) {
  run_ranks(2, [](Communicator& ranks) {
    ranks.all_to_all(nullptr, nullptr, 0);
    EXPECT_THAT(gather_texts(ranks, ""), ElementsAre("", ""));
  });
}

// The others do not wait for ever for a rank that fails.
TEST(Communicator, ARankThatFailsEndsTheOthers) {
  std::atomic<int> told = 0;
  EXPECT_THAT(
      [&] {
        run_ranks(4, [&](Communicator& ranks) {
          ranks.barrier();
          if (ranks.rank() == 2) throw InputError("no such file");
          try {
            for (;;) ranks.barrier();
          } catch (const RankFailure& failure) {
            EXPECT_THAT(failure.what(), testing::StrEq("rank 2 of 4 ended: no such file"));
            ++told;
            throw;
          }
        });
      },
      testing::ThrowsMessage<InputError>("no such file"));
  EXPECT_EQ(told, 3);
}

TEST(Communicator, ARankThatEndsEarlyEndsTheOthers) {
  EXPECT_THAT(
      [] {
        run_ranks(3, [](Communicator& ranks) {
          if (ranks.rank() > 0) ranks.barrier();
        });
      },
      testing::ThrowsMessage<RankFailure>(testing::HasSubstr("1 of 3 ranks ended while the others went on")));
}

Device own_device(const Communicator& ranks) { return {simulator::kDeviceType, ranks.rank()}; }

Tensor numbers_sent(const Communicator& ranks, int64_t more) {
  Tensor numbers = Tensor::empty({ranks.size(), 2}, DType::i64);
  for (int other = 0; other < ranks.size(); ++other)
    for (const int place : {0, 1})
      numbers.data<int64_t>()[2 * other + place] = sent(ranks.rank(), other, place) + more;
  return numbers;
}

void expect_swapped_and_gathered(const Communicator& ranks, const Tensor& swapped, const Tensor& gathered,
                                 int64_t more) {
  const Tensor chunks = swapped.to(Device{}), firsts = gathered.to(Device{});
  for (int other = 0; other < ranks.size(); ++other)
    for (const int place : {0, 1}) {
      EXPECT_EQ(chunks.at(2 * other + place), sent(other, ranks.rank(), place) + more);
      EXPECT_EQ(firsts.at(2 * other + place), sent(0, other, place) + more);  // what rank 0 sent it
    }
}

void expect_tensors_exchanged(Communicator& ranks) {
  const Device device = own_device(ranks);
  const Tensor from = numbers_sent(ranks, 0).to(device), swapped = Tensor::empty_like(from),
               gathered = Tensor::empty_like(from);
  const Tensor first = swapped.slice(0, 0, 1);
  ranks.all_to_all(from, swapped);
  ranks.all_gather(first, gathered);
  expect_swapped_and_gathered(ranks, swapped, gathered, 0);
  EXPECT_EQ(ranks.bytes_sent(), 2 * 16 * (ranks.size() - 1));
  EXPECT_THROW(ranks.all_to_all(from, Tensor::empty({1}, DType::u8, device)), Error);
  EXPECT_THROW(ranks.all_gather(from.to(Device{}), gathered), Error);
}

TEST(Communicator, TensorsOnDevicesAreExchangedThroughTheHostOrByTheQueues) {
  for (const int size : {1, 2, 4}) {
    run_ranks(size, [](Communicator& ranks) {
      EXPECT_FALSE(ranks.queues_on(simulator::kDeviceType));
      expect_tensors_exchanged(ranks);
    });
    run_ranks(
        size,
        [](Communicator& ranks) {
          EXPECT_TRUE(ranks.queues_on(simulator::kDeviceType));
          EXPECT_FALSE(ranks.queues_on(DeviceType::cpu));
          expect_tensors_exchanged(ranks);
        },
        true);
  }
}

// One rank's device may be long past a call when another's comes to it, and its host anywhere.
TEST(Communicator, QueuedCallsAreCapturedAndWaitForNoHost) {
  run_ranks(
      4,
      [](Communicator& ranks) {
        const Device device = own_device(ranks);
        Runtime& runtime = core::runtime(device);
        const Stream stream = current_stream(device);
        const Tensor from = numbers_sent(ranks, 0).to(device), swapped = Tensor::empty_like(from),
                     gathered = Tensor::empty_like(from);
        const Tensor first = swapped.slice(0, 0, 1);
        runtime.begin_capture(stream);
        ranks.all_to_all(from, swapped);
        ranks.all_gather(first, gathered);
        const Graph graph = runtime.end_capture(stream);
        for (const int64_t more : {1000, 2000}) {
          from.copy_from(numbers_sent(ranks, more));
          runtime.replay(graph, stream);
          if (ranks.rank() % 2 == 0) runtime.synchronize(stream);
          EXPECT_TRUE(any_rank(ranks, ranks.rank() == 1));  // where queued calls wait as well
          expect_swapped_and_gathered(ranks, swapped, gathered, more);
        }
        runtime.destroy_graph(graph);
      },
      true);
}

TEST(Communicator, ARankThatFailsEndsThoseWhoseQueuesWaitForIt) {
  EXPECT_THAT(
      [] {
        run_ranks(
            4,
            [](Communicator& ranks) {
              const Tensor from = numbers_sent(ranks, 0).to(own_device(ranks));
              const Tensor swapped = Tensor::empty_like(from);
              ranks.all_to_all(from, swapped);
              if (ranks.rank() == 2) throw InputError("no such file");
              EXPECT_THROW(core::runtime(own_device(ranks)).synchronize({}), RankFailure);
            },
            true);
      },
      testing::ThrowsMessage<InputError>("no such file"));
  run_ranks(4, expect_tensors_exchanged, true);  // nothing is left in the queues
}

}  // namespace
}  // namespace medfusion::core
