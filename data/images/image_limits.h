// What an image file may claim: limits that keep a small file from taking all memory.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace medfusion::data {

inline constexpr int64_t kMaxImagePixels = 100'000'000;        // default of data.max_image_pixels
inline constexpr int64_t kMaxImageBytes = int64_t{512} << 20;  // of an image file

// Width and height as a header says them, and what the file has for the pixels.
struct ImageClaim {
  int64_t width = 0, height = 0;
  int64_t bits = 8;                                   // of a pixel
  std::vector<std::span<const uint8_t>> packed = {};  // the compressed pixels of a PNG, in their pieces
};

// Throws core::InputError naming the file where the image has more pixels than `most`, or more than a file
// of `bytes` bytes can hold.
void check_claim(const std::string& path, const ImageClaim& claim, int64_t bytes, int64_t most);

// Throws core::InputError naming the file where the pixels of a PNG unpack to more than the header says.
// Small files are not unpacked for it: they cannot take more memory than `most` pixels may.
void check_unpacked(const std::string& path, const ImageClaim& claim, int64_t most);

}  // namespace medfusion::data
