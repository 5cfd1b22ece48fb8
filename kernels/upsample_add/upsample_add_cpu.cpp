// Resizing is separable: rows are blended first (into a row that stays in the cache), then columns, each over
// whole runs of channels. Backward gathers with the transposed taps in the same two steps.
#include <vector>

#include "core/threads.h"
#include "kernels/registry.h"
#include "kernels/upsample_add/upsample_add.h"

#ifndef MEDFUSION_KERNELS_UPSAMPLE_ADD_CPU_SHARED_
#define MEDFUSION_KERNELS_UPSAMPLE_ADD_CPU_SHARED_
namespace medfusion::kernels {
namespace {

struct Tap {
  int64_t index;
  float weight;
};

// The taps of one axis by the side that gathers: target n reads taps [begin[n], begin[n + 1]).
struct Taps {
  std::vector<int64_t> begin;
  std::vector<Tap> list;
  const Tap* of(int64_t n) const { return list.data() + begin[static_cast<size_t>(n)]; }
  int64_t count(int64_t n) const { return begin[static_cast<size_t>(n) + 1] - begin[static_cast<size_t>(n)]; }
};

// Row `row` of image b: pixels `stride` apart.
struct Row {
  float* data;
  int64_t stride;
  Row(float* first, int64_t pixel_stride) : data(first), stride(pixel_stride) {}
  Row(const core::View& x, int64_t b, int64_t row)
      : data(x.as<float>() + b * x.strides[0] + row * x.strides[1]), stride(x.strides[2]) {}
  float* pixel(int64_t j) const { return data + j * stride; }
};

}  // namespace
}  // namespace medfusion::kernels
#endif

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/upsample_add/upsample_add_cpu.cpp"
#include "kernels/simd.h"  // first: sets the instruction sets, then foreach_target and highway

HWY_BEFORE_NAMESPACE();
namespace medfusion::kernels::HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;
using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;

// Calls body(c, load, store) for vectors of channels; the last one may be partial.
template <class Body>
HWY_INLINE void for_channels(int64_t channels, const Body& body) {
  const D d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t c = 0;
  for (; c + lanes <= channels; c += lanes) {
    body(
        c, [&](const float* p) { return hn::LoadU(d, p); }, [&](V v, float* p) { hn::StoreU(v, d, p); });
  }
  if (c < channels) {
    const auto rest = static_cast<size_t>(channels - c);
    body(
        c, [&](const float* p) { return load_n(d, p, rest); },
        [&](V v, float* p) { store_n(v, d, p, rest); });
  }
}

// to[c] = sum of weight_n from_n[c] (+ add[c]) (+ bias[c]); from_n: pixel n of taps, in `row`.
HWY_INLINE void gather_pixel(const Row& row, const Tap* taps, int64_t count, const float* add,
                             const float* bias, int64_t channels, float* to) {
  const D d;
  for_channels(channels, [&](int64_t c, const auto& load, const auto& store) {
    V sum = add == nullptr ? hn::Zero(d) : load(add + c);
    for (int64_t n = 0; n < count; ++n) {
      sum = hn::MulAdd(hn::Set(d, taps[n].weight), load(row.pixel(taps[n].index) + c), sum);
    }
    if (bias != nullptr) sum = hn::Add(sum, load(bias + c));
    store(sum, to + c);
  });
}

// blended[pixel] = sum of weight_n row_n[pixel]: `count` rows of `pixels` pixels, into contiguous pixels.
void blend_rows(const Row* rows, const Tap* taps, int64_t count, int64_t pixels, int64_t channels,
                float* blended) {
  const D d;
  const auto run = [&](int64_t length, int64_t j, float* to) {
    for_channels(length, [&](int64_t c, const auto& load, const auto& store) {
      V sum = hn::Zero(d);
      for (int64_t n = 0; n < count; ++n) {
        sum = hn::MulAdd(hn::Set(d, taps[n].weight), load(rows[n].pixel(j) + c), sum);
      }
      store(sum, to + c);
    });
  };
  bool contiguous = true;
  for (int64_t n = 0; n < count; ++n) contiguous = contiguous && rows[n].stride == channels;
  if (contiguous) {
    run(pixels * channels, 0, blended);
    return;
  }
  for (int64_t j = 0; j < pixels; ++j) run(channels, j, blended + j * channels);
}

// to[j] = sum over the taps of j of row (+ add[j]) (+ bias).
void gather_row(const Row& row, const Taps& columns, int64_t pixels, int64_t channels, const Row* add,
                const float* bias, const Row& to) {
  for (int64_t j = 0; j < pixels; ++j) {
    gather_pixel(row, columns.of(j), columns.count(j), add == nullptr ? nullptr : add->pixel(j), bias,
                 channels, to.pixel(j));
  }
}

