#include "data/images/image.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <malloc.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "core/error.h"

namespace medfusion::data {
namespace {

using core::DType;
using core::Shape;
using core::Tensor;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

const std::string kImageFixtures = std::string(MEDFUSION_SOURCE_DIR) + "/tests/fixtures/images/";

std::string temporary(const std::string& name) {
  const auto* test = ::testing::UnitTest::GetInstance()->current_test_info();
  const auto folder =
      std::filesystem::path(::testing::TempDir()) / ("image_test_" + std::string(test->name()));
  std::filesystem::create_directories(folder);
  return (folder / name).string();
}

std::string read_bytes(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

void write_bytes(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

std::vector<double> values(const Tensor& image) {
  std::vector<double> result;
  for (int64_t i = 0; i < image.numel(); ++i) result.push_back(image.at(i));
  return result;
}

auto reports(const std::string& path, const std::string& reason) {
  return ThrowsMessage<core::InputError>(AllOf(HasSubstr(path), HasSubstr(reason)));
}

// The fixtures hold pixel (row, column, channel) = (40 row + 60 column + 25 channel) % 256, times 257 + 3 at
// 16 bit.
std::vector<double> expected_pixels(int64_t channels, bool wide) {
  std::vector<double> result;
  for (int64_t row = 0; row < 2; ++row) {
    for (int64_t column = 0; column < 3; ++column) {
      for (int64_t channel = 0; channel < channels; ++channel) {
        const int64_t value = (40 * row + 60 * column + 25 * channel) % 256;
        result.push_back(static_cast<double>(wide ? (value * 257 + 3) % 65536 : value));
      }
    }
  }
  return result;
}

TEST(DecodeImage, ReadsEveryPngLayout) {
  const std::vector<std::pair<std::string, int64_t>> files = {
      {"gray", 1}, {"gray_alpha", 2}, {"rgb", 3}, {"rgba", 4}, {"palette", 3}};
  for (const auto& [name, channels] : files) {
    const Tensor image = decode_image(kImageFixtures + name + ".png");
    EXPECT_EQ(image.shape(), (Shape{2, 3, channels})) << name;
    EXPECT_EQ(image.dtype(), DType::u8) << name;
    EXPECT_EQ(values(image), expected_pixels(channels, false)) << name;
  }
}

// Only four of six colors are there: what lies beyond is black, whatever memory held.
TEST(DecodeImage, IsBlackBeyondThePalette) {
  std::vector<double> expected = expected_pixels(3, false);
  std::fill(expected.begin() + 12, expected.end(), 0.0);
  EXPECT_EQ(values(decode_image(kImageFixtures + "short_palette.png")), expected);
}

TEST(DecodeImage, KeepsSixteenBits) {
  for (const auto& [name, channels] : std::vector<std::pair<std::string, int64_t>>{
           {"gray16", 1}, {"gray_alpha16", 2}, {"rgb16", 3}, {"rgba16", 4}}) {
    const Tensor image = decode_image(kImageFixtures + name + ".png");
    EXPECT_EQ(image.dtype(), DType::i32) << name;
    EXPECT_EQ(values(image), expected_pixels(channels, true)) << name;
  }
}

TEST(DecodeImage, ScalesOneBitGray) {
  EXPECT_EQ(values(decode_image(kImageFixtures + "gray1.png")),
            (std::vector<double>{0, 255, 0, 255, 255, 0}));
}

// A flat color survives JPEG within rounding.
TEST(DecodeImage, ReadsJpeg) {
  const Tensor gray = decode_image(kImageFixtures + "gray.jpg");
  EXPECT_EQ(gray.shape(), (Shape{9, 17, 1}));
  EXPECT_NEAR(gray.at(100), 90, 1);
  for (const std::string name : {"rgb.jpg", "progressive.jpg"}) {
    const Tensor color = decode_image(kImageFixtures + name);
    EXPECT_EQ(color.shape(), (Shape{9, 17, 3})) << name;
    EXPECT_NEAR(color.at(0), 200, 3) << name;
    EXPECT_NEAR(color.at(1), 100, 3) << name;
    EXPECT_NEAR(color.at(2), 50, 3) << name;
  }
}

// A JPEG of three by two flat blocks of 8x8, a to f, with an Exif block for `orientation`, in the byte order
// of Intel or of Motorola.
std::string oriented_jpeg(char orientation, bool little) {
  const std::string tiff = little ? std::string("II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0", 18) +
                                        std::string(1, orientation) + std::string(7, '\0')
                                  : std::string("MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0", 19) +
                                        std::string(1, orientation) + std::string(6, '\0');
  std::string file = read_bytes(kImageFixtures + "blocks.jpg");
  const std::string body = std::string("Exif\0\0", 6) + tiff;
  const auto length = static_cast<char>(body.size() + 2);
  return file.insert(2, std::string("\xFF\xE1\0", 3) + length + body);
}

// The blocks of a decoded image, row by row, rows apart by a blank.
std::string blocks_of(const Tensor& image) {
  std::string result;
  for (int64_t row = 4; row < image.size(0); row += 8) {
    if (row > 4) result += ' ';
    for (int64_t column = 4; column < image.size(1); column += 8) {
      const double value = image.at(row * image.size(1) + column);
      result += static_cast<char>('a' + std::lround((value - 20) / 40));
    }
  }
  return result;
}

TEST(DecodeImage, TurnsUprightByExif) {
  const std::string path = temporary("turned.jpg");
  const std::vector<std::string> expected = {"abc def",  "cba fed",  "fed cba",  "def abc",
                                             "ad be cf", "da eb fc", "fc eb da", "cf be ad"};
  for (size_t i = 0; i < expected.size(); ++i) {
    for (const bool little : {false, true}) {
      write_bytes(path, oriented_jpeg(static_cast<char>(i + 1), little));
      EXPECT_EQ(blocks_of(decode_image(path)), expected[i]) << i + 1 << (little ? " II" : " MM");
    }
  }
  for (const char unknown : {'\0', '\x09'}) {
    write_bytes(path, oriented_jpeg(unknown, true));
    EXPECT_EQ(blocks_of(decode_image(path)), "abc def");
  }
}

// A damaged Exif block says nothing about the pixels.
TEST(DecodeImage, PassesOverDamagedExif) {
  const std::string whole = oriented_jpeg(6, true);
  const std::string path = temporary("damaged.jpg");
  const size_t begin = whole.find("II*");
  for (size_t at = begin; at < begin + 26; ++at) {
    std::string bytes = whole;
    bytes[at] = '\xFF';
    write_bytes(path, bytes);
    EXPECT_THAT(blocks_of(decode_image(path)), ::testing::AnyOf("abc def", "da eb fc")) << at - begin;
  }
}

TEST(DecodeImage, TurnsPngUprightByExif) {
  const Tensor image = decode_image(kImageFixtures + "turned.png");
  EXPECT_EQ(image.shape(), (Shape{3, 2, 1}));
  EXPECT_EQ(values(image), (std::vector<double>{40, 0, 100, 60, 160, 120}));
}

// Inks 30, 90, 150 and black 60: (255 - ink) (255 - 60) / 255.
TEST(DecodeImage, ReadsInksOfAdobe) {
  for (const std::string name : {"cmyk.jpg", "ycck.jpg"}) {
    const Tensor image = decode_image(kImageFixtures + name);
    ASSERT_EQ(image.shape(), (Shape{9, 17, 3})) << name;
    EXPECT_NEAR(image.at(0), 172, 1) << name;
    EXPECT_NEAR(image.at(1), 126, 1) << name;
    EXPECT_NEAR(image.at(2), 80, 1) << name;
  }
}

TEST(DecodeImage, RefusesInksOfAnotherConvention) {
  std::string bytes = read_bytes(kImageFixtures + "cmyk.jpg");
  const std::string path = temporary("plain.jpg");
  const size_t adobe = bytes.find("\xFF\xEE");
  ASSERT_NE(adobe, std::string::npos);
  write_bytes(path, std::string(bytes).erase(adobe, 16));
  EXPECT_THAT([&] { decode_image(path); }, reports(path, "got four components without that marker"));
  bytes[adobe + 15] = 1;
  write_bytes(path, bytes);
  EXPECT_THAT([&] { decode_image(path); }, reports(path, "got four components of an unknown transform"));
}

TEST(DecodeImage, ReportsEveryTruncation) {
  for (const std::string name : {"rgb16.png", "palette.png", "gray.jpg", "progressive.jpg"}) {
    const std::string whole = read_bytes(kImageFixtures + name);
    ASSERT_GT(whole.size(), 60U);
    const size_t signature = name.ends_with("png") ? 8 : 3;
    const std::string path = temporary("cut_" + name);
    for (size_t size = 0; size < whole.size(); ++size) {
      write_bytes(path, whole.substr(0, size));
      const std::string reason = size == 0          ? "got an empty file"
                                 : size < signature ? "got another format"
                                                    : "truncated";
      EXPECT_THAT([&] { decode_image(path); }, reports(path, reason))
          << name << " cut to " << size << " bytes";
    }
  }
}

TEST(DecodeImage, ReportsEveryDamagedBitOfAPng) {
  const std::string whole = read_bytes(kImageFixtures + "rgb16.png");
  ASSERT_GT(whole.size(), 60U);
  const std::string path = temporary("damaged.png");
  for (size_t bit = 0; bit < 8 * whole.size(); ++bit) {
    std::string bytes = whole;
    bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << (bit % 8)));
    write_bytes(path, bytes);
    EXPECT_THAT([&] { decode_image(path); }, reports(path, bit < 64 ? "another format" : "PNG:"))
        << "bit " << bit;
  }
}

// An undefined-behavior sanitizer finds what the decoder makes of them.
TEST(DecodeImage, PassesOverEmptyChunksOfPixels) {
  const std::string whole = read_bytes(kImageFixtures + "rgb.png"), path = temporary("empty_chunks.png");
  const size_t first = whole.find("IDAT") - 4, end = whole.find("IEND") - 4;
  const std::string empty("\0\0\0\0IDAT\x35\xAF\x06\x1E", 12);
  std::string bytes = whole;
  write_bytes(path, bytes.insert(end, empty).insert(first, empty + empty));
  EXPECT_EQ(values(decode_image(path)), values(decode_image(kImageFixtures + "rgb.png")));
}

// More codes than a table of the decoder holds, or than the segment does.
TEST(DecodeImage, ReportsTablesOfTooManyCodes) {
  const std::string whole = read_bytes(kImageFixtures + "rgb.jpg"), path = temporary("codes.jpg");
  const size_t table = whole.find("\xFF\xC4");
  ASSERT_NE(table, std::string::npos);
  std::string bytes = whole;
  bytes[table + 5] = bytes[table + 6] = '\xFF';
  write_bytes(path, bytes);
  EXPECT_THAT([&] { decode_image(path); }, reports(path, "damaged JPEG: a table of codes"));
  bytes = whole;
  bytes[table + 20] = '\xF0';
  write_bytes(path, bytes);
  EXPECT_THAT([&] { decode_image(path); }, reports(path, "damaged JPEG: a table of codes"));
}

TEST(DecodeImage, ReportsTablesThatNothingDefines) {
  const std::string path = temporary("no_table.jpg");
  for (const std::string name : {"rgb.jpg", "progressive.jpg", "gray.jpg"}) {
    std::string bytes = read_bytes(kImageFixtures + name);
    bytes[bytes.find("\xFF\xC4") + 4] ^= 2;
    write_bytes(path, bytes);
    EXPECT_THAT([&] { decode_image(path); }, reports(path, "damaged JPEG: a scan needs a table of codes"))
        << name;
  }
}

TEST(DecodeImage, ReportsQuantizationThatNothingDefines) {
  const std::string path = temporary("no_quantization.jpg");
  for (const std::string name : {"rgb.jpg", "progressive.jpg", "gray.jpg"}) {
    std::string bytes = read_bytes(kImageFixtures + name);
    bytes[bytes.find("\xFF\xDB") + 4] ^= 2;
    write_bytes(path, bytes);
    EXPECT_THAT([&] { decode_image(path); }, reports(path, "damaged JPEG: a scan needs a quantization table"))
        << name;
  }
}

// A scan of 26 bits, which the decoder would take for more.
TEST(DecodeImage, ReportsAScanThatEndsTooEarly) {
  const std::string path = kImageFixtures + "cut_scan.jpg";
  EXPECT_THAT([&] { decode_image(path); }, reports(path, "damaged JPEG: "));
}

// The first of many blocks, and then the end: restart intervals of one block make the decoder stop there.
TEST(DecodeImage, WhatAJpegLacksDoesNotComeFromMemory) {
  std::string bytes = read_bytes(kImageFixtures + "gray.jpg");
  const size_t frame = bytes.find("\xFF\xC0");
  ASSERT_NE(frame, std::string::npos);
  bytes.replace(frame + 5, 4, std::string("\1\0\1\0", 4));  // 256 x 256 pixels
  bytes.insert(frame, std::string("\xFF\xDD\0\4\0\1", 6));
  const std::string path = temporary("restart.jpg");
  write_bytes(path, bytes);
  mallopt(M_PERTURB, 0x55);  // fills memory when it is allocated
  const std::vector<double> once = values(decode_image(path));
  mallopt(M_PERTURB, 0xAA);
  const std::vector<double> again = values(decode_image(path));
  mallopt(M_PERTURB, 0);
  EXPECT_TRUE(once == again);
}

// The pixel data end too early though every chunk is whole and its checksum right.
TEST(DecodeImage, ReportsMissingPixels) {
  EXPECT_THAT([] { decode_image(kImageFixtures + "too_few_rows.png"); },
              reports("too_few_rows.png", "damaged PNG: not enough pixels"));
}

TEST(DecodeImage, ReportsWhatIsNoImage) {
  EXPECT_THAT([] { decode_image(temporary("missing.png")); }, reports("missing.png", "No such file"));
  EXPECT_THAT([] { decode_image(temporary("")); }, reports("ReportsWhatIsNoImage", "got a directory"));
  const std::string text = temporary("text.png");
  write_bytes(text, "Image Index,Finding Labels\n");
  EXPECT_THAT([&] { decode_image(text); }, reports(text, "expected a PNG or JPEG image"));
}

TEST(WritePng, RoundTripsThroughDecode) {
  for (const int64_t channels : {1, 2, 3, 4}) {
    Tensor image = Tensor::empty({33, 50, channels}, DType::u8);
    for (int64_t i = 0; i < image.numel(); ++i)
      image.data<uint8_t>()[i] = static_cast<uint8_t>(i * i / 7 + i);
    const std::string path = temporary("image.png");
    write_png(path, image);
    const Tensor again = decode_image(path);
    EXPECT_EQ(again.shape(), image.shape());
    EXPECT_EQ(values(again), values(image));
    EXPECT_FALSE(std::filesystem::exists(path + ".partial"));
  }
}

TEST(WritePng, WritesAView) {
  Tensor image = Tensor::zeros({4, 6, 1}, DType::u8);
  for (int64_t i = 0; i < image.numel(); ++i) image.data<uint8_t>()[i] = static_cast<uint8_t>(i);
  const std::string path = temporary("view.png");
  write_png(path, image.slice(1, 2, 4));
  EXPECT_EQ(values(decode_image(path)), (std::vector<double>{2, 3, 8, 9, 14, 15, 20, 21}));
}

TEST(WritePng, ReportsWhereItCannotWrite) {
  const std::string path = temporary("no/such/folder.png");
  EXPECT_THAT(
      [&] {
        write_png(path, Tensor::zeros({2, 2, 1}, DType::u8));
      },
      ThrowsMessage<core::Error>(AllOf(HasSubstr(path), HasSubstr("No such file"))));
  EXPECT_THROW(write_png(path, Tensor::zeros({2, 2, 1}, DType::f32)), core::Error);
}

}  // namespace
}  // namespace medfusion::data
