// The data contract: its JSON, and images held against it.
#include "data/schema.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

#include "data/readers/file_images.h"
#include "tests/data/temporary_folder.h"

namespace medfusion::data {
namespace {

using core::Tensor;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// Images that all look alike.
class SameImages : public ImageSource {
 public:
  explicit SameImages(Tensor pixels) : pixels_(std::move(pixels)) {}
  Tensor read(int64_t) const override { return pixels_.clone(); }
  bool present(int64_t) const override { return true; }

 private:
  Tensor pixels_;
};

// A ramp from 0 to `most` over 10 x 20 pixels.
std::shared_ptr<ImageSource> ramp(int64_t most, core::DType dtype, int64_t channels = 1) {
  const Tensor pixels = Tensor::zeros({10, 20, channels}, core::DType::i32);
  for (int64_t i = 0; i < pixels.numel(); ++i)
    pixels.data<int32_t>()[i] = static_cast<int32_t>(i / channels * most / 199);
  return std::make_shared<SameImages>(pixels.to(dtype));
}

std::vector<int64_t> rows(int64_t count) {
  std::vector<int64_t> result(static_cast<size_t>(count));
  std::iota(result.begin(), result.end(), int64_t{0});
  return result;
}

TEST(Schema, ImagesAreSampledEvenlyAndMeasuredByTheirBits) {
  const ImageSchema schema = describe_images(*ramp(255, core::DType::u8, 3), rows(1000), 64);
  EXPECT_EQ(schema.present, 1000);
  EXPECT_EQ(schema.looked_at, 64);
  EXPECT_EQ(schema.width.high, 20);
  EXPECT_EQ(schema.height.low, 10);
  EXPECT_EQ(schema.channels.at(3), 64);
  EXPECT_EQ(schema.bits.at(8), 64);
  EXPECT_EQ(schema.colored, 0);
  EXPECT_EQ(schema.intensity.low, 0.0);
  EXPECT_EQ(schema.intensity.high, 1.0);
  EXPECT_NEAR(schema.mean.low, 0.5, 0.01);
  EXPECT_NEAR(schema.bright.low, 0.99, 0.01);
  EXPECT_EQ(describe_images(*ramp(255, core::DType::u8), rows(3), 64).looked_at, 3);
}

TEST(Schema, TwelveBitsInSixteenAreFarFromTheSamePictureScaled) {
  const ImageSchema schema = describe_images(*ramp(65535, core::DType::i32), rows(5), 64);
  EXPECT_EQ(schema.bits.at(16), 5);
  EXPECT_THAT(image_departures(schema, *ramp(65520, core::DType::i32), rows(4), 64), IsEmpty());
  EXPECT_THAT(image_departures(schema, *ramp(4095, core::DType::i32), rows(4), 64),
              ElementsAre(HasSubstr("4 of 4 images looked at have intensities far from training's")));
}

// The same picture twice, with 12 of 16 bits used and with all.
TEST(Schema, ThePictureOfTheCaseIsNamed) {
  const std::string scaled = shared_case("twelve-bit-scaled.png"),
                    dark = shared_case("twelve-bit-in-sixteen.png");
  if (scaled.empty()) GTEST_SKIP() << "twelve-bit-scaled.png not found: set MEDFUSION_CASES";
  const ImageSchema schema = describe_images(FileImages({scaled}), rows(1), 64);
  EXPECT_EQ(schema.bits.at(16), 1);
  EXPECT_THAT(image_departures(schema, FileImages({scaled}), rows(1), 64), IsEmpty());
  EXPECT_THAT(image_departures(schema, FileImages({dark}), rows(1), 64),
              ElementsAre(HasSubstr("1 of 1 images looked at have intensities far from training's")));
}

TEST(Schema, AnotherBitDepthAndColorAreNamed) {
  const ImageSchema schema = describe_images(*ramp(255, core::DType::u8), rows(5), 64);
  EXPECT_THAT(
      image_departures(schema, *ramp(65535, core::DType::i32), rows(4), 64),
      ElementsAre(HasSubstr("4 of 4 images looked at have another bit depth than training's (8 bits)")));
  EXPECT_THAT(image_departures(schema, *ramp(255, core::DType::u8, 3), rows(4), 64), IsEmpty());
  const Tensor colors = Tensor::full({10, 20, 3}, 128.0, core::DType::u8);
  colors.data<uint8_t>()[0] = 200;
  EXPECT_THAT(image_departures(schema, SameImages(colors), rows(4), 2),
              ElementsAre(HasSubstr("2 of 2 images looked at are in color, training's were gray")));
}

TEST(Schema, ComesBackFromItsJson) {
  Dataset dataset;
  dataset.name = "csv";
  dataset.labels = {"sick"};
  dataset.ids = dataset.patients = {"a", "b", "c"};
  dataset.targets = Tensor::zeros({3, 1});
  dataset.columns = {{"age", true, {1.5, 2.5, std::nan("")}, {}},
                     {"sex", false, {}, {"F", "M", "F"}},
                     {"empty", true, {std::nan(""), std::nan(""), std::nan("")}, {}}};
  dataset.known_columns = {"age", "sex", "empty", "gone"};
  dataset.images = ramp(255, core::DType::u8);
  dataset.texts = {"one word", "", "three more words"};
  const auto encoder = TableEncoder::fit(dataset.columns, {0, 1, 2});
  const auto tokenizer = Tokenizer::fit(dataset.texts, {0, 1, 2}, 1, 2);
  const Schema schema =
      describe({}, dataset, {{0, 1}, {2}, {}}, {&encoder, encoder.feature_names(), &tokenizer});
  EXPECT_EQ(schema.inputs[0].missing, 0);
  EXPECT_EQ(schema.text.texts, 1);
  EXPECT_EQ(schema.text.empty, 1);
  const auto json = schema.to_json();
  EXPECT_EQ(Schema::from_json(json, "schema.json").to_json(), json);
  auto broken = json;
  broken["columns"][0].erase("role");
  EXPECT_THROW(Schema::from_json(broken, "schema.json"), core::InputError);
  for (const double rows : {1.5, 1e308}) {
    broken = json;
    broken["rows"] = rows;
    EXPECT_THROW(Schema::from_json(broken, "schema.json"), core::InputError) << rows;
  }
}

}  // namespace
}  // namespace medfusion::data
