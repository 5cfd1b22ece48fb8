// Convolutions over strips of output rows: the input under a strip is copied into a buffer that stays in the
// cache, zero padded, and normalized and rectified on the way where that is asked
// for.
#pragma once

#include <cstdint>
#include <vector>

#include "core/tensor.h"
#include "kernels/gemm/gemm.h"

namespace medfusion::kernels::gemm {

// Pixels of NHWC images, channels adjacent; strides in floats.
struct Pixels {
  const float* data = nullptr;
  int64_t image_stride = 0, row_stride = 0, pixel_stride = 0;

  const float* at(int64_t image, int64_t row, int64_t column) const {
    return data + image * image_stride + row * row_stride + column * pixel_stride;
  }
};

// The image x that a convolution reads. With `scale`, max(scale[c] x + shift[c], 0) is read in place of x;
// with `other` too, scale[c] x + other_scale[c] other + shift[c]. Beyond the border 0 is read all the same.
struct Image {
  Pixels x;
  int64_t height, width, channels;
  const float* scale = nullptr;
  const float* shift = nullptr;
  Pixels other = {};
  const float* other_scale = nullptr;
};
Pixels pixels_of(const core::View& view);
Image image_of(const core::View& view);

// Output pixel (i, j) sees the input pixels (i stride + u - top, j stride + v - left) / dilation for taps u,
// v, where that divides exactly and falls on the image; elsewhere it sees 0. Dilation is for gradients of
// strided convolutions.
struct Window {
  int64_t kernel_rows, kernel_columns;
  int64_t stride = 1;
  int64_t top = 0, left = 0;
  int64_t dilation = 1;
  int64_t out_height, out_width;
};

// The input under the output rows [first, last), which count on from image to image.
class Strip {
 public:
  // Channels [first_channel, first_channel + channels) of the image, pixels `pixel_stride` floats apart.
  void load(const Image& image, const Window& window, int64_t first, int64_t last, int64_t first_channel,
            int64_t channels, int64_t pixel_stride);

  // Output rows of one image: tap (u, v) of output pixel (i, j) of the part lies at
  // data + (i stride + u) row_stride + (j stride + v) pixel_stride.
  struct Part {
    const float* data;
    int64_t row_stride;
    int64_t first, rows;  // output rows, `first` counted from the start of the strip
  };
  const std::vector<Part>& parts() const { return parts_; }
  int64_t pixels() const { return pixels_; }

  // Pointers [kernel rows][pixels()] to the first column of each row of taps.
  const float* const* pointers(const Window& window, int64_t pixel_stride);

 private:
  core::Tensor buffer_;
  std::vector<Part> parts_;
  std::vector<const float*> pointers_;
  int64_t pixels_ = 0;
};

// weight [out, in, rows, columns] as [tap, in] x [out], the operand of a convolution, and with the taps in
// reverse order as [tap, out] x [in], the operand of its gradient.
Packed pack_weight(const core::View& weight);
Packed pack_weight_reversed(const core::View& weight);

// How many output rows to take at a time: enough pixels for the register tiles, enough strips for the
// threads. Depends on the shapes only.
int64_t rows_per_strip(int64_t total_rows, int64_t width);

}  // namespace medfusion::kernels::gemm
