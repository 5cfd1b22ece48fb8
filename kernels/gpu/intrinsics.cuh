// The PTX beneath the tiles (kernels/gpu/tile.cuh), and only here (that of Hopper: hopper.cuh); for compute
// capability 8.0 and later.
// Each has its counterpart for the simulator, with the same fragments in the same lanes.
#pragma once

#include "core/dtype.h"
#include "kernels/gpu/device.cuh"

namespace medfusion::kernels::cuda {
inline namespace MEDFUSION_GPU {

using core::BFloat16;

// Two bfloat16 in a word, rounded to nearest even; the first in the lower half, as in memory.
#ifdef __CUDACC__
__device__ __forceinline__ uint32_t pack_bf16(float low, float high) {
  uint32_t word;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(high), "f"(low));
  return word;
}
#else
inline uint32_t pack_bf16(float low, float high) {
  return BFloat16(low).bits | static_cast<uint32_t>(BFloat16(high).bits) << 16;
}
#endif
__device__ __forceinline__ float low_bf16(uint32_t word) { return __uint_as_float(word << 16); }
__device__ __forceinline__ float high_bf16(uint32_t word) { return __uint_as_float(word & 0xffff0000U); }

// 2^x in one instruction; results below 2^-126 are 0.
#ifdef __CUDACC__
__device__ __forceinline__ float exp2_fast(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
#else
inline float exp2_fast(float x) {
  const float y = std::exp2(x);
  return y < 0x1p-126F ? 0.0F : y;
}
#endif

// Warp: d[16, 8] += a[16, 16] b[16, 8], bf16 with f32 sums. With g = lane / 4 and t = lane % 4 a lane holds,
// pairs of neighbours in one word,
//   d: rows g (0, 1) and g + 8 (2, 3), columns 2t and 2t + 1
//   a: rows g (0, 2) and g + 8 (1, 3), columns 2t, 2t + 1 (0, 1) and 2t + 8, 2t + 9 (2, 3)
//   b: column g, rows 2t, 2t + 1 (0) and 2t + 8, 2t + 9 (1)
#ifdef __CUDACC__
__device__ __forceinline__ void mma_16x8x16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
#else
inline void mma_16x8x16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1,
                        simulator::Site site = simulator::Site::current()) {
  struct Operands {
    uint32_t a[4], b[2];
  };
  const Operands mine{{a[0], a[1], a[2], a[3]}, {b0, b1}};
  simulator::collective<int>("mma.m16n8k16", kFullWarp, mine, site, [&](const simulator::Collective& all) {
    const int lane = simulator::Block::current().lane();
    for (int column = 0; column < 2; ++column) {
      float sum[2] = {d[column], d[column + 2]};  // rows g and g + 8
      for (int k = 0; k < 16; ++k) {
        const int half = k / 8, pair = k % 8 / 2;
        const auto of = [&](uint32_t word) { return k % 2 == 0 ? low_bf16(word) : high_bf16(word); };
        const auto left = all.value<Operands>(lane / 4 * 4 + pair);
        const auto right = all.value<Operands>((lane % 4 * 2 + column) * 4 + pair);
        for (int row = 0; row < 2; ++row) sum[row] += of(left.a[half * 2 + row]) * of(right.b[half]);
      }
      d[column] = sum[0];
      d[column + 2] = sum[1];
    }
    return 0;
  });
}
#endif

// Warp: d[16, 8] += a[16, 8] b[8, 8], TF32 with f32 sums; what a word has below TF32 must be 0. With
// g = lane / 4 and t = lane % 4 a lane holds
//   d: rows g (0, 1) and g + 8 (2, 3), columns 2t and 2t + 1
//   a: rows g (0, 2) and g + 8 (1, 3), depths t (0, 1) and t + 4 (2, 3)
//   b: column g, depths t (0) and t + 4 (1)
// Sums are cut towards zero, as tensor cores do. (Fasi et al., "Numerical behavior of NVIDIA tensor cores",
// 2021)
#ifdef __CUDACC__
__device__ __forceinline__ void mma_16x8x8(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
#else
inline void mma_16x8x8(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1,
                       simulator::Site site = simulator::Site::current()) {
  struct Operands {
    uint32_t a[4], b[2];
  };
  const Operands mine{{a[0], a[1], a[2], a[3]}, {b0, b1}};
  simulator::collective<int>("mma.m16n8k8", kFullWarp, mine, site, [&](const simulator::Collective& all) {
    const int lane = simulator::Block::current().lane();
    const auto tf32 = [](uint32_t word) { return __uint_as_float(word & 0xffffe000U); };
    const auto cut = [](double sum) {
      const auto rounded = static_cast<float>(sum);
      return std::abs(rounded) > std::abs(sum) ? std::nextafter(rounded, 0.0F) : rounded;
    };
    for (int column = 0; column < 2; ++column) {
      double sum[2] = {d[column], d[column + 2]};  // rows g and g + 8; eight products of TF32 fit in f64
      for (int depth = 0; depth < 8; ++depth) {
        const int half = depth / 4, holder = depth % 4;
        const auto left = all.value<Operands>(lane / 4 * 4 + holder);
        const double right = tf32(all.value<Operands>((lane % 4 * 2 + column) * 4 + holder).b[half]);
        for (int row = 0; row < 2; ++row) sum[row] += tf32(left.a[half * 2 + row]) * right;
      }
      d[column] = cut(sum[0]);
      d[column + 2] = cut(sum[1]);
    }
    return 0;
  });
}
#endif

// Warp: four 8 x 8 matrices of 16-bit elements from shared memory. Lane 8 m + r names row r of matrix m, 16
// aligned bytes at x[i]; a lane gets, of each matrix, row lane / 4, elements 2 (lane % 4) and the next. The
// transposed load gives it elements lane / 4 of rows 2 (lane % 4) and the next instead.
#ifdef __CUDACC__
__device__ __forceinline__ void load_matrices(uint32_t (&words)[4], Shared<BFloat16> x, At i) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
               : "r"(static_cast<uint32_t>(__cvta_generic_to_shared(x + i)))
               : "memory");
}
__device__ __forceinline__ void load_matrices_transposed(uint32_t (&words)[4], Shared<BFloat16> x, At i) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
               : "r"(static_cast<uint32_t>(__cvta_generic_to_shared(x + i)))
               : "memory");
}
#else
namespace detail {
inline void load_matrices(const char* what, uint32_t (&words)[4], const Shared<BFloat16>& x, At i,
                          bool transposed) {
  const BFloat16* row = x.check(i, 8);
  simulator::collective<int>(what, kFullWarp, row, i.site, [&](const simulator::Collective& all) {
    simulator::Block& block = simulator::Block::current();
    const int g = block.lane() / 4, t = block.lane() % 4;
    block.shared_read(row, 16, i.site);  // for the lanes that get its elements: theirs are no reads
    for (int m = 0; m < 4; ++m) {
      uint32_t halves[2];
      for (int n = 0; n < 2; ++n) {
        const BFloat16* at = transposed ? all.value<const BFloat16*>(m * 8 + 2 * t + n) + g
                                        : all.value<const BFloat16*>(m * 8 + g) + 2 * t + n;
        halves[n] = at->bits;
      }
      words[m] = halves[0] | halves[1] << 16;
    }
    return 0;
  });
}
}  // namespace detail
inline void load_matrices(uint32_t (&words)[4], const Shared<BFloat16>& x, At i) {
  detail::load_matrices("ldmatrix.x4", words, x, i, false);
}
inline void load_matrices_transposed(uint32_t (&words)[4], const Shared<BFloat16>& x, At i) {
  detail::load_matrices("ldmatrix.x4.trans", words, x, i, true);
}
#endif

