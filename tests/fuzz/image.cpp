// Images: decode_image on PNG and JPEG files. PNG files are changed chunk by chunk, with their checksums made
// right again, for one that is wrong is all that the reader would see.
#include "data/images/image.h"

#include <zlib.h>

#include <algorithm>

#include "tests/fuzz/fuzz.h"

namespace medfusion::fuzz {
namespace {

constexpr std::string_view kSignature = "\x89PNG\r\n\x1a\n";
constexpr size_t kMostPixels = size_t{1} << 20;  // bytes of pixels that a changed file unpacks to

struct Chunk {
  std::string type;
  Bytes body;
};

uint32_t big_endian(const uint8_t* bytes) {
  return uint32_t{bytes[0]} << 24 | uint32_t{bytes[1]} << 16 | uint32_t{bytes[2]} << 8 | bytes[3];
}

void append_big_endian(uint32_t value, Bytes& bytes) {
  for (int shift = 24; shift >= 0; shift -= 8) bytes.push_back(static_cast<uint8_t>(value >> shift));
}

std::vector<Chunk> chunks_of(std::span<const uint8_t> file) {
  std::vector<Chunk> chunks;
  for (size_t at = kSignature.size(); at + 12 <= file.size();) {
    const size_t length = std::min<size_t>(big_endian(&file[at]), file.size() - at - 12);
    const uint8_t* body = &file[at + 8];
    chunks.push_back({std::string(text_of(file.subspan(at + 4, 4))), {body, body + length}});
    at += 12 + length;
  }
  return chunks;
}

Bytes file_with(const std::vector<Chunk>& chunks) {
  Bytes file(kSignature.begin(), kSignature.end());
  for (const Chunk& chunk : chunks) {
    append_big_endian(static_cast<uint32_t>(chunk.body.size()), file);
    const size_t begin = file.size();
    file.insert(file.end(), chunk.type.begin(), chunk.type.end());
    file.insert(file.end(), chunk.body.begin(), chunk.body.end());
    append_big_endian(static_cast<uint32_t>(::crc32(0, &file[begin], static_cast<uInt>(file.size() - begin))),
                      file);
  }
  return file;
}

// Changes the pixels behind their compression.
void change_pixels(Bytes& body) {
  Bytes pixels(kMostPixels);
  uLongf size = pixels.size();
  if (::uncompress(pixels.data(), &size, body.data(), body.size()) != Z_OK) return;
  pixels.resize(size);
  pixels = mutated(std::move(pixels), 64);
  size = ::compressBound(pixels.size());
  body.resize(size);
  ::compress2(body.data(), &size, pixels.data(), pixels.size(), 1);
  body.resize(size);
}

// Another size, depth, kind of color or interlacing.
void change_header(Bytes& body, Choices& choices) {
  if (body.size() != 13) return;
  static const std::vector<uint32_t> sizes = {0,  1,   2,    3,     7,          8,         9,
                                              16, 255, 4096, 65536, 0x7FFFFFFF, 0xFFFFFFFF};
  static const std::vector<uint8_t> depths = {1, 2, 4, 8, 16}, colors = {0, 2, 3, 4, 6};
  const size_t what = choices.below(5);
  if (what < 2) {
    Bytes size;
    append_big_endian(choices.of(sizes), size);
    std::copy(size.begin(), size.end(), body.begin() + static_cast<std::ptrdiff_t>(4 * what));
  }
  if (what == 2) body[8] = choices.of(depths);
  if (what == 3) body[9] = choices.of(colors);
  if (what == 4) body[12] ^= 1U;
}

void change_chunks(std::vector<Chunk>& chunks, Choices& choices) {
  static const std::vector<std::string> types = {"IHDR", "PLTE", "tRNS", "IDAT",
                                                 "eXIf", "CgBI", "gAMA", "IEND"};
  const size_t place = choices.below(chunks.size());
  Chunk& chunk = chunks[place];
  const auto at = chunks.begin() + static_cast<std::ptrdiff_t>(place);
  switch (choices.below(8)) {
    case 0:
      chunks.erase(at);
      break;
    case 1:
      chunks.insert(at, Chunk(chunks[choices.below(chunks.size())]));
      break;
    case 2:
      chunks.insert(at, {choices.of(types), mutated({}, 32)});
      break;
    case 3: {
      const auto middle = chunk.body.begin() + static_cast<std::ptrdiff_t>(chunk.body.size() / 2);
      const Chunk rest{chunk.type, {middle, chunk.body.end()}};
      chunk.body.erase(middle, chunk.body.end());
      chunks.insert(at + 1, rest);
      break;
    }
    default:
      if (chunk.type == "IDAT" && !choices.one_in(3)) {
        change_pixels(chunk.body);
      } else if (chunk.type == "IHDR" && !choices.one_in(3)) {
        change_header(chunk.body, choices);
      } else {
        chunk.body = mutated(chunk.body, 64);
      }
  }
}

}  // namespace
}  // namespace medfusion::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string& path = medfusion::fuzz::file_of({data, size});
  medfusion::fuzz::accepts([&] {
    const medfusion::core::Tensor pixels = medfusion::data::decode_image(path);
    if (pixels.rank() != 3 || pixels.numel() <= 0) medfusion::fuzz::report("an image without pixels");
  });
  return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t limit, unsigned seed) {
  using namespace medfusion::fuzz;
  Choices choices(seed);
  const bool png = text_of({data, size}).starts_with(kSignature);
  if (!png || choices.one_in(10)) return LLVMFuzzerMutate(data, size, limit);
  std::vector<Chunk> chunks = chunks_of({data, size});
  if (chunks.empty()) return LLVMFuzzerMutate(data, size, limit);
  change_chunks(chunks, choices);
  return stored(file_with(chunks), data, size, limit);
}
