// The PTX of Hopper (compute capability 9.0, feature set sm_90a) beneath the tiles of warpgroup_tile.cuh:
// mbarriers, bulk tensor copies, wgmma. Each with its counterpart for the simulator.
#pragma once

#include "kernels/gpu/intrinsics.cuh"
#include "kernels/gpu/tensor_map.h"

#ifdef __CUDACC__
#include <cuda.h>  // CUtensorMap
#else
#include "kernels/simulator/tensor_map.h"
#include "kernels/simulator/wgmma.h"
#endif

namespace medfusion::kernels::cuda {
inline namespace MEDFUSION_GPU {

constexpr int kWarpgroup = 128;

// Where a kernel waits, for whoever reports that it waits in vain. Helpers pass on the place of their caller.
#ifndef __CUDACC__
using simulator::Site;
#elif defined(MEDFUSION_WATCHDOG)
struct Site {
  const char *file, *function;
  unsigned line;
  static __device__ constexpr Site current(const char* file = __builtin_FILE(),
                                           const char* function = __builtin_FUNCTION(),
                                           unsigned line = __builtin_LINE()) {
    return {file, function, line};
  }
};
#else
struct Site {  // nobody reports
  static __device__ constexpr Site current() { return {}; }
};
#endif

// A tensor in global memory as bulk copies take it. A kernel gets it as `const __grid_constant__ TensorMap`.
#ifdef __CUDACC__
using TensorMap = CUtensorMap;
inline TensorMap tensor_map(const TensorBoxes& boxes) {
  check_tensor_boxes(boxes);
  TensorMap map;
  encode_tensor_map(boxes, &map);
  return map;
}
#else
using simulator::TensorMap;
inline TensorMap tensor_map(const TensorBoxes& boxes) {
  check_tensor_boxes(boxes);
  return {
      boxes.data, boxes.sizes, {2, 2 * boxes.strides[1], 2 * boxes.strides[2]}, {kBoxColumns, boxes.rows, 1}};
}
#endif

// The 32-bit address of x[i] in shared memory.
#ifdef __CUDACC__
template <class T>
__device__ __forceinline__ uint32_t shared_address(Shared<T> x, At i) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(x + i));
}
#else
template <class T>
uint32_t shared_address(const Shared<T>& x, At i) {
  const auto* at = reinterpret_cast<const char*>(x.check(i, 1));
  return static_cast<uint32_t>(at - simulator::Block::current().shared());
}
#endif

// Eight elements of 16 bits in one access: where nvcc makes several of store<8>.
#ifdef __CUDACC__
__device__ __forceinline__ void store_16(Global<BFloat16> y, At i, const Vector<BFloat16, 8>& value) {
  const auto word = [&](int n) { return value[2 * n].bits | uint32_t{value[2 * n + 1].bits} << 16; };
  asm volatile("st.global.v4.b32 [%0], {%1, %2, %3, %4};" ::"l"(__cvta_generic_to_global(y + i)),
               "r"(word(0)), "r"(word(1)), "r"(word(2)), "r"(word(3))
               : "memory");
}
#else
inline void store_16(const Global<BFloat16>& y, At i, const Vector<BFloat16, 8>& value) {
  store<8>(y, i, value);
}
#endif

