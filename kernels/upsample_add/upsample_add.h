// The top-down step of a feature pyramid (Lin et al. 2017): resize and add in one pass.
#pragma once

#include <array>
#include <vector>

#include "core/view.h"

namespace medfusion::kernels {

// Where output pixel I of `out` along one axis reads the `in` input pixels:
enum class Resize : uint8_t {
  nearest,                 // pixel floor(I in / out)
  bilinear,                // at (I + 0.5) in / out - 0.5, clamped to the pixel centres (half-pixel)
  bilinear_align_corners,  // at I (in - 1) / (out - 1); 0 where out = 1
};

// Images [B, height, width, C], channels contiguous, f32 or f64; inputs have h x w pixels, outputs H x W.
// Devices also take images in bf16, bias and its gradient being f32. y = lateral + resize(x) + bias. y may be
// lateral.
struct UpsampleAddForward {
  static constexpr const char* kOperation = "upsample_add";
  static constexpr const char* kDirection = "forward";
  Resize resize;
  core::View x;        // [B, h, w, C]
  core::View lateral;  // [B, H, W, C]
  core::View bias;     // [C], contiguous, optional
  core::View y;        // [B, H, W, C], overwritten
  auto tensors() const { return std::array{&x, &lateral, &y}; }
};

// grad_x: the transpose of resize; grad_bias: the sum of grad_y over all pixels. The gradient of
// lateral is grad_y itself.
struct UpsampleAddBackward {
  static constexpr const char* kOperation = "upsample_add";
  static constexpr const char* kDirection = "backward";
  Resize resize;
  core::View grad_y;     // [B, H, W, C]
  core::View grad_x;     // [B, h, w, C], overwritten; undefined: not wanted
  core::View grad_bias;  // [C], contiguous, overwritten; undefined: not wanted
  auto tensors() const { return std::array{&grad_y, &grad_x}; }
};

// One output pixel along one axis: (1 - weight) x[first] + weight x[second].
struct ResizeTap {
  int64_t first = 0;
  int64_t second = 0;
  double weight = 0.0;
};
std::vector<ResizeTap> resize_taps(Resize resize, int64_t in, int64_t out);

}  // namespace medfusion::kernels
