// Philox4x32-10 of core/random.h for many counters at once.
#include <cmath>

#include "core/threads.h"
#include "kernels/dropout/dropout.h"
#include "kernels/registry.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/dropout/dropout_cpu.cpp"
#include "kernels/simd.h"  // first: sets the instruction sets, then foreach_target and highway

HWY_BEFORE_NAMESPACE();
namespace medfusion::kernels::HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

constexpr int64_t kBlocks = 16;          // counters generated together
constexpr int64_t kWords = 4 * kBlocks;  // one word per element
constexpr uint32_t kMultiplier0 = 0xD2511F53U;
constexpr uint32_t kMultiplier1 = 0xCD9E8D57U;
constexpr uint32_t kWeyl0 = 0x9E3779B9U;
constexpr uint32_t kWeyl1 = 0xBB67AE85U;

// words[n] = Philox(seed, stream).word(4 first_block + n) for n in [0, kWords). Plain loops over the blocks:
// every compiler turns them into the vectors of the instruction set this is compiled for.
void generate(uint64_t seed, uint64_t stream, uint64_t first_block, uint32_t* HWY_RESTRICT words) {
  uint32_t c0[kBlocks], c1[kBlocks], c2[kBlocks], c3[kBlocks];
  for (int64_t i = 0; i < kBlocks; ++i) {
    const uint64_t index = first_block + static_cast<uint64_t>(i);
    c0[i] = static_cast<uint32_t>(index);
    c1[i] = static_cast<uint32_t>(index >> 32);
    c2[i] = static_cast<uint32_t>(stream);
    c3[i] = static_cast<uint32_t>(stream >> 32);
  }
  auto key0 = static_cast<uint32_t>(seed);
  auto key1 = static_cast<uint32_t>(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    for (int64_t i = 0; i < kBlocks; ++i) {
      const uint64_t product0 = uint64_t{kMultiplier0} * c0[i];
      const uint64_t product1 = uint64_t{kMultiplier1} * c2[i];
      c0[i] = static_cast<uint32_t>(product1 >> 32) ^ c1[i] ^ key0;
      c1[i] = static_cast<uint32_t>(product1);
      c2[i] = static_cast<uint32_t>(product0 >> 32) ^ c3[i] ^ key1;
      c3[i] = static_cast<uint32_t>(product0);
    }
    key0 += kWeyl0;
    key1 += kWeyl1;
  }
  for (int64_t i = 0; i < kBlocks; ++i) {
    words[4 * i] = c0[i];
    words[4 * i + 1] = c1[i];
    words[4 * i + 2] = c2[i];
    words[4 * i + 3] = c3[i];
  }
}

// Elements [first, first + count) of the row-major order, contiguous at `from` and `to`. Kept are those whose
// 24 random bits are at least `threshold`.
void dropout_row(uint64_t seed, uint64_t stream, uint32_t threshold, float scale, int64_t first,
                 int64_t count, const float* from, float* to) {
  HWY_ALIGN uint32_t words[kWords];
  int64_t i = first;
  while (i < first + count) {
    const int64_t block = i / 4;
    generate(seed, stream, static_cast<uint64_t>(block), words);
    const int64_t last = std::min(first + count, 4 * block + kWords);
    const uint32_t* own = words - 4 * block;
    for (; i < last; ++i) {
      const float scaled = from[i - first] * scale;
      to[i - first] = (own[i] >> 8) >= threshold ? scaled : 0.0F;
    }
  }
}

}  // namespace
}  // namespace medfusion::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace medfusion::kernels {
namespace {

HWY_EXPORT(dropout_row);

constexpr int64_t kGrain = 1 << 14;  // elements of one task, whole blocks

void run(double probability, uint64_t seed, uint64_t stream, const core::View& from, const core::View& to) {
  if (from.numel() == 0) return;
  // uniform = bits * 2^-24 >= probability, exactly, in integers; 2^24 where nothing is kept
  const auto threshold = static_cast<uint32_t>(std::ceil(probability * 0x1p24));
  const float scale = probability < 1.0 ? static_cast<float>(1.0 / (1.0 - probability)) : 0.0F;
  if (from.contiguous() && to.contiguous()) {
    core::parallel_for(0, from.numel(), kGrain, [&](int64_t first, int64_t last) {
      HWY_DYNAMIC_DISPATCH(dropout_row)
      (seed, stream, threshold, scale, first, last - first, from.as<float>() + first, to.as<float>() + first);
    });
    return;
  }
  const int64_t width = from.rank() == 0 ? 1 : from.size(-1);
  core::parallel_for(0, from.numel() / width, std::max<int64_t>(1, kGrain / width),
                     [&](int64_t first, int64_t last) {
                       for (int64_t row = first; row < last; ++row) {
                         HWY_DYNAMIC_DISPATCH(dropout_row)
                         (seed, stream, threshold, scale, row * width, width,
                          from.as<float>() + row * from.row_stride(), to.as<float>() + row * to.row_stride());
                       }
                     });
}

bool supports_forward(const DropoutForward& a) {
  return a.x.dtype == core::DType::f32 && a.x.rows_uniform() && a.y.rows_uniform();
}
void run_forward(const DropoutForward& a) { run(a.probability, a.seed, a.stream, a.x, a.y); }

bool supports_backward(const DropoutBackward& a) {
  return a.grad_y.dtype == core::DType::f32 && a.grad_y.rows_uniform() && a.grad_x.rows_uniform();
}
void run_backward(const DropoutBackward& a) { run(a.probability, a.seed, a.stream, a.grad_y, a.grad_x); }

const Register<DropoutForward> forward({"cpu", core::DeviceType::cpu, 10, supports_forward, run_forward});
const Register<DropoutBackward> backward({"cpu", core::DeviceType::cpu, 10, supports_backward, run_backward});

}  // namespace
}  // namespace medfusion::kernels
#endif  // HWY_ONCE
