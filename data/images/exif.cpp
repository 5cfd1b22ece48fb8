#include "data/images/exif.h"

#include <cstring>
#include <string_view>

#include "core/error.h"

namespace medfusion::data {

int exif_orientation(std::span<const uint8_t> tiff) {
  constexpr size_t kHeader = 8, kEntry = 12;
  constexpr uint64_t kTag = 0x0112, kShort = 3;
  if (tiff.size() < kHeader) return 1;
  const std::string_view mark(reinterpret_cast<const char*>(tiff.data()), 4);
  const bool little = mark == std::string_view("II*\0", 4);
  if (!little && mark != std::string_view("MM\0*", 4)) return 1;
  const auto number = [&](size_t at, size_t bytes) {  // 0 behind the end
    uint64_t value = 0;
    for (size_t i = 0; i < bytes && at + bytes <= tiff.size(); ++i)
      value = value << 8 | tiff[little ? at + bytes - 1 - i : at + i];
    return value;
  };
  const uint64_t directory = number(4, 4), entries = number(directory, 2);
  for (uint64_t i = 0; i < entries; ++i) {
    const uint64_t entry = directory + 2 + i * kEntry;
    if (number(entry, 2) != kTag || number(entry + 2, 2) != kShort) continue;
    const uint64_t value = number(entry + 8, 2);
    return value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
  }
  return 1;
}

core::Tensor upright(const core::Tensor& pixels, int orientation) {
  MEDFUSION_CHECK(pixels.rank() == 3 && orientation >= 1 && orientation <= 8,
                  "upright: expected [height, width, channels] and 1 to 8, got {} and {}",
                  pixels.shape().str(), orientation);
  if (orientation == 1) return pixels;
  const core::Tensor stored = pixels.to_contiguous();
  const int64_t height = stored.size(0), width = stored.size(1);
  const bool swap = orientation >= 5;
  const bool flip_rows = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
  const bool flip_columns = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
  core::Tensor result =
      core::Tensor::empty({swap ? width : height, swap ? height : width, stored.size(2)}, stored.dtype());
  const auto pixel = static_cast<size_t>(stored.size(2) * core::size_of(stored.dtype()));
  const auto* from = static_cast<const uint8_t*>(stored.view().data);
  auto* to = static_cast<uint8_t*>(result.view().data);
  for (int64_t row = 0; row < result.size(0); ++row) {
    for (int64_t column = 0; column < result.size(1); ++column, to += pixel) {
      const int64_t y = swap ? column : row, x = swap ? row : column;
      const int64_t source = (flip_rows ? height - 1 - y : y) * width + (flip_columns ? width - 1 - x : x);
      std::memcpy(to, from + static_cast<size_t>(source) * pixel, pixel);
    }
  }
  return result;
}

}  // namespace medfusion::data
