#include "core/communicator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <numeric>

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

}  // namespace
}  // namespace medfusion::core
