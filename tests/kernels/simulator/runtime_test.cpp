#include "tests/kernels/simulator/runtime_test.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <semaphore>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "core/host_memory.h"
#include "kernels/simulator/device_type.h"

namespace medfusion::simulator {
namespace {

using namespace core;  // NOLINT(google-build-using-namespace): tests of a device of it

using ::testing::AllOf;
using ::testing::HasSubstr;

TEST_F(SimRuntimeTest, QueuedWorkWaitsForTheHost) {
  int runs = 0;
  sim_->launch(first_, "count", {}, [&](void* native) {
    EXPECT_EQ(native, nullptr);
    EXPECT_TRUE(in_sim_work());
    ++runs;
  });
  EXPECT_EQ(runs, 0);
  sim_->synchronize(first_);
  EXPECT_EQ(runs, 1);
  EXPECT_FALSE(in_sim_work());
}

TEST_F(SimRuntimeTest, ALongQueueRunsBeforeTheHostWaits) {
  int runs = 0;
  for (int i = 0; i < 2000; ++i) sim_->launch(first_, "count", {}, [&](void*) { ++runs; });
  EXPECT_GT(runs, 1000);
  sim_->synchronize(first_);
  EXPECT_EQ(runs, 2000);
}

// The order in which three streams of four entries each run.
std::string order_of_streams(uint64_t seed) {
  set_sim_seed(seed);
  const auto sim = make_sim_runtime(0);
  std::string order;
  std::vector<Stream> streams;
  for (int s = 0; s < 3; ++s) streams.push_back(sim->create_stream());
  for (int i = 0; i < 4; ++i) {
    for (int s = 0; s < 3; ++s) {
      const char name = static_cast<char>((s == 0 ? 'a' : s == 1 ? 'k' : 'u') + i);
      sim->launch(streams[static_cast<size_t>(s)], "note", {}, [&order, name](void*) { order += name; });
    }
  }
  for (const Stream stream : streams) sim->synchronize(stream);
  return order;
}

TEST_F(SimRuntimeTest, TheOrderOfStreamsDependsOnTheSeedAndIsLegal) {
  std::set<std::string> orders;
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    const std::string order = order_of_streams(seed);
    EXPECT_EQ(order, order_of_streams(seed));
    orders.insert(order);
    ASSERT_EQ(order.size(), 12U);
    for (const std::string stream : {"abcd", "klmn", "uvwx"}) {  // each stream in its own order
      std::string own;
      for (const char name : order) {
        if (stream.find(name) != std::string::npos) own += name;
      }
      EXPECT_EQ(own, stream);
    }
  }
  EXPECT_GT(orders.size(), 10U);
}

TEST_F(SimRuntimeTest, SynchronizeLeavesOtherStreamsBehindUnlessAnEventAsksForThem) {
  bool left_behind = false;
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    set_sim_seed(seed);
    int runs = 0;
    for (int i = 0; i < 5; ++i) sim_->launch(first_, "count", {}, [&](void*) { ++runs; });
    sim_->launch(second_, "nothing", {}, [](void*) {});
    sim_->synchronize(second_);
    left_behind = left_behind || runs < 5;
    order(first_, second_);
    sim_->synchronize(second_);
    EXPECT_EQ(runs, 5);
  }
  EXPECT_TRUE(left_behind);
}

TEST_F(SimRuntimeTest, AnEventThatWasNeverRecordedHoldsNothingUp) {
  const Event event = sim_->create_event();
  sim_->wait(second_, event);
  int runs = 0;
  sim_->launch(second_, "count", {}, [&](void*) { ++runs; });
  sim_->record(event, first_);  // later than the wait: of no effect on it
  sim_->synchronize(second_);
  EXPECT_EQ(runs, 1);
}

