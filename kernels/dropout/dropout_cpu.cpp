// Philox4x32-10 of core/random.h for many counters at once.
#include <cmath>

#include "core/random.h"
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

constexpr uint32_t kMultiplier0 = 0xD2511F53U;
constexpr uint32_t kMultiplier1 = 0xCD9E8D57U;
constexpr uint32_t kWeyl0 = 0x9E3779B9U;
constexpr uint32_t kWeyl1 = 0xBB67AE85U;

#if HWY_TARGET == HWY_SCALAR
constexpr int64_t kWords = 4;

void generate(uint64_t seed, uint64_t stream, uint64_t block, uint32_t* words) {
  const auto drawn = core::Philox(seed, stream).block(block);
  std::copy(drawn.begin(), drawn.end(), words);
}
#else
using D32 = hn::ScalableTag<uint32_t>;
using V32 = hn::Vec<D32>;
constexpr int64_t kWords = 4 * static_cast<int64_t>(hn::MaxLanes(D32()));  // one counter per lane

// high and low words of a * factor
HWY_INLINE void multiply(V32 a, V32 factor, V32& high, V32& low) {
  const D32 d;
  const hn::RepartitionToWide<D32> wide;
  const auto even = hn::MulEven(a, factor);
  const auto odd = hn::MulEven(hn::BitCast(d, hn::ShiftRight<32>(hn::BitCast(wide, a))), factor);
  high = hn::OddEven(hn::BitCast(d, odd), hn::BitCast(d, hn::ShiftRight<32>(even)));
  low = hn::OddEven(hn::BitCast(d, hn::ShiftLeft<32>(odd)), hn::BitCast(d, even));
}

// words[n] = Philox(seed, stream).word(4 block + n) for n in [0, kWords).
void generate(uint64_t seed, uint64_t stream, uint64_t block, uint32_t* words) {
  const D32 d;
  HWY_ALIGN uint32_t index[2][hn::MaxLanes(D32())];  // low and high words
  for (size_t i = 0; i < hn::MaxLanes(d); ++i) {
    index[0][i] = static_cast<uint32_t>(block + i);
    index[1][i] = static_cast<uint32_t>((block + i) >> 32);
  }
  V32 c0 = hn::Load(d, index[0]);
  V32 c1 = hn::Load(d, index[1]);
  V32 c2 = hn::Set(d, static_cast<uint32_t>(stream));
  V32 c3 = hn::Set(d, static_cast<uint32_t>(stream >> 32));
  V32 key0 = hn::Set(d, static_cast<uint32_t>(seed));
  V32 key1 = hn::Set(d, static_cast<uint32_t>(seed >> 32));
  for (int round = 0; round < 10; ++round) {
    V32 high0, low0, high1, low1;
    multiply(c0, hn::Set(d, kMultiplier0), high0, low0);
    multiply(c2, hn::Set(d, kMultiplier1), high1, low1);
    c0 = hn::Xor(high1, hn::Xor(c1, key0));
    c1 = low1;
    c2 = hn::Xor(high0, hn::Xor(c3, key1));
    c3 = low0;
    key0 = hn::Add(key0, hn::Set(d, kWeyl0));
    key1 = hn::Add(key1, hn::Set(d, kWeyl1));
  }
  hn::StoreInterleaved4(c0, c1, c2, c3, d, words);
}
#endif

// to = from * scale where 24 random bits are at least `threshold`, else 0, for `count` <= kWords elements.
HWY_INLINE void apply(const uint32_t* words, uint32_t threshold, float scale, int64_t count,
                      const float* from, float* to) {
  const hn::ScalableTag<float> d;
  const hn::RebindToSigned<decltype(d)> bits;  // 24 bits: signed comparison serves
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const auto factor = hn::Set(d, scale);
  const auto lowest = hn::Set(bits, static_cast<int32_t>(threshold) - 1);
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    const auto drawn = hn::ShiftRight<8>(hn::LoadU(hn::RebindToUnsigned<decltype(d)>(), words + i));
    const auto kept = hn::RebindMask(d, hn::Gt(hn::BitCast(bits, drawn), lowest));
    hn::StoreU(hn::IfThenElseZero(kept, hn::Mul(hn::LoadU(d, from + i), factor)), d, to + i);
  }
  for (; i < count; ++i) to[i] = (words[i] >> 8) >= threshold ? from[i] * scale : 0.0F;
}

// Elements [first, first + count) of the row-major order, contiguous at `from` and `to`.
void dropout_row(uint64_t seed, uint64_t stream, uint32_t threshold, float scale, int64_t first,
                 int64_t count, const float* from, float* to) {
  HWY_ALIGN uint32_t words[kWords];
  for (int64_t i = first; i < first + count;) {
    generate(seed, stream, static_cast<uint64_t>(i / 4), words);
    const int64_t skipped = i % 4;  // words of the first counter that belong to elements before this row
    const int64_t length = std::min(first + count - i, kWords - skipped);
    apply(words + skipped, threshold, scale, length, from + (i - first), to + (i - first));
    i += length;
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

void run_forward(const DropoutForward& a) {
  run(a.probability, a.seed, dropout_stream(a.stream, a.base), a.x, a.y);
}

void run_backward(const DropoutBackward& a) {
  run(a.probability, a.seed, dropout_stream(a.stream, a.base), a.grad_y, a.grad_x);
}

const Register<DropoutForward> forward("cpu", kCpu, 10, {takes::f32, takes::uniform_rows}, run_forward);
const Register<DropoutBackward> backward("cpu", kCpu, 10, {takes::f32, takes::uniform_rows}, run_backward);

}  // namespace
}  // namespace medfusion::kernels
#endif  // HWY_ONCE
