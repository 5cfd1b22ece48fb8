#include "core/threads.h"

#include <gtest/gtest.h>

#include <atomic>
#include <mutex>
#include <set>
#include <stdexcept>
#include <thread>
#include <vector>

namespace medfusion::core {
namespace {

class Threads : public ::testing::Test {
 protected:
  void TearDown() override { set_num_threads(before_); }
  int before_ = num_threads();
};

TEST_F(Threads, TheChunksDoNotDependOnTheNumberOfThreads) {
  std::vector<std::set<std::pair<int64_t, int64_t>>> seen;
  for (const int threads : {1, 2, 5}) {
    set_num_threads(threads);
    std::mutex mutex;
    std::set<std::pair<int64_t, int64_t>> chunks;
    parallel_for(3, 50, 7, [&](int64_t first, int64_t last) {
      const std::lock_guard lock(mutex);
      chunks.emplace(first, last);
    });
    seen.push_back(chunks);
  }
  EXPECT_EQ(seen[0].size(), 7U);
  EXPECT_EQ(seen[0], seen[1]);
  EXPECT_EQ(seen[0], seen[2]);
  EXPECT_TRUE(seen[0].contains({45, 50}));
}

TEST_F(Threads, EveryIndexRunsOnceOverManyCalls) {
  set_num_threads(3);
  for (int round = 0; round < 500; ++round) {
    std::vector<std::atomic<int>> counts(97);
    parallel_for(0, 97, 4, [&](int64_t first, int64_t last) {
      for (int64_t i = first; i < last; ++i) ++counts[static_cast<size_t>(i)];
    });
    for (const auto& count : counts) ASSERT_EQ(count, 1);
  }
}

TEST_F(Threads, NestedCallsRunWhereTheyAre) {
  set_num_threads(2);
  std::atomic<int> sum = 0;
  parallel_for(0, 8, 1, [&](int64_t, int64_t) {
    const auto caller = std::this_thread::get_id();
    parallel_for(0, 8, 1, [&](int64_t, int64_t) {
      EXPECT_EQ(std::this_thread::get_id(), caller);
      ++sum;
    });
  });
  EXPECT_EQ(sum, 64);
}

TEST_F(Threads, AnExceptionReachesTheCallerAndThePoolGoesOn) {
  for (const int threads : {1, 4}) {
    set_num_threads(threads);
    const auto fail = [](int64_t first, int64_t) {
      if (first == 5) throw std::runtime_error("five");
    };
    EXPECT_THROW(parallel_for(0, 10, 1, fail), std::runtime_error);
    std::atomic<int> count = 0;
    parallel_for(0, 10, 1, [&](int64_t, int64_t) { ++count; });
    EXPECT_EQ(count, 10);
  }
}

TEST_F(Threads, CallsFromSeveralThreadsAtOnceAllFinish) {
  set_num_threads(2);
  std::atomic<int> count = 0;
  std::vector<std::thread> callers;
  for (int t = 0; t < 4; ++t) {
    callers.emplace_back([&] {
      for (int i = 0; i < 50; ++i) parallel_for(0, 10, 1, [&](int64_t, int64_t) { ++count; });
    });
  }
  for (auto& caller : callers) caller.join();
  EXPECT_EQ(count, 2000);
}

}  // namespace
}  // namespace medfusion::core
