// Each detector of the simulator, shown a kernel that commits its fault, and the same kernel without it.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "core/tensor.h"
#include "kernels/gpu/device.cuh"
#include "kernels/gpu/intrinsics.cuh"
#include "kernels/gpu/reduce.cuh"
#include "kernels/simulator/device_type.h"
#include "tests/kernels/simulator/fault_of.h"

namespace medfusion::kernels {
namespace {

using core::Tensor;
using cuda::Global;
using cuda::load;
using cuda::Shared;
using cuda::SharedMemory;
using testing::AllOf;
using testing::AnyOf;
using testing::HasSubstr;

// Restores the seed of the simulator.
class Simulator : public testing::Test {
 protected:
  void TearDown() override { simulator::set_sim_seed(before_); }
  uint64_t before_ = simulator::sim_seed();
};

TEST_F(Simulator, ARunReachesEveryThreadOfEveryBlockOnce) {
  std::multiset<int> seen;
  simulator::run("all", {3, 2, 2}, {4, 3, 2}, 0, [&] {
    const dim3 b = blockIdx, t = threadIdx, g = gridDim, d = blockDim;
    const auto block = (b.z * g.y + b.y) * g.x + b.x;
    seen.insert(static_cast<int>(block * 24 + (t.z * d.y + t.y) * d.x + t.x));
  });
  ASSERT_EQ(seen.size(), 12U * 24U);
  EXPECT_EQ(std::set<int>(seen.begin(), seen.end()).size(), seen.size());
}

// What memory a launch uses is known by copying its arguments, however deep the pointers lie in them.
TEST_F(Simulator, EveryPointerInALaunchsArgumentsIsNoted) {
  const core::Device sim{simulator::kDeviceType, 0};
  const Tensor read = Tensor::empty({4}, core::DType::f32, sim),
               written = Tensor::empty({4}, core::DType::f32, sim);
  struct Inner {
    int size;
    Global<const float> from[2];
  };
  struct Outer {
    Inner inner;
    Global<float> to;
  };
  const Outer outer{{4, {read.view().as<float>(), nullptr}}, written.view().as<float>()};
  std::vector<core::Access> accesses;
  {
    simulator::CopiedGlobals copied;
    [[maybe_unused]] const Outer copy = outer;
    accesses = copied.accesses;
  }
  ASSERT_EQ(accesses.size(), 2U);
  EXPECT_EQ(accesses[0].data, read.view().data);
  EXPECT_FALSE(accesses[0].written);
  EXPECT_EQ(accesses[1].data, written.view().data);
  EXPECT_TRUE(accesses[1].written);
}

TEST_F(Simulator, TheOrderOfThreadsFollowsTheSeed) {
  const auto order = [](uint64_t seed) {
    simulator::set_sim_seed(seed);
    std::vector<int> result;
    simulator::run("order", {4}, {64}, 0, [&] { result.push_back(thread()); });
    return result;
  };
  EXPECT_EQ(order(1), order(1));
  EXPECT_NE(order(1), order(2));
}

TEST_F(Simulator, BarriersMakeWritesVisible) {
  std::vector<float> result(64);
  EXPECT_EQ(fault_of(64, 256,
                     [&] {
                       SharedMemory memory;
                       const auto tile = memory.take<float>(64);
                       tile[thread()] = static_cast<float>(thread());
                       __syncthreads();
                       result[static_cast<size_t>(thread())] = tile[63 - thread()];
                       __syncthreads();
                       tile[63 - thread()] = 0.0F;
                     }),
            "");
  for (int i = 0; i < 64; ++i) EXPECT_EQ(result[static_cast<size_t>(i)], static_cast<float>(63 - i));
}

TEST_F(Simulator, AMissingBarrierIsARace) {
  const auto race = [](bool read_first) {
    return fault_of(64, 256, [=] {
      SharedMemory memory;
      const auto tile = memory.take<float>(64);
      tile[thread()] = 1.0F;
      __syncthreads();
      if (read_first) {
        const float other = tile[63 - thread()];
        tile[thread()] = other;  // somebody may not have read it yet
      } else {
        tile[thread()] = 2.0F;
        const float other = tile[63 - thread()];
        EXPECT_GT(other, 0.0F);
      }
    });
  };
  EXPECT_THAT(race(false), AllOf(HasSubstr("faulty: block (0,0,0) thread ("),
                                 HasSubstr("simulator_test.cpp:"), HasSubstr("race: "),
                                 HasSubstr("without a barrier between"), HasSubstr("[MEDFUSION_SIM_SEED=")));
  EXPECT_THAT(race(true), HasSubstr("race: "));
}

TEST_F(Simulator, TwoThreadsThatWriteOneElementRace) {
  EXPECT_THAT(fault_of(2, 4,
                       [] {
                         SharedMemory memory;
                         const auto one = memory.take<float>(1);
                         one[0] = 1.0F;
                       }),
              HasSubstr("race: write to shared memory that thread"));
}

TEST_F(Simulator, WarpSynchronizationOrdersItsWarpOnly) {
  const auto exchange = [](int threads, int distance) {
    return fault_of(threads, threads * 4, [=] {
      SharedMemory memory;
      const auto tile = memory.take<float>(threads);
      tile[thread()] = 1.0F;
      __syncwarp();
      const float other = tile[(thread() + distance) % threads];
      EXPECT_EQ(other, 1.0F);
    });
  };
  EXPECT_EQ(exchange(32, 1), "");
  EXPECT_THAT(exchange(64, 32), AnyOf(HasSubstr("race: "), HasSubstr("never written")));
}

// What a shuffle, a vote or a sum brings together is values: the stores before it may still be under way.
TEST_F(Simulator, AShuffleOrdersNoMemory) {
  const auto exchange = [](bool store_first, bool synchronize) {
    return fault_of(32, 128, [=] {
      SharedMemory memory;
      const auto tile = memory.take<float>(32);
      tile[thread()] = 1.0F;
      if (!store_first) {
        __syncwarp();
        const float before = tile[(thread() + 1) % 32];
        EXPECT_EQ(before, 1.0F);
      }
      __shfl_xor_sync(0xffffffffU, thread(), 1);
      __ballot_sync(0xffffffffU, 1);
      if (synchronize) __syncwarp();
      if (store_first) {
        const float other = tile[(thread() + 1) % 32];
        EXPECT_EQ(other, 1.0F);
      } else {
        tile[thread()] = 2.0F;
      }
    });
  };
  EXPECT_THAT(exchange(true, false), HasSubstr("race: read of shared memory that thread"));
  EXPECT_THAT(exchange(false, false), HasSubstr("race: write to shared memory that thread"));
  EXPECT_EQ(exchange(true, true), "");
  EXPECT_EQ(exchange(false, true), "");
}

// The lane that names a row reads it, for those that get its elements: they may not write these, either.
TEST_F(Simulator, LdmatrixReadsForOtherLanes) {
  const auto replace = [](bool synchronize) {
    return fault_of(32, 512, [=] {
      SharedMemory memory;
      const auto tile = memory.take<core::BFloat16>(256);
      for (int i = 0; i < 8; ++i) tile[8 * thread() + i] = core::BFloat16(1.0F);
      __syncwarp();
      uint32_t words[4];
      cuda::load_matrices(words, tile, 8 * thread());
      EXPECT_EQ(cuda::low_bf16(words[0]), 1.0F);
      if (synchronize) __syncwarp();
      tile[thread() / 4 * 8 + thread() % 4 * 2] = core::BFloat16(2.0F);  // what this lane got of the first
    });
  };
  EXPECT_THAT(replace(false), HasSubstr("race: "));
  EXPECT_EQ(replace(true), "");
}

TEST_F(Simulator, AReaderIsNotForgottenForLaterOnes) {
  const auto read_and_write = [](int first_that_meets) {
    return fault_of(160, 4, [=] {
      SharedMemory memory;
      const auto one = memory.take<float>(1);
      if (thread() == 0) one[0] = 7.0F;
      __syncthreads();
      const int warp = thread() / 32;
      if (thread() % 32 == 0 && warp < 4) {
        const float value = one[0];
        EXPECT_EQ(value, 7.0F);
      }
      if (warp >= first_that_meets) {
        simulator::Block::current().sync_named(1, 160 - 32 * first_that_meets, simulator::Site::current());
      }
      if (thread() == 128) one[0] = 8.0F;
    });
  };
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    simulator::set_sim_seed(seed);
    EXPECT_EQ(read_and_write(0), "") << seed;
    EXPECT_THAT(read_and_write(1), HasSubstr("race: ")) << seed;
  }
}

TEST_F(Simulator, ReadsOfUnwrittenSharedMemoryAreFound) {
  EXPECT_THAT(fault_of(1, 8,
                       [] {
                         SharedMemory memory;
                         const auto tile = memory.take<float>(2);
                         tile[0] = 1.0F;
                         const float value = tile[1];
                         EXPECT_EQ(value, value);
                       }),
              HasSubstr("read of shared memory never written"));
}

TEST_F(Simulator, SharedMemoryOfAnEarlierBlockIsNotWritten) {
  bool first = true;
  EXPECT_THROW(simulator::run("blocks", {2}, {1}, 4,
                              [&] {
                                SharedMemory memory;
                                const auto tile = memory.take<float>(1);
                                if (std::exchange(first, false)) tile[0] = 1.0F;
                                const float value = tile[0];
                                EXPECT_EQ(value, 1.0F);
                              }),
               core::Error);
}

TEST_F(Simulator, SharedAccessesOutOfBoundsAreFound) {
  const auto at = [](int index) {
    return fault_of(1, 64, [=] {
      SharedMemory memory;
      memory.take<float>(4);
      const auto tile = memory.take<float>(4);
      tile[index] = 1.0F;
    });
  };
  EXPECT_EQ(at(3), "");
  EXPECT_THAT(at(4), HasSubstr("out-of-bounds shared access: element 4"));
  EXPECT_THAT(at(-1), HasSubstr("out-of-bounds shared access: element -1"));
}

TEST_F(Simulator, MoreSharedMemoryThanTheLaunchGaveIsFound) {
  EXPECT_THAT(fault_of(1, 64,
                       [] {
                         SharedMemory memory;
                         memory.take<float>(17);
                       }),
              HasSubstr("takes 68 bytes of shared memory, the launch gave 64"));
}

TEST_F(Simulator, GlobalAccessesOutOfBoundsAreFound) {
  const Tensor tensor = Tensor::zeros({5}, core::DType::f32, kSim);
  core::runtime(kSim).synchronize({});
  const Global<float> x(tensor.view().as<float>());
  const auto at = [&](int index) { return fault_of(1, 0, [=] { x[index] = 1.0F; }); };
  EXPECT_EQ(at(4), "");
  EXPECT_THAT(at(5),
              AllOf(HasSubstr("out-of-bounds global access: index 5"), HasSubstr("of an allocation of 20")));
  EXPECT_THAT(at(-1), HasSubstr("out-of-bounds global access: index -1"));
  EXPECT_THAT(fault_of(1, 0, [=] { load<4>(x, 2); }), HasSubstr("out-of-bounds global access"));
  EXPECT_THAT(fault_of(1, 0, [=] { load<2>(x, 1); }), HasSubstr("misaligned global access of 8 bytes"));
  EXPECT_THAT(fault_of(1, 0, [] { Global<float>()[0] = 1.0F; }), HasSubstr("null pointer"));
}

// Thread (3,1,0) of block (1,2,0) of `planted` commits a fault on the line before `line`.
template <class Kernel>
void expect_place(int line, const std::string& what, const Kernel& kernel) {
  try {
    simulator::run("planted", {2, 3}, {4, 2}, 64, [&] {
      const dim3 b = blockIdx, t = threadIdx;
      kernel(b.x == 1 && b.y == 2 && t.x == 3 && t.y == 1);
    });
    ADD_FAILURE() << what << " is not found";
  } catch (const core::Error& error) {
    EXPECT_THAT(
        error.what(),
        testing::StartsWith(fmt::format(
            "planted: block (1,2,0) thread (3,1,0) at tests/kernels/simulator/simulator_test.cpp:{}: {}",
            line - 1, what)));
  }
}

TEST_F(Simulator, AFaultNamesKernelBlockThreadFileAndLine) {
  const Tensor tensor = Tensor::zeros({5}, core::DType::f32, kSim);
  core::runtime(kSim).synchronize({});
  const Global<float> x(tensor.view().as<float>());
  const auto global = [=](bool guilty) { x[guilty ? 5 : 4] = 1.0F; };
  expect_place(__LINE__, "out-of-bounds global access", global);
  const auto vector = [=](bool guilty) { load<2>(x, guilty ? 1 : 2); };
  expect_place(__LINE__, "misaligned global access", vector);
  const auto tile = [] { return SharedMemory().take<float>(16); };
  const auto own = [] { return static_cast<int>(threadIdx.y * 4 + threadIdx.x); };
  const auto shared = [=](bool guilty) { tile()[guilty ? 16 : own()] = 1.0F; };
  expect_place(__LINE__, "out-of-bounds shared access", shared);
  const auto pair = [=](bool guilty) { cuda::store<2>(tile(), guilty ? 1 : 2 * own(), {}); };
  expect_place(__LINE__, "misaligned shared access", pair);
  const auto unwritten = [=](bool guilty) { EXPECT_FALSE(guilty && tile()[0] > 0.0F); };
  expect_place(__LINE__, "read of shared memory never written", unwritten);
  const auto mask = [](bool guilty) { __syncwarp(guilty ? 0x1U : 0xffU); };
  expect_place(__LINE__, "__syncwarp: mask 0x00000001 leaves out the calling lane 7", mask);
}

TEST_F(Simulator, AHostPointerIsNoArgumentOfAKernel) {
  float host = 0.0F;
  EXPECT_THROW(Global<float>{&host}, core::Error);
}

TEST_F(Simulator, DivergentBarriersAreFound) {
  EXPECT_THAT(fault_of(64, 0,
                       [] {
                         if (thread() < 40) __syncthreads();
                       }),
              AllOf(HasSubstr("divergent __syncthreads"), HasSubstr("has left the kernel")));
  const auto two_barriers = [] {  // outside of the macro, which would put both on one line
    if (thread() < 40) {
      __syncthreads();
    } else {
      __syncthreads();
    }
  };
  EXPECT_THAT(fault_of(64, 0, two_barriers),
              AllOf(HasSubstr("divergent __syncthreads"), HasSubstr("waits at another one")));
}

TEST_F(Simulator, WarpCollectivesExchangeValues) {
  std::vector<int> result(70, -1);
  EXPECT_EQ(fault_of(64, 0,
                     [&] {
                       int sum = cuda::warp_sum(thread());
                       sum += __shfl_sync(0xffffffffU, thread(), 3) * 10000;
                       if (thread() % 2 == 0)
                         sum += static_cast<int>(__ballot_sync(0x55555555U, thread() < 4)) * 1000000;
                       result[static_cast<size_t>(thread())] = sum;
                     }),
            "");
  EXPECT_EQ(result[0], 31 * 16 + 3 * 10000 + 5 * 1000000);
  EXPECT_EQ(result[33], (32 + 63) * 16 + 35 * 10000);
}

TEST_F(Simulator, MasksThatDisagreeAreFound) {
  EXPECT_THAT(fault_of(32, 0, [] { __shfl_sync(thread() < 16 ? 0xffffffffU : 0xffff0000U, 1, 0); }),
              AnyOf(HasSubstr("mask mismatch"), HasSubstr("which mask 0x")));
  EXPECT_THAT(fault_of(32, 0,
                       [] {
                         if (thread() < 16) {
                           __syncwarp();
                         } else {
                           __any_sync(0xffffffffU, 1);
                         }
                       }),
              HasSubstr("mask mismatch"));
  EXPECT_THAT(fault_of(32, 0, [] { __syncwarp(0x0000ffffU); }), HasSubstr("leaves out the calling lane"));
  EXPECT_THAT(fault_of(32, 0,
                       [] {
                         if (thread() != 7) __syncwarp();
                       }),
              HasSubstr("left the kernel"));
  EXPECT_THAT(fault_of(16, 0, [] { __syncwarp(); }), HasSubstr("names lane 16"));
}

TEST_F(Simulator, ADeadlockIsReported) {
  EXPECT_THAT(fault_of(96, 0,
                       [] {
                         if (thread() < 64) {
                           simulator::Block::current().sync_named(1, 96, simulator::Site::current());
                         } else {
                           simulator::Block::current().sync_named(2, 64, simulator::Site::current());
                         }
                       }),
              HasSubstr("deadlock"));
}

TEST_F(Simulator, NamedBarriersOrderThoseWhoMeet) {
  const auto meet = [](int readers_meet) {
    return fault_of(96, 4, [=] {
      SharedMemory memory;
      const auto one = memory.take<float>(1);
      const int warp = thread() / 32;
      if (thread() == 0) one[0] = 7.0F;
      if (warp <= readers_meet) {
        simulator::Block::current().sync_named(1, 32 * (readers_meet + 1), simulator::Site::current());
      }
      if (thread() == 64) {
        const float value = one[0];
        EXPECT_EQ(value, 7.0F);
      }
    });
  };
  EXPECT_EQ(meet(2), "");
  EXPECT_THAT(meet(1), AnyOf(HasSubstr("race"), HasSubstr("never written")));
}

TEST_F(Simulator, AsynchronousCopiesArriveAtTheirWait) {
  const Tensor source = Tensor::zeros({4}, core::DType::f32, kSim);
  core::runtime(kSim).synchronize({});
  const float* global = source.view().as<float>();
  const auto copy = [&](bool wait) {
    return fault_of(1, 16, [=] {
      SharedMemory memory;
      const auto tile = memory.take<float>(4);
      simulator::Block& block = simulator::Block::current();
      block.copy_async(tile.pointer(), global, 16, simulator::Site::current());
      block.copy_async_commit();
      if (wait) block.copy_async_wait(0, simulator::Site::current());
      const float value = tile[2];
      EXPECT_EQ(value, 0.0F);
    });
  };
  EXPECT_EQ(copy(true), "");
  EXPECT_THAT(copy(false), HasSubstr("that an asynchronous copy of thread 0"));
}

TEST_F(Simulator, AnErrorOfTheKernelNamesItAndLeavesTheSimulatorUsable) {
  std::string message;
  const int line = __LINE__ + 2;
  try {
    simulator::run("checks", {1}, {64}, 0, [] { MEDFUSION_CHECK(thread() != 5, "five"); });
  } catch (const core::Error& error) {
    message = error.what();
  }
  EXPECT_EQ(message,
            fmt::format("checks: block (0,0,0) thread (5,0,0): five (check `thread() != 5` failed at "
                        "tests/kernels/simulator/simulator_test.cpp:{}) [MEDFUSION_SIM_SEED={}]",
                        line, simulator::sim_seed()));
  EXPECT_EQ(fault_of(64, 0, [] { __syncthreads(); }), "");
}

TEST_F(Simulator, LaunchesOutsideTheLimitsAreRefused) {
  EXPECT_THROW(simulator::run("large", {1}, {1025}, 0, [] {}), core::Error);
  EXPECT_THROW(simulator::run("large", {1}, {1}, 228 * 1024, [] {}), core::Error);
  EXPECT_THROW(simulator::run("large", {1, 65536}, {1}, 0, [] {}), core::Error);
}

}  // namespace
}  // namespace medfusion::kernels
