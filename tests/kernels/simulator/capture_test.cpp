// Graph capture on the simulated device.
#include "tests/kernels/simulator/runtime_test.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace medfusion::simulator {
namespace {

using namespace core;  // NOLINT(google-build-using-namespace): tests of a device of it

using ::testing::AllOf;
using ::testing::HasSubstr;

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

}  // namespace
}  // namespace medfusion::simulator
