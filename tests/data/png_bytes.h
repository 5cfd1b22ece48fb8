// PNG files made by hand, which need not tell the truth.
#pragma once

#include <zlib.h>

#include <cstdint>
#include <string>

namespace medfusion::data {

inline std::string big_endian_word(uint64_t value) {
  std::string bytes;
  for (int shift = 24; shift >= 0; shift -= 8) bytes += static_cast<char>(value >> shift & 0xFF);
  return bytes;
}

inline std::string png_chunk(const std::string& type, const std::string& body) {
  const std::string checked = type + body;
  const auto checksum =
      ::crc32(0, reinterpret_cast<const Bytef*>(checked.data()), static_cast<uInt>(checked.size()));
  return big_endian_word(body.size()) + checked + big_endian_word(checksum);
}

inline std::string deflated(const std::string& raw) {
  uLongf size = ::compressBound(static_cast<uLong>(raw.size()));
  std::string packed(size, '\0');
  ::compress2(reinterpret_cast<Bytef*>(packed.data()), &size, reinterpret_cast<const Bytef*>(raw.data()),
              static_cast<uLong>(raw.size()), 9);
  packed.resize(size);
  return packed;
}

// An 8-bit gray PNG whose header says width x height and whose pixels are `packed`.
inline std::string png_of(int64_t width, int64_t height, const std::string& packed) {
  return "\x89PNG\r\n\x1a\n" +
         png_chunk("IHDR", big_endian_word(static_cast<uint64_t>(width)) +
                               big_endian_word(static_cast<uint64_t>(height)) +
                               std::string("\x08\0\0\0\0", 5)) +
         png_chunk("IDAT", packed) + png_chunk("IEND", "");
}

// A black one that tells the truth; each row begins with its filter.
inline std::string black_png(int64_t width, int64_t height) {
  return png_of(width, height, deflated(std::string(static_cast<size_t>(height * (width + 1)), '\0')));
}

}  // namespace medfusion::data
