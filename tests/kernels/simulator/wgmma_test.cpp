// The simulator's wgmma and register counts: what it computes where a kernel is right, and what it says of
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
using testing::AllOf;
using testing::AnyOf;
using testing::HasSubstr;

constexpr int kLine = 64;  // bf16 in a line of shared memory

// A factor of 64 rows and a depth of 16 in shared memory (a), and one of 128 rows and a depth of 16 (b), both
// along the depth: lines of 128 bytes, of which the first 32 are used.
struct Factors {
  Shared<core::BFloat16> a, b;
  static constexpr int64_t kBytes = (64 + 128) * 128;
  Factors() {
    SharedMemory memory;
    a = memory.take<core::BFloat16>(64 * kLine, 1024);
    b = memory.take<core::BFloat16>(128 * kLine, 1024);
  }
  static float a_of(int row, int k) { return static_cast<float>((row * 3 + k * 5) % 7 - 3); }
  static float b_of(int column, int k) { return static_cast<float>((column * 2 + k * 3) % 5 - 2); }
  static int place(int row, int k) { return row * kLine + ((k / 8) ^ (row % 8)) * 8 + k % 8; }
  void fill(bool fence = true, bool sync = true) const {
    for (int row = thread(); row < 128; row += 128) {
      for (int k = 0; k < 16; ++k) {
        if (row < 64) a[place(row, k)] = core::BFloat16(a_of(row, k));
        b[place(row, k)] = core::BFloat16(b_of(row, k));
      }
    }
    if (fence) fence_proxy_async();
    if (sync) __syncthreads();
  }
  uint64_t a_descriptor(int line = 0) const {
    return matrix_descriptor(shared_address(a, line * kLine), 0, 1024);
  }
  uint64_t b_descriptor() const { return matrix_descriptor(shared_address(b, 0), 0, 1024); }
  static float product(int row, int column) {
    float sum = 0.0F;
    for (int k = 0; k < 16; ++k) sum += a_of(row, k) * b_of(column, k);
    return sum;
  }
};

template <class Kernel>
std::string wgmma_fault(const Kernel& kernel) {
  return fault_of(128, Factors::kBytes, [&] {
    const Factors factors;
    float d[16][4] = {};
    kernel(factors, d);
  });
}

TEST(Wgmma, SumsAppearAtTheWait) {
  std::vector<float> result(64 * 128);
  EXPECT_EQ(wgmma_fault([&](const Factors& f, float(&d)[16][4]) {
              f.fill();
              for (auto& row : d) std::fill(row, row + 4, 1.0F);
              wgmma_fence();
              wgmma_64x128x16(d, f.a_descriptor(), f.b_descriptor(), true);
              wgmma_64x128x16(d, f.a_descriptor(), f.b_descriptor(), true);
              wgmma_commit();
              for (const auto& row : d) {
                for (const float value : row) EXPECT_TRUE(std::isnan(value));
              }
              wgmma_wait<0>();
              const int lane = thread() % 32;
              for (int j = 0; j < 16; ++j) {
                for (int e = 0; e < 4; ++e) {
                  const int row = thread() / 32 * 16 + lane / 4 + e / 2 * 8,
                            column = 8 * j + lane % 4 * 2 + e % 2;
                  result[static_cast<size_t>(row * 128 + column)] = d[j][e];
                }
              }
            }),
            "");
  for (int row = 0; row < 64; ++row) {
    for (int column = 0; column < 128; ++column) {
      ASSERT_EQ(result[static_cast<size_t>(row * 128 + column)], 1.0F + 2.0F * Factors::product(row, column))
          << row << " " << column;
    }
  }
}

TEST(Wgmma, WritingSumsBeforeTheWaitIsFound) {
  EXPECT_THAT(wgmma_fault([](const Factors& f, float(&d)[16][4]) {
                f.fill();
                wgmma_fence();
                wgmma_64x128x16(d, f.a_descriptor(), f.b_descriptor(), false);
                wgmma_commit();
                d[3][1] *= 2.0F;
                wgmma_wait<0>();
              }),
              AllOf(HasSubstr("the sums of the wgmma of line"), HasSubstr("were written before its wait")));
}

TEST(Wgmma, AWaitThatLeavesTheGroupGivesNoSums) {
  float seen = 0.0F;
  EXPECT_THAT(wgmma_fault([&](const Factors& f, float(&d)[16][4]) {
                f.fill();
                wgmma_fence();
                wgmma_64x128x16(d, f.a_descriptor(), f.b_descriptor(), false);
                wgmma_commit();
                wgmma_wait<1>();
                seen = d[0][0];
              }),
              HasSubstr("wgmma that is not waited for"));
  EXPECT_TRUE(std::isnan(seen));
}

TEST(Wgmma, OverwritingAFactorBeforeTheWaitIsFound) {
  const auto overwrite = [](bool after) {
    return wgmma_fault([=](const Factors& f, float(&d)[16][4]) {
      f.fill();
      wgmma_fence();
      wgmma_64x128x16(d, f.a_descriptor(), f.b_descriptor(), false);
      wgmma_commit();
      if (after) {
        wgmma_wait<0>();
        __syncthreads();
      }
      if (thread() == 77) f.b[5] = core::BFloat16(0.0F);
      if (!after) wgmma_wait<0>();
    });
  };
  EXPECT_EQ(overwrite(true), "");
  EXPECT_THAT(overwrite(false), AnyOf(HasSubstr("that a wgmma of thread"), HasSubstr("race")));
}

