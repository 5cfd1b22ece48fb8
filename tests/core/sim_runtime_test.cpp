#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <semaphore>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "core/error.h"
#include "core/runtime.h"
#include "core/sim_memory.h"

namespace medfusion::core {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// The message of the Error that `call` throws; fails where it throws none.
template <class Call>
std::string error_of(Call call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  ADD_FAILURE() << "no error";
  return {};
}

class SimRuntimeTest : public ::testing::Test {
 protected:
  SimRuntimeTest()
      : sim_(make_sim_runtime(0)), first_(sim_->create_stream()), second_(sim_->create_stream()) {
    set_sim_seed(1);
  }

  float* floats(int64_t count, Stream stream) {
    return static_cast<float*>(sim_->allocate(count * 4, stream));
  }
  // A launch that adds one to the first element.
  void add_one(float* data, Stream stream, const char* name = "add_one") {
    sim_->launch(stream, name, {{data, true}}, [data](void*) { *data += 1; });
  }
  // Later work of `later` runs after what `earlier` has queued.
  void order(Stream earlier, Stream later) {
    const Event event = sim_->create_event();
    sim_->record(event, earlier);
    sim_->wait(later, event);
    sim_->destroy_event(event);
  }
  float value_of(const float* data, Stream stream) {
    float value = 0;
    sim_->copy_to_host(&value, data, 4, stream);
    sim_->synchronize(stream);
    return value;
  }

  std::unique_ptr<Runtime> sim_;
  Stream first_;
  Stream second_;
};

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

// ---- capture ----

TEST_F(SimRuntimeTest, ACaptureRecordsWorkAndReplaysIt) {
  float* data = floats(1, first_);
  sim_->fill_bytes(data, 0, 4, first_);
  sim_->begin_capture(first_);
  add_one(data, first_);
  add_one(data, first_);
  const Graph graph = sim_->end_capture(first_);
  EXPECT_EQ(value_of(data, first_), 0.0F);
  sim_->replay(graph, first_);
  sim_->replay(graph, first_);
  EXPECT_EQ(value_of(data, first_), 4.0F);
  sim_->replay(graph, second_);  // on another stream, after the host has waited for the first
  sim_->destroy_graph(graph);
  EXPECT_EQ(value_of(data, second_), 6.0F);
  EXPECT_THROW(sim_->replay(graph, first_), Error);
  sim_->free(data, 4, second_);
}

TEST_F(SimRuntimeTest, AStreamJoinsACaptureThroughAnEventAndMustJoinBack) {
  float* data = floats(1, first_);
  float* other = floats(1, first_);
  sim_->fill_bytes(data, 0, 4, first_);
  sim_->fill_bytes(other, 0, 4, first_);
  const auto capture = [&](bool join_back) {
    sim_->begin_capture(first_);
    add_one(data, first_);
    order(first_, second_);
    sim_->launch(second_, "add", {{data, false}, {other, true}}, [=](void*) { *other += *data; });
    if (join_back) order(second_, first_);
    return sim_->end_capture(first_);
  };
  EXPECT_THAT(error_of([&] { capture(false); }),
              HasSubstr("end_capture: stream 1 does not wait for 'add' on stream 2"));
  sim_->synchronize(second_);  // no longer captured
  const Graph graph = capture(true);
  for (int i = 0; i < 3; ++i) sim_->replay(graph, first_);
  EXPECT_EQ(value_of(other, first_), 1.0F + 2.0F + 3.0F);
  sim_->destroy_graph(graph);
  sim_->free(data, 4, first_);
  sim_->free(other, 4, first_);
}

TEST_F(SimRuntimeTest, CapturedStreamsRunInAnyOrderTheirEventsAllow) {
  std::string order_seen;
  const auto note = [&](char name) { return [&order_seen, name](void*) { order_seen += name; }; };
  sim_->begin_capture(first_);
  sim_->launch(first_, "a", {}, note('a'));
  order(first_, second_);
  sim_->launch(first_, "b", {}, note('b'));
  sim_->launch(second_, "c", {}, note('c'));
  order(second_, first_);
  sim_->launch(first_, "d", {}, note('d'));
  const Graph graph = sim_->end_capture(first_);
  std::set<std::string> orders;
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    set_sim_seed(seed);
    order_seen.clear();
    sim_->replay(graph, first_);
    sim_->synchronize(first_);
    orders.insert(order_seen);
  }
  EXPECT_EQ(orders, (std::set<std::string>{"abcd", "acbd"}));
}

TEST_F(SimRuntimeTest, ReplaysOfOneGraphFollowEachOtherAcrossStreams) {
  int runs = 0;
  sim_->begin_capture(first_);
  sim_->launch(first_, "count", {}, [&](void*) { ++runs; });
  const Graph graph = sim_->end_capture(first_);
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    set_sim_seed(seed);
    runs = 0;
    sim_->replay(graph, first_);
    sim_->replay(graph, second_);
    sim_->synchronize(second_);
    EXPECT_EQ(runs, 2);
  }
}

