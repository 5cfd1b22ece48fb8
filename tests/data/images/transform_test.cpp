#include "data/images/transform.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>

#include "core/error.h"
#include "data/images/augment.h"
#include "data/images/image.h"

namespace medfusion::data {
namespace {

using core::DType;
using core::Shape;
using core::Tensor;

const std::string kTransformFixtures = std::string(MEDFUSION_SOURCE_DIR) + "/tests/fixtures/transform/";

Tensor read_fixture(const std::string& name, const Shape& shape) {
  std::ifstream stream(kTransformFixtures + name, std::ios::binary);
  const std::string bytes(std::istreambuf_iterator<char>(stream), {});
  MEDFUSION_CHECK(static_cast<int64_t>(bytes.size()) == 4 * shape.numel(), "{}: {} bytes", name,
                  bytes.size());
  Tensor result = Tensor::empty(shape);
  std::memcpy(result.data<float>(), bytes.data(), bytes.size());
  return result;
}

double largest_difference(const Tensor& a, const Tensor& b) {
  MEDFUSION_CHECK(a.shape() == b.shape(), "{} and {}", a.shape().str(), b.shape().str());
  double largest = 0.0;
  for (int64_t i = 0; i < a.numel(); ++i) {
    const double difference = std::abs(a.at(i) - b.at(i));
    if (!(difference <= largest)) largest = difference;  // NaN counts
  }
  return largest;
}

TEST(TransformImage, AgreesWithTorchvision) {
  struct Case {
    std::string image, expected;
    ImageFormat format;
  };
  constexpr Normalization kFixed = Normalization::fixed;
  const std::vector<Case> cases = {
      {"rgb.png", "rgb_to_16x3.f32", {16, 3, kFixed, {0.485F, 0.456F, 0.406F}, {0.229F, 0.224F, 0.225F}}},
      {"rgb.png", "rgb_to_20x1.f32", {20, 1, kFixed, {0.5F}, {0.25F}}},
      {"gray16.png", "gray16_to_32x3.f32", {32, 3, kFixed, {0.5F, 0.4F, 0.3F}, {0.2F, 0.3F, 0.4F}}},
      {"rgba.png", "rgba_to_24x1.f32", {24, 1, kFixed, {}, {}}},
      {"rgba.png", "rgba_to_11x3.f32", {11, 3, kFixed, {}, {}}},
  };
  for (const Case& c : cases) {
    const Tensor result = transform_image(decode_image(kTransformFixtures + c.image), c.format);
    const Tensor expected = read_fixture(c.expected, {c.format.size, c.format.size, c.format.channels});
    EXPECT_LE(largest_difference(result, expected), 1e-5) << c.expected;
  }
}

TEST(TransformImage, OneMeanStandsForAllChannels) {
  const Tensor pixels = Tensor::from<uint8_t>({1, 1, 3}, {51, 102, 204});
  const Tensor one = transform_image(pixels, {2, 3, Normalization::fixed, {0.25}, {0.5}});
  const Tensor each =
      transform_image(pixels, {2, 3, Normalization::fixed, {0.25, 0.25, 0.25}, {0.5, 0.5, 0.5}});
  EXPECT_EQ(largest_difference(one, each), 0.0);
}

TEST(TransformImage, DropsAlphaAndRepeatsGray) {
  const Tensor pixels = Tensor::from<uint8_t>({1, 1, 2}, {51, 7});
  const Tensor result =
      transform_image(pixels, {2, 3, Normalization::fixed, {0.0F, 0.1F, 0.2F}, {1.0F, 0.5F, 0.25F}});
  EXPECT_EQ(result.shape(), (Shape{2, 2, 3}));
  for (int64_t i = 0; i < 4; ++i) {
    EXPECT_FLOAT_EQ(result.data<float>()[3 * i], 0.2F);
    EXPECT_FLOAT_EQ(result.data<float>()[3 * i + 1], 0.2F);
    EXPECT_NEAR(result.at(3 * i + 2), 0.0, 1e-7);
  }
}

TEST(Resize, KeepsAnImageOfThatSize) {
  const Tensor image = read_fixture("affine_input.f32", {20, 20, 3});
  EXPECT_EQ(largest_difference(resize(image, 20, 20), image), 0.0);
}

// A linear ramp stays one away from the edges, and any resize keeps a constant.
TEST(Resize, KeepsRampsAndConstants) {
  Tensor ramp = Tensor::empty({30, 40, 1});
  for (int64_t i = 0; i < ramp.numel(); ++i) ramp.data<float>()[i] = static_cast<float>(i % 40) + 0.5F;
  const Tensor narrow = resize(ramp, 7, 10);
  for (int64_t row = 0; row < 7; ++row) {
    for (int64_t column = 1; column < 9; ++column) {
      EXPECT_NEAR(narrow.at(row * 10 + column), 4.0 * (static_cast<double>(column) + 0.5), 1e-4);
    }
  }
  const Tensor flat = resize(Tensor::full({3, 5, 3}, 0.25), 64, 2);
  EXPECT_LE(largest_difference(flat, Tensor::full({64, 2, 3}, 0.25)), 1e-7);
}

TEST(Transform, RejectsBadFormats) {
  const Tensor pixels = Tensor::zeros({2, 2, 1}, DType::u8);
  EXPECT_THROW(transform_image(pixels, {0, 1, Normalization::fixed, {}, {}}), core::Error);
  EXPECT_THROW(transform_image(pixels, {8, 2, Normalization::fixed, {}, {}}), core::Error);
  EXPECT_THROW(transform_image(pixels, {8, 3, Normalization::fixed, {0.5, 0.5}, {}}), core::Error);
  EXPECT_THROW(transform_image(pixels, {8, 1, Normalization::fixed, {}, {0.0F}}), core::Error);
  EXPECT_THROW(transform_image(Tensor::zeros({2, 2, 1}), {8, 1, Normalization::fixed, {}, {}}), core::Error);
}

TEST(Augment, AgreesWithGridSample) {
  const Tensor image = read_fixture("affine_input.f32", {20, 20, 3});
  Augmentation turned;
  turned.shift_x = 0.07, turned.shift_y = -0.11, turned.scale = 1.15, turned.rotation = 12.0;
  EXPECT_LE(largest_difference(augment(image, turned), read_fixture("affine_turned.f32", {20, 20, 3})), 1e-5);
  Augmentation flipped;
  flipped.shift_x = -0.2, flipped.shift_y = 0.03, flipped.scale = 0.8, flipped.rotation = -30.0,
  flipped.flip = true;
  EXPECT_LE(largest_difference(augment(image, flipped), read_fixture("affine_flipped.f32", {20, 20, 3})),
            1e-5);
}

TEST(Augment, ChangesNothingWithoutParameters) {
  const Tensor image = read_fixture("affine_input.f32", {20, 20, 3});
  EXPECT_LE(largest_difference(augment(image, {}), image), 1e-7);
}

TEST(Augment, ChangesIntensityAsDocumented) {
  const Tensor image = Tensor::from<float>({1, 4, 1}, {0.0F, 0.5F, 0.6F, 0.9F});
  Augmentation a;
  a.brightness = 0.1, a.contrast = 1.5, a.gamma = 2.0;
  const double mean = (0.25 + 0.36 + 0.81) / 4.0;
  const Tensor result = augment(image, a);
  for (int64_t i = 0; i < 4; ++i) {
    const double x = image.at(i) * image.at(i);
    EXPECT_NEAR(result.at(i), std::min(1.0, std::max(0.0, 1.5 * (x - mean) + mean + 0.1)), 1e-6) << i;
  }
}

TEST(RandomOperations, AgreeWithPillow) {
  const Tensor image = read_fixture("affine_input.f32", {20, 20, 3});
  const std::pair<const char*, ImageOperation> all[] = {{"auto_contrast", ImageOperation::auto_contrast},
                                                        {"equalize", ImageOperation::equalize},
                                                        {"solarize", ImageOperation::solarize},
                                                        {"posterize", ImageOperation::posterize},
                                                        {"color", ImageOperation::color},
                                                        {"contrast", ImageOperation::contrast},
                                                        {"brightness", ImageOperation::brightness},
                                                        {"sharpness", ImageOperation::sharpness}};
  for (const auto& [name, operation] : all) {
    const Tensor expected = read_fixture(fmt::format("operation_{}.f32", name), {20, 20, 3});
    EXPECT_LE(largest_difference(apply(operation, image, 0.5), expected), 1.5 / 255) << name;  // of 8 bits
    EXPECT_GT(largest_difference(image, expected), 0.01) << name;
  }
}

TEST(RandomOperations, MoveImagesAsDocumented) {
  const Tensor image = read_fixture("affine_input.f32", {20, 20, 3});
  EXPECT_EQ(largest_difference(apply(ImageOperation::identity, image, 0.7), image), 0.0);
  Augmentation turned;
  turned.rotation = 15.0;
  EXPECT_LE(largest_difference(apply(ImageOperation::rotate, image, 0.5), augment(image, turned)), 1e-6);
  const Tensor right = apply(ImageOperation::translate_x, image, 1.0 / 3.0);  // by 3 pixels
  const Tensor down = apply(ImageOperation::translate_y, image, 1.0 / 3.0);
  const Tensor sheared = apply(ImageOperation::shear_x, image, 1.0);  // the row 9.5 below the centre by 2.85
  for (int64_t c = 0; c < 3; ++c) {
    const auto at = [&](const Tensor& of, int64_t y, int64_t x) { return of.at((y * 20 + x) * 3 + c); };
    EXPECT_NEAR(at(right, 5, 10), at(image, 5, 7), 1e-5);
    EXPECT_NEAR(at(down, 10, 5), at(image, 7, 5), 1e-5);
    EXPECT_NEAR(at(sheared, 19, 10), 0.15 * at(image, 19, 12) + 0.85 * at(image, 19, 13), 1e-5);
    EXPECT_NEAR(at(sheared, 0, 10), 0.15 * at(image, 0, 8) + 0.85 * at(image, 0, 7), 1e-5);
  }
  Augmentation upside_down;
  upside_down.flip_rows = true;
  EXPECT_NEAR(augment(image, upside_down).at(0), image.at(19 * 20 * 3), 1e-6);
}

TEST(DrawAugmentation, DrawsOperationsAndLeavesTheRestAsItWas) {
  AugmentOptions options;
  const Augmentation before = draw_augmentation(options, 7, 3, 11);
  options.operations = 2, options.magnitude = 0.4, options.vertical_flip = 0.25;
  std::vector<int64_t> counts(kImageOperations);
  int64_t flips = 0, raised = 0;
  for (int64_t row = 0; row < 4000; ++row) {
    const Augmentation a = draw_augmentation(options, 7, row % 3, row);
    flips += a.flip_rows ? 1 : 0;
    ASSERT_EQ(a.operations.size(), 2U);
    for (const auto& [operation, level] : a.operations) {
      ++counts[static_cast<size_t>(operation)];
      raised += level > 0.0 ? 1 : 0;
      EXPECT_EQ(std::abs(level), 0.4);
    }
  }
  for (const int64_t count : counts) EXPECT_NEAR(static_cast<double>(count), 8000.0 / 14, 100.0);
  EXPECT_NEAR(static_cast<double>(raised), 4000.0, 180.0);
  EXPECT_NEAR(static_cast<double>(flips), 1000.0, 110.0);
  EXPECT_EQ(draw_augmentation(options, 7, 3, 11).rotation, before.rotation);
}

TEST(DrawAugmentation, StaysInItsRangesAndCoversThem) {
  AugmentOptions options;
  options.horizontal_flip = 0.25;
  double low = 1.0, high = -1.0, shift_sum = 0.0;
  int64_t flips = 0;
  for (int64_t row = 0; row < 4000; ++row) {
    const Augmentation a = draw_augmentation(options, 7, row % 3, row);
    EXPECT_LE(std::abs(a.shift_x), options.shift);
    EXPECT_LE(std::abs(a.shift_y), options.shift);
    EXPECT_LE(std::abs(a.scale - 1.0), options.scale);
    EXPECT_LE(std::abs(a.rotation), options.rotation);
    EXPECT_LE(std::abs(a.brightness), options.brightness);
    EXPECT_LE(std::abs(a.contrast - 1.0), options.contrast);
    EXPECT_LE(std::abs(std::log(a.gamma)), options.gamma + 1e-12);
    low = std::min(low, a.rotation), high = std::max(high, a.rotation);
    shift_sum += a.shift_x;
    flips += a.flip ? 1 : 0;
  }
  EXPECT_LT(low, -4.9);
  EXPECT_GT(high, 4.9);
  EXPECT_NEAR(shift_sum / 4000.0, 0.0, 0.002);
  EXPECT_NEAR(static_cast<double>(flips), 1000.0, 110.0);  // four standard deviations
}

TEST(DrawAugmentation, DependsOnSeedEpochAndRowOnly) {
  const AugmentOptions options;
  const Augmentation a = draw_augmentation(options, 7, 3, 11);
  EXPECT_EQ(draw_augmentation(options, 7, 3, 11).rotation, a.rotation);
  EXPECT_NE(draw_augmentation(options, 8, 3, 11).rotation, a.rotation);
  EXPECT_NE(draw_augmentation(options, 7, 4, 11).rotation, a.rotation);
  EXPECT_NE(draw_augmentation(options, 7, 3, 12).rotation, a.rotation);
  AugmentOptions still = options;
  still.shift = 0.0;
  EXPECT_EQ(draw_augmentation(still, 7, 3, 11).rotation, a.rotation);
  EXPECT_EQ(draw_augmentation(still, 7, 3, 11).shift_x, 0.0);
}

TEST(Normalize, PerImageGivesMeanZeroAndDeviationOne) {
  core::Tensor image = core::Tensor::from<float>({2, 2, 1}, {0.1F, 0.2F, 0.3F, 0.8F});
  ImageFormat format;
  format.size = 2;
  format.channels = 3;
  format.mean = {0.9F, 0.9F, 0.9F};  // not used
  format.normalize = Normalization::image;
  const core::Tensor out = core::Tensor::empty({2, 2, 3});
  normalize(image, format, out);
  double sum = 0.0, squares = 0.0;
  for (int64_t i = 0; i < out.numel(); ++i) {
    sum += out.at(i);
    squares += out.at(i) * out.at(i);
  }
  EXPECT_NEAR(sum, 0.0, 1e-5);
  EXPECT_NEAR(squares / 12.0, 1.0, 1e-5);
  EXPECT_NEAR(out.at(9), (0.8 - 0.35) / std::sqrt(0.0725), 1e-5);
  image.fill(0.5);  // no deviation: no division by zero
  normalize(image, format, out);
  EXPECT_EQ(out.at(0), 0.0);
}

TEST(Augment, RejectsBadRanges) {
  AugmentOptions options;
  options.scale = 1.0;
  EXPECT_THROW(core::check_ranges(options, "augmentation"), core::Error);
  options = {};
  options.horizontal_flip = 1.5;
  EXPECT_THROW(core::check_ranges(options, "augmentation"), core::Error);
}

// What is 8-bit and of the right size already is not changed by rounding; what is not lies on a level.
TEST(Transform, RoundedPixelsAreLevels) {
  Tensor pixels = Tensor::empty({16, 16, 1}, core::DType::u8);
  for (int64_t i = 0; i < 256; ++i) pixels.data<uint8_t>()[i] = static_cast<uint8_t>(i);
  ImageFormat plain{16, 1, Normalization::fixed, {}, {}, false}, rounded = plain;
  rounded.round_pixels = true;
  const Tensor same = resized_image(pixels, plain), levels = resized_image(pixels, rounded);
  EXPECT_EQ(std::memcmp(same.data<float>(), levels.data<float>(), 256 * sizeof(float)), 0);
  plain.size = rounded.size = 11;
  const Tensor exact = resized_image(pixels, plain), near = resized_image(pixels, rounded);
  double departure = 0.0;
  for (int64_t i = 0; i < near.numel(); ++i) {
    const double level = 255.0 * near.at(i);
    EXPECT_NEAR(level, std::round(level), 1e-4);
    EXPECT_NEAR(level, 255.0 * exact.at(i), 0.5001);
    departure = std::max(departure, std::abs(near.at(i) - exact.at(i)));
  }
  EXPECT_GT(departure, 0.0);
}

TEST(Transform, EqualChannelsAreOne) {
  ImageFormat format{2, 3, Normalization::fixed, {}, {}, true};
  const Tensor equal = Tensor::from<uint8_t>({2, 2, 3}, {1, 1, 1, 2, 2, 2, 3, 3, 3, 250, 250, 250});
  EXPECT_EQ(packable_image(equal, format).shape(), (core::Shape{2, 2, 1}));
  EXPECT_EQ(packable_image(equal, format).at(3), 250.0);
  const Tensor color = Tensor::from<uint8_t>({2, 2, 3}, {1, 1, 1, 2, 2, 2, 3, 3, 3, 250, 250, 251});
  EXPECT_EQ(packable_image(color, format).shape(), (core::Shape{2, 2, 3}));
}

}  // namespace
}  // namespace medfusion::data