TEST(Wgmma, AFactorInRegistersMustStayToo) {
  const auto change = [](bool before_wait) {
    return fault_of(128, Factors::kBytes, [=] {
      const Factors f;
      for (int k = 16; k < kLine; ++k) f.b[Factors::place(thread(), k)] = core::BFloat16(0.0F);
      f.fill();
      float d[8][4] = {};
      uint32_t a[4] = {1, 2, 3, 4};
      wgmma_fence();
      wgmma_64x64x16(d, a, f.b_descriptor());
      wgmma_commit();
      if (before_wait) a[2] = 0;
      wgmma_wait<0>();
      a[2] = 0;
    });
  };
  EXPECT_EQ(change(false), "");
  EXPECT_THAT(change(true), HasSubstr("registers of the left factor"));
}

TEST(Wgmma, FactorsThatThreadsWroteMustBeFencedAndOrdered) {
  const auto run = [](bool fence, bool sync) {
    return wgmma_fault([=](const Factors& f, float(&d)[16][4]) {
      f.fill(fence, sync);
      wgmma_fence();
      wgmma_64x128x16(d, f.a_descriptor(), f.b_descriptor(), false);
      wgmma_commit();
      wgmma_wait<0>();
    });
  };
  EXPECT_THAT(run(false, true), HasSubstr("without a fence.proxy.async"));
  EXPECT_THAT(run(true, false), AnyOf(HasSubstr("race"), HasSubstr("never written")));
}

TEST(Wgmma, AMissingFenceOfRegistersIsFound) {
  EXPECT_THAT(wgmma_fault([](const Factors& f, float(&d)[16][4]) {
                f.fill();
                for (int n = 0; n < 2; ++n) {
                  if (n == 0) wgmma_fence();
                  wgmma_64x128x16(d, f.a_descriptor(), f.b_descriptor(), true);
                  wgmma_commit();
                  wgmma_wait<0>();
                  d[0][0] += 1.0F;
                }
              }),
              HasSubstr("without a wgmma.fence"));
}

TEST(Wgmma, WrongDescriptorsAreFound) {
  const auto run = [](const auto& descriptor) {
    return wgmma_fault([&](const Factors& f, float(&d)[16][4]) {
      f.fill();
      wgmma_fence();
      wgmma_64x128x16(d, descriptor(f), f.b_descriptor(), false);
      wgmma_commit();
      wgmma_wait<0>();
    });
  };
  EXPECT_EQ(run([](const Factors& f) { return f.a_descriptor(); }), "");
  // Half a pattern on.
  EXPECT_THAT(run([](const Factors& f) { return f.a_descriptor(4); }),
              AllOf(HasSubstr("descriptor of the left factor is misaligned"), HasSubstr("4 lines")));
  // Without the swizzle that the data lies in.
  EXPECT_THAT(run([](const Factors& f) { return f.a_descriptor() & ~(uint64_t{3} << 62); }),
              HasSubstr("swizzle mode 0"));
  EXPECT_THAT(run([](const Factors& f) { return matrix_descriptor(shared_address(f.a, 0), 0, 4096); }),
              HasSubstr("of shared memory, which has"));
  // A stride that leaves lines out reads what nobody wrote, or what it should not.
  EXPECT_THAT(run([](const Factors& f) { return matrix_descriptor(shared_address(f.a, 16), 0, 1024); }),
              HasSubstr("never written"));
}

TEST(Wgmma, AWarpThatDoesNotComeIsFound) {
  EXPECT_THAT(wgmma_fault([](const Factors& f, float(&d)[16][4]) {
                f.fill();
                if (thread() >= 96) return;
                wgmma_fence();
                wgmma_64x128x16(d, f.a_descriptor(), f.b_descriptor(), false);
                wgmma_commit();
                wgmma_wait<0>();
              }),
              HasSubstr("deadlock"));
  EXPECT_THAT(wgmma_fault([](const Factors& f, float(&d)[16][4]) {
                f.fill();
                wgmma_fence();
                wgmma_64x128x16(d, f.a_descriptor(), f.b_descriptor(), thread() < 64);
                wgmma_commit();
                wgmma_wait<0>();
              }),
              HasSubstr("wgmma mismatch"));
  EXPECT_THAT(fault_of(64, Factors::kBytes,
                       [] {
                         float d[16][4] = {};
                         const Factors f;
                         wgmma_fence();
                         wgmma_64x128x16(d, f.a_descriptor(), f.b_descriptor(), false);
                       }),
              HasSubstr("needs four whole warps"));
}

TEST(Registers, OfWarpgroupsMustAddUp) {
  const auto run = [](const auto& change) { return fault_of(384, 0, [&] { change(thread() / 128); }); };
  EXPECT_EQ(run([](int group) { group == 0 ? fewer_registers<24>() : more_registers<240>(); }), "");
  EXPECT_THAT(run([](int group) { group == 0 ? fewer_registers<32>() : more_registers<240>(); }),
              HasSubstr("setmaxnreg.inc waits for ever"));
  EXPECT_THAT(run([](int group) { group == 0 ? fewer_registers<28>() : more_registers<240>(); }),
              HasSubstr("in steps of 8"));
  EXPECT_THAT(run([](int group) { group == 0 ? fewer_registers<16>() : more_registers<240>(); }),
              HasSubstr("expected 24 to 256"));
  EXPECT_THAT(run([](int group) {
                if (group == 0) more_registers<24>();
              }),
              HasSubstr("setmaxnreg.inc to 24 registers, from 168"));
  EXPECT_THAT(run([](int) {
                if (thread() < 96) fewer_registers<24>();
              }),
              HasSubstr("96 threads of the warpgroup's 128 came"));
}

}  // namespace
}  // namespace medfusion::kernels
