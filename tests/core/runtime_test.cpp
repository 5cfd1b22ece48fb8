#include "core/runtime.h"

#include <gtest/gtest.h>

#include <vector>

#include "core/allocator.h"
#include "core/error.h"

namespace medfusion::core {
namespace {

TEST(CpuRuntime, ACaptureRecordsWorkAndReplaysIt) {
  Runtime& cpu = runtime({});
  const Stream stream = cpu.create_stream();
  int runs = 0;
  cpu.begin_capture(stream);
  cpu.launch(stream, "count", {}, [&](void*) { ++runs; });
  EXPECT_EQ(runs, 0);
  const Graph graph = cpu.end_capture(stream);
  cpu.replay(graph, stream);
  cpu.replay(graph, stream);
  EXPECT_EQ(runs, 2);
  cpu.destroy_graph(graph);
  EXPECT_THROW(cpu.replay(graph, stream), Error);
  cpu.destroy_stream(stream);
}

TEST(CpuRuntime, WhatACaptureForbidsIsAnError) {
  Runtime& cpu = runtime({});
  const Stream stream = cpu.create_stream();
  cpu.begin_capture(stream);
  std::vector<char> bytes(8);
  EXPECT_THROW(cpu.synchronize(stream), Error);
  EXPECT_THROW(cpu.copy_to_host(bytes.data(), bytes.data(), 8, stream), Error);
  EXPECT_THROW(cpu.allocate(64, stream), Error);
  EXPECT_THROW(cpu.begin_capture(stream), Error);
  cpu.destroy_graph(cpu.end_capture(stream));
  EXPECT_THROW(cpu.end_capture(stream), Error);
  cpu.destroy_stream(stream);
}

TEST(CpuRuntime, IsTheOnlyOneOfItsType) { EXPECT_THROW(runtime({DeviceType::cpu, 1}), Error); }

TEST(DeviceTypes, AreKnownByTheNameThatIsRegistered) {
  constexpr DeviceType kOther{kMaxDeviceTypes - 1, "other"};
  EXPECT_FALSE(parse_device("other"));
  EXPECT_FALSE(is_present({kOther, 0}));
  register_runtime(kOther, [](int index) {
    if (index != 2) throw Error("only other:2 is there");
    return make_cpu_runtime();
  });
  EXPECT_EQ(parse_device("other"), (Device{kOther, 0}));
  EXPECT_EQ(parse_device("other:12"), (Device{kOther, 12}));
  EXPECT_EQ(parse_device("cpu"), Device{});
  for (const char* text : {"", "Other", "other:", "other:x", "other:1x", "other:-1", "other:99999999999"})
    EXPECT_FALSE(parse_device(text)) << text;
  EXPECT_FALSE(is_present({kOther, 0}));
  EXPECT_TRUE(is_present({kOther, 2}));
  EXPECT_EQ(device_types().front(), DeviceType::cpu);
  EXPECT_EQ(device_types().back(), kOther);
  EXPECT_THROW(register_runtime({kOther.number(), "another"}, nullptr), Error);
  EXPECT_THROW(register_runtime({kMaxDeviceTypes, "far"}, nullptr), Error);
}

TEST(CachingAllocator, ReusesBlocksAndCounts) {
  CachingAllocator cache(runtime({}));
  int64_t granted = 0;
  void* first = cache.allocate(1000, {}, &granted);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(first) % 64, 0U);
  EXPECT_GE(granted, 1000);
  EXPECT_EQ(cache.counters().live, granted);
  cache.free(first, granted, {});
  EXPECT_EQ(cache.counters().live, 0);
  EXPECT_EQ(cache.counters().reserved, granted);
  int64_t again = 0;
  EXPECT_EQ(cache.allocate(900, {}, &again), first);
  EXPECT_EQ(cache.counters().cache_hits, 1);
  int64_t other = 0;
  void* large = cache.allocate(1 << 20, {}, &other);  // a cached block of another size does not serve it
  EXPECT_EQ(cache.counters().peak, granted + other);
  cache.free(first, again, {});
  cache.free(large, other, {});
  cache.release_cached();
  EXPECT_EQ(cache.counters().reserved, 0);
  EXPECT_EQ(cache.counters().peak_reserved, granted + other);
  EXPECT_EQ(cache.counters().requests, 3);
  cache.reset_peak();
  EXPECT_EQ(cache.counters().peak, 0);
  EXPECT_EQ(cache.counters().peak_reserved, 0);
}

TEST(CachingAllocator, NothingIsNull) {
  CachingAllocator cache(runtime({}));
  int64_t granted = 1;
  EXPECT_EQ(cache.allocate(0, {}, &granted), nullptr);
  EXPECT_EQ(granted, 0);
  cache.free(nullptr, 0, {});
}

}  // namespace
}  // namespace medfusion::core