TEST_F(SimRuntimeTest, AWaitIsForTheRecordBeforeItAndARecordReplacesTheOneBefore) {
  float* data = floats(1, first_);
  const Event event = sim_->create_event();
  sim_->record(event, first_);
  sim_->fill_bytes(data, 0, 4, first_);
  sim_->wait(second_, event);  // for what came before the fill
  EXPECT_THROW(add_one(data, second_), Error);
  sim_->record(event, first_);
  EXPECT_THROW(add_one(data, second_), Error);
  sim_->wait(second_, event);
  add_one(data, second_);
  EXPECT_EQ(value_of(data, second_), 1.0F);
  sim_->free(data, 4, second_);
}

TEST_F(SimRuntimeTest, OrderPassesThroughAThirdStream) {
  float* data = floats(1, first_);
  sim_->fill_bytes(data, 0, 4, first_);
  order(first_, second_);
  order(second_, {});
  add_one(data, {});
  EXPECT_EQ(value_of(data, {}), 1.0F);
  sim_->free(data, 4, {});
}

TEST_F(SimRuntimeTest, WhatTheHostWaitedForIsDoneForAllStreams) {
  float* data = floats(1, first_);
  sim_->fill_bytes(data, 0, 4, first_);
  sim_->synchronize(first_);
  add_one(data, second_);
  sim_->free(data, 4, second_);
}

// ---- faults ----

TEST_F(SimRuntimeTest, AMissingWaitIsReportedWithBothWorks) {
  float* data = floats(4, first_);
  const auto id = find_sim_allocation(data)->id;
  sim_->fill_bytes(data, 0, 16, first_);
  const auto read = [&] { sim_->launch(second_, "softmax", {{data + 1, false}}, [](void*) {}); };
  EXPECT_EQ(error_of(read),
            fmt::format("sim:0: 'softmax' on stream 2 reads allocation {} that 'fill' on stream 1 writes, "
                        "without a wait between them",
                        id));
  EXPECT_THROW(read(), Error);  // the failed launch has left nothing behind
  order(first_, second_);
  read();
  EXPECT_THAT(error_of([&] { add_one(data, first_); }),
              AllOf(HasSubstr("'add_one' on stream 1 writes"), HasSubstr("'softmax' on stream 2 reads")));
  order(second_, first_);
  add_one(data, first_);
  sim_->free(data, 16, first_);
  sim_->synchronize(first_);
}

TEST_F(SimRuntimeTest, CopiesAreCheckedLikeKernels) {
  float* from = floats(4, first_);
  float* to = floats(4, second_);
  float host[4] = {1, 2, 3, 4};
  sim_->copy_to_device(from, host, 16, first_);
  EXPECT_THAT(error_of([&] { sim_->copy_on_device(to, from, 16, second_); }),
              HasSubstr("'copy_to_device' on stream 1 writes"));
  EXPECT_THAT(error_of([&] { sim_->copy_to_host(host, from, 16, second_); }),
              HasSubstr("'copy_to_device' on stream 1 writes"));
  order(first_, second_);
  sim_->copy_on_device(to, from, 16, second_);
  EXPECT_EQ(value_of(to + 3, second_), 4.0F);
  sim_->free(to, 16, second_);
  sim_->free(from, 16, second_);
}

TEST_F(SimRuntimeTest, ReadsOfTwoStreamsNeedNoWait) {
  float* data = floats(1, first_);
  sim_->fill_bytes(data, 0, 4, first_);
  order(first_, second_);
  sim_->launch(first_, "read", {{data, false}}, [](void*) {});
  sim_->launch(second_, "read", {{data, false}}, [](void*) {});
  EXPECT_THROW(add_one(data, first_), Error);  // the other stream still reads
  EXPECT_THROW(add_one(data, second_), Error);
  order(first_, second_);
  add_one(data, second_);
  sim_->free(data, 4, second_);
  sim_->synchronize(second_);
}

TEST_F(SimRuntimeTest, MemoryBelongsToItsStreamFirst) {
  float* data = floats(1, first_);
  EXPECT_THAT(error_of([&] { add_one(data, second_); }), HasSubstr("made by 'allocate' on stream 1"));
  order(first_, second_);
  add_one(data, second_);
  sim_->free(data, 4, second_);
}