TEST_F(SimRuntimeTest, AReplayIsCheckedAgain) {
  float* data = floats(1, first_);
  sim_->begin_capture(first_);
  add_one(data, first_);
  const Graph graph = sim_->end_capture(first_);
  EXPECT_THAT(error_of([&] { sim_->replay(graph, second_); }), HasSubstr("'add_one' on stream 2 writes"));
  sim_->free(data, 4, first_);
  EXPECT_THAT(error_of([&] { sim_->replay(graph, first_); }), HasSubstr("use after a stream-ordered free"));
}

TEST_F(SimRuntimeTest, AMissingWaitWithinACaptureIsReportedAtTheReplay) {
  float* data = floats(1, first_);
  sim_->begin_capture(first_);
  order(first_, second_);
  add_one(data, first_, "left");
  add_one(data, second_, "right");
  order(second_, first_);
  const Graph graph = sim_->end_capture(first_);
  EXPECT_THAT(error_of([&] { sim_->replay(graph, first_); }),
              AllOf(HasSubstr("'right' on stream 2 of graph"), HasSubstr("'left' on stream 1 writes")));
  sim_->synchronize(first_);
}

TEST_F(SimRuntimeTest, WhatACaptureForbidsIsAnErrorAndBreaksIt) {
  float* data = floats(1, first_);
  float host = 0;
  const std::vector<std::pair<std::string, std::function<void()>>> calls = {
      {"synchronize", [&] { sim_->synchronize(first_); }},
      {"allocate", [&] { sim_->allocate(4, first_); }},
      {"copy_to_host", [&] { sim_->copy_to_host(&host, data, 4, first_); }},
      {"copy_to_device", [&] { sim_->copy_to_device(data, &host, 4, first_); }},
      {"destroy_stream", [&] { sim_->destroy_stream(first_); }},
  };
  for (const auto& [name, call] : calls) {
    sim_->begin_capture(first_);
    EXPECT_EQ(error_of(call), fmt::format("sim:0: {} is not allowed while stream 1 is captured", name));
    EXPECT_EQ(error_of([&] { sim_->end_capture(first_); }),
              fmt::format("sim:0: end_capture: the capture of stream 1 was broken by {}", name));
    sim_->synchronize(first_);
  }
  sim_->begin_capture(first_);
  EXPECT_THROW(sim_->begin_capture(first_), Error);
  sim_->allocate(4, second_);  // other streams are free
  sim_->destroy_graph(sim_->end_capture(first_));
  EXPECT_EQ(error_of([&] { sim_->end_capture(first_); }), "sim:0: end_capture: stream 1 is not captured");
  sim_->begin_capture(first_);
  sim_->free(data, 4, first_);
  EXPECT_THAT(error_of([&] { sim_->end_capture(first_); }), HasSubstr("free is not allowed while stream 1"));
  EXPECT_THAT(error_of([&] { sim_->end_capture(first_); }), HasSubstr("broken by free"));
}

TEST_F(SimRuntimeTest, EventsDoNotCrossTheBorderOfACapture) {
  const Event outside = sim_->create_event();
  const Event inside = sim_->create_event();
  sim_->record(outside, second_);
  sim_->begin_capture(first_);
  EXPECT_THAT(error_of([&] { sim_->wait(first_, outside); }), HasSubstr("recorded outside the capture"));
  EXPECT_THROW(sim_->end_capture(first_), Error);
  sim_->begin_capture(first_);
  sim_->record(inside, first_);
  sim_->begin_capture(second_);
  EXPECT_THAT(error_of([&] { sim_->wait(second_, inside); }), HasSubstr("belongs to another capture"));
  EXPECT_THROW(sim_->end_capture(second_), Error);
  sim_->wait(second_, inside);
  EXPECT_THAT(error_of([&] { sim_->end_capture(second_); }),
              HasSubstr("the capture of stream 2 was begun on stream 1"));
  sim_->destroy_graph(sim_->end_capture(first_));
  EXPECT_THAT(error_of([&] { sim_->wait(second_, inside); }), HasSubstr("a capture that has ended"));
}

TEST_F(SimRuntimeTest, StreamsOfTheCallingThreadAreGuarded) {
  const Device device{DeviceType::sim, 1};
  EXPECT_EQ(current_stream(device).id, 0U);
  {
    const StreamGuard guard(device, {3});
    EXPECT_EQ(current_stream(device).id, 3U);
    EXPECT_EQ(current_stream({DeviceType::sim, 0}).id, 0U);
    const StreamGuard inner(device, {4});
    EXPECT_EQ(current_stream(device).id, 4U);
  }
  EXPECT_EQ(current_stream(device).id, 0U);
}

TEST_F(SimRuntimeTest, DevicesHaveAnIndex) {
  Runtime& zero = runtime({DeviceType::sim, 0});
  Runtime& one = runtime({DeviceType::sim, 1});
  EXPECT_NE(&zero, &one);
  EXPECT_EQ(&one, &runtime({DeviceType::sim, 1}));
  EXPECT_EQ(one.device(), (Device{DeviceType::sim, 1}));
  EXPECT_THROW(runtime({DeviceType::sim, -1}), Error);
}

}  // namespace
}  // namespace medfusion::core
