// The loop nest splits into kept and reduced dimensions. Terms are added as whole rows where the last
// dimension is kept, and along the row where it is reduced; anything else goes one element at a time.
#include <cmath>
#include <limits>
#include <vector>

#include "core/tensor.h"
#include "kernels/loop_nest.h"
#include "kernels/reduction/reduction.h"
#include "kernels/registry.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/reduction/reduction_cpu.cpp"
#include "kernels/simd.h"  // first: sets the instruction sets, then foreach_target and highway

HWY_BEFORE_NAMESPACE();
namespace medfusion::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// sums[c] = sum over t of x[offsets[t] + c], for c in [0, width); count is small enough for float.
void add_rows(const float* x, const int64_t* offsets, int64_t count, int64_t width, double* sums) {
  const hn::ScalableTag<float> full;
  const auto lanes = static_cast<int64_t>(hn::Lanes(full));
  HWY_ALIGN float buffer[4 * hn::MaxLanes(full)];
  int64_t c = 0;
  for (; c + 4 * lanes <= width; c += 4 * lanes) {  // whole cache lines at a time
    auto s0 = hn::Zero(full), s1 = s0, s2 = s0, s3 = s0;
    for (int64_t t = 0; t < count; ++t) {
      const float* row = x + offsets[t] + c;
      s0 = hn::Add(s0, hn::LoadU(full, row));
      s1 = hn::Add(s1, hn::LoadU(full, row + lanes));
      s2 = hn::Add(s2, hn::LoadU(full, row + 2 * lanes));
      s3 = hn::Add(s3, hn::LoadU(full, row + 3 * lanes));
    }
    hn::Store(s0, full, buffer);
    hn::Store(s1, full, buffer + lanes);
    hn::Store(s2, full, buffer + 2 * lanes);
    hn::Store(s3, full, buffer + 3 * lanes);
    for (int64_t i = 0; i < 4 * lanes; ++i) sums[c + i] = static_cast<double>(buffer[i]);
  }
  for_vectors(width - c, [&](auto d, int64_t i) {
    auto s = hn::Zero(d);
    for (int64_t t = 0; t < count; ++t) s = hn::Add(s, hn::LoadU(d, x + offsets[t] + c + i));
    hn::StoreU(s, d, buffer);
    for (size_t lane = 0; lane < hn::Lanes(d); ++lane) {
      sums[c + i + static_cast<int64_t>(lane)] = static_cast<double>(buffer[lane]);
    }
  });
}

// The sum of n contiguous values, at most 128 of them per lane in float.
double add_along(const float* x, int64_t n) {
  const hn::ScalableTag<float> d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  HWY_ALIGN float buffer[hn::MaxLanes(d)];
  double total = 0.0;
  const int64_t block = 4 * lanes * 32;
  int64_t i = 0;
  while (n - i >= lanes) {
    const int64_t last = std::min(n, i + block);
    auto s0 = hn::Zero(d), s1 = s0, s2 = s0, s3 = s0;
    for (; i + 4 * lanes <= last; i += 4 * lanes) {
      s0 = hn::Add(s0, hn::LoadU(d, x + i));
      s1 = hn::Add(s1, hn::LoadU(d, x + i + lanes));
      s2 = hn::Add(s2, hn::LoadU(d, x + i + 2 * lanes));
      s3 = hn::Add(s3, hn::LoadU(d, x + i + 3 * lanes));
    }
    for (; i + lanes <= last; i += lanes) s0 = hn::Add(s0, hn::LoadU(d, x + i));
    hn::Store(hn::Add(hn::Add(s0, s1), hn::Add(s2, s3)), d, buffer);
    for (int64_t lane = 0; lane < lanes; ++lane) total += static_cast<double>(buffer[lane]);
  }
  for (; i < n; ++i) total += static_cast<double>(x[i]);
  return total;
}

}  // namespace medfusion::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace medfusion::kernels {
namespace {

HWY_EXPORT(add_rows);
HWY_EXPORT(add_along);

constexpr int64_t kGrain = 1 << 14;  // elements per task
constexpr int64_t kTerms = 128;      // terms of one float sum
constexpr int64_t kPiece = 1 << 13;  // elements of a row summed by one task

enum : size_t { kX, kY, kIndex, kArgmax };  // the views of the nest
using Offsets = std::array<int64_t, 4>;

// Some of the dimensions of a nest.
struct Dims {
  int rank = 0;
  std::array<int64_t, core::kMaxRank> sizes{};
  std::array<Offsets, core::kMaxRank> strides{};

