#include "data/images/image.h"

#include <zlib.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <span>
#include <string_view>
#include <type_traits>
#include <vector>

#include "core/file.h"
#include "core/file_kind.h"
#include "data/images/exif.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wunused-but-set-variable"
#pragma GCC diagnostic ignored "-Wunused-function"
#define STB_IMAGE_IMPLEMENTATION
#define STB_IMAGE_STATIC
#define STBI_ONLY_PNG
#define STBI_ONLY_JPEG
#define STBI_NO_STDIO
#define STBI_NO_LINEAR
#define STBI_NO_HDR
// Where a damaged file says nothing, the decoder leaves memory as it got it: so it gets zeros.
#define STBI_MALLOC(size) std::calloc(1, size)
#define STBI_REALLOC(pointer, size) std::realloc(pointer, size)
#define STBI_FREE(pointer) std::free(pointer)
#include <stb_image_checked.h>  // tools/stb_image.cmake makes it
#define STB_IMAGE_WRITE_IMPLEMENTATION
#define STB_IMAGE_WRITE_STATIC
#define STBI_WRITE_NO_STDIO
#include <stb_image_write.h>
#pragma GCC diagnostic pop

namespace medfusion::data {
namespace {

using core::DType;
using core::Tensor;
using Bytes = std::span<const uint8_t>;

constexpr std::string_view kPngSignature = "\x89PNG\r\n\x1a\n";
constexpr std::string_view kJpegSignature = "\xFF\xD8\xFF";
// Each takes as long as the image is large; encoders write about ten.
constexpr int kMostScans = 100;

std::vector<uint8_t> read_file(const std::string& path) {
  std::error_code failure;
  if (std::filesystem::is_directory(path, failure)) {
    core::throw_input_error({path}, "expected an image file, got a directory");
  }
  std::ifstream stream(path, std::ios::binary | std::ios::ate);
  if (!stream) {
    core::throw_input_error({path}, "cannot open the image: {}", std::strerror(errno));
  }
  const auto size = static_cast<int64_t>(std::max<std::streamoff>(0, stream.tellg()));
  if (size > kMaxImageBytes)
    core::throw_input_error({path}, "expected an image file of at most {} MiB", kMaxImageBytes >> 20);
  std::vector<uint8_t> bytes(static_cast<size_t>(size));
  stream.seekg(0);
  stream.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  if (!stream) core::throw_input_error({path}, "cannot read the image");
  return bytes;
}

bool starts_with(Bytes bytes, std::string_view signature) {
  return bytes.size() >= signature.size() &&
         std::memcmp(bytes.data(), signature.data(), signature.size()) == 0;
}

uint32_t big_endian(Bytes bytes, size_t at) {
  return uint32_t{bytes[at]} << 24 | uint32_t{bytes[at + 1]} << 16 | uint32_t{bytes[at + 2]} << 8 |
         uint32_t{bytes[at + 3]};
}

// What a file says beside its pixels.
struct ImageFacts {
  ImageClaim claim;
  int orientation = 1;
};

// Takes up a whole chunk of a PNG.
void add_chunk(std::string_view type, Bytes body, ImageFacts& facts) {
  if (type == "eXIf") facts.orientation = exif_orientation(body);
  if (type == "IDAT") facts.claim.packed.push_back(body);
  if (type != "IHDR" || body.size() < 10) return;
  constexpr std::array<int64_t, 7> kChannels{1, 0, 3, 1, 2, 0, 4};  // of each color type
  facts.claim.width = big_endian(body, 0);
  facts.claim.height = big_endian(body, 4);
  facts.claim.bits = body[8] * (body[9] < kChannels.size() ? kChannels[body[9]] : 0);
}

// The decoder neither verifies checksums nor misses what lies after the last pixel, so the chunks are walked
// first.
ImageFacts check_png(const std::string& path, Bytes bytes) {
  ImageFacts facts;
  for (size_t at = kPngSignature.size();;) {
    if (bytes.size() - at < 12) {
      core::throw_input_error({path},
                              "truncated PNG: the file ends after {} bytes, before the IEND "
                              "chunk",
                              bytes.size());
    }
    const size_t length = big_endian(bytes, at);
    const std::string_view type(reinterpret_cast<const char*>(&bytes[at + 4]), 4);
    if (!std::all_of(type.begin(), type.end(), [](char c) { return (c | 32) >= 'a' && (c | 32) <= 'z'; })) {
      core::throw_input_error({path}, "damaged PNG: expected a chunk at byte {}", at);
    }
    if (bytes.size() - at - 12 < length) {
      core::throw_input_error({path},
                              "truncated PNG: the file ends after {} bytes, its {} chunk at byte "
                              "{} needs {}",
                              bytes.size(), type, at, at + 12 + length);
    }
    if (::crc32(0, &bytes[at + 4], static_cast<uInt>(length + 4)) != big_endian(bytes, at + 8 + length)) {
      core::throw_input_error({path}, "damaged PNG: wrong checksum of its {} chunk at byte {}", type, at);
    }
    if (type == "IEND") return facts;
    if (type == "CgBI")
      core::throw_input_error({path}, "expected a PNG, got Apple's variant of it (CgBI); save it as PNG");
    add_chunk(type, bytes.subspan(at + 8, length), facts);
    at += 12 + length;
  }
}

// Lengthens a palette to the 256 colors that indices can name, with black: the decoder leaves unset what is
// not there. (The chunk's checksum stays the old one: the decoder does not look.) The chunks were checked
// before.
void complete_palette(std::vector<uint8_t>& file) {
  constexpr size_t kWhole = 256 * 3;
  for (size_t at = kPngSignature.size();; at += 12 + big_endian(file, at)) {
    const std::string_view type(reinterpret_cast<const char*>(&file[at + 4]), 4);
    const size_t length = big_endian(file, at);
    if (type == "IEND" || type == "IDAT" || (type == "PLTE" && length >= kWhole)) return;
    if (type != "PLTE") continue;
    file[at + 2] = kWhole >> 8;
    file[at + 3] = kWhole & 0xFF;
    file.insert(file.begin() + static_cast<std::ptrdiff_t>(at + 8 + length), kWhole - length, 0);
    return;
  }
}

// Takes out IDAT chunks that are empty, which may be: the decoder copies their nothing to a null pointer. The
// chunks were checked before.
void remove_empty_chunks(std::vector<uint8_t>& file) {
  auto kept = file.begin() + kPngSignature.size();
  bool last = false;
  for (size_t at = kPngSignature.size(); !last;) {
    const std::string_view type(reinterpret_cast<const char*>(&file[at + 4]), 4);
    const size_t length = big_endian(file, at);
    const bool empty = type == "IDAT" && length == 0;
    last = type == "IEND";
    const auto chunk = file.begin() + static_cast<std::ptrdiff_t>(at);
    const auto after = chunk + static_cast<std::ptrdiff_t>(12 + length);
    if (!empty) kept = kept == chunk ? after : std::copy(chunk, after, kept);
    at += 12 + length;
  }
  file.erase(kept, file.end());
}

// What a JPEG says beside its pixels.
struct JpegMarkers : ImageFacts {
  int components = 0;
  std::array<uint8_t, 256> quantization{};  // of each component by its number: its table
  int adobe_transform = -1;                 // of the Adobe marker; -1: none

