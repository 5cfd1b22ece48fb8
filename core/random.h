// Counter-based random numbers: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3",
// SC 2011). A draw depends on (seed, stream, index) only, never on the thread, the device or earlier draws.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

namespace medfusion::core {

class Philox {
 public:
  // seed: the key. stream: an independent sequence, e.g. one per layer and step.
  constexpr explicit Philox(uint64_t seed, uint64_t stream = 0) : seed_(seed), stream_(stream) {}

  // Four 32-bit words for the 128-bit counter (index, stream).
  constexpr std::array<uint32_t, 4> block(uint64_t index) const {
    std::array<uint32_t, 4> counter{static_cast<uint32_t>(index), static_cast<uint32_t>(index >> 32),
                                    static_cast<uint32_t>(stream_), static_cast<uint32_t>(stream_ >> 32)};
    uint32_t key0 = static_cast<uint32_t>(seed_);
    uint32_t key1 = static_cast<uint32_t>(seed_ >> 32);
    for (int round = 0; round < 10; ++round) {
      const uint64_t product0 = uint64_t{0xD2511F53U} * counter[0];
      const uint64_t product1 = uint64_t{0xCD9E8D57U} * counter[2];
      counter = {static_cast<uint32_t>(product1 >> 32) ^ counter[1] ^ key0, static_cast<uint32_t>(product1),
                 static_cast<uint32_t>(product0 >> 32) ^ counter[3] ^ key1, static_cast<uint32_t>(product0)};
      key0 += 0x9E3779B9U;
      key1 += 0xBB67AE85U;
    }
    return counter;
  }

  // Word `index` of the stream: word index % 4 of block index / 4.
  constexpr uint32_t word(uint64_t index) const { return block(index / 4)[index % 4]; }

  // Uniform in [0, 1), 24 random bits, exact in float.
  constexpr float uniform(uint64_t index) const { return static_cast<float>(word(index) >> 8) * 0x1p-24F; }

  // Standard normal by Box-Muller from block `index`, in double.
  double normal(uint64_t index) const {
    const auto words = block(index);
    const double u = (static_cast<double>(words[0]) + 1.0) * 0x1p-32;  // (0, 1]
    const double v = static_cast<double>(words[1]) * 0x1p-32;
    return std::sqrt(-2.0 * std::log(u)) * std::cos(6.283185307179586476925286766559 * v);
  }

 private:
  uint64_t seed_;
  uint64_t stream_;
};

// A sequential reader of one Philox stream, for code that draws one value after another.
class Generator {
 public:
  explicit Generator(uint64_t seed, uint64_t stream = 0) : philox_(seed, stream) {}

  uint32_t next() { return philox_.block(index_++)[0]; }
  float uniform() { return static_cast<float>(next() >> 8) * 0x1p-24F; }  // [0, 1)
  double uniform(double low, double high) { return low + (high - low) * static_cast<double>(uniform()); }
  double normal() { return philox_.normal(index_++); }  // N(0, 1)
  // Uniform integer in [0, bound); bound > 0.
  int64_t below(int64_t bound) {
    const auto words = philox_.block(index_++);
    const uint64_t value = (uint64_t{words[0]} << 32) | words[1];
    return static_cast<int64_t>((static_cast<unsigned __int128>(value) * static_cast<uint64_t>(bound)) >> 64);
  }
  // Fisher-Yates.
  template <class T>
  void shuffle(std::vector<T>& values) {
    for (int64_t i = static_cast<int64_t>(values.size()) - 1; i > 0; --i) {
      std::swap(values[static_cast<size_t>(i)], values[static_cast<size_t>(below(i + 1))]);
    }
  }

 private:
  Philox philox_;
  uint64_t index_ = 0;
};

}  // namespace medfusion::core
