// The simulator's mbarriers and bulk copies: what they bring where a kernel is right, and what they say of
// one that commits a fault.
#include "kernels/gpu/hopper.cuh"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "core/tensor.h"
#include "tests/kernels/simulator/fault_of.h"

namespace medfusion::kernels {
namespace {

using namespace cuda;  // NOLINT(google-build-using-namespace): the vocabulary of device code
using core::Tensor;
using testing::AllOf;
using testing::AnyOf;
using testing::HasSubstr;

constexpr int kLine = 64;  // bf16 in a line of shared memory
constexpr int kBoxRows = 8;
constexpr int kBoxBytes = kBoxRows * 128;

// [samples, rows, columns] of bf16 on the device; element n is n % 251.
struct Source {
  int64_t samples, rows, columns;
  Tensor tensor;
  Source(int64_t s, int64_t r, int64_t c) : samples(s), rows(r), columns(c) {
    const Tensor host = Tensor::empty({s, r, c}, core::DType::bf16);
    for (int64_t i = 0; i < host.numel(); ++i)
      host.data<core::BFloat16>()[i] = core::BFloat16(static_cast<float>(i % 251));
    tensor = host.to(kSim);
    core::runtime(kSim).synchronize({});
  }
  TensorMap map(int64_t box_rows = kBoxRows) const {
    return tensor_map({tensor.view().as<core::BFloat16>(),
                       {columns, rows, samples},
                       {1, columns, rows * columns},
                       box_rows});
  }
  float at(int64_t s, int64_t r, int64_t c) const {
    const bool inside = r >= 0 && r < rows && c >= 0 && c < columns;
    return inside ? static_cast<float>(((s * rows + r) * columns + c) % 251) : 0.0F;
  }
};

struct Arena {
  Shared<core::BFloat16> tile;  // 8 boxes
  Shared<uint64_t> barriers;    // 4
  static constexpr int64_t kBytes = 8 * kBoxBytes + 32;
  Arena() {
    SharedMemory memory;
    tile = memory.take<core::BFloat16>(8 * kBoxRows * kLine, 1024);
    barriers = memory.take<uint64_t>(4, 8);
  }
  // All of them for `count` arrivals, known to all threads.
  void init(int count, bool fence = true, bool sync = true) const {
    if (thread() == 0) {
      for (int i = 0; i < 4; ++i) mbarrier_init(barriers, i, count);
      if (fence) fence_proxy_async();
    }
    if (sync) __syncthreads();
  }
};

TEST(BulkCopy, BringsSwizzledLinesWithZerosOutsideOfTheTensor) {
  const Source source(2, 11, 128);
  const TensorMap map = source.map();
  for (const auto& [column, row, sample] :
       {std::array<int, 3>{0, 0, 0}, {64, 8, 1}, {0, -3, 1}, {64, 40, 0}}) {
    std::vector<float> seen(kBoxRows * kLine);
    EXPECT_EQ(fault_of(32, Arena::kBytes,
                       [&, c0 = column, c1 = row, c2 = sample] {
                         const Arena arena;
                         arena.init(1);
                         if (thread() == 0) {
                           mbarrier_arrive_expect(arena.barriers, 0, kBoxBytes);
                           copy_box_async(arena.tile, 2 * kBoxRows * kLine, arena.barriers, 0, map, c0, c1,
                                          c2);
                         }
                         mbarrier_wait(arena.barriers, 0, 0);
                         if (thread() != 5) return;
                         for (int i = 0; i < kBoxRows * kLine; ++i) {
                           const core::BFloat16 value = arena.tile[2 * kBoxRows * kLine + i];
                           seen[static_cast<size_t>(i)] = static_cast<float>(value);
                         }
                       }),
              "");
    for (int r = 0; r < kBoxRows; ++r) {
      for (int c = 0; c < kLine; ++c) {
        // The piece of 16 bytes, of eight in a line, is exchanged by the number of the line.
        const int place = r * kLine + ((c / 8) ^ r) * 8 + c % 8;
        ASSERT_EQ(seen[static_cast<size_t>(place)], source.at(sample, row + r, column + c)) << r << " " << c;
      }
    }
  }
}

TEST(BulkCopy, ARingOfStagesKeepsItsOrder) {
  const Source source(1, 7 * kBoxRows, kLine);
  const TensorMap map = source.map();
  std::vector<float> seen;
  // Warp 0 brings boxes into two stages, warp 1 reads them.
  EXPECT_EQ(fault_of(64, Arena::kBytes,
                     [&] {
                       const Arena arena;
                       arena.init(1);
                       for (int n = 0; n < 7; ++n) {
                         const int stage = n % 2, parity = n / 2 % 2, at = stage * kBoxRows * kLine;
                         if (thread() == 0) {
                           mbarrier_wait(arena.barriers, 2 + stage, parity ^ 1);
                           mbarrier_arrive_expect(arena.barriers, stage, kBoxBytes);
                           copy_box_async(arena.tile, at, arena.barriers, stage, map, 0, n * kBoxRows, 0);
                         } else if (thread() == 32) {
                           mbarrier_wait(arena.barriers, stage, parity);
                           const core::BFloat16 first = arena.tile[at];
                           seen.push_back(static_cast<float>(first));
                           mbarrier_arrive(arena.barriers, 2 + stage);
                         }
                       }
                     }),
            "");
  ASSERT_EQ(seen.size(), 7U);
  for (int n = 0; n < 7; ++n) EXPECT_EQ(seen[static_cast<size_t>(n)], source.at(0, n * kBoxRows, 0));
}

// One copy by thread 0, with what a test wants to be wrong.
struct Copy {
  int expected = kBoxBytes;
  bool wait = true, fence = true, sync = true;
  int reader = 0, at = 0, copies = 1, parity = 0, arrivals = 1;
};
std::string copy_fault(const Copy& o) {
  const Source source(1, kBoxRows, kLine);
  const TensorMap map = source.map();
  return fault_of(64, Arena::kBytes, [&] {
    const Arena arena;
    arena.init(o.arrivals, o.fence, o.sync);
    if (thread() == 0) {
      mbarrier_arrive_expect(arena.barriers, 0, o.expected);
      for (int n = 0; n < o.copies; ++n)
        copy_box_async(arena.tile, o.at + n * kBoxRows * kLine, arena.barriers, 0, map, 0, 0, 0);
    }
    if (o.wait || thread() != o.reader) mbarrier_wait(arena.barriers, 0, o.parity);
    if (thread() == o.reader) {
      const core::BFloat16 value = arena.tile[o.at + 3];
      EXPECT_FALSE(std::isnan(static_cast<float>(value)));
    }
  });
}

TEST(BulkCopy, ReadingItsTargetWithoutTheWaitIsFound) {
  EXPECT_EQ(copy_fault({}), "");
  // By the thread that started it, by one that others have overtaken, and by one who nobody tells anything.
  for (const int reader : {0, 1, 40}) {
    EXPECT_THAT(copy_fault({.wait = false, .reader = reader}),
                AnyOf(HasSubstr("that an asynchronous copy of thread 0"), HasSubstr("never written"),
                      HasSubstr("without a wait on its mbarrier")))
        << reader;
  }
}

TEST(BulkCopy, AWaitWithTheParityOfTheNextPhaseDoesNotProtect) {
  EXPECT_THAT(copy_fault({.parity = 1}),
              AnyOf(HasSubstr("asynchronous copy of thread 0"), HasSubstr("never written")));
}

TEST(BulkCopy, AWaitThatCannotEndNamesItsMbarrier) {
  EXPECT_THAT(copy_fault({.arrivals = 2}),
              AllOf(HasSubstr("deadlock"), HasSubstr("phase 0 of the mbarrier at byte 8192"),
                    HasSubstr("1 of 2 arrivals are missing")));
}

TEST(BulkCopy, BytesThatDifferFromTheExpectedOnesAreFound) {
  EXPECT_THAT(
      copy_fault({.expected = kBoxBytes + 128}),
      AllOf(HasSubstr("deadlock"), HasSubstr("expect_tx mismatch: 128 bytes are expected that no copy")));
  EXPECT_THAT(copy_fault({.expected = kBoxBytes, .copies = 2}),
              HasSubstr("expect_tx mismatch: copies bring 1024 bytes more than the mbarrier"));
  EXPECT_EQ(copy_fault({.expected = 2 * kBoxBytes, .copies = 2}), "");
  // Bytes that nobody waits for.
  EXPECT_THAT(fault_of(32, Arena::kBytes,
                       [] {
                         const Arena arena;
                         arena.init(1);
                         if (thread() == 0) mbarrier_arrive_expect(arena.barriers, 1, 64);
                       }),
              HasSubstr("expect_tx mismatch: 64 bytes that the mbarrier expects are not brought"));
}

TEST(BulkCopy, AnMbarrierThatCopiesMayNotKnowYetIsFound) {
  EXPECT_THAT(copy_fault({.fence = false}), HasSubstr("is not followed by a fence.proxy.async"));
  EXPECT_THAT(copy_fault({.sync = false}),
              AnyOf(HasSubstr("race"), HasSubstr("no mbarrier was initialized")));
}

TEST(BulkCopy, ATargetOffItsAlignmentOrPlaceIsFound) {
  EXPECT_THAT(copy_fault({.at = 32}), HasSubstr("expected multiples of 128"));
  EXPECT_THAT(copy_fault({.at = 7 * kBoxRows * kLine + kLine}), HasSubstr("out-of-bounds shared access"));
}

TEST(BulkCopy, ACopyThatNobodyWaitsForIsFound) {
  const Source source(1, kBoxRows, kLine);
  const TensorMap map = source.map();
  EXPECT_THAT(fault_of(32, Arena::kBytes,
                       [&] {
                         const Arena arena;
                         arena.init(1);
                         if (thread() != 0) return;
                         mbarrier_arrive_expect(arena.barriers, 0, kBoxBytes);
                         copy_box_async(arena.tile, 0, arena.barriers, 0, map, 0, 0, 0);
                       }),
              HasSubstr("bulk copy that nobody waits for"));
}

TEST(BulkCopy, OverwritingAStageThatIsReadIsFound) {
  const Source source(1, kBoxRows, kLine);
  const TensorMap map = source.map();
  EXPECT_THAT(fault_of(64, Arena::kBytes,
                       [&] {
                         const Arena arena;
                         arena.init(1);
                         for (int n = 0; n < 2; ++n) {
                           if (thread() == 0) {
                             mbarrier_arrive_expect(arena.barriers, 0, kBoxBytes);
                             copy_box_async(arena.tile, 0, arena.barriers, 0, map, 0, 0, 0);
                           }
                           mbarrier_wait(arena.barriers, 0, n);
                           if (thread() == 32) {
                             const core::BFloat16 value = arena.tile[0];
                             EXPECT_EQ(static_cast<float>(value), 0.0F);
                           }
                         }
                       }),
              AnyOf(HasSubstr("race: write to shared memory that thread 32 reads"),
                    HasSubstr("asynchronous copy of thread 0")));
}

TEST(BulkCopy, TensorsThatItCannotTakeAreRefused) {
  const Source source(2, 8, 64);
  core::BFloat16* const data = source.tensor.view().as<core::BFloat16>();
  EXPECT_NO_THROW(tensor_map({data, {64, 8, 2}, {1, 64, 512}, 8}));
  EXPECT_THROW(tensor_map({data + 1, {63, 8, 2}, {1, 64, 512}, 8}), core::Error);  // address
  EXPECT_THROW(tensor_map({data, {60, 8, 2}, {1, 60, 480}, 8}), core::Error);      // stride
  EXPECT_THROW(tensor_map({data, {64, 8, 2}, {1, 64, 0}, 8}), core::Error);
  EXPECT_THROW(tensor_map({data, {64, 0, 2}, {1, 64, 512}, 8}), core::Error);
  EXPECT_THROW(tensor_map({data, {64, 8, 2}, {1, 64, 512}, 257}), core::Error);
  // A map that claims more than the allocation has.
  const TensorMap wide = tensor_map({data, {64, 8, 3}, {1, 64, 512}, 8});
  EXPECT_THAT(fault_of(32, Arena::kBytes,
                       [&] {
                         const Arena arena;
                         arena.init(1);
                         if (thread() == 0) {
                           mbarrier_arrive_expect(arena.barriers, 0, kBoxBytes);
                           copy_box_async(arena.tile, 0, arena.barriers, 0, wide, 0, 0, 2);
                         }
                         mbarrier_wait(arena.barriers, 0, 0);
                       }),
              HasSubstr("outside of the allocation"));
}

TEST(MBarrier, MoreArrivalsThanAPhaseHasAreFound) {
  const Source source(1, kBoxRows, kLine);
  EXPECT_THAT(fault_of(32, Arena::kBytes,
                       [] {
                         const Arena arena;
                         arena.init(1);
                         if (thread() != 0) return;
                         mbarrier_arrive_expect(arena.barriers, 0, kBoxBytes);
                         mbarrier_arrive(arena.barriers, 0);
                       }),
              HasSubstr("in whose phase all 1 have arrived"));
}

TEST(MBarrier, OrdersThoseWhoArriveBeforeThoseWhoWait) {
  const auto exchange = [](bool wait) {
    return fault_of(64, Arena::kBytes, [=] {
      const Arena arena;
      arena.init(32);
      if (thread() < 32) {
        arena.tile[thread()] = core::BFloat16(1.0F);
        mbarrier_arrive(arena.barriers, 0);
      } else {
        if (wait) mbarrier_wait(arena.barriers, 0, 0);
        const core::BFloat16 value = arena.tile[thread() - 32];
        EXPECT_EQ(static_cast<float>(value), 1.0F);
      }
    });
  };
  EXPECT_EQ(exchange(true), "");
  EXPECT_THAT(exchange(false), AnyOf(HasSubstr("race"), HasSubstr("never written")));
}

TEST(NamedBarrier, SomeArriveWithoutWaiting) {
  std::vector<int> order;
  EXPECT_EQ(fault_of(64, Arena::kBytes,
                     [&] {
                       const Arena arena;
                       if (thread() < 32) {
                         arena.tile[thread()] = core::BFloat16(2.0F);
                         arrive_named(1, 64);
                         if (thread() == 0) order.push_back(0);
                       } else {
                         sync_named(1, 64);
                         const core::BFloat16 value = arena.tile[thread() - 32];
                         EXPECT_EQ(static_cast<float>(value), 2.0F);
                       }
                     }),
            "");
  EXPECT_THAT(fault_of(64, 0, [] { thread() < 32 ? arrive_named(1, 64) : sync_named(1, 32); }),
              HasSubstr("others came for"));
}

}  // namespace
}  // namespace medfusion::kernels