// Starts the copy of 16 bytes from from[j] to to[i] in shared memory, both aligned to 16; zeros, and nothing
// is read, where `valid` is false. Arrives at a wait of the same thread; a barrier shows it to the others.
#ifdef __CUDACC__
template <class T>
__device__ __forceinline__ void copy_async_16(Shared<T> to, At i, const T* from, At j, bool valid) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(
                   static_cast<uint32_t>(__cvta_generic_to_shared(to + i))),
               "l"(__cvta_generic_to_global(from + (valid ? j : 0))), "r"(valid ? 16 : 0)
               : "memory");
}
// Closes the group of copies started since the last one.
__device__ __forceinline__ void copy_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Waits until at most kLeft groups, the latest, are under way.
template <int kLeft>
__device__ __forceinline__ void copy_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kLeft) : "memory");
}
#else
template <class T>
void copy_async_16(const Shared<T>& to, At i, const Global<const T>& from, At j, bool valid) {
  alignas(16) static constexpr char kZeros[16] = {};
  constexpr int kCount = 16 / sizeof(T);
  const void* source = valid ? static_cast<const void*>(from.check(j, kCount)) : kZeros;
  simulator::Block::current().copy_async(to.check(i, kCount), source, 16, i.site);
}
inline void copy_async_commit() { simulator::Block::current().copy_async_commit(); }
template <int kLeft>
void copy_async_wait(simulator::Site site = simulator::Site::current()) {
  simulator::Block::current().copy_async_wait(kLeft, site);
}
#endif

// A barrier of `threads` threads, whole warps, that name the same id (1 to 15).
#ifdef __CUDACC__
__device__ __forceinline__ void sync_named(int id, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}
// Counts among them without waiting.
__device__ __forceinline__ void arrive_named(int id, int threads) {
  asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
}
#else
inline void sync_named(int id, int threads, simulator::Site site = simulator::Site::current()) {
  simulator::Block::current().sync_named(id, threads, site);
}
inline void arrive_named(int id, int threads, simulator::Site site = simulator::Site::current()) {
  simulator::Block::current().arrive_named(id, threads, site);
}
#endif

}  // namespace MEDFUSION_GPU
}  // namespace medfusion::kernels::cuda
