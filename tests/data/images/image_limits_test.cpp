// Images that lie about their size: refused before memory is taken for them.
#include "data/images/image_limits.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "data/images/image.h"
#include "tests/data/png_bytes.h"
#include "tests/data/temporary_folder.h"

namespace medfusion::data {
namespace {

using testing::HasSubstr;

// A gray JPEG whose frame says width x height, with `scan` bytes of pixels.
std::string jpeg_of(int width, int height, size_t scan) {
  const auto word = [](int value) {
    return std::string{static_cast<char>(value >> 8), static_cast<char>(value & 0xFF)};
  };
  const std::string no_codes(16, '\0');  // of each length
  return std::string("\xFF\xD8\xFF\xDB\x00\x43\x00", 7) + std::string(64, '\1') +
         std::string("\xFF\xC0\x00\x0B\x08", 5) + word(height) + word(width) +
         std::string("\x01\x01\x11\x00", 4) + std::string("\xFF\xC4\x00\x13\x00", 5) + no_codes +
         std::string("\xFF\xC4\x00\x13\x10", 5) + no_codes +
         std::string("\xFF\xDA\x00\x08\x01\x01\x00\x00\x3F\x00", 10) + std::string(scan, '\x55') + "\xFF\xD9";
}

TEST(ImageLimits, PixelsFromBothSides) {
  const TemporaryFolder folder;
  const std::string path = folder.write("a.png", black_png(20, 10));
  EXPECT_EQ(decode_image(path, 200).shape(), (core::Shape{10, 20, 1}));
  EXPECT_EQ(
      input_error([&] { decode_image(path, 199); }),
      path + ": expected an image of at most 199 pixels (data.max_image_pixels), its header says 20 x 10");
}

TEST(ImageLimits, HugeHeadersOfSmallFiles) {
  const TemporaryFolder folder;
  const std::string png = folder.write("a.png", png_of(60000, 60000, deflated("00")));
  EXPECT_THAT(input_error([&] { decode_image(png); }), HasSubstr("its header says 60000 x 60000"));
  const std::string widest = folder.write("w.png", png_of(0x7FFFFFFF, 0x7FFFFFFF, deflated("00")));
  EXPECT_THAT(input_error([&] { decode_image(widest); }), HasSubstr("its header says 2147483647 x"));
  const std::string jpeg = folder.write("a.jpg", jpeg_of(60000, 60000, 100));
  EXPECT_THAT(input_error([&] { decode_image(jpeg); }), HasSubstr("its header says 60000 x 60000"));
}

TEST(ImageLimits, MorePixelsThanTheFileCanHold) {
  const TemporaryFolder folder;
  // Below the limit of pixels, but 10 bytes cannot be unpacked to 9,000,000.
  const std::string png = folder.write("a.png", png_of(3000, 3000, deflated("00")));
  EXPECT_EQ(input_error([&] { decode_image(png); }),
            png + ": damaged image: its header says 3000 x 3000, which 10 bytes cannot hold");
  const std::string jpeg = folder.write("a.jpg", jpeg_of(3000, 3000, 100));
  EXPECT_THAT(input_error([&] { decode_image(jpeg); }), HasSubstr("which 238 bytes cannot hold"));
  // As well packed as deflate can, and as JPEG can.
  const std::string black = folder.write("b.png", black_png(3000, 3000));
  EXPECT_EQ(decode_image(black).shape(), (core::Shape{3000, 3000, 1}));
  EXPECT_NO_THROW(check_claim("b.jpg", {.width = 512, .height = 10}, 10, kMaxImagePixels));
  EXPECT_THROW(check_claim("b.jpg", {.width = 512, .height = 11}, 10, kMaxImagePixels), core::InputError);
}

// 1 x 1 pixels whose data unpack to 50 MB.
TEST(ImageLimits, PixelsThatUnpackToMoreThanTheHeaderSays) {
  const TemporaryFolder folder;
  const std::string path = folder.write("a.png", png_of(1, 1, deflated(std::string(50'000'000, '\0'))));
  EXPECT_EQ(input_error([&] { decode_image(path, 1000); }),
            path + ": damaged PNG: its pixels unpack to more than an image of 1 x 1 holds");
  // zlib would refuse this header, the decoder takes it.
  std::string wide = deflated(std::string(50'000'000, '\0'));
  wide[0] = '\x88', wide[1] = '\x1C';
  EXPECT_THAT(input_error([&] { decode_image(folder.write("w.png", png_of(1, 1, wide)), 1000); }),
              HasSubstr("unpack to more than an image of 1 x 1"));
  EXPECT_EQ(decode_image(folder.write("b.png", black_png(30, 30)), 1000).size(0), 30);
  // What cannot take more memory than the allowed pixels may is not unpacked for the check.
  EXPECT_EQ(decode_image(path).size(0), 1);
}

TEST(ImageLimits, ApplesVariantOfPng) {
  const TemporaryFolder folder;
  std::string bytes = black_png(3, 3);
  bytes.insert(8, png_chunk("CgBI", std::string(4, '\0')));
  EXPECT_THAT(input_error([&] { decode_image(folder.write("a.png", bytes)); }),
              HasSubstr("got Apple's variant of it (CgBI)"));
}

// The decoder takes the first frame, whatever a later one says.
TEST(ImageLimits, TwoFramesOfAJpeg) {
  const TemporaryFolder folder;
  const std::string huge = jpeg_of(60000, 60000, 100), small = jpeg_of(8, 8, 100);
  const std::string bytes = huge.substr(0, 84) + small.substr(71, 13) + huge.substr(84);
  EXPECT_THAT(input_error([&] { decode_image(folder.write("a.jpg", bytes)); }),
              HasSubstr("its header says 60000 x 60000"));
}

TEST(ImageLimits, ScansOfAJpeg) {
  const TemporaryFolder folder;
  std::ifstream stream(MEDFUSION_SOURCE_DIR "/tests/fixtures/images/gray.jpg", std::ios::binary);
  const std::string whole{std::istreambuf_iterator<char>(stream), {}};
  const size_t begin = whole.find("\xFF\xDA"), end = whole.size() - 2;
  const auto with_scans = [&](int count) {
    std::string bytes = whole.substr(0, begin);
    for (int i = 0; i < count; ++i) bytes += whole.substr(begin, end - begin);
    return folder.write("s.jpg", bytes + "\xFF\xD9");
  };
  EXPECT_NO_THROW(decode_image(with_scans(100)));
  EXPECT_THAT(input_error([&] { decode_image(with_scans(101)); }), HasSubstr("at most 100 scans"));
}

TEST(ImageLimits, OtherFilesAreNamedForWhatTheyAre) {
  const TemporaryFolder folder;
  const std::vector<std::pair<std::string, std::string>> cases{
      {"", "an empty file"},
      {std::string(600, '\0'), "a file of zero bytes"},
      {"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12\n", "a git-lfs pointer"},
      {"\n <!DOCTYPE HTML><title>404</title>", "an HTML page"},
      {"\xEF\xBB\xBF<html>", "an HTML page"},
      {"<?xml version='1.0'?><Error/>", "an XML text"},
      {"{ \"error\": 404}", "a JSON text"},
      {std::string(128, '\0') + "DICM", "a DICOM file"},
      {std::string("II*\0", 4), "a TIFF image"},
      {"words", "another format"},
  };
  for (const auto& [bytes, kind] : cases) {
    const std::string path = folder.write("x.png", bytes);
    EXPECT_THAT(input_error([&] { decode_image(path); }),
                testing::StartsWith(path + ": expected a PNG or JPEG image, got " + kind));
  }
}

}  // namespace
}  // namespace medfusion::data
