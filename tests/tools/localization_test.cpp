// Boxes, the pointing game and pictures, by hand.
#include "tools/evaluation/explain/localization.h"

#include <gtest/gtest.h>

#include <cmath>

#include "data/images/image.h"
#include "tests/tools/program.h"
#include "tools/evaluation/explain/overlay.h"
#include "tools/evaluation/explain/saliency.h"

namespace medfusion::tools {
namespace {

using core::Tensor;

TEST(Localization, PointingByHand) {
  const std::vector<FindingBox> boxes{{0.1, 0.2, 0.3, 0.4}, {0.6, 0.6, 0.7, 0.7}};
  EXPECT_TRUE(points_at(0.1, 0.2, boxes));
  EXPECT_FALSE(points_at(0.3, 0.3, boxes));  // the right edge is outside
  EXPECT_TRUE(points_at(0.3, 0.3, boxes, 0.01));
  EXPECT_TRUE(points_at(0.65, 0.65, boxes));
  EXPECT_FALSE(points_at(0.5, 0.5, boxes));
}

TEST(Localization, AreasAndOverlaps) {
  EXPECT_NEAR(overlap({0.0, 0.0, 0.2, 0.2}, {0.1, 0.0, 0.3, 0.2}), 1.0 / 3.0, 1e-12);
  EXPECT_EQ(overlap({0.0, 0.0, 0.2, 0.2}, {0.2, 0.0, 0.3, 0.2}), 0.0);
  EXPECT_NEAR(area_share({{0.0, 0.0, 0.5, 0.5}, {0.25, 0.0, 0.75, 0.5}}), 0.375, 1e-12);
}

TEST(Localization, TheBoxOfAMapIsThatOfThePeaksNeighborhood) {
  const Tensor map = Tensor::from<float>({4, 4}, {0.0F, 0.9F, 0.0F, 0.8F,  //
                                                  0.0F, 1.0F, 0.4F, 0.8F,  //
                                                  0.6F, 0.0F, 0.0F, 0.0F,  //
                                                  0.0F, 0.0F, 0.0F, 0.7F});
  const FindingBox half = box_of_map(map, 0.5);
  EXPECT_EQ(half.left, 0.25);
  EXPECT_EQ(half.right, 0.5);
  EXPECT_EQ(half.top, 0.0);
  EXPECT_EQ(half.bottom, 0.5);
  EXPECT_EQ(box_of_map(map, 0.4).right, 1.0);  // 0.4 bridges to the 0.8
  const LocalizationCase found = localize(map, {{0.25, 0.0, 0.5, 1.0}}, 0.0, 0.5);
  EXPECT_TRUE(found.hit);
  EXPECT_NEAR(found.iou, 0.5, 1e-12);
  EXPECT_EQ(found.x, 0.375);
  EXPECT_EQ(found.y, 0.375);
}

TEST(Localization, ABlankMapMisses) {
  const LocalizationCase found = localize(Tensor::zeros({4, 4}), {{0.0, 0.0, 1.0, 1.0}}, 1.0, 0.5);
  EXPECT_FALSE(found.hit);
  EXPECT_FALSE(found.near);
  EXPECT_EQ(found.iou, 0.0);
}

TEST(Localization, ScoresPerLabelAndOverall) {
  LocalizationCase hit, miss;
  hit.label = miss.label = "Mass";
  hit.x = hit.y = 0.5;
  hit.hit = true;
  hit.area = 0.25, miss.area = 0.75;
  hit.iou = 0.35;
  hit.boxes = miss.boxes = {{0.4, 0.4, 0.6, 0.6}};
  LocalizationCase other = hit;
  other.label = "Nodule";
  const auto scores = score({hit, other, miss}, {"Effusion", "Mass", "Nodule"});
  ASSERT_EQ(scores.size(), 3U);
  EXPECT_EQ(scores[0].label, "Mass");
  EXPECT_EQ(scores[0].count, 2);
  EXPECT_EQ(scores[0].hits, 1);
  EXPECT_EQ(scores[0].elsewhere, 1);  // the miss with the peak of the hit
  EXPECT_NEAR(scores[0].chance, 0.5, 1e-12);
  EXPECT_EQ(scores[0].overlapping[2], 1);
  EXPECT_EQ(scores[0].overlapping[3], 0);
  EXPECT_EQ(scores[2].label, "all");
  EXPECT_EQ(scores[2].count, 3);
  EXPECT_EQ(scores[2].hits, 2);
  EXPECT_EQ(scores[2].elsewhere, 1);
}

TEST(Localization, BoxesOfTheOfficialLayout) {
  const TemporaryFolder folder;
  const auto file = write(folder / "boxes.csv",
                          "Image Index,Finding Label,Bbox [x,y,w,h],,,\n"
                          "a.png,Infiltrate,256.0,128.5,512,1024\n");
  const auto rows = read_boxes(file.string());
  ASSERT_EQ(rows.size(), 1U);
  EXPECT_EQ(rows[0].label, "Infiltration");
  const FindingBox box = to_fractions(rows[0], 1024.0, 1024.0);
  EXPECT_EQ(box.left, 0.25);
  EXPECT_EQ(box.right, 0.75);
  EXPECT_EQ(box.bottom, 1.0);  // cut off at the border
}

TEST(Localization, BadBoxesAreRefusedWithTheirPlace) {
  const TemporaryFolder folder;
  const auto refused = [&](const std::string& text, const std::string& message) {
    const auto file = write(folder / "boxes.csv", text);
    try {
      read_boxes(file.string());
      ADD_FAILURE() << "accepted: " << text;
    } catch (const core::InputError& error) {
      EXPECT_EQ(std::string(error.what()), file.string() + message);
    }
  };
  const std::string header = "Image Index,Finding Label,Bbox [x,y,w,h],,,\n";
  refused("Image Index,Finding Label,Bbox [x,y,w,h],,,\na,b,1\n",
          ":2:1: expected 6 cells as in the header, got 3");
  refused("image,label,x\na,b,1\n", ":1: expected image, finding, x, y, width and height, got 3 columns");
  refused(header + "a.png,Mass,1,2,0,4\n", ":2:16: expected a positive size of a box in pixels, got '0'");
  refused(header + "a.png,Mass,-1,2,3,4\n", ":2:12: expected a place of a box in pixels, got '-1'");
  refused(header, ": expected boxes, got none");
}

TEST(Overlay, LightnessOfTheColorsGrows) {
  double before = -1.0;
  for (int i = 0; i <= 64; ++i) {
    const auto color = map_color(i / 64.0);
    const auto linear = [&](size_t k) { return std::pow(color[k] / 255.0, 2.2); };
    const double luminance = 0.2126 * linear(0) + 0.7152 * linear(1) + 0.0722 * linear(2);
    EXPECT_GT(luminance, before) << i;
    before = luminance;
  }
  EXPECT_EQ(map_color(-1.0), map_color(0.0));
  EXPECT_EQ(map_color(2.0), map_color(1.0));
}

TEST(Overlay, APictureIsReadBackAndShowsMapAndBox) {
  const TemporaryFolder folder;
  const Tensor image = Tensor::full({8, 8, 1}, 0.5);
  Tensor map = Tensor::zeros({8, 8});
  map.data<float>()[2 * 8 + 5] = 3.0F;
  OverlayOptions options;
  options.lines = {"Effusion   p = 0.912",
                   "a name that is far too long for the picture \xC3\xA9 " + std::string(300, 'x')};
  options.boxes = {{0.5, 0.0, 1.0, 0.5}};
  options.pixels = 80;
  options.mark_peak = false;
  const Tensor picture = draw_overlay(image, map, options);
  const std::string file = (folder / "overlay.png").string();
  data::write_png(file, picture);
  const Tensor back = data::decode_image(file);
  ASSERT_EQ(back.shape(), picture.shape());
  for (int64_t i = 0; i < back.numel(); ++i) ASSERT_EQ(back.at(i), picture.at(i));
  const auto pixel = [&](int64_t row, int64_t column) {
    const auto* at = back.data<uint8_t>() + (row * back.size(1) + column) * 3;
    return std::array<int, 3>{at[0], at[1], at[2]};
  };
  EXPECT_EQ(back.size(1), 80 + 8 + 80);
  EXPECT_EQ(pixel(60, 10), (std::array<int, 3>{128, 128, 128}));       // the image
  EXPECT_EQ(pixel(60, 88 + 10), (std::array<int, 3>{128, 128, 128}));  // clear where the map is 0
  EXPECT_EQ(pixel(20, 40), (std::array<int, 3>{0, 229, 255}));         // the box
  const auto peak = pixel(25, 88 + 55);
  EXPECT_GT(peak[0], peak[2]);  // light yellow over gray
  int white = 0;
  for (int64_t row = 80; row < back.size(0); ++row) {
    for (int64_t column = 0; column < back.size(1); ++column) {
      white += pixel(row, column) == std::array<int, 3>{255, 255, 255} ? 1 : 0;
    }
  }
  EXPECT_GT(white, 100);  // the legend
}

}  // namespace
}  // namespace medfusion::tools
