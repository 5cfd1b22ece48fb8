#include "kernels/simulator/device_memory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "core/allocator.h"
#include "core/error.h"
#include "core/runtime.h"
#include "core/tensor.h"
#include "kernels/simulator/device_type.h"
#include "tests/kernels/simulator/runtime_test.h"

#if defined(__SANITIZE_ADDRESS__)
#define UNCHECKED __attribute__((no_sanitize("address"), noinline))
#else
#define UNCHECKED __attribute__((noinline))
#endif

namespace medfusion::simulator {
namespace {

using namespace core;  // NOLINT(google-build-using-namespace): tests of a device of it

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr Device kSim{simulator::kDeviceType, 0};
constexpr Device kSecondSim{simulator::kDeviceType, 1};

// Stores where AddressSanitizer would stop the program.
UNCHECKED void store_unchecked(volatile char* address) { *address = 1; }

// Strided copies and fills on the device are kernels, which a build of the simulator alone does not have.
constexpr const char* kWithoutKernels = "NOT TESTED: this build has no kernels for tensors on sim";
bool has_tensor_kernels() {
  try {
    Tensor::full({1}, 1, DType::f32, kSim);
    return true;
  } catch (const Error&) {
    return false;
  }
}

TEST(SimMemory, IsExactAlignedAndFreshlyNaN) {
  Runtime& sim = runtime(kSim);
  EXPECT_TRUE(sim.exact_allocations());
  for (const int64_t bytes : {0, 1, 4, 63, 64, 65, 1000}) {
    void* data = sim.allocate(bytes, {});
    EXPECT_EQ(reinterpret_cast<uintptr_t>(data) % 64, 0U);
    const auto allocation = find_sim_allocation(data);
    ASSERT_NE(allocation, nullptr);
    EXPECT_EQ(allocation->bytes, bytes);
    EXPECT_EQ(allocation->begin, data);
    sim.launch({}, "read", {{data, false}}, [=](void*) {
      for (int64_t i = 0; i < bytes; ++i) EXPECT_EQ(static_cast<unsigned char*>(data)[i], 0xFF);
    });
    sim.free(data, bytes, {});
  }
  sim.synchronize({});
}

TEST(SimMemory, AnAllocationIsFoundByAnyAddressInIt) {
  Runtime& sim = runtime(kSim);
  char* data = static_cast<char*>(sim.allocate(100, {}));
  char* later = static_cast<char*>(sim.allocate(100, {}));
  const auto allocation = find_sim_allocation(data);
  EXPECT_EQ(find_sim_allocation(data + 99), allocation);
  EXPECT_EQ(find_sim_allocation(data + 100), allocation);  // one past the end
  EXPECT_EQ(find_sim_allocation(data + 101), nullptr);     // a guard zone
  EXPECT_EQ(find_sim_allocation(data - 1), nullptr);
  EXPECT_EQ(find_sim_allocation(&sim), nullptr);
  EXPECT_EQ(find_sim_allocation(nullptr), nullptr);
  EXPECT_GT(find_sim_allocation(later)->id, allocation->id);
  sim.free(data, 100, {});
  EXPECT_FALSE(allocation->freed);  // queued, not run
  sim.synchronize({});
  EXPECT_TRUE(allocation->freed);
  EXPECT_EQ(find_sim_allocation(data), allocation);  // still known, so that a late use can be named
  sim.free(later, 100, {});
}

TEST(SimMemory, AWritePastTheEndIsReportedWithTheWork) {
  Runtime& sim = runtime(kSim);
  for (const int offset : {-1, -64, 10, 73}) {
    char* data = static_cast<char*>(sim.allocate(10, {}));
    sim.launch({}, "spill", {{data, true}}, [=](void*) { store_unchecked(data + offset); });
    EXPECT_THAT(
        error_of([&] { sim.synchronize({}); }),
        AllOf(HasSubstr("'spill' on stream 0"), HasSubstr(offset < 0 ? "memory before" : "memory after")));
    sim.free(data, 10, {});
    sim.synchronize({});  // reported once
  }
}

TEST(SimMemory, AWriteByAnyoneElseIsFoundAtTheFree) {
  Runtime& sim = runtime(kSim);
  char* data = static_cast<char*>(sim.allocate(10, {}));
  store_unchecked(data + 10);
  sim.free(data, 10, {});
  EXPECT_THAT(error_of([&] { sim.synchronize({}); }), HasSubstr("'free' on stream 0"));
}

TEST(SimMemory, RunningOutGivesBackWhatIsCachedFirst) {
  const auto sim = make_sim_runtime(7);
  set_sim_memory_limit(7, 4096);
  {
    CachingAllocator cache(*sim, true);
    int64_t small = 0;
    int64_t large = 0;
    void* first = cache.allocate(1000, {}, &small);
    cache.free(first, small, {});
    EXPECT_EQ(cache.counters().reserved, 1024);
    void* second = cache.allocate(4000, {}, &large);  // fits only in place of the cached block
    EXPECT_EQ(cache.counters().reserved, 4096);
    int64_t more = 0;
    const std::string message = error_of([&] { cache.allocate(600, {}, &more); });
    EXPECT_THAT(message, AllOf(HasSubstr("1024 bytes asked"), HasSubstr("4096 bytes in tensors"),
                               HasSubstr("0 cached")));
    EXPECT_THROW(cache.allocate(600, {}, &more), OutOfMemory);
    cache.free(second, large, {});
    second = cache.allocate(4000, {}, &large);
    EXPECT_EQ(cache.counters().cache_hits, 1);
    cache.free(second, large, {});
  }
  sim->synchronize({});
  set_sim_memory_limit(7, 0);
}

TEST(CachingAllocatorOnSim, ABlockIsReusedByItsOwnStreamOnly) {
  const auto sim = make_sim_runtime(0);
  const Stream first = sim->create_stream();
  const Stream second = sim->create_stream();
  CachingAllocator cache(*sim, true);
  int64_t granted = 0;
  void* data = cache.allocate(100, first, &granted);
  sim->fill_bytes(data, 0, 100, first);
  cache.free(data, granted, first);
  int64_t other_granted = 0;
  void* other = cache.allocate(100, second, &other_granted);
  EXPECT_NE(other, data);
  sim->fill_bytes(other, 0, 100, second);  // needs no wait
  int64_t again = 0;
  EXPECT_EQ(cache.allocate(100, first, &again), data);
  sim->fill_bytes(data, 0, 100, first);
  cache.free(data, again, first);
  cache.free(other, other_granted, second);
  EXPECT_EQ(cache.counters().cache_hits, 1);
  cache.release_cached();
  EXPECT_EQ(cache.counters().reserved, 0);
  sim->synchronize(first);
}

TEST(CachingAllocatorOnSim, KeepsNothingByDefault) {
  const auto sim = make_sim_runtime(0);
  CachingAllocator exact(*sim);
  int64_t granted = 0;
  void* data = exact.allocate(100, {}, &granted);
  EXPECT_EQ(granted, 100);
  exact.free(data, granted, {});
  EXPECT_EQ(exact.counters().reserved, 0);
  void* other = exact.allocate(100, {}, &granted);
  EXPECT_EQ(exact.counters().cache_hits, 0);
  exact.free(other, granted, {});
}

// A step of work with intermediate tensors: doubles `state` twice, by way of two temporaries.
void step(const Tensor& state) {
  for (int i = 0; i < 2; ++i) {
    const Tensor doubled = Tensor::empty(state.shape(), DType::f32, state.device());
    const float* from = state.view().as<float>();
    float* to = doubled.view().as<float>();
    runtime(state.device())
        .launch(current_stream(state.device()), "double", {{from, false}, {to, true}},
                [from, to](void*) { *to = 2 * *from; });
    state.copy_from(doubled);
  }
}

TEST(MemoryPoolOnSim, ACapturedStepUsesMemoryOfItsOwn) {
  if (!has_tensor_kernels()) GTEST_SKIP() << kWithoutKernels;
  Runtime& sim = runtime(kSim);
  const Stream stream = sim.create_stream();
  const StreamGuard guard(kSim, stream);
  const auto reserved = allocator(kSim).counters().reserved;
  {
    const Tensor state = Tensor::full({1}, 1, DType::f32, kSim);
    sim.begin_capture(stream);
    EXPECT_THAT(error_of([&] { step(state); }), HasSubstr("allocate is not allowed while"));
    EXPECT_THROW(sim.end_capture(stream), Error);

    MemoryPool pool(allocator(kSim), stream);
    {
      const MemoryPool::Use use(pool);
      EXPECT_THROW(MemoryPool::Use{pool}, Error);
      step(state);
    }
    Graph graph;
    {
      const MemoryPool::Use use(pool);
      sim.begin_capture(stream);
      step(state);
      graph = sim.end_capture(stream);
    }
    EXPECT_EQ(state.item(), 4.0);
    sim.replay(graph, stream);
    const Tensor between = Tensor::full({1}, 7, DType::f32, kSim);  // not in the graph's memory
    sim.replay(graph, stream);
    EXPECT_EQ(between.item(), 7.0);
    EXPECT_EQ(state.item(), 64.0);
    sim.destroy_graph(graph);
  }
  EXPECT_EQ(allocator(kSim).counters().reserved, reserved);
  sim.synchronize(stream);
}

TEST(MemoryPoolOnSim, ABlockThatOutlivesItsPoolGoesBackWhenFreed) {
  const auto sim = make_sim_runtime(0);
  CachingAllocator cache(*sim);
  int64_t granted = 0;
  void* data = nullptr;
  {
    MemoryPool pool(cache, {});
    const MemoryPool::Use use(pool);
    data = cache.allocate(100, {}, &granted);
    void* other = cache.allocate(50, {}, &granted);
    cache.free(other, 50, {});
    EXPECT_EQ(cache.counters().reserved, 150);
    EXPECT_EQ(cache.allocate(50, {}, &granted), other);
    EXPECT_NE(cache.allocate(49, {}, &granted), other);  // another size
    cache.free(other, 50, {});
  }
  EXPECT_EQ(cache.counters().reserved, 149);
  cache.free(data, 100, {});
  EXPECT_EQ(cache.counters().reserved, 49);
  sim->synchronize({});
}

// ---- tensors ----

TEST(SimTensor, GoesToTheDeviceAndBack) {
  const Tensor host = Tensor::from<float>({2, 3}, {0, 1, 2, 3, 4, 5});
  const Tensor device = host.to(kSim);
  EXPECT_EQ(device.device(), kSim);
  EXPECT_EQ(device.at(4), 4.0);
  const Tensor other = device.to(kSecondSim);
  EXPECT_EQ(other.device(), kSecondSim);
  const Tensor back = other.to(Device{});
  EXPECT_EQ(back.device(), Device{});
  for (int64_t i = 0; i < 6; ++i) EXPECT_EQ(back.data<float>()[i], static_cast<float>(i));
  EXPECT_TRUE(device.to(kSim).shares_storage_with(device));
}

TEST(SimTensor, StridedAndConvertingCopies) {
  if (!has_tensor_kernels()) GTEST_SKIP() << kWithoutKernels;
  const Tensor device = Tensor::from<float>({2, 3}, {0, 1, 2, 3, 4, 5}).to(kSim);
  const Tensor turned = device.transpose(0, 1);
  EXPECT_EQ(turned.at(1), 3.0);
  const Tensor copy = turned.to_contiguous();
  EXPECT_TRUE(copy.contiguous());
  EXPECT_EQ(copy.to(Device{}).data<float>()[1], 3.0F);
  EXPECT_EQ(turned.to(Device{}).data<float>()[1], 3.0F);
  EXPECT_EQ(turned.to(DType::i64).to(Device{}).data<int64_t>()[5], 5);
  EXPECT_EQ(turned.to(DType::bf16).at(3), 4.0);
  EXPECT_EQ(device.reshape({3, 2}).transpose(0, 1).reshape({6}).at(1), 2.0);

  const Tensor wide = Tensor::zeros({2, 5}, DType::f64, kSim);
  const Tensor part = wide.slice(1, 1, 4);
  part.copy_from(Tensor::from<float>({2, 3}, {9, 8, 7, 6, 5, 4}));  // from the host, converted, into a slice
  EXPECT_EQ(wide.at(0), 0.0);
  EXPECT_EQ(wide.at(1), 9.0);
  EXPECT_EQ(wide.at(8), 4.0);
  EXPECT_EQ(wide.at(9), 0.0);
  const Tensor host = Tensor::zeros({3, 2}, DType::i32);
  host.copy_from(part.transpose(0, 1));
  EXPECT_EQ(host.data<int32_t>()[1], 6);
}

TEST(SimTensor, FillsCloneAndItem) {
  if (!has_tensor_kernels()) GTEST_SKIP() << kWithoutKernels;
  const Tensor device = Tensor::full({2, 3}, 2.5, DType::f32, kSim);
  const Tensor clone = device.clone();
  device.slice(1, 0, 1).fill(-1);
  EXPECT_EQ(device.at(3), -1.0);
  EXPECT_EQ(device.at(4), 2.5);
  EXPECT_EQ(clone.at(3), 2.5);
  EXPECT_EQ(clone.slice(0, 0, 1).slice(1, 0, 1).item(), 2.5);
  EXPECT_TRUE(std::isnan(Tensor::empty({1}, DType::f32, kSim).item()));
  EXPECT_EQ(Tensor::zeros({0, 3}, DType::f32, kSim).to(Device{}).numel(), 0);
}

TEST(SimTensor, HostPointersAreRefused) {
  const Tensor device = Tensor::zeros({2}, DType::f32, kSim);
  EXPECT_THAT(error_of([&] { device.data<float>(); }), HasSubstr("host access to memory of sim:0"));
  EXPECT_NE(device.view().as<float>(), nullptr);
}

TEST(SimTensor, AHostReadBeforeSynchronizationIsReported) {
  Runtime& sim = runtime(kSim);
  const Tensor device = Tensor::full({4}, 1).to(kSim);
  const Tensor host = Tensor::zeros({4});
  const Tensor slice = host.slice(0, 2, 4);
  sim.copy_to_host(host.slice(0, 0, 2).data<float>(), device.view().data, 8, {});
  EXPECT_THAT(error_of([&] { host.data<float>(); }), HasSubstr("before its stream was synchronized"));
  EXPECT_THROW(host.at(0), Error);
  EXPECT_THROW(host.clone(), Error);
  EXPECT_THROW(host.fill(0), Error);
  EXPECT_THROW(host.to(kSecondSim), Error);
  EXPECT_EQ(slice.at(0), 0.0);  // the other half is the host's
  sim.synchronize({});
  EXPECT_EQ(host.at(0), 1.0);
  EXPECT_EQ(host.at(3), 0.0);
}

TEST(SimTensor, HostMemoryFreedUnderACopyIsReported) {
  Runtime& sim = runtime(kSim);
  const Tensor device = Tensor::full({4}, 1).to(kSim);
  Tensor host = Tensor::zeros({4});
  sim.copy_to_host(host.data<float>(), device.view().data, 16, {});
  host = {};
  const Tensor next = Tensor::full({4}, 5);  // the same memory
  EXPECT_THAT(error_of([&] { sim.synchronize({}); }),
              HasSubstr("the host freed the destination of 'copy_to_host' on stream 0 (16 bytes)"));
  EXPECT_EQ(next.at(0), 5.0);

  host = Tensor::full({4}, 2);
  sim.copy_to_device(device.view().data, host.data<float>(), 16, {});
  host = {};
  EXPECT_THAT(error_of([&] { device.at(0); }),
              HasSubstr("the host freed the source of 'copy_to_device' on stream 0 (16 bytes)"));
  host = Tensor::full({4}, 2);
  EXPECT_EQ(device.at(0), 1.0);
}

TEST(SimTensor, MemoryGoesBackToItsStream) {
  Runtime& sim = runtime(kSim);
  const Stream stream = sim.create_stream();
  const auto live = allocator(kSim).counters().live;
  Tensor tensor;
  {
    const StreamGuard guard(kSim, stream);
    tensor = Tensor::zeros({8}, DType::f32, kSim);
    EXPECT_EQ(allocator(kSim).counters().live, live + 32);
  }
  EXPECT_THROW(tensor.fill(1), Error);  // stream 0 does not wait for it
  tensor = {};                          // freed on its own stream
  EXPECT_EQ(allocator(kSim).counters().live, live);
  sim.synchronize(stream);
  sim.destroy_stream(stream);
}

}  // namespace
}  // namespace medfusion::simulator