// mbarriers: x[i] counts the arrivals of a phase, and the bytes that copies bring in it. Phases end in turn
// and have parity 0, 1, 0, ...
#ifdef __CUDACC__
__device__ __forceinline__ void mbarrier_init(Shared<uint64_t> x, At i, int count) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(x, i)), "r"(count) : "memory");
}
__device__ __forceinline__ void mbarrier_arrive(Shared<uint64_t> x, At i) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(x, i)) : "memory");
}
// Arrives and expects `bytes` more of copies in this phase.
__device__ __forceinline__ void mbarrier_arrive_expect(Shared<uint64_t> x, At i, int bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(x, i)),
               "r"(bytes)
               : "memory");
}
// Waits for the end of the phase of that parity; passes where it is the one before the current phase.
#ifndef MEDFUSION_WATCHDOG
__device__ __forceinline__ void mbarrier_wait(Shared<uint64_t> x, At i, int parity, Site = Site::current()) {
  uint32_t done = 0;
  do {
    asm volatile("{.reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2; selp.b32 %0, 1, 0, p;}"
                 : "=r"(done)
                 : "r"(shared_address(x, i)), "r"(parity)
                 : "memory");
  } while (done == 0);
}
#else
// After so many polls a wait counts as one without end. A poll asks shared memory once, some 40 cycles:
// at 1.8 GHz all of them take about 1.5 s (an estimate, not measured). A wait that ends takes microseconds.
constexpr uint32_t kMostPolls = uint32_t{1} << 26;
// test_wait, since try_wait may suspend the thread for a time that nobody states. __assert_fail, since what
// it says is printed by the driver; the output of printf is lost in a trap.
__device__ __forceinline__ void mbarrier_wait(Shared<uint64_t> x, At i, int parity,
                                              Site site = Site::current()) {
#pragma unroll 1
  for (uint32_t polls = 0; polls < kMostPolls; ++polls) {
    uint32_t done = 0;
    asm volatile(
        "{.reg .pred p; mbarrier.test_wait.parity.shared::cta.b64 p, [%1], %2; selp.b32 %0, 1, 0, p;}"
        : "=r"(done)
        : "r"(shared_address(x, i)), "r"(parity)
        : "memory");
    if (done != 0) return;
  }
#ifdef __CUDA_ARCH__  // with NDEBUG only device code has it
  __assert_fail("the phase of an mbarrier ends", site.file, site.line, site.function);
  __builtin_unreachable();
#endif
}
#endif
// Bulk copies and wgmma see what this thread wrote to shared memory before it, mbarriers included.
__device__ __forceinline__ void fence_proxy_async() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}
#else
inline void mbarrier_init(const Shared<uint64_t>& x, At i, int count) {
  simulator::Block::current().mbarrier_init(x.check(i, 1), count, i.site);
}
inline void mbarrier_arrive(const Shared<uint64_t>& x, At i) {
  simulator::Block::current().mbarrier_arrive(x.check(i, 1), 0, i.site);
}
inline void mbarrier_arrive_expect(const Shared<uint64_t>& x, At i, int bytes) {
  simulator::Block::current().mbarrier_arrive(x.check(i, 1), bytes, i.site);
}
inline void mbarrier_wait(const Shared<uint64_t>& x, At i, int parity, Site site = Site::current()) {
  simulator::Block::current().mbarrier_wait(x.check(i, 1), static_cast<unsigned>(parity), site);
}
inline void fence_proxy_async() { simulator::Block::current().proxy_fence(); }
#endif

// One thread: starts the copy of the map's box from element (c0, c1, c2) on, the innermost first, to to[i]
// and what follows, 128 aligned bytes per row, under the 128-byte swizzle; zeros outside of the tensor. All
// bytes of the box count at barrier[j] when they are there.
#ifdef __CUDACC__
__device__ __forceinline__ void copy_box_async(Shared<BFloat16> to, At i, Shared<uint64_t> barrier, At j,
                                               const TensorMap& map, int c0, int c1, int c2) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, "
      "%5}], "
      "[%2];" ::"r"(shared_address(to, i)),
      "l"(reinterpret_cast<uint64_t>(&map)), "r"(shared_address(barrier, j)), "r"(c0), "r"(c1), "r"(c2)
      : "memory");
}
#else
inline void copy_box_async(const Shared<BFloat16>& to, At i, const Shared<uint64_t>& barrier, At j,
                           const TensorMap& map, int c0, int c1, int c2) {
  to.check({i.value + map.box_bytes() / 2 - 1, i.site}, 1);
  simulator::Block::current().bulk_copy(to.check(i, 1), barrier.check(j, 1), map, {c0, c1, c2}, i.site);
}
#endif

// Where a factor of wgmma lies in shared memory, under the 128-byte swizzle: its pattern, of eight lines of
// 128 bytes, begins at multiples of 1024 (base offset 0).
//   Along the depth ("K-major"): a line is a row of the factor, `stride` leads to the next eight rows. A
//   depth of 16 is 32 bytes of the line; `leading` is not used. Across it ("MN-major"): a line is 64 columns
//   of one depth, `leading` leads to the next 64 columns, `stride` to the next eight depths.
__host__ __device__ __forceinline__ uint64_t matrix_descriptor(uint32_t address, int leading, int stride) {
  constexpr uint64_t kSwizzle128 = 1;
  const auto field = [](uint32_t bytes) { return uint64_t{(bytes & 0x3ffffU) >> 4}; };
  return field(address) | field(static_cast<uint32_t>(leading)) << 16 |
         field(static_cast<uint32_t>(stride)) << 32 | kSwizzle128 << 62;
}

