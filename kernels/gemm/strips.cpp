#include "kernels/gemm/strips.h"

#include <algorithm>

#include "core/threads.h"
#include "kernels/gemm/rows.h"

namespace medfusion::kernels::gemm {
namespace {

constexpr int64_t kMostPixels = 168;  // of a strip, where one row is not more
constexpr int64_t kGoodPixels = 108;  // fewer leave the packed weights too little used
constexpr int64_t kSmallPixels = 36;
constexpr int64_t kEnoughStrips = 16;

// Channels [first, first + channels) of `pixels` pixels of the image from (index, row, column) on.
void load_pixels(const Image& image, int64_t index, int64_t row, int64_t column, int64_t pixels,
                 int64_t first, int64_t channels, float* to, int64_t to_stride) {
  const float* from = image.x.at(index, row, column) + first;
  const int64_t stride = image.x.pixel_stride;
  if (image.other.data != nullptr) {
    combine_rows({.a = from,
                  .a_stride = stride,
                  .b = image.other.at(index, row, column) + first,
                  .b_stride = image.other.pixel_stride,
                  .first = image.scale + first,
                  .second = image.other_scale + first,
                  .offset = image.shift + first},
                 pixels, channels, to, to_stride);
  } else if (image.scale != nullptr) {
    affine_relu_rows(from, stride, pixels, channels, image.scale + first, image.shift + first, to, to_stride);
  } else {
    copy_rows(from, stride, pixels, channels, to, to_stride);
  }
}

// One row of the strip's buffer from a row of the image: `columns` pixels, those beyond the image
// zero.
void load_row(const Image& image, const Window& w, int64_t index, int64_t row, int64_t first_channel,
              int64_t channels, int64_t columns, float* to, int64_t pixel_stride) {
  const auto clear = [&](int64_t first, int64_t last) {
    if (first < last) std::fill_n(to + first * pixel_stride, (last - first) * pixel_stride, 0.0F);
  };
  if (columns <= w.left) return clear(0, columns);
  if (w.dilation != 1) clear(0, columns);
  // Input column x lies at buffer column x dilation + left.
  const int64_t first = std::max<int64_t>(0, (-w.left + w.dilation - 1) / w.dilation);
  const int64_t last =
      std::clamp<int64_t>((columns - 1 - w.left) / w.dilation + 1, first, std::max(first, image.width));
  clear(0, std::min(columns, first * w.dilation + w.left));
  if (w.dilation == 1) clear(last + w.left, columns);
  load_pixels(image, index, row, first, last - first, first_channel, channels,
              to + (first * w.dilation + w.left) * pixel_stride, pixel_stride * w.dilation);
}

}  // namespace

Pixels pixels_of(const core::View& view) {
  return {view.as<float>(), view.stride(0), view.stride(1), view.stride(2)};
}

Image image_of(const core::View& view) {
  return {.x = pixels_of(view), .height = view.size(1), .width = view.size(2), .channels = view.size(3)};
}

Packed pack_weight(const core::View& weight) {
  const int64_t in = weight.size(1);
  const int64_t taps = weight.size(2) * weight.size(3);
  const auto* from = weight.as<float>();
  Packed packed(taps * in, weight.size(0));
  core::parallel_for(0, packed.panels(), 1, [&](int64_t first, int64_t last) {
    for (int64_t t = 0; t < taps; ++t) packed.set(from + t, taps, in * taps, t * in, in, first, last);
  });
  return packed;
}

Packed pack_weight_reversed(const core::View& weight) {
  const int64_t out = weight.size(0);
  const int64_t in = weight.size(1);
  const int64_t taps = weight.size(2) * weight.size(3);
  const auto* from = weight.as<float>();
  Packed packed(taps * out, in);
  core::parallel_for(0, packed.panels(), 1, [&](int64_t first, int64_t last) {
    for (int64_t t = 0; t < taps; ++t) {
      packed.set(from + taps - 1 - t, in * taps, taps, t * out, out, first, last);
    }
  });
  return packed;
}

void Strip::load(const Image& image, const Window& w, int64_t first, int64_t last, int64_t first_channel,
                 int64_t channels, int64_t pixel_stride) {
  const int64_t columns = (w.out_width - 1) * w.stride + w.kernel_columns;
  const int64_t row_stride = columns * pixel_stride;
  parts_.clear();
  pixels_ = (last - first) * w.out_width;
  const int64_t most_parts = (last - first) / w.out_height + 2;
  const int64_t most_rows = (last - first) * w.stride + most_parts * w.kernel_rows;
  if (!buffer_.defined() || buffer_.numel() < most_rows * row_stride) {
    buffer_ = core::Tensor();  // back to the allocator before a larger one
    buffer_ = core::Tensor::empty({most_rows * row_stride});
  }
  auto* to = buffer_.data<float>();
  for (int64_t r = first; r < last;) {
    const int64_t index = r / w.out_height;
    const int64_t top = r % w.out_height;  // output row within the image
    const int64_t rows = std::min(last - r, w.out_height - top);
    parts_.push_back({to, row_stride, r - first, rows});
    const int64_t input_rows = (rows - 1) * w.stride + w.kernel_rows;
    for (int64_t i = 0; i < input_rows; ++i, to += row_stride) {
      const int64_t dilated = top * w.stride + i - w.top;
      const int64_t row = dilated / w.dilation;
      if (dilated < 0 || dilated % w.dilation != 0 || row >= image.height) {
        std::fill_n(to, row_stride, 0.0F);
      } else {
        load_row(image, w, index, row, first_channel, channels, columns, to, pixel_stride);
      }
    }
    r += rows;
  }
}

const float* const* Strip::pointers(const Window& w, int64_t pixel_stride) {
  pointers_.resize(static_cast<size_t>(w.kernel_rows * pixels_));
  for (int64_t u = 0; u < w.kernel_rows; ++u) {
    const float** to = pointers_.data() + u * pixels_;
    for (const Part& part : parts_) {
      for (int64_t i = 0; i < part.rows; ++i) {
        const float* row = part.data + (i * w.stride + u) * part.row_stride;
        for (int64_t j = 0; j < w.out_width; ++j) *to++ = row + j * w.stride * pixel_stride;
      }
    }
  }
  return pointers_.data();
}

int64_t rows_per_strip(int64_t total_rows, int64_t width) {
  const int64_t share = total_rows * width / kEnoughStrips;  // pixels of a strip that leave enough of them
  const int64_t least = std::clamp(share, kSmallPixels, kGoodPixels);
  const int64_t most = std::max(least + least / 2, std::min(kMostPixels, share));
  int64_t best = std::max<int64_t>(1, (least + width - 1) / width);
  double best_use = 0.0;
  for (int64_t rows = best; rows == best || rows * width <= most; ++rows) {
    const int64_t tiles = (rows * width + tile_rows() - 1) / tile_rows();
    const double use = static_cast<double>(rows * width) / static_cast<double>(tiles * tile_rows());
    if (use > best_use) {
      best_use = use;
      best = rows;
    }
  }
  return best;
}

}  // namespace medfusion::kernels::gemm
