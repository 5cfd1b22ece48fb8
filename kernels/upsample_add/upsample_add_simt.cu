// A thread per pixel and up to 16 bytes of channels, in one pass: taps are computed where they are used, in
// whole numbers. Backward gathers over the outputs that read the pixel.
#include "kernels/gpu/device.cuh"
#include "kernels/gpu/floats.cuh"
#include "kernels/gpu/image.cuh"
#include "kernels/reduction/reduction.h"
#include "kernels/registry.h"
#include "kernels/upsample_add/upsample_add.h"

namespace medfusion::kernels {
namespace {

using namespace cuda;  // NOLINT(google-build-using-namespace): the vocabulary of device code

constexpr int kThreads = 128;
constexpr int64_t kMostPixels = 16384;  // of an axis: products of two sizes fit in 32 bits

// (1 - weight) x[first] + weight x[second].
struct Tap {
  int first, second;
  float weight;
};

// One axis: from `in` input to `out` output pixels.
struct Axis {
  Resize resize;
  int in, out;

  Axis(Resize r, int64_t from, int64_t to)
      : resize(r), in(static_cast<int>(from)), out(static_cast<int>(to)) {}

  // Of output i. Bilinear places are the fractions (2 i + 1) in - out over 2 out, and i (in - 1) over out
  // - 1.
  __device__ __forceinline__ Tap tap(int i) const {
    if (resize == Resize::nearest) {
      const int from = i * in / out;
      return {from, from, 0.0F};
    }
    int over = 2 * out, place = (2 * i + 1) * in - out;
    if (resize == Resize::bilinear_align_corners) {
      over = out > 1 ? out - 1 : 1;
      place = out > 1 ? i * (in - 1) : 0;
    }
    const int last = (in - 1) * over;
    place = place < 0 ? 0 : place > last ? last : place;
    const int first = place / over;
    const int rest = place - first * over;
    return {first, first + 1 < in ? first + 1 : first,
            __fdividef(static_cast<float>(rest), static_cast<float>(over))};
  }

  // What output i gives to the gradient of input n.
  __device__ __forceinline__ float share(int i, int n) const {
    const Tap t = tap(i);
    return (t.first == n ? 1.0F - t.weight : 0.0F) + (t.second == n ? t.weight : 0.0F);
  }

