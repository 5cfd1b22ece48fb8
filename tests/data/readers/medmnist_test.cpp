#include "data/readers/medmnist.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>

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
          ": expected images [N, H, W] or [N, H, W, 3], got [4, 4, 4, 4]; 3-D volumes are not supported");
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

TEST(Npz, RefusesOtherKinds) {
  const NpzFile file(fixture("kinds.npz"));
  EXPECT_THAT(input_error([&] { file.read("i16"); }), HasSubstr("i16.npy: expected elements of type |u1"));
  EXPECT_THAT(input_error([&] { file.read("big"); }), HasSubstr("got '>i4'"));
  EXPECT_THAT(input_error([&] { file.read("record"); }), HasSubstr("record.npy: cannot read 'descr'"));
  EXPECT_THAT(input_error([] { NpzFile(fixture("fortran.npz")).read("a"); }),
              HasSubstr("a.npy: expected an array in C order, got one in Fortran order"));
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