// Warpgroup: d[64, N] += a[64, 16] b[16, N], bf16 with f32 sums. Warp w has rows 16 w to 16 w + 15, d and the
// left factor in registers in the layout of mma_16x8x16. The sums, and a left factor in registers, belong to
// the product until the wait for its group.
#define MEDFUSION_SUMS(d) "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
#ifdef __CUDACC__
// Orders earlier uses of registers before products that use them.
__device__ __forceinline__ void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
// Closes the group of products started since the last one.
__device__ __forceinline__ void wgmma_commit() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
// Waits until at most kLeft groups, the latest, are under way.
template <int kLeft>
__device__ __forceinline__ void wgmma_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kLeft) : "memory");
}
// The compiler moves no use of the values across it.
template <int kCount>
__device__ __forceinline__ void pin(float (&d)[kCount][4]) {
#pragma unroll
  for (int j = 0; j < kCount; ++j) asm volatile("" : MEDFUSION_SUMS(d[j])::"memory");
}
template <int kCount>
__device__ __forceinline__ void pin(uint32_t (&a)[kCount][4]) {
#pragma unroll
  for (int k = 0; k < kCount; ++k)
    asm volatile("" : "+r"(a[k][0]), "+r"(a[k][1]), "+r"(a[k][2]), "+r"(a[k][3])::"memory");
}
// Nor does ptxas move a later wait in front of the arithmetic that `value` comes from, which is to run beside
// the products: a sleep depends on it that never happens, since nothing is above infinity.
__device__ __forceinline__ void no_wait_before(float value) {
  asm volatile("{.reg .pred p; setp.gt.f32 p, %0, 0f7F800000; @p nanosleep.u32 20;}" ::"f"(value));
}
// Both factors in shared memory, along the depth. Without `accumulate` sums start from 0.
__device__ __forceinline__ void wgmma_64x128x16(float (&d)[16][4], uint64_t a, uint64_t b, bool accumulate) {
  asm volatile(
      "{.reg .pred p; setp.ne.b32 p, %66, 0;"
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 "
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, "
      "%19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, "
      "%36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, "
      "%53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, "
      "%64, %65, p, 1, 1, 0, 0;}"
      : MEDFUSION_SUMS(d[0]), MEDFUSION_SUMS(d[1]), MEDFUSION_SUMS(d[2]), MEDFUSION_SUMS(d[3]),
        MEDFUSION_SUMS(d[4]), MEDFUSION_SUMS(d[5]), MEDFUSION_SUMS(d[6]), MEDFUSION_SUMS(d[7]),
        MEDFUSION_SUMS(d[8]), MEDFUSION_SUMS(d[9]), MEDFUSION_SUMS(d[10]), MEDFUSION_SUMS(d[11]),
        MEDFUSION_SUMS(d[12]), MEDFUSION_SUMS(d[13]), MEDFUSION_SUMS(d[14]), MEDFUSION_SUMS(d[15])
      : "l"(a), "l"(b), "r"(accumulate ? 1 : 0));
}
__device__ __forceinline__ void wgmma_64x64x16(float (&d)[8][4], uint64_t a, uint64_t b, bool accumulate) {
  asm volatile(
      "{.reg .pred p; setp.ne.b32 p, %34, 0;"
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 "
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, "
      "%19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, "
      "%32, %33, p, 1, 1, 0, 0;}"
      : MEDFUSION_SUMS(d[0]), MEDFUSION_SUMS(d[1]), MEDFUSION_SUMS(d[2]), MEDFUSION_SUMS(d[3]),
        MEDFUSION_SUMS(d[4]), MEDFUSION_SUMS(d[5]), MEDFUSION_SUMS(d[6]), MEDFUSION_SUMS(d[7])
      : "l"(a), "l"(b), "r"(accumulate ? 1 : 0));
}
// The right factor across the depth.
__device__ __forceinline__ void wgmma_64x128x16(float (&d)[16][4], const uint32_t (&a)[4], uint64_t b) {
  asm volatile(
      "{.reg .pred p; setp.ne.b32 p, %69, 0;"
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 "
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, "
      "%19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, "
      "%36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, "
      "%53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, "
      "{%64, %65, %66, %67}, %68, p, 1, 1, 1;}"
      : MEDFUSION_SUMS(d[0]), MEDFUSION_SUMS(d[1]), MEDFUSION_SUMS(d[2]), MEDFUSION_SUMS(d[3]),
        MEDFUSION_SUMS(d[4]), MEDFUSION_SUMS(d[5]), MEDFUSION_SUMS(d[6]), MEDFUSION_SUMS(d[7]),
        MEDFUSION_SUMS(d[8]), MEDFUSION_SUMS(d[9]), MEDFUSION_SUMS(d[10]), MEDFUSION_SUMS(d[11]),
        MEDFUSION_SUMS(d[12]), MEDFUSION_SUMS(d[13]), MEDFUSION_SUMS(d[14]), MEDFUSION_SUMS(d[15])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(1));
}
__device__ __forceinline__ void wgmma_64x64x16(float (&d)[8][4], const uint32_t (&a)[4], uint64_t b) {
  asm volatile(
      "{.reg .pred p; setp.ne.b32 p, %37, 0;"
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 "
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, "
      "%19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, "
      "{%32, %33, %34, %35}, %36, p, 1, 1, 1;}"
      : MEDFUSION_SUMS(d[0]), MEDFUSION_SUMS(d[1]), MEDFUSION_SUMS(d[2]), MEDFUSION_SUMS(d[3]),
        MEDFUSION_SUMS(d[4]), MEDFUSION_SUMS(d[5]), MEDFUSION_SUMS(d[6]), MEDFUSION_SUMS(d[7])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(1));
}
#else
inline void wgmma_fence() { simulator::Block::current().wgmma_fence(); }
inline void wgmma_commit() { simulator::Block::current().wgmma_commit(); }
template <int kLeft>
void wgmma_wait(simulator::Site site = simulator::Site::current()) {
  simulator::Block::current().wgmma_wait(kLeft, site);
}
template <class T, int kCount>
void pin(T (&/*values*/)[kCount][4]) {}
inline void no_wait_before(float /*value*/) {}
namespace detail {
template <int kCount>
void wgmma_of_shared(float (&d)[kCount][4], uint64_t a, uint64_t b, bool accumulate, simulator::Site site) {
  simulator::Block::current().wgmma({.columns = 8 * kCount,
                                     .a = nullptr,
                                     .a_descriptor = a,
                                     .b_descriptor = b,
                                     .b_transposed = false,
                                     .accumulate = accumulate,
                                     .sums = &d[0][0]},
                                    site);
}
template <int kCount>
void wgmma_of_registers(float (&d)[kCount][4], const uint32_t (&a)[4], uint64_t b, simulator::Site site) {
  simulator::Block::current().wgmma({.columns = 8 * kCount,
                                     .a = a,
                                     .a_descriptor = 0,
                                     .b_descriptor = b,
                                     .b_transposed = true,
                                     .accumulate = true,
                                     .sums = &d[0][0]},
                                    site);
}
}  // namespace detail
inline void wgmma_64x128x16(float (&d)[16][4], uint64_t a, uint64_t b, bool accumulate,
                            simulator::Site site = simulator::Site::current()) {
  detail::wgmma_of_shared(d, a, b, accumulate, site);
}
inline void wgmma_64x64x16(float (&d)[8][4], uint64_t a, uint64_t b, bool accumulate,
                           simulator::Site site = simulator::Site::current()) {
  detail::wgmma_of_shared(d, a, b, accumulate, site);
}
inline void wgmma_64x128x16(float (&d)[16][4], const uint32_t (&a)[4], uint64_t b,
                            simulator::Site site = simulator::Site::current()) {
  detail::wgmma_of_registers(d, a, b, site);
}
inline void wgmma_64x64x16(float (&d)[8][4], const uint32_t (&a)[4], uint64_t b,
                           simulator::Site site = simulator::Site::current()) {
  detail::wgmma_of_registers(d, a, b, site);
}
#endif
#undef MEDFUSION_SUMS

// Warpgroup: gives registers back to the block, or takes some of those that others gave, waiting for them.
#ifdef __CUDACC__
template <int kRegisters>
__device__ __forceinline__ void fewer_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int kRegisters>
__device__ __forceinline__ void more_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
#else
template <int kRegisters>
void fewer_registers(simulator::Site site = simulator::Site::current()) {
  simulator::Block::current().set_max_registers(kRegisters, false, site);
}
template <int kRegisters>
void more_registers(simulator::Site site = simulator::Site::current()) {
  simulator::Block::current().set_max_registers(kRegisters, true, site);
}
#endif

}  // namespace MEDFUSION_GPU
}  // namespace medfusion::kernels::cuda