  void push(int64_t size, const Offsets& step) {
    sizes[static_cast<size_t>(rank)] = size;
    strides[static_cast<size_t>(rank++)] = step;
  }
  int64_t count() const {
    int64_t product = 1;
    for (int i = 0; i < rank; ++i) product *= sizes[static_cast<size_t>(i)];
    return product;
  }
  Offsets offsets(int64_t index) const {
    Offsets result{};
    for (int i = rank - 1; i >= 0; --i) {
      const auto d = static_cast<size_t>(i);
      const int64_t position = index % sizes[d];
      index /= sizes[d];
      for (size_t v = 0; v < result.size(); ++v) result[v] += position * strides[d][v];
    }
    return result;
  }
};

// Output group g holds `width` neighbouring outputs (step_y apart), each the sum over terms t of `run`
// neighbouring inputs. width or run is 1.
struct Plan {
  Dims kept, reduced;
  int64_t width = 1, run = 1;
  int64_t step_y = 1, step_argmax = 1;
};

Plan make_plan(const core::View& x, const core::View& y, const core::View& argmax) {
  core::View index = x;  // counts the elements of x row by row
  index.strides = core::contiguous_strides(x.shape);
  const LoopNest<4> nest(x.shape, {&x, &y, &index, argmax.defined() ? &argmax : &y});
  Plan plan;
  for (int i = 0; i < nest.rank; ++i) {
    const auto d = static_cast<size_t>(i);
    const Offsets step{nest.strides[kX][d], nest.strides[kY][d], nest.strides[kIndex][d],
                       nest.strides[kArgmax][d]};
    const bool kept = step[kY] != 0;
    if (i + 1 == nest.rank && step[kX] == 1) {
      (kept ? plan.width : plan.run) = nest.sizes[d];
      plan.step_y = step[kY];
      plan.step_argmax = step[kArgmax];
    } else {
      (kept ? plan.kept : plan.reduced).push(nest.sizes[d], step);
    }
  }
  return plan;
}

// Adds the terms [first, last) of one group into sums[width], overwriting them. A term of a long row is one
// piece of it.
void add_terms(const Plan& plan, const float* x, int64_t pieces, int64_t first, int64_t last, double* sums) {
  if (plan.run > 1) {
    sums[0] = 0.0;
    for (int64_t t = first; t < last; ++t) {
      const int64_t start = t % pieces * kPiece;
      const float* row = x + plan.reduced.offsets(t / pieces)[kX] + start;
      sums[0] += HWY_DYNAMIC_DISPATCH(add_along)(row, std::min(kPiece, plan.run - start));
    }
    return;
  }
  std::array<int64_t, kTerms> offsets{};
  for (int64_t t = first; t < last; ++t) {
    offsets[static_cast<size_t>(t - first)] = plan.reduced.offsets(t)[kX];
  }
  HWY_DYNAMIC_DISPATCH(add_rows)(x, offsets.data(), last - first, plan.width, sums);
}

void run_sum(const ReduceForward& a, const Plan& plan) {
  const auto* x = a.x.as<float>();
  auto* y = a.y.as<float>();
  const double factor = a.function == Reduction::mean
                            ? static_cast<double>(a.y.numel()) / static_cast<double>(a.x.numel())
                            : 1.0;
  const int64_t groups = plan.kept.count();
  const int64_t pieces = (plan.run + kPiece - 1) / kPiece;
  const int64_t terms = plan.reduced.count() * pieces;
  const int64_t per_chunk = plan.run > 1 ? std::max<int64_t>(1, kPiece / std::min(plan.run, kPiece)) : kTerms;
  const int64_t chunks = (terms + per_chunk - 1) / per_chunk;
  // [groups, chunks, width]
  const core::Tensor partial = core::Tensor::empty({groups * chunks * plan.width}, core::DType::f64);
  const int64_t chunk_elements = std::min(terms, per_chunk) * plan.width * std::min(plan.run, kPiece);
  core::parallel_for(
      0, groups * chunks, std::max<int64_t>(1, kGrain / chunk_elements), [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          const int64_t first = i % chunks * per_chunk;
          add_terms(plan, x + plan.kept.offsets(i / chunks)[kX], pieces, first,
                    std::min(terms, first + per_chunk), partial.data<double>() + i * plan.width);
        }
      });
  core::parallel_for(0, groups, std::max<int64_t>(1, kGrain / (chunks * plan.width)),
                     [&](int64_t begin, int64_t end) {
                       for (int64_t g = begin; g < end; ++g) {
                         double* sums = partial.data<double>() + g * chunks * plan.width;
                         for (int64_t i = plan.width; i < chunks * plan.width; ++i) {
                           sums[i % plan.width] += sums[i];
                         }
                         float* to = y + plan.kept.offsets(g)[kY];
                         for (int64_t c = 0; c < plan.width; ++c) {
                           to[c * plan.step_y] = static_cast<float>(sums[c] * factor);
                         }
                       }
                     });
}

