// One task is one row of pixels of the result (forward) or of the image (backward, which gathers: every pixel
// is written by one task alone). Vectors run over channels.
#include <algorithm>

#include "core/tensor.h"
#include "core/threads.h"
#include "kernels/pooling/pooling.h"
#include "kernels/pooling/pooling_rows.h"
#include "kernels/reduction/reduction.h"
#include "kernels/registry.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/pooling/pooling_cpu.cpp"
#include "kernels/simd.h"  // first: sets the instruction sets, then foreach_target and highway

HWY_BEFORE_NAMESPACE();
namespace medfusion::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;
using pooling::Image;
using pooling::Range;
using pooling::Taps;

// True where v is larger than best, or the first NaN. Highway's Ne is false for NaN on AVX2 and later.
template <class V>
HWY_INLINE auto wins(V v, V best) {
  return hn::Or(hn::Gt(v, best), hn::AndNot(hn::IsNaN(best), hn::IsNaN(v)));
}

// One row of the result from x, the image of one sample.
void max_row(const Image& x, const Taps& rows, const Taps* columns, int64_t width, int64_t kernel, float* y,
             int64_t stride_y, uint8_t* argmax) {
  for (int64_t w = 0; w < width; ++w, y += stride_y, argmax += x.channels) {
    const Taps& cols = columns[w];
    for_vectors(x.channels, [&](auto d, int64_t c) {
      const hn::RebindToSigned<decltype(d)> di;
      const hn::Rebind<uint8_t, decltype(d)> du8;
      auto best = hn::LoadU(d, x.pixel(rows.first, cols.first) + c);
      auto place = hn::Set(di, static_cast<int32_t>(rows.offset * kernel + cols.offset));
      for (int64_t r = 0; r < rows.count; ++r) {
        for (int64_t k = r == 0 ? 1 : 0; k < cols.count; ++k) {
          const auto v = hn::LoadU(d, x.pixel(rows.first + r, cols.first + k) + c);
          const auto larger = wins(v, best);
          best = hn::IfThenElse(larger, v, best);
          const auto index = static_cast<int32_t>((rows.offset + r) * kernel + cols.offset + k);
          place = hn::IfThenElse(hn::RebindMask(di, larger), hn::Set(di, index), place);
        }
      }
      hn::StoreU(best, d, y + c);
      hn::StoreU(hn::DemoteTo(du8, place), du8, argmax + c);
    });
  }
}

void average_row(const Image& x, const Taps& rows, const Taps* columns, int64_t width, float* y,
                 int64_t stride_y) {
  for (int64_t w = 0; w < width; ++w, y += stride_y) {
    const Taps& cols = columns[w];
    const float share = 1.0F / static_cast<float>(rows.count * cols.count);
    for_vectors(x.channels, [&](auto d, int64_t c) {
      auto sum = hn::Zero(d);
      for (int64_t r = 0; r < rows.count; ++r) {
        for (int64_t k = 0; k < cols.count; ++k) {
          sum = hn::Add(sum, hn::LoadU(d, x.pixel(rows.first + r, cols.first + k) + c));
        }
      }
      hn::StoreU(hn::Mul(sum, hn::Set(d, share)), d, y + c);
    });
  }
}

// The pixels of one image row: out_rows are the rows of grad_y whose windows hold it, out_columns[w]
// likewise.
void max_grad_row(const Image& grad_y, const uint8_t* argmax, const Range& out_rows, const Range* out_columns,
                  const PoolingWindow& p, int64_t row, int64_t width, float* grad_x, int64_t stride_x) {
  for (int64_t w = 0; w < width; ++w, grad_x += stride_x) {
    const Range& cols = out_columns[w];
    for_vectors(grad_y.channels, [&](auto d, int64_t c) {
      const hn::RebindToSigned<decltype(d)> di;
      const hn::Rebind<uint8_t, decltype(d)> du8;
      auto sum = hn::Zero(d);
      for (int64_t i = out_rows.first; i < out_rows.last; ++i) {
        for (int64_t k = cols.first; k < cols.last; ++k) {
          const int64_t index = (row + p.padding - i * p.stride) * p.kernel + w + p.padding - k * p.stride;
          const auto place =
              hn::PromoteTo(di, hn::LoadU(du8, argmax + (i * grad_y.width + k) * grad_y.channels + c));
          const auto won = hn::RebindMask(d, hn::Eq(place, hn::Set(di, static_cast<int32_t>(index))));
          sum = hn::Add(sum, hn::IfThenElseZero(won, hn::LoadU(d, grad_y.pixel(i, k) + c)));
        }
      }
      hn::StoreU(sum, d, grad_x + c);
    });
  }
}

