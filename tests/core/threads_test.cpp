#include "core/threads.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <mutex>
#include <set>
#include <stdexcept>
#include <thread>
#include <vector>

#include "core/start_threads.h"
#include "tests/core/no_threads.h"

namespace medfusion::core {
namespace {

class Threads : public ::testing::Test {
 protected:
  void SetUp() override { ::alarm(120); }  // a hang ends the test program
  void TearDown() override {
    set_num_threads(before_);
    ::alarm(0);
  }
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

TEST_F(Threads, AGuardKeepsTheWorkOnTheThreadAndTheOthersFree) {
  set_num_threads(2);
  const auto caller = std::this_thread::get_id();
  std::mutex mutex;
  std::set<std::thread::id> others;
  {
    const SerialGuard alone;
    parallel_for(0, 64, 1, [&](int64_t, int64_t) { EXPECT_EQ(std::this_thread::get_id(), caller); });
  }
  for (int round = 0; round < 100 && others.empty(); ++round) {
    parallel_for(0, 64, 1, [&](int64_t, int64_t) {
      std::this_thread::sleep_for(std::chrono::microseconds(100));
      const std::lock_guard lock(mutex);
      if (std::this_thread::get_id() != caller) others.insert(std::this_thread::get_id());
    });
  }
  EXPECT_FALSE(others.empty());
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

TEST_F(Threads, EveryThreadMayFailWithAnything) {
  set_num_threads(4);
  for (int round = 0; round < 50; ++round) {
    EXPECT_THROW(parallel_for(0, 64, 1, [](int64_t, int64_t) { throw 5; }), int);
  }
}

TEST_F(Threads, WhereNoneCanBeStartedTheCallerDoesTheWorkAndSaysSoOnce) {
  set_num_threads(5);
  {
    const NoThreads none;
    testing::internal::CaptureStderr();
    for (int round = 0; round < 3; ++round) {
      std::atomic<int> sum = 0;
      parallel_for(0, 100, 3, [&](int64_t first, int64_t last) { sum += static_cast<int>(last - first); });
      EXPECT_EQ(sum, 100);
      EXPECT_EQ(num_threads(), 1);
    }
    EXPECT_TRUE(start_threads(2, [] {}).empty());
    EXPECT_EQ(testing::internal::GetCapturedStderr(),
              "note: the system started 0 of 4 threads (Resource temporarily unavailable); the work goes on "
              "with these, slower\n");
  }
  set_num_threads(3);  // now there are some
  std::set<std::thread::id> seen;
  std::mutex mutex;
  for (int round = 0; round < 1000 && seen.size() < 2; ++round) {
    parallel_for(0, 100, 1, [&](int64_t, int64_t) {
      const std::lock_guard lock(mutex);
      seen.insert(std::this_thread::get_id());
    });
  }
  EXPECT_EQ(num_threads(), 3);
  EXPECT_GE(seen.size(), 2U);
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
