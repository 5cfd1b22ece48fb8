#include "kernels/workshop/cpu_rates.h"

#include <algorithm>
#include <barrier>
#include <chrono>
#include <cstring>
#include <functional>
#include <limits>
#include <thread>
#include <vector>

#include <hwy/aligned_allocator.h>

#include "core/threads.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/workshop/cpu_rates.cpp"
#include "kernels/simd.h"

HWY_BEFORE_NAMESPACE();
namespace medfusion::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;
using D = hn::ScalableTag<float>;

// Chains that do not wait for each other: two units with a latency of four or five cycles need ten. With the
// two factors they fit into sixteen registers.
constexpr int kChains = 12;

// Returns the number of its operations. `sums` has kChains elements: what each chain came to.
double multiply_add(int64_t rounds, float* sums) {
  const D d;
  const auto factor = hn::Set(d, 0.999F), summand = hn::Set(d, 0.001F);
  hn::Vec<D> chains[kChains];
  for (int i = 0; i < kChains; ++i) chains[i] = hn::Set(d, static_cast<float>(i));
  for (int64_t round = 0; round < rounds; ++round) {
    for (auto& chain : chains) chain = hn::MulAdd(chain, factor, summand);
  }
  for (int i = 0; i < kChains; ++i) sums[i] = hn::GetLane(hn::SumOfLanes(d, chains[i]));
  return 2.0 * kChains * static_cast<double>(hn::Lanes(d)) * static_cast<double>(rounds);
}

// `count`: a multiple of kUnrolled vectors.
constexpr int64_t kUnrolled = 8;
float sum(const float* x, int64_t count) {
  const D d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  hn::Vec<D> sums[kUnrolled];
  for (auto& each : sums) each = hn::Zero(d);
  for (int64_t i = 0; i < count; i += kUnrolled * lanes) {
    for (int64_t v = 0; v < kUnrolled; ++v) sums[v] = hn::Add(sums[v], hn::Load(d, x + i + v * lanes));
  }
  for (int64_t v = 1; v < kUnrolled; ++v) sums[0] = hn::Add(sums[0], sums[v]);
  return hn::GetLane(hn::SumOfLanes(d, sums[0]));
}

void add(const float* a, const float* b, float* c, int64_t count) {
  const D d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  for (int64_t i = 0; i < count; i += kUnrolled * lanes) {
    for (int64_t v = 0; v < kUnrolled * lanes; v += lanes)
      hn::Store(hn::Add(hn::Load(d, a + i + v), hn::Load(d, b + i + v)), d, c + i + v);
  }
}

}  // namespace medfusion::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace medfusion::kernels {

HWY_EXPORT(multiply_add);
HWY_EXPORT(sum);
HWY_EXPORT(add);

namespace {

constexpr int kMostChains = 16;
constexpr int64_t kPiece = 1024;  // floats: whole vectors of every instruction set

// Seconds of the fastest batch: every thread calls body(thread) once, all at the same time.
double fastest(double seconds, const std::function<void(int64_t)>& body) {
  using Clock = std::chrono::steady_clock;
  const auto between = [](Clock::time_point from, Clock::time_point to) {
    return std::chrono::duration<double>(to - from).count();
  };
  const int threads = core::num_threads();
  std::vector<Clock::time_point> starts(static_cast<size_t>(threads)), ends(starts);
  double best = std::numeric_limits<double>::infinity();
  const auto begin = Clock::now();
  int phases = 0;  // a batch has two: to begin and to end together
  bool done = false;
  std::barrier together(threads, [&]() noexcept {
    if (++phases % 2 != 0) return;
    best = std::min(best, between(*std::min_element(starts.begin(), starts.end()),
                                  *std::max_element(ends.begin(), ends.end())));
    done = phases >= 10 && between(begin, Clock::now()) >= seconds;
  });
  const auto work = [&](int64_t thread) {
    do {
      together.arrive_and_wait();
      starts[static_cast<size_t>(thread)] = Clock::now();
      body(thread);
      ends[static_cast<size_t>(thread)] = Clock::now();
      together.arrive_and_wait();
    } while (!done);
  };
  std::vector<std::jthread> others;
  for (int64_t thread = 1; thread < threads; ++thread) others.emplace_back(work, thread);
  work(0);
  return best;
}

}  // namespace

double multiply_add_rate(double seconds) {
  std::vector<double> operations(static_cast<size_t>(core::num_threads()));
  double rate = 0.0;
  // Tenths of a millisecond find all cores free on a busy machine; in milliseconds, starting costs nothing.
  for (const int64_t rounds : {50'000, 500'000}) {
    const double best = fastest(seconds / 2, [&](int64_t thread) {
      float sums[kMostChains] = {};
      operations[static_cast<size_t>(thread)] = HWY_DYNAMIC_DISPATCH(multiply_add)(rounds, sums);
      [[maybe_unused]] volatile const float seen = *std::max_element(sums, sums + kMostChains);
    });
    rate = std::max(rate, operations.front() * core::num_threads() / best);
  }
  return rate;
}

double memory_rate(int64_t bytes, double seconds) {
  const int64_t threads = core::num_threads();
  // Three parts for each thread; at least one piece each.
  const int64_t part =
      std::max<int64_t>(bytes / threads / 3 / static_cast<int64_t>(sizeof(float)) / kPiece, 1) * kPiece;
  const hwy::AlignedFreeUniquePtr<float[]> memory =
      hwy::AllocateAligned<float>(static_cast<size_t>(3 * part * threads));
  const auto of = [&](int64_t thread) { return memory.get() + 3 * part * thread; };
  const double each = static_cast<double>(3 * part) * sizeof(float);
  constexpr double kLeast = 8e6;  // bytes of a batch: at most a millisecond
  const auto passes = std::max<int64_t>(static_cast<int64_t>(kLeast / each), 1);
  const auto repeated = [&](const std::function<void(float*)>& pass) {
    return [&, pass](int64_t thread) {
      for (int64_t i = 0; i < passes; ++i) pass(of(thread));
    };
  };
  const auto clear = [&](float* x) { std::fill_n(x, 3 * part, 0.0F); };
  const auto read = [&](float* x) {
    [[maybe_unused]] volatile const float seen = HWY_DYNAMIC_DISPATCH(sum)(x, 3 * part);
  };
  const auto copy = [&](float* x) { std::memcpy(x + part, x, static_cast<size_t>(part) * sizeof(float)); };
  const auto add_up = [&](float* x) { HWY_DYNAMIC_DISPATCH(add)(x, x + part, x + 2 * part, part); };
  fastest(0.0, repeated(clear));  // pages come to be at the first write
  const double total = each * static_cast<double>(passes * threads);
  return std::max({total / fastest(seconds / 3, repeated(read)),
                   total * 2 / 3 / fastest(seconds / 3, repeated(copy)),
                   total / fastest(seconds / 3, repeated(add_up))});
}

}  // namespace medfusion::kernels
#endif  // HWY_ONCE