void average_grad_row(const Image& grad_y, const Range& out_rows, const Range* out_columns, const Taps* rows,
                      const Taps* columns, int64_t width, float* grad_x, int64_t stride_x) {
  for (int64_t w = 0; w < width; ++w, grad_x += stride_x) {
    const Range& cols = out_columns[w];
    for_vectors(grad_y.channels, [&](auto d, int64_t c) {
      auto sum = hn::Zero(d);
      for (int64_t i = out_rows.first; i < out_rows.last; ++i) {
        for (int64_t k = cols.first; k < cols.last; ++k) {
          const float share = 1.0F / static_cast<float>(rows[i].count * columns[k].count);
          sum = hn::MulAdd(hn::LoadU(d, grad_y.pixel(i, k) + c), hn::Set(d, share), sum);
        }
      }
      hn::StoreU(sum, d, grad_x + c);
    });
  }
}

// y and argmax, [channels], stay in the first-level cache while the pixels pass.
void global_max(const Image& x, float* y, int32_t* argmax) {
  std::copy_n(x.pixel(0, 0), x.channels, y);
  std::fill_n(argmax, x.channels, 0);
  for (int64_t h = 0; h < x.height; ++h) {
    for (int64_t w = 0; w < x.width; ++w) {
      const float* pixel = x.pixel(h, w);
      const auto index = static_cast<int32_t>(h * x.width + w);
      for_vectors(x.channels, [&](auto d, int64_t c) {
        const hn::RebindToSigned<decltype(d)> di;
        const auto v = hn::LoadU(d, pixel + c);
        const auto best = hn::LoadU(d, y + c);
        const auto larger = wins(v, best);
        const auto place = hn::LoadU(di, argmax + c);
        hn::StoreU(hn::IfThenElse(larger, v, best), d, y + c);
        hn::StoreU(hn::IfThenElse(hn::RebindMask(di, larger), hn::Set(di, index), place), di, argmax + c);
      });
    }
  }
}

