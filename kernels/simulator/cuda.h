// CUDA's spellings for the host compiler, so that a .cu file is also a C++ source of the `sim` device.
#pragma once

#include <math.h>

#include <bit>
#include <cmath>
#include <cstdint>

#include "kernels/simulator/block.h"
#include "kernels/simulator/memory.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __grid_constant__

#define threadIdx (::medfusion::simulator::Block::current().thread_index())
#define blockIdx (::medfusion::simulator::Block::current().index())
#define blockDim (::medfusion::simulator::Block::current().size())
#define gridDim (::medfusion::simulator::Block::current().grid())

using dim3 = medfusion::simulator::Dim3;

inline void __syncthreads(medfusion::simulator::Site site = medfusion::simulator::Site::current()) {
  medfusion::simulator::Block::current().sync_threads(false, site);
}
inline int __syncthreads_count(int predicate,
                               medfusion::simulator::Site site = medfusion::simulator::Site::current()) {
  return medfusion::simulator::Block::current().sync_threads(predicate != 0, site);
}
inline int __syncthreads_or(int predicate,
                            medfusion::simulator::Site site = medfusion::simulator::Site::current()) {
  return __syncthreads_count(predicate, site) > 0 ? 1 : 0;
}
inline int __syncthreads_and(int predicate,
                             medfusion::simulator::Site site = medfusion::simulator::Site::current()) {
  return __syncthreads_count(predicate == 0 ? 1 : 0, site) == 0 ? 1 : 0;
}
inline void __syncwarp(unsigned mask = 0xffffffffU,
                       medfusion::simulator::Site site = medfusion::simulator::Site::current()) {
  medfusion::simulator::collective<int>(
      "__syncwarp", mask, 0, site, [](const auto&) { return 0; }, medfusion::simulator::MemoryOrder::lanes);
}

namespace medfusion::simulator {

// The value of lane `source`, or of this lane where that lies outside of its group of `width` lanes. Reading
// a lane outside the mask is a fault.
template <class T>
T shuffle(const char* what, unsigned mask, T value, int source, int width, Site site) {
  return collective<T>(what, mask, value, site, [&](const Collective& all) {
    Block& block = Block::current();
    const int lane = block.lane();
    const int group = lane / width * width;
    const int from = source < group || source >= group + width ? lane : source;
    if ((mask >> from & 1U) == 0) {
      block.fault(site, fmt::format("{}: reads lane {}, which mask 0x{:08x} leaves out", what, from, mask));
    }
    return all.value<T>(from);
  });
}

}  // namespace medfusion::simulator

template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32,
              medfusion::simulator::Site site = medfusion::simulator::Site::current()) {
  const int group = medfusion::simulator::Block::current().lane() / width * width;
  return medfusion::simulator::shuffle("__shfl_sync", mask, value, group + (source & (width - 1)), width,
                                       site);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = 32,
                  medfusion::simulator::Site site = medfusion::simulator::Site::current()) {
  const int lane = medfusion::simulator::Block::current().lane();
  return medfusion::simulator::shuffle("__shfl_xor_sync", mask, value, lane ^ lanes, width, site);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32,
                   medfusion::simulator::Site site = medfusion::simulator::Site::current()) {
  const int lane = medfusion::simulator::Block::current().lane();
  return medfusion::simulator::shuffle("__shfl_down_sync", mask, value, lane + static_cast<int>(delta), width,
                                       site);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32,
                 medfusion::simulator::Site site = medfusion::simulator::Site::current()) {
  const int lane = medfusion::simulator::Block::current().lane();
  return medfusion::simulator::shuffle("__shfl_up_sync", mask, value, lane - static_cast<int>(delta), width,
                                       site);
}
inline unsigned __ballot_sync(unsigned mask, int predicate,
                              medfusion::simulator::Site site = medfusion::simulator::Site::current()) {
  return medfusion::simulator::collective<unsigned>(
      "__ballot_sync", mask, predicate, site, [&](const medfusion::simulator::Collective& all) {
        unsigned votes = 0;
        for (int i = 0; i < medfusion::simulator::kWarpSize; ++i) {
          if ((mask >> i & 1U) != 0 && all.value<int>(i) != 0) votes |= 1U << i;
        }
        return votes;
      });
}
inline int __any_sync(unsigned mask, int predicate,
                      medfusion::simulator::Site site = medfusion::simulator::Site::current()) {
  return __ballot_sync(mask, predicate, site) != 0 ? 1 : 0;
}
inline int __all_sync(unsigned mask, int predicate,
                      medfusion::simulator::Site site = medfusion::simulator::Site::current()) {
  return __ballot_sync(mask, predicate, site) == mask ? 1 : 0;
}

// Blocks run one after another and threads switch only where they wait: memory is always in order.
inline void __threadfence() {}
inline void __threadfence_block() {}
inline void __nanosleep(unsigned /*nanoseconds*/) { medfusion::simulator::Block::current().yield_now(); }

inline float rsqrtf(float x) { return 1.0F / std::sqrt(x); }
inline float __expf(float x) { return std::exp(x); }
inline float __logf(float x) { return std::log(x); }
inline float __fdividef(float x, float y) { return x / y; }
inline float __uint_as_float(uint32_t bits) { return std::bit_cast<float>(bits); }
inline uint32_t __float_as_uint(float value) { return std::bit_cast<uint32_t>(value); }
inline int __popc(unsigned x) { return std::popcount(x); }
inline int __ffs(int x) { return x == 0 ? 0 : std::countr_zero(static_cast<unsigned>(x)) + 1; }
inline int __clz(int x) { return std::countl_zero(static_cast<unsigned>(x)); }
inline uint32_t __umulhi(uint32_t a, uint32_t b) { return static_cast<uint32_t>((uint64_t{a} * b) >> 32); }