TEST_F(SimRuntimeTest, AUseAfterAStreamOrderedFreeIsReported) {
  float* data = floats(1, first_);
  add_one(data, first_);
  sim_->free(data, 4, first_);
  EXPECT_THAT(error_of([&] { add_one(data, first_, "late"); }),
              AllOf(HasSubstr("'late' on stream 1"), HasSubstr("use after a stream-ordered free")));
  sim_->synchronize(first_);
  EXPECT_THAT(error_of([&] { add_one(data, first_, "later"); }),
              HasSubstr("use after a stream-ordered free"));
}

TEST_F(SimRuntimeTest, AFreeThatDoesNotWaitForAnotherStreamIsReported) {
  float* data = floats(1, first_);
  order(first_, second_);
  add_one(data, second_);
  sim_->free(data, 4, first_);
  EXPECT_THAT(error_of([&] { sim_->synchronize(first_); }),
              AllOf(HasSubstr("'free' on stream 1"), HasSubstr("'add_one' on stream 2")));
}

TEST_F(SimRuntimeTest, WrongFreesAreReported) {
  float* data = floats(2, first_);
  sim_->free(data + 1, 8, first_);
  EXPECT_THAT(error_of([&] { sim_->synchronize(first_); }), HasSubstr("not an allocation"));
  sim_->free(data, 4, first_);
  EXPECT_THAT(error_of([&] { sim_->synchronize(first_); }), HasSubstr("as if it had 4"));
  sim_->free(data, 8, first_);
  sim_->free(data, 8, first_);
  EXPECT_THAT(error_of([&] { sim_->synchronize(first_); }), HasSubstr("already freed by"));
}

TEST_F(SimRuntimeTest, HostMemoryGivenToAKernelIsReported) {
  std::vector<float> host(4);
  EXPECT_THAT(error_of([&] { add_one(host.data(), first_); }), HasSubstr("not memory of the device"));
  EXPECT_THAT(error_of([&] { sim_->copy_on_device(host.data(), host.data(), 4, first_); }),
              HasSubstr("not memory of the device"));
}

TEST_F(SimRuntimeTest, MemoryOfAnotherDeviceIsReported) {
  const auto other = make_sim_runtime(1);
  void* data = other->allocate(4, {});
  EXPECT_THAT(error_of([&] { add_one(static_cast<float*>(data), first_); }), HasSubstr("of another device"));
  other->free(data, 4, {});
}

TEST_F(SimRuntimeTest, DeviceMemoryIsNotTheHosts) {
  float* data = floats(1, first_);
  EXPECT_THROW(sim_->copy_to_device(data, data, 4, first_), Error);
  EXPECT_THROW(sim_->copy_to_host(data, data, 4, first_), Error);
  sim_->free(data, 4, first_);
}

TEST_F(SimRuntimeTest, CopiesPastTheEndAreReported) {
  float* data = floats(2, first_);
  EXPECT_THAT(error_of([&] { sim_->fill_bytes(data + 1, 0, 8, first_); }), HasSubstr("which has 8 bytes"));
  sim_->free(data, 8, first_);
}

TEST_F(SimRuntimeTest, AnErrorOfAWorkSurfacesAtTheSynchronizeAndTheRestRuns) {
  int runs = 0;
  sim_->launch(first_, "count", {}, [&](void*) { ++runs; });
  sim_->launch(first_, "bad", {}, [](void*) { throw Error("it broke"); });
  sim_->launch(first_, "worse", {}, [](void*) { throw Error("it broke again"); });
  sim_->launch(first_, "count", {}, [&](void*) { ++runs; });
  EXPECT_EQ(error_of([&] { sim_->synchronize(first_); }), "it broke");
  EXPECT_EQ(runs, 2);
  sim_->synchronize(first_);
  sim_->launch(first_, "count", {}, [&](void*) { ++runs; });
  sim_->synchronize(first_);
  EXPECT_EQ(runs, 3);
}

TEST_F(SimRuntimeTest, QueuedWorkMustNotCallTheDevice) {
  sim_->launch(first_, "nested", {}, [&](void*) { sim_->synchronize(second_); });
  EXPECT_THAT(error_of([&] { sim_->synchronize(first_); }), HasSubstr("from within queued work"));
}