void run_max(const ReduceForward& a, const Plan& plan) {
  const int64_t terms = plan.reduced.count();
  const int64_t elements = terms * plan.width * plan.run;
  core::parallel_for(
      0, plan.kept.count(), std::max<int64_t>(1, kGrain / elements), [&](int64_t first, int64_t last) {
        std::vector<float> best(static_cast<size_t>(plan.width));
        std::vector<int64_t> place(static_cast<size_t>(plan.width));
        for (int64_t g = first; g < last; ++g) {
          const Offsets base = plan.kept.offsets(g);
          std::fill(place.begin(), place.end(), -1);
          for (int64_t t = 0; t < terms; ++t) {
            const Offsets at = plan.reduced.offsets(t);
            const float* x = a.x.as<float>() + base[kX] + at[kX];
            for (int64_t i = 0; i < plan.width * plan.run; ++i) {
              const auto c = static_cast<size_t>(plan.width > 1 ? i : 0);
              if (place[c] >= 0 && !(x[i] > best[c]) && !(std::isnan(x[i]) && !std::isnan(best[c]))) continue;
              best[c] = x[i];
              place[c] = base[kIndex] + at[kIndex] + i;
            }
          }
          for (int64_t c = 0; c < plan.width; ++c) {
            a.y.as<float>()[base[kY] + c * plan.step_y] = best[static_cast<size_t>(c)];
            if (!a.argmax.defined()) continue;
            a.argmax.as<int64_t>()[base[kArgmax] + c * plan.step_argmax] = place[static_cast<size_t>(c)];
          }
        }
      });
}

void run_forward(const ReduceForward& a) {
  if (a.y.numel() == 0) return;
  if (a.x.numel() == 0) {
    const float nothing = a.function == Reduction::sum ? 0.0F : std::numeric_limits<float>::quiet_NaN();
    for (int64_t i = 0; i < a.y.numel(); ++i) core::element<float>(a.y, i) = nothing;
    return;
  }
  const Plan plan = make_plan(a.x, a.y, a.argmax);
  if (a.function == Reduction::max) {
    run_max(a, plan);
  } else {
    run_sum(a, plan);
  }
}

void run_backward(const ReduceBackward& a) {
  if (a.grad_x.numel() == 0) return;
  const bool max = a.function == Reduction::max;
  const float factor =
      a.function == Reduction::mean
          ? static_cast<float>(static_cast<double>(a.grad_y.numel()) / static_cast<double>(a.grad_x.numel()))
          : 1.0F;
  core::View index = a.grad_x;
  index.strides = core::contiguous_strides(a.grad_x.shape);
  const LoopNest<4> nest(a.grad_x.shape, {&a.grad_x, &a.grad_y, &index, max ? &a.argmax : &a.grad_y});
  for_row_pieces(nest, kGrain, [&](const Offsets& at, int64_t n) {
    float* to = a.grad_x.as<float>() + at[kX];
    const float* from = a.grad_y.as<float>() + at[kY];
    const int64_t step_to = nest.inner_stride(kX);
    const int64_t step_from = nest.inner_stride(kY);
    if (max) {
      const int64_t* argmax = a.argmax.as<int64_t>() + at[kArgmax];
      for (int64_t i = 0; i < n; ++i) {
        const bool here =
            argmax[i * nest.inner_stride(kArgmax)] == at[kIndex] + i * nest.inner_stride(kIndex);
        to[i * step_to] = here ? from[i * step_from] : 0.0F;
      }
    } else if (step_to == 1 && step_from == 0) {
      std::fill_n(to, n, *from * factor);
    } else if (step_to == 1 && step_from == 1) {
      for (int64_t i = 0; i < n; ++i) to[i] = from[i] * factor;
    } else {
      for (int64_t i = 0; i < n; ++i) to[i * step_to] = from[i * step_from] * factor;
    }
  });
}

const Register<ReduceForward> forward("cpu", kCpu, 10, {takes::f32, takes::any_strides}, run_forward);
const Register<ReduceBackward> backward("cpu", kCpu, 10, {takes::f32, takes::any_strides}, run_backward);

}  // namespace
}  // namespace medfusion::kernels
#endif  // HWY_ONCE