  // [begin, end): outputs that may read input n, and a few around them.
  __device__ __forceinline__ int begin(int n) const {
    if (n == 0) return 0;
    int i = 0;
    if (resize == Resize::nearest) {
      i = n * out / in;
    } else if (resize == Resize::bilinear) {
      i = (2 * n - 1) * out / (2 * in) - 1;
    } else {
      i = (n - 1) * (out - 1) / (in > 1 ? in - 1 : 1);
    }
    return i < 0 ? 0 : i;
  }
  __device__ __forceinline__ int end(int n) const {
    if (n == in - 1) return out;
    int i = 0;
    if (resize == Resize::nearest) {
      i = (n + 1) * out / in + 1;
    } else if (resize == Resize::bilinear) {
      i = (2 * n + 3) * out / (2 * in) + 1;
    } else {
      i = (n + 1) * (out - 1) / (in > 1 ? in - 1 : 1) + 1;
    }
    return i > out ? out : i;
  }
};

template <int N, class Values>
__device__ __forceinline__ void add(Vector<float, N>& sum, float weight, const Values& v) {
#pragma unroll
  for (int k = 0; k < N; ++k) sum[k] = fmaf(weight, v[k], sum[k]);
}

template <int N, class T>
__global__ void __launch_bounds__(kThreads)
    upsample_add_forward(Image<const T> x, Image<const T> lateral, Global<const float> bias, Image<T> y,
                         Axis rows, Axis columns) {
  for_pixels<N>(y, [&](int b, int i, int j, int c) {
    const Tap r = rows.tap(i);
    const Tap s = columns.tap(j);
    auto sum = load_floats<N>(lateral.data, lateral.at(b, i, j) + c);
    if (bias != nullptr) add(sum, 1.0F, load_floats<N>(bias, c));
    add(sum, (1.0F - r.weight) * (1.0F - s.weight), load_pack<N>(x.data, x.at(b, r.first, s.first) + c));
    if (s.weight != 0.0F) {
      add(sum, (1.0F - r.weight) * s.weight, load_pack<N>(x.data, x.at(b, r.first, s.second) + c));
    }
    if (r.weight != 0.0F) {
      add(sum, r.weight * (1.0F - s.weight), load_pack<N>(x.data, x.at(b, r.second, s.first) + c));
      if (s.weight != 0.0F)
        add(sum, r.weight * s.weight, load_pack<N>(x.data, x.at(b, r.second, s.second) + c));
    }
    store_floats<N>(y.data, y.at(b, i, j) + c, sum);
  });
}

template <int N, class T>
__global__ void __launch_bounds__(kThreads, 8)
    upsample_add_backward(Image<const T> grad_y, Image<T> grad_x, Axis rows, Axis columns) {
  for_pixels<N>(grad_x, [&](int b, int i, int j, int c) {
    Vector<float, N> sum{};
    const int last_row = rows.end(i), last_column = columns.end(j);
    for (int row = rows.begin(i); row < last_row; ++row) {
      const float row_share = rows.share(row, i);
      if (row_share == 0.0F) continue;
      for (int column = columns.begin(j); column < last_column; ++column) {
        const float share = row_share * columns.share(column, j);
        if (share != 0.0F) add(sum, share, load_pack<N>(grad_y.data, grad_y.at(b, row, column) + c));
      }
    }
    store_floats<N>(grad_x.data, grad_x.at(b, i, j) + c, sum);
  });
}

void run_forward(const UpsampleAddForward& a) {
  if (a.y.numel() == 0) return;
  visit_floats(a.y.dtype, [&]<class T>(T /*element*/) {
    constexpr int kN = kWide<T>;
    const bool wide = aligned_pixels(a.x, kN) && aligned_pixels(a.lateral, kN) && aligned_pixels(a.y, kN) &&
                      (!a.bias.defined() || aligned_rows<16>(a.bias));
    launch({"upsample_add_forward", a.y.device, image_grid(a.y, wide ? kN : 1, kThreads), dim3(kThreads)},
           wide ? upsample_add_forward<kN, T> : upsample_add_forward<1, T>, Image<const T>(a.x),
           Image<const T>(a.lateral), a.bias.defined() ? a.bias.as<float>() : nullptr, Image<T>(a.y),
           Axis(a.resize, a.x.size(1), a.y.size(1)), Axis(a.resize, a.x.size(2), a.y.size(2)));
  });
}

void run_backward(const UpsampleAddBackward& a) {
  const core::View& g = a.grad_y;
  if (a.grad_x.numel() > 0 && a.grad_x.defined()) {
    visit_floats(g.dtype, [&]<class T>(T /*element*/) {
      const bool wide = aligned_pixels(g, kWide<T>) && aligned_pixels(a.grad_x, kWide<T>);
      launch({"upsample_add_backward", g.device, image_grid(a.grad_x, wide ? kWide<T> : 1, kThreads),
              dim3(kThreads)},
             wide ? upsample_add_backward<kWide<T>, T> : upsample_add_backward<1, T>, Image<const T>(g),
             Image<T>(a.grad_x), Axis(a.resize, a.grad_x.size(1), g.size(1)),
             Axis(a.resize, a.grad_x.size(2), g.size(2)));
    });
  }
  if (!a.grad_bias.defined()) return;
  core::View sum = a.grad_bias;  // as [1, 1, 1, C]
  sum.shape = {1, 1, 1, a.grad_bias.numel()};
  sum.strides = {1, 1, 1, 1};
  dispatch<ReduceForward>({Reduction::sum, g, sum, {}}, kDevice);
}

constexpr TensorRequirement kSizes{"up to 16384 pixels a side", [](Tensors tensors) {
                                     return takes::each(tensors, [](const core::View& x) {
                                       return x.size(1) <= kMostPixels && x.size(2) <= kMostPixels;
                                     });
                                   }};
const Register<UpsampleAddForward> forward("simt", kDevice, 10,
                                           {takes::f32_or_bf16, takes::adjacent_channels, kSizes},
                                           run_forward);
const Register<UpsampleAddBackward> backward("simt", kDevice, 10,
                                             {takes::f32_or_bf16, takes::adjacent_channels, kSizes},
                                             run_backward);

}  // namespace
}  // namespace medfusion::kernels