// grad_x where the pixel is the argmax, for the pixels of one row.
void global_max_grad_row(const float* grad_y, const int32_t* argmax, int64_t row, int64_t width,
                         int64_t channels, float* grad_x, int64_t stride_x) {
  for (int64_t w = 0; w < width; ++w, grad_x += stride_x) {
    for_vectors(channels, [&](auto d, int64_t c) {
      const hn::RebindToSigned<decltype(d)> di;
      const auto here = hn::Eq(hn::LoadU(di, argmax + c), hn::Set(di, static_cast<int32_t>(row * width + w)));
      hn::StoreU(hn::IfThenElseZero(hn::RebindMask(d, here), hn::LoadU(d, grad_y + c)), d, grad_x + c);
    });
  }
}

}  // namespace medfusion::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace medfusion::kernels {
namespace {

using pooling::Image;
using pooling::Range;
using pooling::Taps;

HWY_EXPORT(max_row);
HWY_EXPORT(average_row);
HWY_EXPORT(max_grad_row);
HWY_EXPORT(average_grad_row);
HWY_EXPORT(global_max);
HWY_EXPORT(global_max_grad_row);

constexpr int64_t kGrain = 1 << 14;  // elements per task

Image image_of(const core::View& v, int64_t sample) {
  return {
      v.as<float>() + sample * v.strides[0], v.strides[1], v.strides[2], v.shape[1], v.shape[2], v.shape[3]};
}
float* row_of(const core::View& v, int64_t sample, int64_t row) {
  return v.as<float>() + sample * v.strides[0] + row * v.strides[1];
}

// Calls body(sample, row) for the rows of an image tensor, in parallel.
template <class Body>
void for_image_rows(const core::View& v, int64_t work_per_element, const Body& body) {
  const int64_t height = v.shape[1];
  if (v.numel() == 0) return;
  const int64_t work = std::max<int64_t>(1, v.shape[2] * v.shape[3] * work_per_element);
  core::parallel_for(0, v.shape[0] * height, std::max<int64_t>(1, kGrain / work),
                     [&](int64_t first, int64_t last) {
                       for (int64_t i = first; i < last; ++i) body(i / height, i % height);
                     });
}

void run_forward(const PoolingForward& a) {
  const auto rows = pooling::taps(a.window, a.x.shape[1], a.y.shape[1]);
  const auto columns = pooling::taps(a.window, a.x.shape[2], a.y.shape[2]);
  const int64_t width = a.y.shape[2];
  for_image_rows(a.y, a.window.kernel * a.window.kernel, [&](int64_t sample, int64_t row) {
    const Image x = image_of(a.x, sample);
    const Taps& taps = rows[static_cast<size_t>(row)];
    float* y = row_of(a.y, sample, row);
    if (a.function == Pooling::average) {
      HWY_DYNAMIC_DISPATCH(average_row)(x, taps, columns.data(), width, y, a.y.strides[2]);
    } else {
      uint8_t* argmax = a.argmax.as<uint8_t>() + (sample * a.y.shape[1] + row) * width * x.channels;
      HWY_DYNAMIC_DISPATCH(max_row)
      (x, taps, columns.data(), width, a.window.kernel, y, a.y.strides[2], argmax);
    }
  });
}

void run_backward(const PoolingBackward& a) {
  const core::Shape& x = a.grad_x.shape;
  const core::Shape& y = a.grad_y.shape;
  const auto rows = pooling::taps(a.window, x[1], y[1]);
  const auto columns = pooling::taps(a.window, x[2], y[2]);
  const auto out_rows = pooling::windows_over(a.window, x[1], y[1]);
  const auto out_columns = pooling::windows_over(a.window, x[2], y[2]);
  for_image_rows(a.grad_x, 4, [&](int64_t sample, int64_t row) {
    const Image grad_y = image_of(a.grad_y, sample);
    const Range& over = out_rows[static_cast<size_t>(row)];
    float* grad_x = row_of(a.grad_x, sample, row);
    if (a.function == Pooling::average) {
      HWY_DYNAMIC_DISPATCH(average_grad_row)
      (grad_y, over, out_columns.data(), rows.data(), columns.data(), x[2], grad_x, a.grad_x.strides[2]);
    } else {
      HWY_DYNAMIC_DISPATCH(max_grad_row)
      (grad_y, a.argmax.as<uint8_t>() + sample * y[1] * y[2] * y[3], over, out_columns.data(), a.window, row,
       x[2], grad_x, a.grad_x.strides[2]);
    }
  });
}

// [B, C] as [B, 1, 1, C], so that the reduction can write or read it beside x.
core::View as_image(const core::View& v) {
  core::View image = v;
  image.shape = {v.shape[0], 1, 1, v.shape[1]};
  image.strides = {v.strides[0], 1, 1, v.strides[1]};
  return image;
}

void run_global_forward(const GlobalPoolingForward& a) {
  if (a.function == Pooling::average) {
    dispatch<ReduceForward>({Reduction::mean, a.x, as_image(a.y), {}}, core::DeviceType::cpu);
    return;
  }
  const int64_t channels = a.x.shape[3];
  core::parallel_for(0, a.x.shape[0], 1, [&](int64_t first, int64_t last) {
    for (int64_t b = first; b < last; ++b) {
      HWY_DYNAMIC_DISPATCH(global_max)
      (image_of(a.x, b), a.y.as<float>() + b * a.y.strides[0], a.argmax.as<int32_t>() + b * channels);
    }
  });
}

void run_global_backward(const GlobalPoolingBackward& a) {
  if (a.function == Pooling::average) {
    dispatch<ReduceBackward>({Reduction::mean, {}, as_image(a.grad_y), a.grad_x}, core::DeviceType::cpu);
    return;
  }
  const core::Shape& x = a.grad_x.shape;
  for_image_rows(a.grad_x, 1, [&](int64_t sample, int64_t row) {
    HWY_DYNAMIC_DISPATCH(global_max_grad_row)
    (a.grad_y.as<float>() + sample * a.grad_y.strides[0], a.argmax.as<int32_t>() + sample * x[3], row, x[2],
     x[3], row_of(a.grad_x, sample, row), a.grad_x.strides[2]);
  });
}

const Register<PoolingForward> forward("cpu", kCpu, 10, {takes::f32, takes::adjacent_channels}, run_forward);
const Register<PoolingBackward> backward("cpu", kCpu, 10, {takes::f32, takes::adjacent_channels},
                                         run_backward);
const Register<GlobalPoolingForward> global_forward("cpu", kCpu, 10, {takes::f32, takes::adjacent_channels},
                                                    run_global_forward);
const Register<GlobalPoolingBackward> global_backward("cpu", kCpu, 10, {takes::f32, takes::adjacent_channels},
                                                      run_global_backward);

}  // namespace
}  // namespace medfusion::kernels
#endif  // HWY_ONCE