  // Takes up a segment that begins with `marker` and holds `body`.
  void add(uint8_t marker, Bytes body) {
    constexpr std::string_view kExif("Exif\0\0", 6), kAdobe("Adobe", 5);
    const bool frame = marker >= 0xC0 && marker <= 0xCF && marker != 0xC4 && marker != 0xC8 && marker != 0xCC;
    if (frame && body.size() > 5 && components == 0) {  // the decoder takes the first
      claim.height = body[1] << 8 | body[2];
      claim.width = body[3] << 8 | body[4];
      components = body[5];
      for (size_t at = 6; at + 3 <= body.size(); at += 3) quantization[body[at]] = body[at + 2] & 15;
    }
    if (marker == 0xE1 && starts_with(body, kExif))
      orientation = exif_orientation(body.subspan(kExif.size()));
    if (marker == 0xEE && starts_with(body, kAdobe) && body.size() >= 12) adobe_transform = body[11];
  }
};

// Which tables a JPEG has defined so far.
struct JpegTables {
  std::array<std::array<bool, 16>, 2> codes{};  // of DC, then of AC
  std::array<bool, 16> quantization{};
};

// The decoder does not see that a table was never defined. body: that of a start of scan.
void check_tables_of_scan(const std::string& path, Bytes body, bool progressive, const JpegMarkers& markers,
                          const JpegTables& defined) {
  const size_t count = body.empty() ? 0 : body[0];
  if (body.size() != 4 + 2 * count) core::throw_input_error({path}, "damaged JPEG: a scan of another length");
  const bool first = body[1 + 2 * count] == 0, refines = (body[3 + 2 * count] >> 4) != 0;
  for (size_t i = 0; i < count; ++i) {
    const uint8_t tables = body[2 + 2 * i];
    const bool dc = !progressive || (first && !refines), ac = !progressive || !first;
    if ((dc && !defined.codes[0][tables >> 4]) || (ac && !defined.codes[1][tables & 15]))
      core::throw_input_error({path}, "damaged JPEG: a scan needs a table of codes that is not there");
    if (!defined.quantization[markers.quantization[body[1 + 2 * i]]])
      core::throw_input_error({path}, "damaged JPEG: a scan needs a quantization table that is not there");
  }
}

// The decoder trusts the counts of its tables, and writes behind their 256 codes.
void check_code_tables(const std::string& path, Bytes body, JpegTables& defined) {
  constexpr size_t kHead = 17, kMostCodes = 256;  // which table, and its codes of each length from 1 to 16
  while (!body.empty()) {
    size_t codes = 0;
    for (size_t i = 1; i < std::min(kHead, body.size()); ++i) codes += body[i];
    if (codes > kMostCodes || kHead + codes > body.size())
      core::throw_input_error({path}, "damaged JPEG: a table of codes states more than there are");
    if (body[0] >> 4 <= 1) defined.codes[body[0] >> 4][body[0] & 15] = true;
    body = body.subspan(kHead + codes);
  }
}

// Tables of 64 numbers of one byte or two; the decoder refuses one that is cut short.
void note_quantization(Bytes body, JpegTables& defined) {
  while (!body.empty()) {
    const size_t bytes = body[0] >> 4 == 0 ? 65 : 129;
    if (body.size() < bytes) return;
    defined.quantization[body[0] & 15] = true;
    body = body.subspan(bytes);
  }
}

// Follows the markers to the end-of-image marker: the decoder fills what is missing with gray.
JpegMarkers check_jpeg(const std::string& path, Bytes bytes) {
  size_t at = 2;
  bool in_scan = false, progressive = false;
  int scans = 0;
  JpegTables defined;
  JpegMarkers markers;
  while (true) {
    if (in_scan) {  // entropy-coded bytes: 0xFF is followed by 0 or a restart marker until the scan ends
      while (at + 1 < bytes.size() && (bytes[at] != 0xFF || bytes[at + 1] == 0 || bytes[at + 1] == 0xFF ||
                                       (bytes[at + 1] >= 0xD0 && bytes[at + 1] <= 0xD7))) {
        ++at;
      }
    }
    while (at + 1 < bytes.size() && bytes[at] == 0xFF && bytes[at + 1] == 0xFF) ++at;  // fill bytes
    if (at + 1 >= bytes.size()) break;
    if (bytes[at] != 0xFF) {
      core::throw_input_error({path}, "damaged JPEG: expected a marker at byte {}", at);
    }
    const uint8_t marker = bytes[at + 1];
    if (marker == 0xD9) return markers;
    if (at + 4 > bytes.size()) break;
    in_scan = in_scan || marker == 0xDA;
    if (marker == 0xDA && ++scans > kMostScans)
      core::throw_input_error({path}, "expected a JPEG of at most {} scans, got more", kMostScans);
    const size_t length = size_t{bytes[at + 2]} << 8 | bytes[at + 3];
    if (at + 2 + length >= bytes.size()) break;
    if (length > 2) {
      const Bytes body = bytes.subspan(at + 4, length - 2);
      if (marker == 0xC4) check_code_tables(path, body, defined);
      if (marker == 0xDB) note_quantization(body, defined);
      if (marker == 0xC2) progressive = true;
      if (marker == 0xDA) check_tables_of_scan(path, body, progressive, markers, defined);
      markers.add(marker, body);
    }
    at += 2 + length;
  }
  core::throw_input_error({path},
                          "truncated JPEG: the file ends after {} bytes, before the "
                          "end-of-image marker",
                          bytes.size());
}

// The decoder would take four components without an Adobe marker for YCbCr and a mask.
void check_inks(const std::string& path, const JpegMarkers& markers) {
  if (markers.components != 4 || markers.adobe_transform == 0 || markers.adobe_transform == 2) return;
  core::throw_input_error({path},
                          "expected a JPEG in gray, in RGB, or in CMYK with an Adobe marker, got four "
                          "components {}; save it as RGB",
                          markers.adobe_transform < 0 ? "without that marker" : "of an unknown transform");
}

// What stb_image decoded, as a tensor of Value; frees it.
template <class Value, class Pixel>
Tensor taken(Pixel* decoded, const core::Shape& shape, const std::string& path, const char* format) {
  const std::unique_ptr<Pixel, void (*)(void*)> pixels(decoded, stbi_image_free);
  if (pixels == nullptr) {
    const char* reason = stbi_failure_reason();
    core::throw_input_error({path}, "damaged {}: {}", format, reason != nullptr ? reason : "unknown");
  }
  Tensor result = Tensor::empty(shape, std::is_same_v<Value, uint8_t> ? DType::u8 : DType::i32);
  std::copy_n(pixels.get(), result.numel(), result.data<Value>());
  return result;
}

}  // namespace

Tensor decode_image(const std::string& path, int64_t most_pixels) {
  std::vector<uint8_t> file = read_file(path);
  const bool png = starts_with(file, kPngSignature);
  int orientation = 1;
  if (png) {
    const ImageFacts facts = check_png(path, file);
    check_claim(path, facts.claim, static_cast<int64_t>(file.size()), most_pixels);
    check_unpacked(path, facts.claim, most_pixels);
    orientation = facts.orientation;
    complete_palette(file);
    remove_empty_chunks(file);
  } else if (starts_with(file, kJpegSignature)) {
    const JpegMarkers markers = check_jpeg(path, file);
    check_inks(path, markers);
    check_claim(path, markers.claim, static_cast<int64_t>(file.size()), most_pixels);
    orientation = markers.orientation;
  } else {
    const std::string kind = core::kind_of_file({reinterpret_cast<const char*>(file.data()), file.size()});
    core::throw_input_error({path}, "expected a PNG or JPEG image, got {}",
                            kind.empty() ? "another format" : kind);
  }
  const Bytes bytes(file);
  const char* format = png ? "PNG" : "JPEG";
  const int size = static_cast<int>(bytes.size());
  int width = 0, height = 0, channels = 0;
  if (png && stbi_is_16_bit_from_memory(bytes.data(), size) != 0) {
    uint16_t* pixels = stbi_load_16_from_memory(bytes.data(), size, &width, &height, &channels, 0);
    return upright(taken<int32_t>(pixels, {height, width, channels}, path, format), orientation);
  }
  uint8_t* pixels = stbi_load_from_memory(bytes.data(), size, &width, &height, &channels, 0);
  return upright(taken<uint8_t>(pixels, {height, width, channels}, path, format), orientation);
}

void write_png(const std::string& path, const Tensor& pixels) {
  MEDFUSION_CHECK(pixels.defined() && pixels.rank() == 3 && pixels.dtype() == DType::u8 &&
                      pixels.size(0) > 0 && pixels.size(1) > 0 && pixels.size(2) >= 1 && pixels.size(2) <= 4,
                  "write_png: expected u8 [height, width, 1..4], got {} of {}",
                  pixels.defined() ? pixels.shape().str() : "nothing",
                  pixels.defined() ? name_of(pixels.dtype()) : "undefined");
  const Tensor dense = pixels.to_contiguous();
  std::vector<uint8_t> file;
  const auto append = [](void* to, void* data, int size) {
    const auto* first = static_cast<const uint8_t*>(data);
    static_cast<std::vector<uint8_t>*>(to)->insert(static_cast<std::vector<uint8_t>*>(to)->end(), first,
                                                   first + size);
  };
  const int width = static_cast<int>(dense.size(1)), channels = static_cast<int>(dense.size(2));
  const int written = stbi_write_png_to_func(append, &file, width, static_cast<int>(dense.size(0)), channels,
                                             dense.data<uint8_t>(), width * channels);
  MEDFUSION_CHECK(written != 0, "{}: cannot encode a PNG of shape {}", path, dense.shape().str());
  core::write_file(path, {reinterpret_cast<const char*>(file.data()), file.size()});
}

}  // namespace medfusion::data
