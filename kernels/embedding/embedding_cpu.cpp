// Forward copies rows. Backward sorts the places by id (stable), so that each row of the table is summed by
// one task, in the order of the places, whatever the number of threads.
#include <cstring>
#include <vector>

#include "core/threads.h"
#include "kernels/embedding/embedding.h"
#include "kernels/registry.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/embedding/embedding_cpu.cpp"
#include "kernels/simd.h"  // first: sets the instruction sets, then foreach_target and highway

HWY_BEFORE_NAMESPACE();
namespace medfusion::kernels::HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

// sum[c] = from[places[0]][c] + from[places[1]][c] + ..., `count` rows of `width` elements, `stride` apart.
void sum_rows(const float* from, int64_t stride, const int64_t* places, int64_t count, int64_t width,
              float* sum) {
  const hn::ScalableTag<float> d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t c = 0;
  for (; c + lanes <= width; c += lanes) {
    auto total = hn::Zero(d);
    for (int64_t n = 0; n < count; ++n) total = hn::Add(total, hn::LoadU(d, from + places[n] * stride + c));
    hn::StoreU(total, d, sum + c);
  }
  if (c < width) {
    const auto rest = static_cast<size_t>(width - c);
    auto total = hn::Zero(d);
    for (int64_t n = 0; n < count; ++n)
      total = hn::Add(total, load_n(d, from + places[n] * stride + c, rest));
    store_n(total, d, sum + c, rest);
  }
}

}  // namespace
}  // namespace medfusion::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace medfusion::kernels {
namespace {

HWY_EXPORT(sum_rows);

constexpr int64_t kGrain = 1 << 14;  // elements of one task

void run_forward(const EmbeddingForward& a) {
  const int64_t width = a.y.size(1);
  if (width == 0) return;
  const auto* ids = a.ids.as<int64_t>();
  core::parallel_for(
      0, a.ids.numel(), std::max<int64_t>(1, kGrain / width), [&](int64_t first, int64_t last) {
        for (int64_t n = first; n < last; ++n) {
          std::memcpy(a.y.as<float>() + n * a.y.stride(0), a.weight.as<float>() + ids[n] * a.weight.stride(0),
                      static_cast<size_t>(width) * sizeof(float));
        }
      });
}

void run_backward(const EmbeddingBackward& a) {
  const int64_t rows = a.grad_weight.size(0);
  const int64_t width = a.grad_weight.size(1);
  const int64_t count = a.ids.numel();
  if (a.grad_weight.numel() == 0) return;
  const auto* ids = a.ids.as<int64_t>();
  // places[begin[v], begin[v + 1]): where id v stands
  std::vector<int64_t> begin(static_cast<size_t>(rows) + 1, 0);
  for (int64_t n = 0; n < count; ++n) ++begin[static_cast<size_t>(ids[n]) + 1];
  for (size_t v = 0; v < static_cast<size_t>(rows); ++v) begin[v + 1] += begin[v];
  std::vector<int64_t> places(static_cast<size_t>(count));
  std::vector<int64_t> next(begin.begin(), begin.end());
  for (int64_t n = 0; n < count; ++n) {
    places[static_cast<size_t>(next[static_cast<size_t>(ids[n])]++)] = n;
  }
  const int64_t per_row = width * std::max<int64_t>(1, count / std::max<int64_t>(1, rows));
  core::parallel_for(0, rows, std::max<int64_t>(1, kGrain / std::max<int64_t>(1, per_row)),
                     [&](int64_t first, int64_t last) {
                       for (int64_t v = first; v < last; ++v) {
                         const auto i = static_cast<size_t>(v);
                         HWY_DYNAMIC_DISPATCH(sum_rows)
                         (a.grad_y.as<float>(), a.grad_y.stride(0), places.data() + begin[i],
                          begin[i + 1] - begin[i], width,
                          a.grad_weight.as<float>() + v * a.grad_weight.stride(0));
                       }
                     });
}

const Register<EmbeddingForward> forward("cpu", kCpu, 10, {takes::f32, takes::adjacent_columns}, run_forward);
const Register<EmbeddingBackward> backward("cpu", kCpu, 10, {takes::f32, takes::adjacent_columns},
                                           run_backward);

}  // namespace
}  // namespace medfusion::kernels
#endif  // HWY_ONCE
