// wgmma: products of a warpgroup (128 threads) that run while its threads go on.
#pragma once

#include <array>
#include <cstdint>
#include <source_location>
#include <string>
#include <vector>

namespace medfusion::simulator {

constexpr int kWarpgroup = 128;

// wgmma.mma_async m64nNk16 of bf16 with f32 sums, as one thread issues it.
struct Wgmma {
  int columns = 0;              // N
  const uint32_t* a = nullptr;  // its four words of the left factor; null: that lies in shared memory
  uint64_t a_descriptor = 0;    // there
  uint64_t b_descriptor = 0;
  bool b_transposed = false;  // lines of shared memory run along N, not along the depth
  bool accumulate = true;     // false: sums start from 0
  float* sums = nullptr;      // this thread's N / 2

  bool same_as(const Wgmma& other) const {
    return columns == other.columns && (a == nullptr) == (other.a == nullptr) &&
           a_descriptor == other.a_descriptor && b_descriptor == other.b_descriptor &&
           b_transposed == other.b_transposed && accumulate == other.accumulate;
  }
};

// One of a warpgroup, from the first thread that issues it to the last that has waited for it.
struct WgmmaOperation {
  Wgmma shape;
  std::source_location site;
  int arrived = 0, delivered = 0;
  unsigned warps = 0;           // that have begun to read
  std::vector<int64_t> pieces;  // of 16 bytes, that it reads
  std::array<float*, kWarpgroup> sums{};
  std::array<const uint32_t*, kWarpgroup> a_at{};
  std::array<std::array<uint32_t, 4>, kWarpgroup> a{};
};

// setmaxnreg of a warpgroup
struct RegisterChange {
  int count;
  bool increase;
  std::source_location site;
  int thread, arrived;
};

// The pieces of shared memory that the operation reads; empty and a reason in `wrong` where its descriptors
// say something that is not so.
std::vector<int64_t> wgmma_pieces(const Wgmma& operation, int64_t shared_bytes, std::string& wrong);
// sums[64][columns] += a b, with the left factor's words from `registers` where it is not in shared memory.
void multiply_wgmma(const WgmmaOperation& operation, const char* shared, std::vector<float>& sums);

}  // namespace medfusion::simulator
