#include "data/readers/medmnist.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <limits>
#include <tuple>

#include "data/readers/npz.h"
#include "data/splits.h"
#include "tests/data/temporary_folder.h"

namespace medfusion::data {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// Written by NumPy, see tests/fixtures/make_medmnist.py.
std::string fixture(const std::string& name) {
  return MEDFUSION_SOURCE_DIR "/tests/fixtures/medmnist/" + name;
}

std::string bytes_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// Element i of an array of the fixture: (7 i + first) mod 256.
int64_t expected_pixel(int64_t i, int64_t first) { return (7 * i + first) % 256; }

TEST(MedMnist, ClassesBecomeOneLabelEach) {
  const Dataset data = read_medmnist(fixture("classes.npz"));
  EXPECT_THAT(data.ids, ElementsAre("train_0", "train_1", "train_2", "train_3", "val_0", "val_1", "test_0",
                                    "test_1", "test_2"));
  EXPECT_THAT(data.labels, ElementsAre("class_0", "class_1", "class_2"));
  EXPECT_TRUE(data.exclusive);
  const std::vector<int64_t> classes = {0, 1, 2, 0, 0, 1, 0, 1, 2};
  for (int64_t i = 0; i < data.targets.numel(); ++i) {
    EXPECT_EQ(data.targets.at(i), i % 3 == classes[static_cast<size_t>(i / 3)] ? 1.0 : 0.0) << i;
  }
  const core::Tensor image = data.images->read(5);  // the second of val
  ASSERT_EQ(image.shape(), (core::Shape{5, 6, 1}));
  for (int64_t i = 0; i < 30; ++i) EXPECT_EQ(image.at(i), expected_pixel(30 + i, 1));
  EXPECT_EQ(data.images->read(8).at(29), expected_pixel(89, 2));
  const Splits splits = own_splits(data, 0.0, 1);
  EXPECT_THAT(splits.train, ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(splits.val, ElementsAre(4, 5));
  EXPECT_THAT(splits.test, ElementsAre(6, 7, 8));
}

TEST(MedMnist, ColorImagesAndSeveralLabels) {
  const Dataset data = read_medmnist(fixture("rgb.npz"));
  EXPECT_THAT(data.labels, ElementsAre("label_0", "label_1"));
  EXPECT_FALSE(data.exclusive);
  const core::Tensor image = data.images->read(1);
  ASSERT_EQ(image.shape(), (core::Shape{5, 6, 3}));
  for (int64_t i = 0; i < 90; ++i) EXPECT_EQ(image.at(i), expected_pixel(90 + i, 0));
  EXPECT_EQ(data.targets.at(0), 1.0);
  EXPECT_EQ(data.targets.at(1), 0.0);
  EXPECT_EQ(data.targets.at(3), 1.0);
  EXPECT_NE(data.hash, read_medmnist(fixture("classes.npz")).hash);
}

TEST(MedMnist, ChestLabelsHaveNames) {
  const Dataset data = read_medmnist(fixture("chestmnist.npz"));
  ASSERT_EQ(data.labels.size(), 14U);
  EXPECT_EQ(data.labels[0], "Atelectasis");
  EXPECT_EQ(data.labels[13], "Hernia");
}

TEST(MedMnist, VolumesAreRefused) {
  EXPECT_EQ(
      input_error([] { read_medmnist(fixture("volumes.npz")); }),
      fixture("volumes.npz/train_images.npy") +
          ": expected images [N, H, W], [N, H, W, 1] or [N, H, W, 3], got [4, 4, 4, 4]; 3-D volumes are not "
          "supported");
}

TEST(MedMnist, ImagesWithoutPixelsAreRefused) {
  EXPECT_EQ(
      input_error([] { read_medmnist(fixture("no_pixels.npz")); }),
      fixture("no_pixels.npz/train_images.npy") + ": expected images of at least one pixel, got [4, 0, 6]");
}

TEST(MedMnist, TwoClassesAreOneLabel) {
  const Dataset data = read_medmnist(fixture("two_classes.npz"));  // labels [N] of i16
  EXPECT_THAT(data.labels, ElementsAre("class_1"));
  ASSERT_EQ(data.targets.shape(), (core::Shape{9, 1}));
  const std::vector<double> classes = {0, 1, 0, 1, 0, 1, 0, 1, 0};
  for (int64_t i = 0; i < 9; ++i) EXPECT_EQ(data.targets.at(i), classes[static_cast<size_t>(i)]) << i;
  EXPECT_THAT(data.notes,
              ElementsAre("images hold 0 to 255: read as 8-bit",
                          "each image is of one of two classes: the one label class_1 is the second"));
  const Dataset columns = read_medmnist(fixture("one_of_two.npz"));  // labels [N, 2] of bool
  EXPECT_THAT(columns.labels, ElementsAre("label_1"));
  for (int64_t i = 0; i < 9; ++i) EXPECT_EQ(columns.targets.at(i), classes[static_cast<size_t>(i)]) << i;
}

TEST(MedMnist, ImagesOfAnyIntegers) {
  const core::Tensor bytes = read_medmnist(fixture("two_classes.npz")).images->read(5);  // >i8, [N, H, W, 1]
  ASSERT_EQ(bytes.shape(), (core::Shape{5, 6, 1}));
  EXPECT_EQ(bytes.dtype(), core::DType::u8);
  for (int64_t i = 0; i < 30; ++i) EXPECT_EQ(bytes.at(i), expected_pixel(30 + i, 1));
  const Dataset deep = read_medmnist(fixture("one_of_two.npz"));
  const core::Tensor words = deep.images->read(8);
  EXPECT_EQ(words.dtype(), core::DType::i32);
  for (int64_t i = 0; i < 30; ++i) EXPECT_EQ(words.at(i), static_cast<double>((7 * (60 + i) + 2) % 4096));
  EXPECT_THAT(deep.notes, testing::Contains(HasSubstr("read as 16-bit")));
  const Dataset truth = read_medmnist(fixture("truth.npz"));
  EXPECT_EQ(truth.images->read(0).dtype(), core::DType::u8);
  EXPECT_EQ(truth.images->read(0).at(0), 0.0);
  EXPECT_EQ(truth.images->read(0).at(1), 255.0);
  EXPECT_THAT(truth.labels, ElementsAre("class_0", "class_1", "class_2"));
}

TEST(MedMnist, OtherImagesAreRefused) {
  EXPECT_EQ(input_error([] { read_medmnist(fixture("negative.npz")); }),
            fixture("negative.npz") + ": expected images of 0 to 65535, got -1 to 254");
  EXPECT_EQ(input_error([] { read_medmnist(fixture("real.npz")); }),
            fixture("real.npz/train_images.npy") + ": expected images of an integer type, got f32");
}

TEST(MedMnist, MissingArraysAndFilesAreNamed) {
  EXPECT_EQ(input_error([] { read_medmnist(fixture("kinds.npz")); }),
            fixture("kinds.npz") + ": expected an array train_images.npy, got none");
  EXPECT_EQ(input_error([] { read_medmnist(fixture("none.npz")); }),
            fixture("none.npz") + ": expected an .npz file, got no such file");
}

TEST(Npz, ReadsTheKindsOfArraysThatFit) {
  const NpzFile file(fixture("kinds.npz"));
  const core::Tensor i32 = file.read("i32");
  ASSERT_EQ(i32.shape(), (core::Shape{2, 2}));
  EXPECT_EQ(i32.dtype(), core::DType::i32);
  EXPECT_EQ(i32.at(1), -2.0);
  EXPECT_EQ(file.read("f64").at(0), 0.5);
  EXPECT_EQ(file.read("scalar").rank(), 0);
  EXPECT_EQ(file.read("scalar").item(), 2.5);
  EXPECT_EQ(file.read("boolean").at(0), 1.0);
  EXPECT_EQ(file.read("boolean").at(1), 0.0);
  EXPECT_EQ(file.read("empty").shape(), (core::Shape{0, 4}));
  EXPECT_TRUE(file.has("i32"));
  EXPECT_FALSE(file.has("i33"));
}

TEST(Npz, ReadsEveryIntegerTypeAndOrder) {
  const NpzFile file(fixture("integers.npz"));
  const std::vector<std::tuple<std::string, core::DType, double, double>> kinds = {
      {"i1", core::DType::i32, -128, 127},       {"u2", core::DType::i32, 0, 65535},
      {"i2", core::DType::i32, -32768, 32767},   {"i4", core::DType::i32, -2147483648.0, 2147483647.0},
      {"u4", core::DType::i64, 0, 4294967295.0}, {"i8", core::DType::i64, -0x1p63, 0x1p63},
      {"u8", core::DType::i64, 0, 0x1p63},       {"f4", core::DType::f32, -1.5, 2.5},
      {"f8", core::DType::f64, -1.5, 2.5}};
  for (const auto& [kind, dtype, least, most] : kinds) {
    for (const std::string order : {"little", "big", "fortran"}) {
      const core::Tensor array = file.read(order + "_" + kind);
      EXPECT_EQ(array.dtype(), dtype) << order << kind;
      ASSERT_EQ(array.shape(), (core::Shape{2, 3})) << order << kind;
      const std::vector<double> expected = {least, 1, 2, 3, 4, most};
      for (int64_t i = 0; i < 6; ++i)
        EXPECT_EQ(array.at(i), expected[static_cast<size_t>(i)]) << order << kind << i;
    }
  }
  EXPECT_EQ(file.read("little_i8").data<int64_t>()[5], std::numeric_limits<int64_t>::max());
  const core::Tensor cube = file.read("fortran_3");
  ASSERT_EQ(cube.shape(), (core::Shape{2, 3, 4}));
  for (int64_t i = 0; i < 24; ++i) EXPECT_EQ(cube.at(i), static_cast<double>(i));
  EXPECT_THAT(input_error([&] { file.read("too_large"); }),
              HasSubstr("too_large.npy: expected integers below 2^63"));
}

TEST(Npz, RefusesOtherKinds) {
  const NpzFile file(fixture("kinds.npz"));
  EXPECT_THAT(input_error([&] { file.read("record"); }), HasSubstr("record.npy: cannot read 'descr'"));
  EXPECT_THAT(input_error([&] { file.read("complex"); }),
              HasSubstr("complex.npy: expected elements of an integer type, bool, f4 or f8, such as '|u1' or "
                        "'<i4', got '<c8'"));
}

TEST(Npz, EveryTruncationIsAnError) {
  const TemporaryFolder folder;
  const std::string whole = bytes_of(fixture("one.npz"));
  const std::string path = folder.path("t.npz");
  for (size_t size = 0; size < whole.size(); ++size) {
    folder.write("t.npz", whole.substr(0, size));
    EXPECT_NE(input_error([&] { NpzFile(path).read("a"); }), "") << size;
  }
}

TEST(Npz, NoFlippedByteChangesAValueUnnoticed) {
  const TemporaryFolder folder;
  const std::string whole = bytes_of(fixture("one.npz"));
  const std::string path = folder.path("t.npz");
  ASSERT_EQ(NpzFile(fixture("one.npz")).read("a").at(5), 5.0);
  // The compressed array lies between the local header (30 bytes, a name, an extra field) and the directory;
  // the bits that are flipped in its last byte are padding.
  const auto begin = 30U + static_cast<unsigned char>(whole[26]) + static_cast<unsigned char>(whole[28]);
  const size_t end = whole.find("PK\x01\x02") - 1;
  ASSERT_LT(begin + 50, end);
  for (size_t i = 0; i < whole.size(); ++i) {
    std::string flipped = whole;
    flipped[i] = static_cast<char>(flipped[i] ^ 0x5A);
    folder.write("t.npz", flipped);
    try {
      const core::Tensor array = NpzFile(path).read("a");
      ASSERT_EQ(array.shape(), (core::Shape{2, 3})) << i;
      for (int64_t j = 0; j < 6; ++j) ASSERT_EQ(array.at(j), static_cast<double>(j)) << i;
      EXPECT_FALSE(i >= begin && i < end) << i;  // elsewhere: dates, attributes and the like
    } catch (const core::InputError&) {
    }
  }
}

}  // namespace
}  // namespace medfusion::data
