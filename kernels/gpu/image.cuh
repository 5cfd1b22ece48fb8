// Images [batch, height, width, channels] with adjacent channels, as kernels see them.
#pragma once

#include <algorithm>

#include "kernels/gpu/device.cuh"

namespace medfusion::kernels::cuda {
inline namespace MEDFUSION_GPU {

template <class T>
struct Image {
  Global<T> data = nullptr;
  int64_t batch_stride = 0, row_stride = 0, pixel_stride = 0;  // in elements
  int batch = 0, height = 0, width = 0, channels = 0;

  Image() = default;
  explicit Image(const core::View& v) {
    if (!v.defined()) return;
    MEDFUSION_CHECK(v.size(0) * v.size(1) < (1 << 30) && v.size(2) * v.size(3) < (1 << 30),
                    "image: {} is too large", v.shape.str());
    data = v.as<std::remove_const_t<T>>();
    batch_stride = v.stride(0);
    row_stride = v.stride(1);
    pixel_stride = v.stride(2);
    batch = static_cast<int>(v.size(0));
    height = static_cast<int>(v.size(1));
    width = static_cast<int>(v.size(2));
    channels = static_cast<int>(v.size(3));
  }

  // Index in data of the pixel's first channel.
  __host__ __device__ __forceinline__ int64_t at(int64_t b, int64_t i, int64_t j) const {
    return b * batch_stride + i * row_stride + j * pixel_stride;
  }
};

// Whether `count` channels of every pixel can be moved together.
inline bool aligned_pixels(const core::View& v, int64_t count) {
  const int64_t bytes = count * core::size_of(v.dtype);
  return !v.defined() || (v.size(3) % count == 0 &&
                          reinterpret_cast<uintptr_t>(v.data) % static_cast<uintptr_t>(bytes) == 0 &&
                          v.stride(0) % count == 0 && v.stride(1) % count == 0 && v.stride(2) % count == 0);
}

// The grid for for_pixels over the image, N channels to a thread.
inline dim3 image_grid(const core::View& v, int64_t channels_per_thread, int64_t threads) {
  const int64_t rows = std::min<int64_t>(v.size(0) * v.size(1), 65535);
  return grid_of(ceil_div(v.size(2) * ceil_div(v.size(3), channels_per_thread), threads), rows);
}

// Calls body(b, i, j, c) for the pixels, and N channels from c on, that are this thread's: blocks side by
// side share the rows of the image.
template <int N, class T, class Body>
__device__ __forceinline__ void for_pixels(const Image<T>& image, const Body& body) {
  const int vectors = image.channels / N;
  const int item = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (item >= image.width * vectors) return;
  const int j = item / vectors;
  const int c = (item - j * vectors) * N;
  const int rows = image.batch * image.height;
  for (int row = static_cast<int>(blockIdx.y); row < rows; row += static_cast<int>(gridDim.y)) {
    const int b = row / image.height;
    body(b, row - b * image.height, j, c);
  }
}

}  // namespace MEDFUSION_GPU
}  // namespace medfusion::kernels::cuda
