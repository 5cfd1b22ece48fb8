// Convolutions over strips of output rows: the input under a strip is copied into a buffer that stays in the
// cache, zero padded, and normalized and rectified on the way where that is asked for.
#pragma once

#include <cstdint>
#include <vector>

#include "core/tensor.h"

namespace medfusion::kernels::gemm {

// The image that a convolution reads: NHWC, channels adjacent. With `scale`, max(scale[c] x + shift[c], 0) is
// read in place of x (and 0 beyond the border all the same).
struct Image {
  const float* data;
  int64_t image_stride, row_stride, pixel_stride;
  int64_t images, height, width, channels;
  const float* scale = nullptr;
  const float* shift = nullptr;
};
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

// How many output rows to take at a time: enough pixels for the register tiles, enough strips for the
// threads. Depends on the shapes only.
int64_t rows_per_strip(int64_t total_rows, int64_t width);

}  // namespace medfusion::kernels::gemm
