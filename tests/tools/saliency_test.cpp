// Maps, boxes and pictures, by hand.
#include "tools/evaluation/saliency.h"

#include <gtest/gtest.h>

#include "core/random.h"
#include "data/image.h"
#include "data/transform.h"
#include "tests/models/filler.h"
#include "tests/tools/program.h"
#include "tools/evaluation/explain.h"
#include "tools/evaluation/integrated_gradients.h"
#include "tools/evaluation/localization.h"
#include "tools/evaluation/occlusion.h"
#include "tools/evaluation/overlay.h"

namespace medfusion::tools {
namespace {

using core::DType;
using core::Tensor;
using core::Variable;

// Two pixels, two channels.
const Tensor kActivations = Tensor::from<float>({1, 2, 2}, {1.0F, 2.0F, 3.0F, 0.5F});
const Tensor kGradient = Tensor::from<float>({1, 2, 2}, {0.5F, -1.0F, 1.5F, 3.0F});

TEST(Saliency, MapsOfTwoPixelsByHand) {
  const Tensor hires = saliency_map(MapMethod::hirescam, kActivations, kGradient);
  EXPECT_FLOAT_EQ(static_cast<float>(hires.at(0)), 0.0F);  // 0.5 - 2, cut off
  EXPECT_FLOAT_EQ(static_cast<float>(hires.at(1)), 4.5F + 1.5F);
  const Tensor cam = saliency_map(MapMethod::gradcam, kActivations, kGradient);  // both weights are 1
  EXPECT_FLOAT_EQ(static_cast<float>(cam.at(0)), 3.0F);
  EXPECT_FLOAT_EQ(static_cast<float>(cam.at(1)), 3.5F);
  // alpha = 1 / (2 + g sum A), weight = sum of alpha g where g > 0; sum A is 4 and 2.5.
  const double first = 0.5 / (2.0 + 0.5 * 4.0) + 1.5 / (2.0 + 1.5 * 4.0), second = 3.0 / (2.0 + 3.0 * 2.5);
  const Tensor plus = saliency_map(MapMethod::gradcam_pp, kActivations, kGradient);
  EXPECT_NEAR(plus.at(0), first + 2.0 * second, 1e-6);
  EXPECT_NEAR(plus.at(1), 3.0 * first + 0.5 * second, 1e-6);
}

TEST(Saliency, TheFirstOfEqualPeaksCounts) {
  const Peak peak = peak_of(Tensor::from<float>({2, 3}, {0.0F, 1.0F, 2.0F, 0.5F, 2.0F, 1.0F}));
  EXPECT_EQ(peak.row, 0);
  EXPECT_EQ(peak.column, 2);
  EXPECT_EQ(peak.value, 2.0F);
}

TEST(Saliency, UpsamplingADensityKeepsTheSum) {
  const Tensor map = Tensor::from<float>({2, 2}, {1.0F, 2.0F, 3.0F, 4.0F});
  const Tensor large = upsample_map(map, 8, 8, true);
  double sum = 0.0;
  for (int64_t i = 0; i < large.numel(); ++i) sum += large.at(i);
  EXPECT_NEAR(sum, 10.0, 1e-5);
  EXPECT_EQ(upsample_map(map, 8, 8).at(0), 1.0);
}

struct Tiny {
  std::unique_ptr<models::Network> network;
  models::Inputs inputs;
};

Tiny tiny(DType dtype = DType::f64) {
  models::NetworkOptions options;
  options.size = "tiny";
  options.labels = 3;
  options.dtype = dtype;
  options.table_features = 2;
  options.vocabulary = 6;
  options.text_length = 4;
  options.layers = 2;
  Tiny result{models::make_network(options), {}};
  models::fill_module(*result.network);
  result.inputs.images = models::signed_tensor("images", {2, 32, 32, 1}, dtype);
  result.inputs.table = models::signed_tensor("table", {2, 2}, dtype);
  result.inputs.table_missing = Tensor::zeros({2, 2}, DType::boolean);
  result.inputs.tokens = Tensor::from<int64_t>({2, 4}, {2, 3, 0, 0, 5, 4, 3, 2});
  return result;
}

// d logit(sample 0, label) / d P5 by central differences.
Tensor differences(const Tiny& tiny, const models::ImageLevels& levels, int64_t label) {
  const core::NoGradGuard no_gradients;
  layers::Context context;
  const models::Prepared batch = tiny.network->prepare(tiny.inputs, context);
  const Tensor& p5 = levels.pyramid[3].value();
  const int64_t count = p5.numel() / p5.size(0);
  Tensor result = Tensor::empty({p5.size(1), p5.size(2), p5.size(3)});
  for (int64_t i = 0; i < count; ++i) {
    const auto logit = [&](double step) {
      models::ImageLevels moved = levels;
      Tensor value = p5.clone();
      value.data<double>()[i] += step;
      moved.pyramid[3] = Variable(value);
      return tiny.network->forward_from(moved, batch, context).value().at(label);
    };
    result.data<float>()[i] = static_cast<float>((logit(1e-5) - logit(-1e-5)) / 2e-5);
  }
  return result;
}

TEST(Explain, MapsAreThoseOfDifferencesOfTheLogit) {
  const Tiny t = tiny();
  models::ImageLevels levels;
  {
    const core::NoGradGuard no_gradients;
    layers::Context context;
    levels = t.network->image_levels(t.network->prepare(t.inputs, context), context);
  }
  const Tensor p5 = levels.pyramid[3].value().slice(0, 0, 1).squeeze(0).to(DType::f32).clone();
  for (const MapMethod method : {MapMethod::gradcam, MapMethod::hirescam}) {
    ExplainOptions options;
    options.method = method;
    options.levels = Levels::parse("P5");
    options.map_labels = {2, 0};
    const Explanation explanation = explain(*t.network, t.inputs, options);
    for (size_t m = 0; m < 2; ++m) {
      const Tensor gradient = differences(t, levels, options.map_labels[m]);
      const int64_t pixels = p5.size(0) * p5.size(1), channels = p5.size(2);
      Tensor map = Tensor::zeros({p5.size(0), p5.size(1)});
      for (int64_t p = 0; p < pixels; ++p) {
        double sum = 0.0;
        for (int64_t c = 0; c < channels; ++c) {
          double weight = 0.0;
          for (int64_t q = 0; q < pixels; ++q)
            weight += gradient.at(q * channels + c) / static_cast<double>(pixels);
          if (method == MapMethod::hirescam) weight = gradient.at(p * channels + c);
          sum += weight * p5.at(p * channels + c);
        }
        map.data<float>()[p] = static_cast<float>(std::max(0.0, sum));
      }
      const Tensor expected = upsample_map(map, 32, 32, true);
      const Tensor& actual = explanation.maps[0][m];
      ASSERT_EQ(actual.shape(), expected.shape());
      const double largest = peak_of(expected).value;
      EXPECT_GT(largest, 1e-6);
      for (int64_t i = 0; i < expected.numel(); ++i) {
        ASSERT_NEAR(actual.at(i), expected.at(i), 1e-3 * largest) << name_of(method) << " pixel " << i;
      }
    }
  }
}

TEST(Occlusion, ABlurKeepsWhatIsEvenAndSpreadsAPoint) {
  Tensor image = Tensor::full({8, 8, 1}, 2.0, DType::f32);
  const Tensor even = gaussian_blur(image, 1.5);
  for (int64_t i = 0; i < even.numel(); ++i) EXPECT_NEAR(even.at(i), 2.0, 1e-6);
  Tensor point = Tensor::zeros({17, 17, 1}, DType::f32);
  point.data<float>()[8 * 17 + 8] = 1.0F;
  const Tensor spread = gaussian_blur(point, 1.0);
  // The discrete Gaussian of radius 3: exp(-k^2 / 2) over its sum.
  const double sum = 1.0 + 2.0 * (std::exp(-0.5) + std::exp(-2.0) + std::exp(-4.5));
  EXPECT_NEAR(spread.at(8 * 17 + 8), 1.0 / (sum * sum), 1e-6);
  EXPECT_NEAR(spread.at(8 * 17 + 9), std::exp(-0.5) / (sum * sum), 1e-6);
  EXPECT_NEAR(spread.at(7 * 17 + 8), std::exp(-0.5) / (sum * sum), 1e-6);
}

// An image equal to its blur loses nothing when it is covered; another one does, and a map has the image's
// size.
TEST(Occlusion, MapsAreOfWhatCoveringTakesAway) {
  Tiny t = tiny(DType::f32);
  t.inputs.images = Tensor::full({2, 32, 32, 1}, 0.5, DType::f32);
  for (const auto& maps : occlusion_maps(*t.network, t.inputs, {0, 2})) {
    for (const Tensor& map : maps) EXPECT_LT(peak_of(map).value, 1e-5F);
  }
  t.inputs.images.data<float>()[1024 + 20 * 32 + 8] = 40.0F;  // of the second sample
  const auto maps = occlusion_maps(*t.network, t.inputs, {0, 1, 2});
  ASSERT_EQ(maps.size(), 2U);
  float largest = 0.0F;
  for (size_t l = 0; l < 3; ++l) {
    EXPECT_EQ(maps[1][l].shape(), core::Shape({32, 32}));
    EXPECT_LT(peak_of(maps[0][l]).value, 1e-5F);
    const Peak peak = peak_of(maps[1][l]);
    if (peak.value <= largest) continue;
    largest = peak.value;
    EXPECT_LE(std::abs(peak.row - 20) + std::abs(peak.column - 8), 6) << peak.row << " " << peak.column;
  }
  EXPECT_GT(largest, 1e-3F);
}

TEST(Explain, LevelsAreAdded) {
  const Tiny t = tiny();
  const auto maps_of = [&](const std::string& level) {
    ExplainOptions options;
    options.levels = Levels::parse(level);
    options.map_labels = {1};
    options.attention = false;
    return explain(*t.network, t.inputs, options).maps[1][0];
  };
  for (const std::string network : {"P", "C"}) {
    const Tensor both = maps_of(network + "3+" + network + "4"), third = maps_of(network + "3"),
                 fourth = maps_of(network + "4");
    for (int64_t i = 0; i < both.numel(); ++i) ASSERT_NEAR(both.at(i), third.at(i) + fourth.at(i), 1e-6);
  }
}

// All pixels together give the logit's gain from the blur to the image.
TEST(IntegratedGradients, AddUpToTheGainOfTheLogit) {
  const Tiny t = tiny(DType::f32);
  const auto logits = [&](const Tensor& images) {
    models::Inputs inputs = t.inputs;
    inputs.images = images;
    layers::Context context;
    return t.network->forward(inputs, context).value();
  };
  Tensor blurred = t.inputs.images.clone();
  for (int64_t b = 0; b < 2; ++b) {
    blurred.slice(0, b, b + 1)
        .copy_from(gaussian_blur(t.inputs.images.slice(0, b, b + 1).squeeze(0), 1.5).reshape({1, 32, 32, 1}));
  }
  const Tensor after = logits(t.inputs.images), before = logits(blurred);
  const auto maps = integrated_gradients(*t.network, t.inputs, {2, 0});
  ASSERT_EQ(maps.size(), 2U);
  double largest = 0.0;
  for (int64_t b = 0; b < 2; ++b) {
    for (size_t l = 0; l < 2; ++l) {
      const int64_t at = b * 3 + (l == 0 ? 2 : 0);
      const double gain = after.at(at) - before.at(at);
      const Tensor& map = maps[static_cast<size_t>(b)][l];
      double sum = 0.0, size = 0.0;
      for (int64_t i = 0; i < map.numel(); ++i) sum += map.at(i), size += std::abs(map.at(i));
      EXPECT_NEAR(sum, gain, 0.01 * size) << "sample " << b << " label " << l;
      largest = std::max(largest, std::abs(gain) / size);
    }
  }
  EXPECT_GT(largest, 0.1);  // terms that cancel would show nothing
  // Asked for some of them, they are the same.
  const auto some = integrated_gradients(*t.network, t.inputs, {2, 0}, {{false, true}, {true, false}});
  EXPECT_FALSE(some[0][0].defined());
  EXPECT_FALSE(some[1][1].defined());
  for (int64_t i = 0; i < 32 * 32; ++i) {
    ASSERT_EQ(some[0][1].at(i), maps[0][1].at(i));
    ASSERT_EQ(some[1][0].at(i), maps[1][0].at(i));
  }
}

TEST(Explain, MapsOfSomeLabelsAreThoseOfAll) {
  const Tiny t = tiny(DType::f32);
  for (const MapMethod method : {MapMethod::hirescam, MapMethod::guided}) {
    ExplainOptions options;
    options.method = method;
    options.levels = Levels::parse("C3+C4");
    options.map_labels = {2, 1, 0};
    options.attention = false;
    const auto all = explain(*t.network, t.inputs, options).maps;
    options.wanted = {{false, true, true}, {true, false, false}};
    const auto some = explain(*t.network, t.inputs, options).maps;
    for (size_t b = 0; b < 2; ++b) {
      for (size_t l = 0; l < 3; ++l) {
        ASSERT_EQ(some[b][l].defined(), options.wanted[b][l]);
        for (int64_t i = 0; options.wanted[b][l] && i < 32 * 32; ++i) {
          ASSERT_EQ(some[b][l].at(i), all[b][l].at(i));
        }
      }
    }
  }
}

TEST(Explain, GuidedMapsAreIntegratedTimesTheLevels) {
  const Tiny t = tiny(DType::f32);
  const auto map_of = [&](MapMethod method) {
    ExplainOptions options;
    options.method = method;
    options.levels = Levels::parse("C3+C4");
    options.map_labels = {1};
    options.attention = false;
    return explain(*t.network, t.inputs, options).maps[0][0];
  };
  const Tensor pixels = map_of(MapMethod::integrated), guided = map_of(MapMethod::guided);
  const Tensor levels = gaussian_blur(map_of(MapMethod::hirescam).reshape({32, 32, 1}), 2.0);
  const double largest = peak_of(levels.reshape({32, 32})).value;
  EXPECT_GT(peak_of(guided).value, 0.0F);
  for (int64_t i = 0; i < guided.numel(); ++i) {
    ASSERT_NEAR(guided.at(i), pixels.at(i) * levels.at(i) / largest, 1e-5 * peak_of(pixels).value);
  }
}

TEST(Explain, LevelsThatMakeNoSenseAreRefused) {
  EXPECT_EQ(Levels::parse("P3+P2").text(), "P2+P3");
  EXPECT_EQ(Levels::parse("C5").text(), "C5");
  EXPECT_EQ(Levels::parse("C2+C3").text(), "C2+C3");
  for (const char* text : {"", "P", "P1", "P6", "P2+", "P2+P2", "P2+C3", "C2+P3", "P2P3", "p2"}) {
    EXPECT_THROW(Levels::parse(text), core::InputError) << text;
  }
}

TEST(Explain, RolloutOfTwoLayersByHand) {
  // Two tokens, of which the first is a label.
  const Tensor below = Tensor::from<float>({1, 2, 2}, {0.2F, 0.8F, 0.6F, 0.4F});
  const Tensor last = Tensor::from<float>({1, 1, 2}, {0.5F, 0.5F});
  const Tensor rollout = attention_rollout({below, last});
  // (0.75, 0.25) times ((0.6, 0.4), (0.3, 0.7)).
  EXPECT_NEAR(rollout.at(0), 0.75 * 0.6 + 0.25 * 0.3, 1e-6);
  EXPECT_NEAR(rollout.at(1), 0.75 * 0.4 + 0.25 * 0.7, 1e-6);
}

TEST(Explain, AttentionRowsSumToOne) {
  const Tiny t = tiny();
  ExplainOptions options;
  const Explanation explanation = explain(*t.network, t.inputs, options);
  std::vector<Tensor> parts = explanation.attention;
  ASSERT_EQ(parts.size(), 2U);
  parts.push_back(explanation.rollout);
  for (const Tensor& part : parts) {
    const int64_t width = part.size(2);
    ASSERT_EQ(part.shape(), core::Shape({2, 3, width}));
    for (int64_t row = 0; row < 6; ++row) {
      double sum = 0.0;
      for (int64_t j = 0; j < width; ++j) sum += part.at(row * width + j);
      EXPECT_NEAR(sum, 1.0, 1e-5);
    }
  }
}

TEST(Explain, HidingWhatIsNotThereChangesNothing) {
  Tiny t = tiny();
  // Sample 0 has neither image nor table, sample 1 no text.
  t.inputs.image_present = Tensor::full({2}, 1.0, DType::boolean);
  t.inputs.image_present.data<bool>()[0] = false;
  t.inputs.table_present = t.inputs.image_present.clone();
  for (int64_t i = 4; i < 8; ++i) t.inputs.tokens.data<int64_t>()[i] = 0;
  ExplainOptions options;
  options.levels = Levels::parse("P4");
  options.map_labels = {0};
  const Explanation explanation = explain(*t.network, t.inputs, options);
  const bool absent[3][2] = {{true, false}, {true, false}, {false, true}};
  for (size_t m = 0; m < 3; ++m) {
    const Contribution& contribution = explanation.modalities[m];
    for (int64_t b = 0; b < 2; ++b) {
      EXPECT_EQ(contribution.present[static_cast<size_t>(b)], !absent[m][b]);
      double change = 0.0;
      for (int64_t l = 0; l < 3; ++l) {
        change += std::abs(contribution.logits.at(b * 3 + l) - explanation.logits.at(b * 3 + l));
      }
      if (absent[m][b]) {
        EXPECT_EQ(change, 0.0);
      } else {
        EXPECT_GT(change, 1e-4);
      }
    }
  }
  EXPECT_FALSE(explanation.maps[0][0].defined());
  EXPECT_TRUE(explanation.maps[1][0].defined());
  ASSERT_EQ(explanation.features.size(), 2U);
  EXPECT_FALSE(explanation.features[0].present[0]);
  EXPECT_TRUE(explanation.features[0].present[1]);
}

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

TEST(Localization, WilsonsIntervalOfEightInTen) {
  const auto [low, high] = wilson_interval(8, 10);
  EXPECT_NEAR(low, 0.490162, 1e-6);
  EXPECT_NEAR(high, 0.943318, 1e-6);
  EXPECT_EQ(wilson_interval(0, 0), std::make_pair(0.0, 1.0));
  EXPECT_NEAR(wilson_interval(0, 5).second, 0.434482, 1e-6);
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
