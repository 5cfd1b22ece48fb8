// Maps, by hand and against differences.
#include "tools/evaluation/explain/saliency.h"

#include <gtest/gtest.h>

#include "tests/models/filler.h"
#include "tools/evaluation/explain/explain.h"
#include "tools/evaluation/explain/integrated_gradients.h"
#include "tools/evaluation/explain/occlusion.h"

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
  core::Batch inputs;
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
  result.inputs.table.values = models::signed_tensor("table", {2, 2}, dtype);
  result.inputs.table.missing = Tensor::zeros({2, 2}, DType::boolean);
  result.inputs.text = Tensor::from<int64_t>({2, 4}, {2, 3, 0, 0, 5, 4, 3, 2});
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
    core::Batch inputs = t.inputs;
    inputs.images = images;
    layers::Context context;
    return t.network->forward(inputs, context).value();
  };
  Tensor blurred = t.inputs.images.clone();
  for (int64_t b = 0; b < 2; ++b) {
    blurred.slice(0, b, b + 1)
        .copy_from(
            gaussian_blur(t.inputs.images.slice(0, b, b + 1).squeeze(0), 0.625).reshape({1, 32, 32, 1}));
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
  Tensor positive = integrated_gradients(*t.network, t.inputs, {1})[0][0].clone();
  for (int64_t i = 0; i < positive.numel(); ++i) {
    positive.data<float>()[i] = std::max(0.0F, positive.data<float>()[i]);
  }
  positive = gaussian_blur(positive.reshape({32, 32, 1}), 1.0);
  for (int64_t i = 0; i < positive.numel(); ++i) ASSERT_EQ(pixels.at(i), positive.at(i));
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
  for (int64_t i = 4; i < 8; ++i) t.inputs.text.data<int64_t>()[i] = 0;
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

}  // namespace
}  // namespace medfusion::tools