TEST_F(SimRuntimeTest, DestroyedAndUnknownHandlesAreErrors) {
  const Stream stream = sim_->create_stream();
  int runs = 0;
  sim_->launch(stream, "count", {}, [&](void*) { ++runs; });
  order(stream, first_);
  sim_->destroy_stream(stream);
  sim_->synchronize(first_);
  EXPECT_EQ(runs, 1);  // what was queued on it still runs
  EXPECT_THROW(sim_->synchronize(stream), Error);
  EXPECT_THROW(sim_->destroy_stream({}), Error);
  EXPECT_THROW(sim_->synchronize({99}), Error);
  EXPECT_THROW(sim_->record({99}, first_), Error);
  EXPECT_THROW(sim_->replay({99}, first_), Error);
}

// ---- copies between host and device ----

TEST_F(SimRuntimeTest, ACopyToTheHostArrivesAtTheSynchronizeOfItsStream) {
  float* data = floats(2, first_);
  std::vector<float> host = {1, 2};
  sim_->copy_to_device(data, host.data(), 8, first_);
  std::vector<float> back = {7, 7};
  sim_->copy_to_host(back.data(), data, 8, first_);
  EXPECT_NE(back[0], back[0]);  // NaN
  EXPECT_THAT(
      error_of([&] { check_host_access(&back[1], 4); }),
      AllOf(HasSubstr("'copy_to_host' on stream 1"), HasSubstr("before its stream was synchronized")));
  check_host_access(host.data(), 8);  // another range
  sim_->synchronize(second_);
  EXPECT_THROW(check_host_access(back.data(), 1), Error);
  sim_->synchronize(first_);
  check_host_access(back.data(), 8);
  EXPECT_EQ(back, host);
  sim_->free(data, 8, first_);
}

TEST_F(SimRuntimeTest, ASynchronizeOfAStreamThatWaitedHandsTheCopyOver) {
  float* data = floats(1, first_);
  sim_->fill_bytes(data, 0, 4, first_);
  float back = 7;
  sim_->copy_to_host(&back, data, 4, first_);
  order(first_, second_);
  sim_->synchronize(second_);
  check_host_access(&back, 4);
  EXPECT_EQ(back, 0.0F);
  sim_->free(data, 4, first_);
}

// One thread's wait may hand over the other's copy; the other must not go on before that is done.
TEST_F(SimRuntimeTest, ACopyOfAThreadHasArrivedWhereAnotherWaitedForItsStream) {
  constexpr int64_t kBytes = 1 << 18;
  const auto copy_back = [&](uint8_t byte) {
    void* data = sim_->allocate(kBytes, first_);
    sim_->fill_bytes(data, byte, kBytes, first_);
    std::vector<uint8_t> back(kBytes);
    bool same = true;
    for (int round = 0; round < 1000 && same; ++round) {
      std::fill(back.begin(), back.end(), uint8_t{0});
      sim_->copy_to_host(back.data(), data, kBytes, first_);
      sim_->synchronize(first_);
      same = std::ranges::all_of(back, [byte](uint8_t each) { return each == byte; });
    }
    EXPECT_TRUE(same);
    sim_->free(data, kBytes, first_);
  };
  std::vector<std::thread> threads;
  for (const uint8_t byte : {1, 2, 3}) threads.emplace_back(copy_back, byte);
  for (std::thread& thread : threads) thread.join();
}

TEST_F(SimRuntimeTest, ASourceThatIsReusedTooEarlyShows) {
  float* data = floats(1, first_);
  float staging = 1;
  sim_->copy_to_device(data, &staging, 4, first_);
  staging = 2;
  EXPECT_EQ(value_of(data, first_), 2.0F);
  sim_->free(data, 4, first_);
}