// sum[c] += row[j][c] over all pixels.
void add_pixels(const Row& row, int64_t pixels, int64_t channels, float* sum) {
  for (int64_t j = 0; j < pixels; ++j) {
    const float* from = row.pixel(j);
    for (int64_t c = 0; c < channels; ++c) sum[c] += from[c];
  }
}

}  // namespace
}  // namespace medfusion::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace medfusion::kernels {
namespace {

HWY_EXPORT(blend_rows);
HWY_EXPORT(gather_row);
HWY_EXPORT(add_pixels);

constexpr int64_t kGrain = 1 << 14;  // elements of one task

// The taps as outputs gather them; weights of 0 are left out.
Taps output_taps(const std::vector<ResizeTap>& taps) {
  Taps result;
  result.begin.push_back(0);
  for (const ResizeTap& tap : taps) {
    const auto weight = static_cast<float>(tap.weight);
    if (tap.first == tap.second || tap.weight == 0.0) {
      result.list.push_back({tap.first, 1.0F});
    } else {
      result.list.push_back({tap.first, 1.0F - weight});
      result.list.push_back({tap.second, weight});
    }
    result.begin.push_back(static_cast<int64_t>(result.list.size()));
  }
  return result;
}

// The same as the `in` input pixels gather gradients, outputs in rising order.
Taps transposed(const Taps& outputs, int64_t in) {
  const auto out = static_cast<int64_t>(outputs.begin.size()) - 1;
  std::vector<std::vector<Tap>> lists(static_cast<size_t>(in));
  for (int64_t n = 0; n < out; ++n) {
    for (int64_t k = 0; k < outputs.count(n); ++k) {
      lists[static_cast<size_t>(outputs.of(n)[k].index)].push_back({n, outputs.of(n)[k].weight});
    }
  }
  Taps result;
  result.begin.push_back(0);
  for (const auto& list : lists) {
    result.list.insert(result.list.end(), list.begin(), list.end());
    result.begin.push_back(static_cast<int64_t>(result.list.size()));
  }
  return result;
}

// For every row of `to`: the rows of `from` in its taps blended, then columns gathered,
// lateral and bias added.
void resize_rows(const core::View& from, const Taps& rows, const Taps& columns, const core::View& lateral,
                 const float* bias, const core::View& to) {
  const int64_t height = to.shape[1];
  const int64_t width = to.shape[2];
  const int64_t channels = to.shape[3];
  if (to.numel() == 0) return;
  const int64_t grain = std::max<int64_t>(1, kGrain / (width * channels));
  core::parallel_for(0, to.shape[0] * height, grain, [&](int64_t first, int64_t last) {
    std::vector<float> blended(static_cast<size_t>(from.shape[2] * channels));
    std::vector<Row> sources;
    for (int64_t n = first; n < last; ++n) {
      const int64_t b = n / height;
      const int64_t i = n % height;
      const Tap* taps = rows.of(i);
      sources.clear();
      for (int64_t k = 0; k < rows.count(i); ++k) sources.emplace_back(from, b, taps[k].index);
      Row row(blended.data(), channels);
      if (sources.size() == 1 && taps[0].weight == 1.0F) {
        row = sources.front();
      } else {
        HWY_DYNAMIC_DISPATCH(blend_rows)
        (sources.data(), taps, static_cast<int64_t>(sources.size()), from.shape[2], channels, blended.data());
      }
      const Row target(to, b, i);
      if (lateral.defined()) {
        const Row add(lateral, b, i);
        HWY_DYNAMIC_DISPATCH(gather_row)(row, columns, width, channels, &add, bias, target);
      } else {
        HWY_DYNAMIC_DISPATCH(gather_row)(row, columns, width, channels, nullptr, bias, target);
      }
    }
  });
}

void run_forward(const UpsampleAddForward& a) {
  const Taps rows = output_taps(resize_taps(a.resize, a.x.shape[1], a.y.shape[1]));
  const Taps columns = output_taps(resize_taps(a.resize, a.x.shape[2], a.y.shape[2]));
  resize_rows(a.x, rows, columns, a.lateral, a.bias.defined() ? a.bias.as<float>() : nullptr, a.y);
}

// Partial sums of a fixed number of rows, then these in order.
void sum_pixels(const core::View& x, float* sum) {
  const int64_t height = x.shape[1];
  const int64_t channels = x.shape[3];
  const int64_t rows = x.shape[0] * height;
  std::fill_n(sum, channels, 0.0F);
  if (x.numel() == 0) return;
  const int64_t grain = std::max<int64_t>(1, kGrain / (x.shape[2] * channels));
  const int64_t chunks = (rows + grain - 1) / grain;
  std::vector<float> partial(static_cast<size_t>(chunks * channels), 0.0F);
  core::parallel_for(0, rows, grain, [&](int64_t first, int64_t last) {
    float* own = partial.data() + first / grain * channels;
    for (int64_t n = first; n < last; ++n) {
      HWY_DYNAMIC_DISPATCH(add_pixels)(Row(x, n / height, n % height), x.shape[2], channels, own);
    }
  });
  HWY_DYNAMIC_DISPATCH(add_pixels)(Row(partial.data(), channels), chunks, channels, sum);
}

void run_backward(const UpsampleAddBackward& a) {
  if (a.grad_x.defined()) {
    const core::Shape& x = a.grad_x.shape;
    const Taps rows = output_taps(resize_taps(a.resize, x[1], a.grad_y.shape[1]));
    const Taps columns = output_taps(resize_taps(a.resize, x[2], a.grad_y.shape[2]));
    resize_rows(a.grad_y, transposed(rows, x[1]), transposed(columns, x[2]), {}, nullptr, a.grad_x);
  }
  if (a.grad_bias.defined()) sum_pixels(a.grad_y, a.grad_bias.as<float>());
}

const Register<UpsampleAddForward> forward("cpu", kCpu, 10, {takes::f32, takes::adjacent_channels},
                                           run_forward);
const Register<UpsampleAddBackward> backward("cpu", kCpu, 10, {takes::f32, takes::adjacent_channels},
                                             run_backward);

}  // namespace
}  // namespace medfusion::kernels
#endif  // HWY_ONCE
