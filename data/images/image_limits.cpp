#include "data/images/image_limits.h"

#include <zlib.h>

#include <algorithm>
#include <array>

#include "core/error.h"

namespace medfusion::data {
namespace {

// One byte of deflate gives at most 1032: two bits stand for 258 bytes.
constexpr int64_t kMostUnpacked = 1032;
// A JPEG spends at least one bit on each block of 8 x 8 pixels.
constexpr int64_t kMostJpegPixels = 512;
// Of an unpacked PNG for each pixel: four channels of 16 bits, and the filter where a row is one pixel.
constexpr int64_t kPixelBytes = 9;

int64_t packed_bytes(const ImageClaim& claim) {
  int64_t bytes = 0;
  for (const auto& piece : claim.packed) bytes += static_cast<int64_t>(piece.size());
  return bytes;
}

// The bytes that the pieces of a zlib stream unpack to, counted until there are more than `most`. Like the
// decoder it passes over the two bytes of the stream's header and over its checksum.
int64_t unpacked_bytes(const std::vector<std::span<const uint8_t>>& pieces, int64_t most) {
  z_stream stream{};
  if (inflateInit2(&stream, -MAX_WBITS) != Z_OK) throw core::Error("zlib cannot be started");
  std::array<unsigned char, 1 << 15> buffer;
  int64_t bytes = 0;
  size_t header = 2;
  int code = Z_OK;
  for (size_t i = 0; i < pieces.size() && code == Z_OK && bytes <= most; ++i) {
    const auto piece = pieces[i].subspan(std::min(header, pieces[i].size()));
    header -= pieces[i].size() - piece.size();
    stream.next_in = const_cast<unsigned char*>(piece.data());
    stream.avail_in = static_cast<unsigned>(piece.size());
    do {
      stream.next_out = buffer.data();
      stream.avail_out = buffer.size();
      code = inflate(&stream, Z_NO_FLUSH);
      bytes += static_cast<int64_t>(buffer.size() - stream.avail_out);
    } while (code == Z_OK && stream.avail_out == 0 && bytes <= most);
    if (code == Z_BUF_ERROR) code = Z_OK;  // the piece is used up
  }
  inflateEnd(&stream);
  return bytes;
}

}  // namespace

void check_claim(const std::string& path, const ImageClaim& claim, int64_t bytes, int64_t most) {
  const auto& [width, height, bits, packed] = claim;
  if (width <= 0 || height <= 0) return;  // the decoder says it
  if (height > most / width) {
    core::throw_input_error({path},
                            "expected an image of at most {} pixels (data.max_image_pixels), its header says "
                            "{} x {}",
                            most, width, height);
  }
  const int64_t pixels = width * height;
  const bool fits = packed.empty() ? pixels <= kMostJpegPixels * bytes
                                   : pixels * bits / 8 <= kMostUnpacked * packed_bytes(claim);
  if (!fits) {
    core::throw_input_error({path}, "damaged image: its header says {} x {}, which {} bytes cannot hold",
                            width, height, packed.empty() ? bytes : packed_bytes(claim));
  }
}

void check_unpacked(const std::string& path, const ImageClaim& claim, int64_t most) {
  if (claim.width <= 0 || claim.height <= 0) return;
  if (packed_bytes(claim) <= most * kPixelBytes / kMostUnpacked) return;
  const int64_t expected = claim.width * claim.height * kPixelBytes;
  if (unpacked_bytes(claim.packed, expected) > expected) {
    core::throw_input_error({path}, "damaged PNG: its pixels unpack to more than an image of {} x {} holds",
                            claim.width, claim.height);
  }
}

}  // namespace medfusion::data
