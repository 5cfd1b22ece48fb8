// Include this in a *_cpu.cpp after defining HWY_TARGET_INCLUDE: chooses the instruction sets that are
// compiled, brings in Highway, and adds what every kernel needs. No include guard: the file is read once per
// instruction set.
#ifndef HWY_DISABLED_TARGETS
// x86: AVX2, AVX-512, and what Highway has for the baseline (portable code before it had SSE2); the steps
// between would only cost build time.
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL)
#endif
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"

#if defined(MEDFUSION_KERNELS_SIMD_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MEDFUSION_KERNELS_SIMD_H_
#undef MEDFUSION_KERNELS_SIMD_H_
#else
#define MEDFUSION_KERNELS_SIMD_H_
#endif

#include <cstring>

HWY_BEFORE_NAMESPACE();
namespace medfusion::kernels::HWY_NAMESPACE {

// The first `count` lanes from memory, the others zero; reads nothing past them.
template <class D>
HWY_INLINE hwy::HWY_NAMESPACE::Vec<D> load_n(D d, const hwy::HWY_NAMESPACE::TFromD<D>* from, size_t count) {
  HWY_ALIGN hwy::HWY_NAMESPACE::TFromD<D> buffer[hwy::HWY_NAMESPACE::MaxLanes(D())] = {};
  std::memcpy(buffer, from, count * sizeof(buffer[0]));
  return hwy::HWY_NAMESPACE::Load(d, buffer);
}

// Writes the first `count` lanes and nothing else.
template <class D>
HWY_INLINE void store_n(hwy::HWY_NAMESPACE::Vec<D> v, D d, hwy::HWY_NAMESPACE::TFromD<D>* to, size_t count) {
  HWY_ALIGN hwy::HWY_NAMESPACE::TFromD<D> buffer[hwy::HWY_NAMESPACE::MaxLanes(D())];
  hwy::HWY_NAMESPACE::Store(v, d, buffer);
  std::memcpy(to, buffer, count * sizeof(buffer[0]));
}

// Calls body(d, i) for [0, n): whole vectors first, then four lanes, then one at a time, so that no lane is
// masked.
template <class Body>
HWY_INLINE void for_vectors(int64_t n, const Body& body) {
  namespace hn = hwy::HWY_NAMESPACE;
  const hn::ScalableTag<float> d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) body(d, i);
  const hn::CappedTag<float, 4> four;
  for (; i + 4 <= n; i += 4) body(four, i);
  const hn::CappedTag<float, 1> one;
  for (; i < n; ++i) body(one, i);
}

}  // namespace medfusion::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
