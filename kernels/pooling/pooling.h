// Pooling of images [B, H, W, C]. f32 or f64; devices also take images and their gradients in bf16. Global
// pooling then gives f32.
#pragma once

#include <array>

#include "core/view.h"

namespace medfusion::kernels {

enum class Pooling : uint8_t { max, average };

// Windows of kernel x kernel, `stride` apart, the first one starting `padding` pixels before the image; sizes
// H' = (H + 2 padding - kernel) / stride + 1 rounded down (a remainder is dropped), W' likewise. Padding is
// at most kernel / 2, so that every window meets the image; kernel is at most 16.
struct PoolingWindow {
  int64_t kernel = 2;
  int64_t stride = 2;
  int64_t padding = 0;
};

// y [B, H', W', C] = the maximum, or the mean, of the window's pixels that lie in the image: padding never
// wins and never counts. Images may be channel slices. NaN propagates.
struct PoolingForward {
  static constexpr const char* kOperation = "pooling";
  static constexpr const char* kDirection = "forward";
  Pooling function;
  PoolingWindow window;
  core::View x;
  core::View y;       // overwritten
  core::View argmax;  // max only: u8, shape of y, contiguous: row * kernel + column, within the window, of
                      // the first maximum; overwritten
  auto tensors() const { return std::array{&x, &y}; }
};

// Each pixel takes the gradients of the windows it won (max), or its share of every window it is in
// (average).
struct PoolingBackward {
  static constexpr const char* kOperation = "pooling";
  static constexpr const char* kDirection = "backward";
  Pooling function;
  PoolingWindow window;
  core::View argmax;  // max only, of forward
  core::View grad_y;
  core::View grad_x;  // overwritten
  auto tensors() const { return std::array{&grad_y, &grad_x}; }
};

// y [B, C] = the maximum or mean over all pixels of x [B, H, W, C]. max wants at least one pixel; the mean of
// none is NaN. Means add at most 128 terms in float, the rest in double, in fixed order.
struct GlobalPoolingForward {
  static constexpr const char* kOperation = "pooling";
  static constexpr const char* kDirection = "global_forward";
  Pooling function;
  core::View x;
  core::View y;       // overwritten
  core::View argmax;  // max only: i32 [B, C], contiguous: row * W + column of the first maximum; overwritten
  auto tensors() const { return std::array{&x, &y}; }
};

struct GlobalPoolingBackward {
  static constexpr const char* kOperation = "pooling";
  static constexpr const char* kDirection = "global_backward";
  Pooling function;
  core::View argmax;  // max only, of forward
  core::View grad_y;
  core::View grad_x;  // overwritten
  auto tensors() const { return std::array{&grad_y, &grad_x}; }
};

}  // namespace medfusion::kernels