TEST_F(SimRuntimeTest, HostMemoryMayGoBothWaysInOneStream) {
  float* data = floats(2, first_);
  float host = 3;
  sim_->copy_to_device(data, &host, 4, first_);
  sim_->copy_to_device(data + 1, &host, 4, first_);
  add_one(data, first_);
  sim_->copy_to_host(&host, data, 4, first_);    // 4, while the second copy still reads the 3
  sim_->copy_to_device(data, &host, 4, first_);  // the 4 again
  EXPECT_EQ(value_of(data + 1, first_), 3.0F);
  EXPECT_EQ(value_of(data, first_), 4.0F);
  EXPECT_EQ(host, 4.0F);
  float* other = floats(1, second_);
  sim_->copy_to_host(&host, data, 4, first_);
  EXPECT_THAT(error_of([&] { sim_->copy_to_device(other, &host, 4, second_); }), HasSubstr("without a wait"));
  sim_->synchronize(first_);
  sim_->free(data, 8, first_);
  sim_->free(other, 4, second_);
}

// A thread that loads batches on a stream of its own, two buffers ahead of the work that uses them.
TEST_F(SimRuntimeTest, AThreadThatPrefetchesOrdersItsCopiesByEvents) {
  constexpr int kBatches = 50;
  for (uint64_t seed = 1; seed <= 4; ++seed) {
    set_sim_seed(seed);
    struct Slot {
      float* data = nullptr;
      float staging = 0;
      Event loaded, used;
    };
    std::array<Slot, 2> slots;
    for (Slot& slot : slots) {
      slot.data = floats(1, first_);
      slot.loaded = sim_->create_event();
      slot.used = sim_->create_event();
      sim_->record(slot.used, first_);
    }
    float* sum = floats(1, first_);
    sim_->fill_bytes(sum, 0, 4, first_);

    std::counting_semaphore<2> empty(2);
    std::counting_semaphore<2> full(0);
    std::thread loader([&] {
      for (int batch = 0; batch < kBatches; ++batch) {
        Slot& slot = slots[static_cast<size_t>(batch % 2)];
        empty.acquire();
        sim_->synchronize(second_);  // the staging memory of two batches ago has been read
        slot.staging = static_cast<float>(batch);
        sim_->wait(second_, slot.used);
        sim_->copy_to_device(slot.data, &slot.staging, 4, second_);
        sim_->record(slot.loaded, second_);
        full.release();
      }
    });
    for (int batch = 0; batch < kBatches; ++batch) {
      Slot& slot = slots[static_cast<size_t>(batch % 2)];
      full.acquire();
      sim_->wait(first_, slot.loaded);
      sim_->launch(first_, "add", {{slot.data, false}, {sum, true}},
                   [sum, data = slot.data](void*) { *sum += *data; });
      sim_->record(slot.used, first_);
      empty.release();
    }
    loader.join();
    EXPECT_EQ(value_of(sum, first_), static_cast<float>(kBatches * (kBatches - 1) / 2));
    for (const Slot& slot : slots) sim_->free(slot.data, 4, first_);
    sim_->free(sum, 4, first_);
    sim_->synchronize(first_);
  }
}

TEST_F(SimRuntimeTest, StreamsOfTheCallingThreadAreGuarded) {
  const Device device{simulator::kDeviceType, 1};
  EXPECT_EQ(current_stream(device).id, 0U);
  {
    const StreamGuard guard(device, {3});
    EXPECT_EQ(current_stream(device).id, 3U);
    EXPECT_EQ(current_stream({simulator::kDeviceType, 0}).id, 0U);
    const StreamGuard inner(device, {4});
    EXPECT_EQ(current_stream(device).id, 4U);
  }
  EXPECT_EQ(current_stream(device).id, 0U);
}

TEST_F(SimRuntimeTest, DevicesHaveAnIndex) {
  Runtime& zero = runtime({simulator::kDeviceType, 0});
  Runtime& one = runtime({simulator::kDeviceType, 1});
  EXPECT_NE(&zero, &one);
  EXPECT_EQ(&one, &runtime({simulator::kDeviceType, 1}));
  EXPECT_EQ(one.device(), (Device{simulator::kDeviceType, 1}));
  EXPECT_THROW(runtime({simulator::kDeviceType, -1}), Error);
}

}  // namespace
}  // namespace medfusion::simulator
